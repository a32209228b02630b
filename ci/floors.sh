#!/usr/bin/env bash
# Checks what ARCHITECTURE.md says of the files, and the compiler does not:
#
#   floor    Every file of runtime/src (but lib.rs) begins with `//! F3. `, its floor.
#   import   It names modules of lower floors only, or of its own floor in its own folder. Order within a
#            floor, where files of it do build on each other, is by letters: F0, F0b, F0c, F1.
#            Code under `#[cfg(test)]`, and files called tests.rs or below tests/, may name anything.
#   unsafe   Unsafe code stands only in the files, or folders/, that ARCHITECTURE.md lists in bullets under
#            the heading "Where unsafe may stand"; each of them holds some; every other file says
#            `#![forbid(unsafe_code)]`, except the parents of such files, and a lib.rs that denies it.
#   others   No `thread_local!` in the machine, no `static mut`, no file of more than 600 lines.
#
# The floor of a module is read from its own header: there is no second list to keep. An exception is marked
# on its line, `// floors: allow(import)` or `// floors: allow(thread_local)`, and says why beside it. A mark
# that excuses nothing is a fault.
#
# usage: ci/floors.sh [ROOT]        check the repository at ROOT, by default this one
#        ci/floors.sh --self-test   break each rule once in a small tree, and see whether it is noticed
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
architecture=ARCHITECTURE.md

# Prints the faults of the tree in the working directory. Bytes, not characters: awks differ in the latter.
check() {
    local files=()
    mapfile -t files < <(find runtime/src src sync/src macros/src -name '*.rs' -type f | LC_ALL=C sort)
    if [[ ! -f $architecture ]]; then
        echo "$architecture:1: is missing: its section \"Where unsafe may stand\" lists the files that may hold unsafe code"
        return 1
    fi
    LC_ALL=C awk -v arch="$architecture" -f "$here/floors.awk" "$architecture" "${files[@]}" | LC_ALL=C sort -t: -k1,1 -k2,2n
}

# ---- Self-test --------------------------------------------------------------------------------------

# A tree without faults, that holds everything which looks like one and is none.
write_tree() {
    mkdir -p runtime/src/low runtime/src/queue src sync/src macros/src
    cat >ARCHITECTURE.md <<'END'
# Architecture
- `not/in/the/section.rs`
## Where unsafe may stand
Prose.
- `runtime/src/low/asm.rs`: why
- `sync/src/raw/`
## Next
- not a path
END
    cat >runtime/src/lib.rs <<'END'
//! The machine: no floor, no forbid.
mod low;
mod queue;
pub use queue::Ring;
END
    printf '%s\n' '//! F0. Parent of unsafe.' 'pub(crate) mod asm;' >runtime/src/low/mod.rs
    printf '%s\n' '//! F0. Assembly.' 'pub(crate) fn f() { unsafe {} }' \
        'macro_rules! local { () => { std::thread_local! {} } } // floors: allow(thread_local): for foreign threads' \
        'pub(crate) use local;' >runtime/src/low/asm.rs
    cat >runtime/src/queue/mod.rs <<'END'
//! F1. Queues: nothing `unsafe` here, and `crate::sched` only in prose.
#![forbid(unsafe_code)]
mod ring;
pub(crate) use ring::{self as inner, Ring};
mod inline {
    use super::ring::Ring as R;
    use std::{mem, ptr::{self}};
    fn f<'a>(_: &'a str) -> (char, char, &'static str, &'static str) {
        ('"', '\'', "unsafe \" crate::sched::X", r#"static mut " thread_local! crate::sched::X"#)
    }
    /* unsafe /* static mut */ crate::sched::X */
}
#[cfg(all(test, not(loom)))]
#[allow(unused)]
mod tests {
    use crate::sched::X;
    use super::{super::sched, *};
}
#[cfg(test)]
use crate::sched as testing;
END
    printf '%s\n' '//! F1. Ring.' '#![forbid(unsafe_code)]' 'use super::inline;' 'use crate::low::{self, asm::f};' \
        'pub(crate) struct Ring;' 'fn g() { crate::local!(); super::super::low::asm::f(); }' >runtime/src/queue/ring.rs
    printf '%s\n' '//! F7. Scheduler.' '#![forbid(unsafe_code)]' 'use crate::queue::Ring;' 'pub(crate) struct X;' \
        'use crate::park; // floors: allow(import): a known knot' >runtime/src/sched.rs
    printf '%s\n' '//! F7b. Park.' '#![forbid(unsafe_code)]' 'use crate::sched::X;' >runtime/src/park.rs
    printf '%s\n' '//! Library.' '#![forbid(unsafe_code)]' 'use crate::anything::goes;' >src/lib.rs
    mkdir -p sync/src/raw
    printf '%s\n' '//! Sync.' '#![deny(unsafe_code)]' >sync/src/lib.rs
    printf '%s\n' '//! Raw.' 'unsafe fn f() {}' >sync/src/raw/list.rs
    printf '%s\n' '//! Raw.' '#![forbid(unsafe_code)]' >sync/src/chan.rs
    printf '%s\n' '//! Macros.' '#![forbid(unsafe_code)]' >macros/src/lib.rs
}

