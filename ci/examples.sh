#!/usr/bin/env bash
# Builds all examples in release and runs those that end by themselves, with small arguments, and looks for
# their results in what they print; those that are there to fail must fail as they should.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The examples that are run: a name, its arguments, then what the standard output stream must contain, a text to
# each following word of the entry, between bars.
finite=(
    'tour'
    'fib 20'
    'fib --join 25'
    'fib --literal 20|fib(20) = 6765, by 13529 goroutines'
    'sieve 2000|prime number 2000 is 17389'
    'skynet 6|the leaves add up to 499999500000'
    'gops 3|all goroutines are asleep - deadlock!|goroutine 4 [chan send|semaphore: found all of [2, 3, 4, 30]'
    'philosophers 200|"Zhuangzi" [sync.Mutex.Lock|try lock: everybody has eaten 200 times|channels: everybody'
    'stuck|"payer" [sync.Mutex.Lock|"payee" [sync.Mutex.Lock|the clock ticked'
    'nqueens 8'
    'tree_sum 16'
    'quicksort 100000'
    'million 20000'
    'deep'
    'panic_policies'
)

# Those that shall fail: exit status, name and arguments, then what the standard error stream must contain.
failing=(
    '2 overflow|"parser" stack overflow|overflow::parse|created at examples/overflow.rs'
    '2 deadlock|all goroutines are asleep - deadlock!|"husband" [park|"wife" [park'
    '2 sieve 0|0 is not from 1 to 10000|usage: sieve [N]'
    '2 skynet eight|usage: skynet [DEPTH]'
    '2 gops 3 4|usage: gops [LIMIT]'
    '2 philosophers hungry|usage: philosophers [MEALS]'
    '2 fib --literal 1|usage: fib [--join] [N]'
    '2 stuck there|usage: stuck [here]'
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
            [[ ${entry%%[ |]*} == "$name" ]] && continue 2
        done
        for entry in "${failing[@]}"; do
            entry=${entry#* }
            [[ ${entry%%[ |]*} == "$name" ]] && continue 2
        done
        die "the example $name is in none of the lists of ci/examples.sh"
    done
}

# The profile whose build is run.
profile=release

# run_example STATUS NAME [ARGUMENT...]: it must end in time, with that status.
run_example() {
    local expected=$1 status=0
    shift
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

# must_contain FILE ENTRY: the file has each of the entry's texts.
must_contain() {
    local texts text
    IFS='|' read -ra texts <<<"$2"
    for text in "${texts[@]:1}"; do
        grep -qF -- "$text" "$1" || die "example '${texts[0]}' did not print: $text"
    done
}

# run_finite ENTRY: runs it, shows and checks what it prints.
run_finite() {
    local words status=0
    read -ra words <<<"${1%%|*}"
    (run_example 0 "${words[@]}") >"$printed" || status=$?
    cat "$printed"
    ((status == 0)) || exit "$status"
    must_contain "$printed" "$1"
}

# run_failing ENTRY: likewise, for the standard error stream, which is shown only if it is not as it should be.
run_failing() {
    local words
    read -ra words <<<"${1%%|*}"
    if ! (run_example "${words[@]}" 2>"$printed") || ! (must_contain "$printed" "$1"); then
        cat "$printed" >&2
        exit 1
    fi
}

need_cargo
check_lists
cargo build --release --examples
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
for entry in "${finite[@]}"; do
    run_finite "$entry"
done
for entry in "${failing[@]}"; do
    run_failing "$entry"
done
GORT_CHECK=1 run_finite 'stuck|gort: deadlock among 2 goroutines|held by goroutine'

profile=panic-abort
cargo build --profile "$profile" --examples
for entry in "${finite_abort[@]}"; do
    run_finite "$entry"
done
for entry in "${failing_abort[@]}"; do
    run_failing "$entry"
done
