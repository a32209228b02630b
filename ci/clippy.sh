#!/usr/bin/env bash
# Checks the lints (Cargo.toml, clippy.toml) in everything: library, tests, examples, benches.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_component clippy clippy
cargo clippy --workspace --all-targets -- -D warnings
