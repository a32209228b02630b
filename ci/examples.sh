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
    'million 20000'
    'deep'
)

# Those that shall fail: exit status, name and arguments; then, between bars, texts that the standard error
# stream must contain.
failing=(
    '2 deadlock|all goroutines are asleep - deadlock!|"husband" [park|"wife" [park'
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

# run_example STATUS NAME [ARGUMENT...]: it must end in time, with that status.
run_example() {
    local expected=$1 status=0
    shift
    local program
    program="$(target_dir)/release/examples/$1"
    [[ -x $program ]] || die "there is no example $1, which ci/examples.sh lists"
    echo "--- $*"
    timeout --kill-after=5 "$limit_s" "$program" "${@:2}" || status=$?
    case $status in
    "$expected") ;;
    124 | 137) die "example '$*' did not end within $limit_s s" ;;
    *) die "example '$*' ended with exit status $status, not $expected" ;;
    esac
}

need_cargo
check_lists
cargo build --release --examples
for entry in "${finite[@]}"; do
    read -ra words <<<"$entry"
    run_example 0 "${words[@]}"
done
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
for entry in "${failing[@]}"; do
    IFS='|' read -ra texts <<<"$entry"
    read -ra words <<<"${texts[0]}"
    run_example "${words[@]}" 2>"$errors" || {
        cat "$errors" >&2
        exit 1
    }
    for text in "${texts[@]:1}"; do
        grep -qF -- "$text" "$errors" || die "example '${texts[0]}' did not print: $text"
    done
done
