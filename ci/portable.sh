#!/usr/bin/env bash
# Tests the switch that targets other than x86-64 use (`runtime/src/coro/portable.rs`), on x86-64: the tests
# of coroutines, and those whose goroutines suspend in all the ways there are.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
export RUSTFLAGS="${RUSTFLAGS-} --cfg gort_portable_switch"
CARGO_TARGET_DIR=$(target_dir)/portable
export CARGO_TARGET_DIR
cargo test -p gort-runtime --lib coro
cargo test -p gort-runtime --test spawn_join --test yielding --test panicking --test stacks
