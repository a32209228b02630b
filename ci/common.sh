# shellcheck shell=bash
# What every check shares: sourced, not run. Goes to the root of the repository and looks for cargo.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Both say what is missing, and how to get it, before cargo says it less clearly.

need_cargo() {
    command -v cargo >/dev/null || die "there is no cargo in PATH: install Rust from https://rustup.rs"
}

# need_component SUBCOMMAND COMPONENT: cargo's subcommand, and what rustup calls the part that brings it.
need_component() {
    need_cargo
    cargo "$1" --version >/dev/null 2>&1 || die "there is no 'cargo $1': rustup component add $2"
}

# The folder that cargo builds into, as seen from the root.
target_dir() {
    echo "${CARGO_TARGET_DIR:-target}"
}
