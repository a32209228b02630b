#!/usr/bin/env bash
# Runs the test command that the README gives.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
grep -qF 'cargo test --workspace' README.md || die "README.md does not give the command 'cargo test --workspace'"
cargo test --workspace
