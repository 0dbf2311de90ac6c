#!/usr/bin/env bash
# The static checks: format, lints, documentation, dependencies, scripts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

step() { printf '\n== %s\n' "$*"; "$@"; }

for script in scripts/*.sh .ci/run; do step bash -n "$script"; done
step cargo fmt --all -- --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked --quiet

if setup_cargo_deny; then
    step cargo deny --locked check licenses bans sources
    if ! step cargo deny --locked check advisories; then
        # Only a database that cannot be had is passed over; an advisory that applies is not.
        if [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ] && ls -A "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/crates >/dev/null 2>&1; then
            exit 1
        fi
        echo "NOT CHECKED: advisories. Their database could not be fetched from here; run this where it can."
    fi
else
    echo "NOT CHECKED: advisories and licenses by cargo-deny, which could not be installed. devnet/tests/layers.rs still holds licenses and sources."
fi
