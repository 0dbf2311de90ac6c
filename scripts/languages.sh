#!/usr/bin/env bash
# Clients in other languages: the tests of examples/, against the golden vectors and one running devnet.
# Python is always run. Java is run where a JDK and Maven are, the client of the Universal Resolver where Node.js and npm are;
# where they are not this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup_python

PATH="$CARGO_TARGET_DIR/debug:$PATH"
if ! command -v sillok-devnet >/dev/null; then
    echo "The programs are not built; run \`cargo build --workspace\` first." >&2
    exit 1
fi

work=$(mktemp -d)
export SILLOK_DEVNET_DIR="$work/devnet" SILLOK_SCENE_DIR="$work/fixtures"
finish() {
    sillok-devnet down --wipe >/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

sillok-devnet up --validators 4 --detach
sillok-devnet fixtures --out "$SILLOK_SCENE_DIR"

printf '\n== Python\n'
(
    cd examples/python
    "$SILLOK_PYTHON" build_protos.py
    "$SILLOK_PYTHON" -m pytest -p no:cacheprovider
)

printf '\n== Java\n'
if command -v javac >/dev/null && command -v mvn >/dev/null; then
    build="${XDG_CACHE_HOME:-$HOME/.cache}/sillok/java"
    (cd examples/java && mvn --batch-mode --quiet -Dsillok.build="$build" verify)
    grep -h '^Tests run' "$build"/surefire-reports/*.txt
else
    echo "NOT RUN: examples/java, for there is no JDK with Maven on this machine (Debian: default-jdk, maven)."
fi

printf '\n== Universal Resolver client\n'
if command -v node >/dev/null && command -v npm >/dev/null; then
    modules="$SILLOK_TOOLS/node-$(sha256sum examples/universal-resolver/package.json | cut -c1-12)"
    if [ ! -d "$modules/node_modules" ]; then
        rm -rf "$modules.new" && mkdir -p "$modules.new"
        cp examples/universal-resolver/package.json "$modules.new"
        npm install --prefix "$modules.new" --silent --no-fund --no-audit --no-package-lock --ignore-scripts
        rm -rf "$modules" && mv "$modules.new" "$modules"
    fi
    NODE_PATH="$modules/node_modules" node --test --test-reporter=spec examples/universal-resolver/
else
    echo "NOT RUN: examples/universal-resolver, for there is no Node.js with npm on this machine (Debian: nodejs, npm)."
fi
