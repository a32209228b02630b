#!/usr/bin/env bash
# Builds all examples in release and runs those that end by themselves, with small arguments.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The examples that are run: a name, then its arguments.
finite=(
    'tour'
    'fib 20'
    'fib --join 25'
    'nqueens 8'
    'tree_sum 16'
    'quicksort 100000'
    'million 20000'
    'deep'
    'panic_policies'
)

# Those that die, which is what they show: with this status, and saying this on stderr (a pattern for grep).
fatal=(
    'deadlock' 2 'all goroutines are asleep - deadlock!'
    'overflow' 2 'fatal error: goroutine [0-9]* "parser" stack overflow'
)

# The same two lists for a build with panic = "abort", where no panic is caught.
finite_abort=(
    'fib 20'
)
fatal_abort=(
    'panic_policies report' 134 'in goroutine [0-9]*, created at examples/panic_policies.rs'
)

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

# run_example STATUS PROFILE ENTRY
run_example() {
    local expected=$1 profile=$2 status=0 words program
    read -ra words <<<"$3"
    program="$(target_dir)/$profile/examples/${words[0]}"
    [[ -x $program ]] || die "there is no example ${words[0]}, which ci/examples.sh lists"
    echo "--- $3 ($profile)"
    timeout --kill-after=5 "$limit_s" "$program" "${words[@]:1}" || status=$?
    ((status == expected)) && return
    case $status in
    124 | 137) die "example '$3' did not end within $limit_s s" ;;
    *) die "example '$3' ended with exit status $status, not $expected" ;;
    esac
}

# run_fatal PROFILE (ENTRY STATUS PATTERN)...
run_fatal() {
    local profile=$1 said
    shift
    said=$(mktemp)
    while (($# > 0)); do
        (run_example "$2" "$profile" "$1") 2>"$said" || {
            cat "$said" >&2
            exit 1
        }
        cat "$said" >&2
        grep -q -- "$3" "$said" || die "example '$1' did not say '$3'"
        shift 3
    done
    rm -f "$said"
}

need_cargo
check_lists
cargo build --release --examples
for entry in "${finite[@]}"; do
    run_example 0 release "$entry"
done
run_fatal release "${fatal[@]}"

for entry in "${finite_abort[@]}" "${fatal_abort[0]}"; do
    cargo build --profile panic-abort --example "${entry%% *}"
done
for entry in "${finite_abort[@]}"; do
    run_example 0 panic-abort "$entry"
done
run_fatal panic-abort "${fatal_abort[@]}"
