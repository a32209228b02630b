#!/usr/bin/env bash
# Checks the formatting of all Rust files (rustfmt.toml).
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_component fmt rustfmt
cargo fmt --all --check
