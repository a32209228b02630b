# What ci/floors.sh checks, and how. POSIX awk; run it through that script.
#
# Input: ARCHITECTURE.md (its path in the variable `arch`), then every Rust file of the library, by paths
# relative to the repository. Output: a line "path:line: what is wrong" for each fault; exit status 1 if
# there is any.
#
# Rust is read as a stream of tokens, without comments, strings and character literals: that much is needed
# so that prose about `unsafe` or about `crate::sched` is not taken for code. Facts are collected while
# reading and judged at the end, when the floor of every file is known.

# ---- Reading ----------------------------------------------------------------------------------------

FILENAME == arch { read_architecture(); next }

FNR == 1 { finish_file(); start_file() }

{
    lines[file] = FNR
    if (FNR == 1 && match($0, /^\/\/! F[0-9]+[a-z]?\. /)) floor[file] = substr($0, 5, RLENGTH - 6)
    if ($0 ~ /^#!\[forbid\([^)]*unsafe_code/) forbids[file] = 1
    if ($0 ~ /^#!\[deny\([^)]*unsafe_code/) denies[file] = 1
    if (match($0, /\/\/ floors: allow\([a-z_]+\)/)) marker[file, FNR] = substr($0, RSTART + 17, RLENGTH - 18)
    scan($0)
}

END {
    finish_file()
    if (!section) fault(arch, 1, "has no section \"Where unsafe may stand\"")
    for (i = 1; i < ARGC; i++) if (ARGV[i] != arch) file_of[crate_of(ARGV[i]), module_of(ARGV[i])] = ARGV[i]
    for (path in listed) judge_entry(path)
    for (i = 1; i < ARGC; i++) if (ARGV[i] != arch) judge_file(ARGV[i])
    for (i = 1; i <= imports; i++) judge_import(i)
    for (place in marker) if (!(place in used)) {
        split(place, part, SUBSEP)
        fault(part[1], part[2], "the mark `floors: allow(" marker[place] ")` excuses nothing")
    }
    exit (faults > 0)
}

function fault(path, line, message) {
    print path ":" line ": " message
    faults++
}

# Is a fault of this kind excused by a mark on its line?
function excused(path, line, kind) {
    if (!((path, line) in marker) || marker[path, line] != kind) return 0
    used[path, line] = 1
    return 1
}

# The section "Where unsafe may stand": a bullet for each file, or for each folder (with a slash at the
# end of its name), that begins with the path in backticks.
function read_architecture() {
    if ($0 ~ /^#/) inside = ($0 ~ /[Ww]here `?unsafe`? may stand/)
    if (!inside) return
    section = 1
    if ($0 !~ /^[-*] /) return
    if (match($0, /^[-*] `[^`]+`/)) listed[substr($0, 4, RLENGTH - 4)] = FNR
    else fault(arch, FNR, "a bullet of \"Where unsafe may stand\" begins with a path in backticks")
}

# ---- Tokens -----------------------------------------------------------------------------------------

function start_file() {
    file = FILENAME
    count = comment = 0
    string = ""
}

# Appends the tokens of a line. Between lines, `comment` is the depth of block comments, `string` the end
# mark of an open string literal, and `escapes` says whether a backslash means something in it.
function scan(rest,    width) {
    while (rest != "") {
        if (comment) width = in_comment(rest)
        else if (string != "") width = in_string(rest)
        else width = in_code(rest)
        rest = substr(rest, width + 1)
    }
}

# Each of the following takes the start of `rest` and says how many characters of it that was.

function in_comment(rest) {
    if (!match(rest, /\/\*|\*\//)) return length(rest)
    comment += (substr(rest, RSTART, 1) == "/") ? 1 : -1
    return RSTART + 1
}

function in_string(rest,    end) {
    end = index(rest, string)
    if (escapes && match(rest, /\\/) && (!end || RSTART < end)) return RSTART + 1
    if (!end) return length(rest)
    end += length(string) - 1
    string = ""
    return end
}

function in_code(rest) {
    if (match(rest, /^[ \t\r]+/)) return RLENGTH
    if (match(rest, /^\/\//)) return length(rest)
    if (match(rest, /^\/\*/)) {
        comment = 1
        return 2
    }
    # A raw string ends with a quote and as many hashes as it began with.
    if (match(rest, /^[bc]?r#*"/)) {
        string = substr(rest, 1, RLENGTH - 1)
        gsub(/[^#]/, "", string)
        string = "\"" string
        escapes = 0
        return RLENGTH
    }
    if (match(rest, /^[bc]?"/)) {
        string = "\""
        escapes = 1
        return RLENGTH
    }
    # Characters before lifetimes, which begin like them.
    if (match(rest, /^b?'\\.[^']*'/)) return RLENGTH
    if (match(rest, /^b?'[^\\']'/)) return RLENGTH
    if (match(rest, /^'[\200-\377]+'/)) return RLENGTH
    if (match(rest, /^'[A-Za-z_][A-Za-z0-9_]*/)) return RLENGTH
    if (match(rest, /^[0-9][A-Za-z0-9_]*/)) return RLENGTH
    if (match(rest, /^r#[A-Za-z_]/)) return 2
    if (!match(rest, /^[$]?[A-Za-z_][A-Za-z0-9_]*/) && !match(rest, /^::/)) RLENGTH = 1
    token(substr(rest, 1, RLENGTH))
    return RLENGTH
}

function token(text) {
    tokens[++count] = text
    at[count] = FNR
}

# ---- Facts of a file --------------------------------------------------------------------------------

function is_name(text) {
    return text ~ /^[$]?[A-Za-z_]/
}

# Walks over the tokens of the file that was read last. `scope` is the path of the module that they stand
# in: the file's own, and below it those of inline modules, which end at the depths in `ends`.
function finish_file(    i, depth, nested, ends) {
    if (file == "") return
    for (i = 1; i <= count; i++) {
        if (tokens[i] == "unsafe" && !(file in unsafe_at)) unsafe_at[file] = at[i]
        if (tokens[i] == "static" && tokens[i + 1] == "mut" && i < count) static_mut[file] = at[i]
        if (tokens[i] == "thread_local" && tokens[i + 1] == "!" && i < count) locals[file] = locals[file] " " at[i]
        if (tokens[i] == "macro_rules" && i + 2 <= count) macros[crate_of(file), tokens[i + 2]] = file
    }
    tokens[count + 1] = tokens[count + 2] = tokens[count + 3] = ""
    scope = module_of(file)
    if (!has_floors(file) || is_test_file(file)) return
    for (i = 1; i <= count; i++) {
        if (tokens[i] == "{") depth++
        else if (tokens[i] == "}") {
            if (nested && ends[nested] == depth--) {
                nested--
                sub(/(::)?[^:]+$/, "", scope)
            }
        } else if (tokens[i] == "#" && tokens[i + 1] == "[") {
            i = skip_test_item(i)
        } else if (tokens[i] == "mod" && tokens[i + 2] == "{") {
            scope = join(scope, tokens[i + 1])
            ends[++nested] = ++depth
            i += 2
        } else if (tokens[i] == "use" && (is_name(tokens[i + 1]) || tokens[i + 1] == "{")) {
            position = i + 1
            use_tree("")
            i = position - 1
        } else if (is_name(tokens[i]) && tokens[i + 1] == "::" && tokens[i - 1] != "::") {
            i = path_at(i)
        }
    }
}

# At an attribute: its last token. At a `#[cfg(..test..)]`: the last token of the item that it stands on,
# for tests may import what they like.
function skip_test_item(i,    depth, text, test) {
    text = ""
    for (i++; i <= count; i++) {
        text = text tokens[i] " "
        if (tokens[i] == "[") depth++
        if (tokens[i] == "]" && --depth == 0) break
    }
    test = (text ~ /^\[ cfg \( / && text ~ / test / && text !~ / not \( test /)
    if (!test) return i
    for (i++; i <= count; i++) {
        if (tokens[i] == "{" || tokens[i] == "(" || tokens[i] == "[") depth++
        if ((tokens[i] == ")" || tokens[i] == "]") && depth > 0) depth--
        if (tokens[i] == "}" && --depth == 0) break
        if (tokens[i] == ";" && depth == 0) break
    }
    return i
}

# Notes the path that begins at a token, and returns its last token.
function path_at(i,    path, line) {
    path = tokens[i]
    line = at[i]
    while (tokens[i + 1] == "::" && is_name(tokens[i + 2])) {
        i += 2
        path = path "::" tokens[i]
    }
    import(path, line)
    return i
}

# Notes the paths of the tree of a `use` that begins at `position`, and moves behind it.
function use_tree(prefix,    path) {
    if (tokens[position] == "{") {
        position++
        while (position <= count && tokens[position] != "}") {
            use_tree(prefix)
            if (tokens[position] == ",") position++
        }
        position++
        return
    }
    path = (tokens[position] == "self" && prefix != "") ? prefix : join(prefix, tokens[position])
    if (tokens[position + 1] == "::") {
        position += 2
        use_tree(path)
        return
    }
    import(path, at[position])
    position += (tokens[position + 1] == "as") ? 3 : 1
}

function join(prefix, name) {
    return prefix == "" ? name : prefix "::" name
}

# Notes a path as a path from the root of the crate. One that begins with an ordinary name may lead into a
# child of this module, or into another crate, or to something imported: that is seen at the end.
function import(path, line,    base) {
    imports++
    importer[imports] = file
    import_line[imports] = line
    written[imports] = path
    certain[imports] = (path ~ /^([$]?crate|self|super)(::|$)/)
    base = (path ~ /^[$]?crate(::|$)/) ? "" : scope
    sub(/^([$]?crate|self)(::|$)/, "", path)
    while (path ~ /^super(::|$)/) {
        sub(/(::|^)[^:]*$/, "", base)
        sub(/^super(::|$)/, "", path)
    }
    target[imports] = (path == "") ? base : join(base, path)
}

# ---- Names of files ---------------------------------------------------------------------------------

# "runtime/src/queue/ring.rs" is the module "queue::ring" of the crate "runtime/src".

function crate_of(path) {
    sub(/src\/.*/, "src", path)
    return path
}

function module_of(path) {
    sub(/^(.*\/)?src\//, "", path)
    sub(/\.rs$/, "", path)
    sub(/(^|\/)(mod|lib)$/, "", path)
    gsub(/\//, "::", path)
    return path
}

function is_root(path) {
    return path ~ /src\/lib\.rs$/
}

function has_floors(path) {
    return path ~ /^runtime\/src\// && !is_root(path)
}

function is_test_file(path) {
    return path ~ /\/tests\.rs$/ || path ~ /\/tests\//
}

# The folder, or file, at the root of the crate: "queue" for "queue::ring".
function family(module) {
    sub(/::.*/, "", module)
    return module
}

# ---- Judgement --------------------------------------------------------------------------------------

# Is the file, or a folder that it lies in, listed in ARCHITECTURE.md?
function may_hold_unsafe(path,    entry) {
    if (path in listed) return 1
    for (entry in listed) if (entry ~ /\/$/ && index(path, entry) == 1) return 1
    return 0
}

# Is the file the parent of a module that may hold unsafe? Its `forbid` would hold for that one as well.
function is_above_unsafe(path,    other, module, i) {
    module = module_of(path)
    for (i = 1; i < ARGC; i++) {
        other = ARGV[i]
        if (other == arch || other == path || crate_of(other) != crate_of(path)) continue
        if ((module == "" || index(module_of(other), module "::") == 1) && may_hold_unsafe(other)) return 1
    }
    return 0
}

function judge_entry(entry,    path) {
    for (path in unsafe_at) if (path == entry || (entry ~ /\/$/ && index(path, entry) == 1)) return
    fault(arch, listed[entry], entry " is listed, but holds no unsafe code (or does not exist)")
}

function judge_file(path,    n, i, part) {
    if (has_floors(path) && !(path in floor)) fault(path, 1, "the header does not begin with its floor: `//! F3. ...`")
    if (lines[path] > 600) fault(path, 601, "has " lines[path] " lines: at 600 it wants splitting")
    if (path in static_mut) fault(path, static_mut[path], "`static mut`")
    if (path ~ /^runtime\//) {
        n = split(locals[path], part, " ")
        for (i = 1; i <= n; i++) if (!excused(path, part[i], "thread_local"))
            fault(path, part[i], "`thread_local!` in the machine (excuse it with `// floors: allow(thread_local)`)")
    }
    if (may_hold_unsafe(path)) return
    if (path in unsafe_at)
        fault(path, unsafe_at[path], "unsafe code, but " arch " does not list the file under \"Where unsafe may stand\"")
    else if (!(path in forbids) && !(is_root(path) && path in denies) && !is_above_unsafe(path))
        fault(path, 1, "does not say `#![forbid(unsafe_code)]`")
}

# The file of the module that a path leads into: that of its longest beginning that is one.
function file_at(crate, path) {
    while (path != "") {
        if ((crate, path) in file_of) return file_of[crate, path]
        if (path !~ /::/) return ((crate, path) in macros) ? macros[crate, path] : ""
        sub(/::[^:]*$/, "", path)
    }
    return ""
}

# Floors in order: F1, F1b, F1c, F2.
function height(name,    number) {
    number = name
    gsub(/[^0-9]/, "", number)
    return number * 32 + index("abcdefghijklmnopqrstuvwxyz", substr(name, length(name)))
}

function judge_import(n,    from, to, line, head) {
    from = importer[n]
    line = import_line[n]
    if (!certain[n]) {
        head = written[n]
        sub(/::.*/, "", head)
        # A child of the file's own module, or nothing of ours.
        if (!((crate_of(from), join(module_of(from), head)) in file_of)) return
    }
    to = file_at(crate_of(from), target[n])
    if (to == from) return
    if (to == "") {
        if (!excused(from, line, "import"))
            fault(from, line, "`" written[n] "` is in no module of that name: name the file that it is from, not a re-export of lib.rs")
        return
    }
    # A missing floor is a fault of its own.
    if (!(from in floor) || !(to in floor) || height(floor[to]) < height(floor[from])) return
    if (floor[to] == floor[from] && family(module_of(to)) == family(module_of(from))) return
    if (!excused(from, line, "import"))
        fault(from, line, floor[from] " imports `" written[n] "` of " floor[to] \
            ": only lower floors, or the same floor of the same folder")
}
