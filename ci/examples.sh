#!/usr/bin/env bash
# Builds all examples in release and runs those that end by themselves, with small arguments; those that
# are there to fail must fail as they should.
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

# Those that shall fail: exit status, name and arguments; then, between bars, texts that the standard error
# stream must contain.
failing=(
    '2 overflow|"parser" stack overflow|overflow::parse|created at examples/overflow.rs'
    '2 deadlock|all goroutines are asleep - deadlock!|"husband" [park|"wife" [park'
)

# The same two lists for a build with panic = "abort", where nobody catches a panic.
finite_abort=('fib 20')
failing_abort=('134 panic_policies report|in goroutine 2, created at examples/panic_policies.rs')

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
        for entry in "${finite[@]}" ${built_only[@]+"${built_only[@]}"}; do
            [[ ${entry%% *} == "$name" ]] && continue 2
        done
        for entry in "${failing[@]}"; do
            entry=${entry#* }
            [[ ${entry%%[ |]*} == "$name" ]] && continue 2
        done
        die "the example $name is in none of the lists of ci/examples.sh"
    done
}

# run_example PROFILE STATUS NAME [ARGUMENT...]: it must end in time, with that status.
run_example() {
    local profile=$1 expected=$2 status=0
    shift 2
    local program
    program="$(target_dir)/$profile/examples/$1"
    [[ -x $program ]] || die "there is no example $1, which ci/examples.sh lists"
    echo "--- $* ($profile)"
    timeout --kill-after=5 "$limit_s" "$program" "${@:2}" || status=$?
    case $status in
    "$expected") ;;
    124 | 137) die "example '$*' did not end within $limit_s s" ;;
    *) die "example '$*' ended with exit status $status, not $expected" ;;
    esac
}

# run_failing PROFILE ENTRY...: entries as in the list `failing`.
run_failing() {
    local profile=$1 entry text texts words errors
    shift
    errors=$(mktemp)
    for entry in "$@"; do
        IFS='|' read -ra texts <<<"$entry"
        read -ra words <<<"${texts[0]}"
        # In a shell of its own, which `die` may end.
        (run_example "$profile" "${words[@]}") 2>"$errors" || {
            cat "$errors" >&2
            die "see above"
        }
        for text in "${texts[@]:1}"; do
            grep -qF -- "$text" "$errors" || die "example '${texts[0]}' did not print: $text"
        done
    done
    rm -f "$errors"
}

need_cargo
check_lists
cargo build --release --examples
for entry in "${finite[@]}"; do
    read -ra words <<<"$entry"
    run_example release 0 "${words[@]}"
done
run_failing release "${failing[@]}"

cargo build --profile panic-abort --examples
for entry in "${finite_abort[@]}"; do
    read -ra words <<<"$entry"
    run_example panic-abort 0 "${words[@]}"
done
run_failing panic-abort "${failing_abort[@]}"
