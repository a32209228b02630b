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
        die "the example $name is in none of the lists of ci/examples.sh"
    done
}

need_cargo
check_lists
cargo build --release --examples
for entry in "${finite[@]}"; do
    read -ra words <<<"$entry"
    program="$(target_dir)/release/examples/${words[0]}"
    [[ -x $program ]] || die "there is no example ${words[0]}, which ci/examples.sh lists"
    echo "--- $entry"
    status=0
    timeout --kill-after=5 "$limit_s" "$program" "${words[@]:1}" || status=$?
    case $status in
    0) ;;
    124 | 137) die "example '$entry' did not end within $limit_s s" ;;
    *) die "example '$entry' failed with exit status $status" ;;
    esac
done
