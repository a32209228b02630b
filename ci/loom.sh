#!/usr/bin/env bash
# Runs the loom models of the state words and hand-over protocols, the machine's and the locks': the tests of
# gort-runtime and gort-sync with `loom` in their path, in a build of its own where the atomics are loom's.
#
# LOOM_MAX_PREEMPTIONS bounds the search: 2 finds nearly all known kinds of errors; models that need 3 say so
# themselves.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
export RUSTFLAGS="${RUSTFLAGS-} --cfg loom"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
CARGO_TARGET_DIR=$(target_dir)/loom
export CARGO_TARGET_DIR
# One crate is searched, not shipped: optimisation across crates would cost more than it saves.
export CARGO_PROFILE_RELEASE_LTO=off

output=$(mktemp)
trap 'rm -f "$output"' EXIT
for crate in gort-runtime gort-sync; do
    cargo test -p "$crate" --release --lib loom 2>&1 | tee "$output"
    # A filter that matches nothing would pass for ever.
    grep -qE '^running [1-9]' "$output" || die "no test of $crate has 'loom' in its path"
done
