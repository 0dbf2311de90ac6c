#!/usr/bin/env bash
# Every test: of each crate, of the documentation, of the layers, of simulated networks, of networks of real processes, and
# of clients in other languages.
# Arguments go to `cargo test`; without any, the five parts are timed against their budgets.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

# The end-to-end tests start these programs.
build() {
    cargo build --workspace --locked
    cargo test --workspace --locked --no-run
}

if [ $# -gt 0 ]; then
    cargo build --workspace --locked
    exec cargo test --workspace --locked "$@"
fi

simulation=(simulation mutants scenarios)
processes=(rules faults lies members chaos law http as_of did_core status_load privacy)

# The other targets below tests/, by name. A name that two crates share runs in one part.
others() {
    local path name
    for path in */tests/*.rs */tests/*/main.rs; do
        name=${path##*/}
        case $path in
            */main.rs) name=$(basename "$(dirname "$path")") ;;
        esac
        name=${name%.rs}
        case " ${simulation[*]} ${processes[*]} " in
            *" $name "*) ;;
            *) echo "$name" ;;
        esac
    done | sort -u
}

targets() {
    local name
    for name in "$@"; do printf -- '--test\n%s\n' "$name"; done
}

# A part with its budget in minutes: too slow is a failure, for nobody runs a check that takes too long.
part() {
    local name=$1 minutes=$2 began=$SECONDS took
    shift 2
    printf '\n== %s\n' "$name"
    "$@"
    took=$((SECONDS - began))
    printf '== %s: %d min %02d s of %d min\n' "$name" $((took / 60)) $((took % 60)) "$minutes"
    if [ "$took" -gt $((minutes * 60)) ]; then
        echo "$name takes longer than its budget; make it faster or move work out of it." >&2
        return 1
    fi
}

suite() {
    local wanted
    mapfile -t wanted < <(targets "$@")
    cargo test --workspace --locked "${wanted[@]}"
}

units() {
    local wanted
    mapfile -t wanted < <(targets $(others))
    cargo test --workspace --locked --lib --bins "${wanted[@]}"
    cargo test --workspace --locked --doc
}

part "build" 25 build
part "tests" 15 units
part "simulation" 20 suite "${simulation[@]}"
part "processes" 15 suite "${processes[@]}"
part "languages" 10 scripts/languages.sh
