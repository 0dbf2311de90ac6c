#!/usr/bin/env bash
# From a fresh clone to a running network: sets up, builds, starts four validators, takes the tour, leaves the network up.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

echo "Building (the first time takes some ten minutes: RocksDB is compiled once) …"
cargo build --workspace --locked
PATH="$CARGO_TARGET_DIR/debug:$PATH"

started=$SECONDS
sillok-devnet up --validators 4 --detach
sillok-devnet tour
echo
echo "From the end of the build to here: $((SECONDS - started)) s. The network is up. In this shell:"
echo
echo "  export PATH=\"$CARGO_TARGET_DIR/debug:\$PATH\""
sillok-devnet env | sed 's/^/  /'