failures=0

# expect NAME PATTERN COMMAND: breaks a fresh tree with the command; the one fault must match the pattern.
# An empty pattern: no fault.
expect() {
    local name=$1 pattern=$2 command=$3 tree output
    tree=$(mktemp -d "$scratch/tree.XXXXXX")
    output=$(
        cd "$tree"
        write_tree
        eval "$command" || echo "the test itself failed: $command"
        check || true
    )
    # shellcheck disable=SC2053 # a pattern it is
    if [[ -z $pattern && -z $output ]] || [[ -n $pattern && $output == $pattern ]]; then
        echo "ok      $name"
    else
        printf 'FAILED  %s\n  expected: %s\n  found:    %s\n' "$name" "${pattern:-nothing}" "${output:-nothing}"
        failures=$((failures + 1))
    fi
}

self_test() {
    local q=runtime/src/queue/ring.rs s=runtime/src/sched.rs
    expect 'a clean tree' '' 'true'
    expect 'no floor' "$q:1: the header does not begin with its floor*" "sed -i '1s/F1. //' $q"
    expect 'floor not first' "$q:1: the header does not begin with its floor*" "sed -i '1s/.*/\/\/! Ring, F1./' $q"
    expect 'empty file' "runtime/src/x.rs:1: *forbid*runtime/src/x.rs:1: *floor*" ': >runtime/src/x.rs'
    expect 'upward use' "$q:7: F1 imports \`crate::sched::X\` of F7:*" "echo 'use crate::sched::X;' >>$q"
    expect 'upward use in braces over lines' "$q:8: F1 imports \`crate::sched::X\` of F7:*" \
        "printf '%s\n' 'use crate::{low,' '  sched::{X}};' >>$q"
    expect 'upward use by super' "$q:7: F1 imports \`super::super::sched\` of F7:*" "echo 'use super::super::sched;' >>$q"
    expect 'upward path in an expression' "$q:7: F1 imports \`crate::sched::X::new\` of F7:*" \
        "echo 'fn h<'\''a>() { let c = '\''{'\''; crate::sched::X::new::<u8>() }' >>$q"
    expect 'upward path in a macro' "$q:7: F1 imports \`\$crate::sched::X\` of F7:*" \
        "echo 'macro_rules! m { () => { \$crate::sched::X } }' >>$q"
    expect 'upward use behind a test' "runtime/src/queue/mod.rs:21: F1 imports*" \
        "echo 'use crate::sched;' >>runtime/src/queue/mod.rs"
    expect 'cfg(not(test)) is no test' "$q:8: F1 imports*" "printf '%s\n' '#[cfg(not(test))]' 'use crate::sched;' >>$q"
    expect 'same floor, other file' "runtime/src/lock.rs:3: F7 imports \`crate::sched\` of F7:*" \
        "printf '%s\n' '//! F7. Lock.' '#![forbid(unsafe_code)]' 'use crate::sched;' >runtime/src/lock.rs"
    expect 'same folder, higher floor' "runtime/src/queue/mod.rs:4: F1 imports \`ring::Ring\`*" \
        "sed -i '1s/F1/F2/' $q; sed -i 's/ring::{self as inner, Ring}/ring::Ring/; /super::ring/d' runtime/src/queue/mod.rs"
    expect 'letters are an order' "$s:6: F7 imports \`crate::park\` of F7b:*" "echo 'use crate::park;' >>$s"
    expect 'through lib.rs' "$s:6: \`crate::Ring\` is in no module*" "echo 'use crate::Ring;' >>$s"
    expect 'upward macro' "$q:7: F1 imports \`crate::wake\` of F7:*" \
        "echo 'macro_rules! wake { () => {} }' >>$s; echo 'fn h() { crate::wake!() }' >>$q"
    expect 'a test file may import upward' '' \
        "printf '%s\n' '//! F1. T.' '#![forbid(unsafe_code)]' 'use crate::sched;' >runtime/src/queue/tests.rs"
    expect 'idle mark' "$q:7: the mark*excuses nothing" "echo 'use crate::low; // floors: allow(import)' >>$q"
    expect 'mark of another kind' "$q:7: F1 imports*$q:7: the mark*" \
        "echo 'use crate::sched; // floors: allow(thread_local)' >>$q"
    expect 'unsafe in an unlisted file' "$q:7: unsafe code*" "echo 'fn h() { unsafe { x() } }' >>$q"
    expect 'unsafe attribute' "src/lib.rs:4: unsafe code*" "echo '#[unsafe(no_mangle)] fn h() {}' >>src/lib.rs"
    expect 'unsafe in an unlisted parent' "runtime/src/low/mod.rs:3: unsafe code*" \
        "echo 'unsafe fn h() {}' >>runtime/src/low/mod.rs"
    expect 'no forbid' "$q:1: does not say*" "sed -i '/forbid/d' $q"
    expect 'no forbid in the library' "src/lib.rs:1: does not say*" "sed -i '/forbid/d' src/lib.rs"
    expect 'deny is for lib.rs only' "sync/src/chan.rs:1: does not say*" "sed -i 's/forbid/deny/' sync/src/chan.rs"
    expect 'listed file without unsafe' "ARCHITECTURE.md:5: runtime/src/low/asm.rs is listed*" \
        "sed -i '/unsafe/d' runtime/src/low/asm.rs"
    expect 'listed folder that is not there' "ARCHITECTURE.md:6: sync/src/raw/ is listed*" 'rm -r sync/src/raw'
    expect 'bullet without a path' "ARCHITECTURE.md:7: a bullet*" "sed -i '6a - raw things' ARCHITECTURE.md"
    expect 'no section' 'ARCHITECTURE.md:1: has no section*' "sed -i '/^## Where/d' ARCHITECTURE.md"
    expect 'no ARCHITECTURE.md' 'ARCHITECTURE.md:1: is missing*' 'rm ARCHITECTURE.md'
    expect 'thread_local!' "$q:7: \`thread_local!\`*" "echo 'std::thread_local! { static X: u8 = 0; }' >>$q"
    expect 'static mut' "src/lib.rs:4: \`static mut\`" "echo 'static  mut X: u8 = 0;' >>src/lib.rs"
    expect '600 lines' '' "seq 594 | sed 's/.*/\/\//' >>$q"
    expect '601 lines' "$q:601: has 601 lines*" "seq 595 | sed 's/.*/\/\//' >>$q"
}

case ${1-} in
--self-test)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    self_test
    if ((failures > 0)); then
        echo "floors: $failures self-tests failed" >&2
        exit 1
    fi
    echo "floors: the self-test passed"
    ;;
-*)
    echo "usage: ci/floors.sh [--self-test | ROOT]" >&2
    exit 2
    ;;
*)
    cd "${1-$here/..}"
    if ! check; then
        echo "floors: see the head of ci/floors.sh for the rules" >&2
        exit 1
    fi
    echo "floors: ok"
    ;;
esac
