#!/usr/bin/env bash
# Builds the documentation; a broken link is an error. (Its examples are tests: ci/test.sh.)
set -euo pipefail
# shellcheck source=common.sh source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_cargo
RUSTDOCFLAGS="${RUSTDOCFLAGS-} -D warnings" cargo doc --workspace --no-deps
