#!/usr/bin/env bash
# Runs the stress tests over and over, each round with another seed for the scheduler's choices.
#
# A stress test is a test function called `stress` or `stress_*`, in tests/ of any crate, or in a crate's
# own unit tests. They are built as in release, for what the optimiser does is part of what is tested, but
# with debug assertions. Seeds are the numbers from GORT_SEED on (by default, from the time).
#
# usage: ci/stress.sh [SECONDS]     at least two rounds, then as many as begin within SECONDS (20)
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=${1-20}
[[ $seconds =~ ^[0-9]+$ ]] || die "usage: ci/stress.sh [SECONDS]"
limit_s=120
need_cargo

# The crates that have any: "package folder" pairs.
crates=('gort .' 'gort-runtime runtime' 'gort-sync sync')
stress_function='^[[:space:]]*(pub )?fn stress(_[a-z0-9_]*)?[(]'

# Each test shares so many seconds among its settings.
export GORT_STRESS_SECONDS=${GORT_STRESS_SECONDS:-5}
export CARGO_PROFILE_RELEASE_LTO=off
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
CARGO_TARGET_DIR=$(target_dir)/stress
export CARGO_TARGET_DIR

# Builds the tests of a package that hold stress tests, and notes "folder program" for each.
programs=()
build() {
    local package=$1 folder=$2 targets=() file line
    if grep -rqE "$stress_function" --include='*.rs' "$folder/src"; then
        targets+=(--lib)
    fi
    for file in "$folder"/tests/*.rs; do
        if [[ -f $file ]] && grep -qE "$stress_function" "$file"; then
            file=${file##*/}
            targets+=(--test "${file%.rs}")
        fi
    done
    ((${#targets[@]} > 0)) || return 0
    cargo test --release --no-run -p "$package" "${targets[@]}" 2>&1 | tee "$log"
    while read -r line; do
        # Relative to here, unless CARGO_TARGET_DIR leads elsewhere.
        [[ $line == /* ]] || line=$PWD/$line
        programs+=("$folder $line")
    done < <(sed -nE 's/^ *Executable .*\((.*)\)$/\1/p' "$log")
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for crate in "${crates[@]}"; do
    read -r package folder <<<"$crate"
    build "$package" "$folder"
done
((${#programs[@]} > 0)) || die "there is no test function called stress or stress_*"

first=${GORT_SEED:-$(date +%s)}
[[ $first =~ ^[0-9]+$ ]] || die "GORT_SEED=$first is not a number"
rounds=0
tests=0
SECONDS=0
while ((rounds < 2 || SECONDS < seconds)); do
    seed=$((first + rounds))
    for entry in "${programs[@]}"; do
        program=${entry#* }
        status=0
        (cd "${entry%% *}" && GORT_SEED=$seed timeout --kill-after=5 "$limit_s" "$program" stress) >"$log" 2>&1 || status=$?
        if ((status != 0)); then
            cat "$log"
            echo "replay: cd ${entry%% *} && GORT_SEED=$seed $program stress" >&2
            ((status == 124 || status == 137)) && die "seed $seed: not done within $limit_s s"
            die "seed $seed: exit status $status"
        fi
        # A program without stress tests was not built; one whose stress tests are all ignored is an
        # oversight.
        passed=$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p' "$log")
        ((passed > 0)) || die "$program ran no stress test"
        tests=$((tests + passed))
    done
    rounds=$((rounds + 1))
done
echo "stress: $rounds rounds, $tests tests, seeds $first to $((first + rounds - 1)), $SECONDS s"
