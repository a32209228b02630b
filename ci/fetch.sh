#!/usr/bin/env bash
# Fetches the dependencies, as Cargo.lock names them, so that the other checks need no network.
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
cargo --version
if [[ -f Cargo.lock ]]; then
    cargo fetch --locked
else
    cargo fetch
fi
