#!/usr/bin/env bash
# Every test: of each crate, of the documentation, of the layers, and of whole networks of real processes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

# The end-to-end tests start these programs.
cargo build --workspace --locked
cargo test --workspace --locked "$@"
