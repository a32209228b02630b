#!/usr/bin/env bash
# Builds all examples in release and runs those that end by themselves, with small arguments.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The examples that are run: a name, then its arguments.
finite=(
    'tour'
    'fib 20'
    'million 20000'
    'deep'
    'panic_policies'
)

# Those that die, which is what they show: with status 2, and what they say on stderr (a pattern for grep).
fatal=(
    'overflow' 'fatal error: goroutine [0-9]* "parser" stack overflow'
)

# Those that are run in a build with panic = "abort", too.
with_panic_abort=('tour')

# Those that are only built, since they serve until they are stopped, or ask for something.
built_only=()

limit_s=60

# Every example stands in one of the lists, so that a new one is not forgotten.
check_lists() {
    local path name entry
    for path in examples/*.rs examples/*/main.rs; do
        [[ -f $path ]] || continue
        name=${path#examples/}
        name=${name%/main.rs}
        name=${name%.rs}
        for entry in "${finite[@]}" "${fatal[@]}" ${built_only[@]+"${built_only[@]}"}; do
            [[ ${entry%% *} == "$name" ]] && continue 2
        done
        die "the example $name is in none of the lists of ci/examples.sh"
    done
}

# run_example STATUS PROGRAM ARGUMENT...
run_example() {
    local expected=$1 status=0
    shift
    [[ -x $1 ]] || die "there is no example $1, which ci/examples.sh lists"
    echo "--- ${1##*/} ${*:2}"
    timeout --kill-after=5 "$limit_s" "$@" || status=$?
    ((status == expected)) && return
    case $status in
    124 | 137) die "example '$*' did not end within $limit_s s" ;;
    *) die "example '$*' ended with exit status $status, not $expected" ;;
    esac
}

need_cargo
check_lists
cargo build --release --examples
for entry in "${finite[@]}"; do
    read -ra words <<<"$entry"
    run_example 0 "$(target_dir)/release/examples/${words[0]}" "${words[@]:1}"
done

said=$(mktemp)
trap 'rm -f "$said"' EXIT
for ((n = 0; n < ${#fatal[@]}; n += 2)); do
    read -ra words <<<"${fatal[n]}"
    run_example 2 "$(target_dir)/release/examples/${words[0]}" "${words[@]:1}" 2> >(tee "$said" >&2)
    # `tee` may lag behind the example.
    wait $!
    grep -q -- "${fatal[n + 1]}" "$said" || die "example '${fatal[n]}' did not say '${fatal[n + 1]}'"
done

for example in "${with_panic_abort[@]}"; do
    cargo build --profile panic-abort --example "$example"
    run_example 0 "$(target_dir)/panic-abort/examples/$example"
done
