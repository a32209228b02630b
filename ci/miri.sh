#!/usr/bin/env bash
# Runs under Miri the unit tests of what neither switches stacks nor reads the thread's word, both of which are
# assembly: state words, queues, the timer heap, a channel's buffer. Needs a nightly toolchain with Miri; without
# one it says so and does nothing.
#
# Left out are tests that take Miri minutes: many threads, many random operations.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "skipped: no Miri here (rustup toolchain install nightly --component miri,rust-src)"
    exit 0
fi
CARGO_TARGET_DIR=$(target_dir)/miri
export CARGO_TARGET_DIR
# Links and slots are found again by exposed addresses.
export MIRIFLAGS="${MIRIFLAGS--Zmiri-permissive-provenance}"

cargo +nightly miri test -p gort-sync --lib -- chan::buffer \
    --skip an_unbounded_buffer_keeps_the_order --skip what_passes_through
cargo +nightly miri test -p gort-runtime --lib -- \
    g::state g::wait g::who queue::list queue::inbox queue::ring timer::heap util::fixed runtime::leaks \
    --skip stress --skip random --skip holds_i_items --skip never_reads_as_empty
