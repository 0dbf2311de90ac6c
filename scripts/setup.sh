#!/usr/bin/env bash
# Makes a Debian machine ready to build Sillok; quick when it already is. The other scripts source it.
# Python packages of the example go into the user's cache, never into the tree or the system.
# CARGO_TARGET_DIR is honored; without it, builds go to the user's cache, so that a clone stays small.

if [ "${BASH_SOURCE[0]}" = "$0" ]; then set -euo pipefail; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sillok/target}"
export SILLOK_TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/sillok/tools"
export PATH="$SILLOK_TOOLS/bin:$HOME/.cargo/bin:$PATH"

setup_packages() {
    # A C and C++ compiler and libclang, for RocksDB. Nothing else: protobuf is compiled in Rust.
    local wanted=(build-essential pkg-config libclang-dev ca-certificates git) missing=() package
    is_debian || {
        echo "This is no Debian: install a C++ compiler and libclang yourself; going on." >&2
        return 0
    }
    for package in "${wanted[@]}"; do
        # A versioned libclang (libclang-14-dev) serves as well.
        case $package in
            libclang-dev) ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 && continue ;;
        esac
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    install_packages "${missing[@]}"
}

is_debian() { command -v dpkg-query >/dev/null; }

install_packages() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    echo "Installing $* …" >&2
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

setup_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(rustc --version 2>/dev/null | awk '{print $2}') || found=""
    if [ -n "$found" ] && [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ]; then
        return 0
    fi
    cat >&2 <<MESSAGE
Sillok needs Rust $wanted or later; this machine has ${found:-none}.
  With rustup:  rustup toolchain install stable && rustup default stable
  On Debian:    sudo apt-get install rustup (Debian 13 or later), then the line above;
                or see https://rustup.rs
Then run this again.
MESSAGE
    return 1
}

setup_cargo_deny() {
    command -v cargo-deny >/dev/null && return 0
    echo "Installing cargo-deny (once, about five minutes) …" >&2
    CARGO_TARGET_DIR="$SILLOK_TOOLS/build" cargo install cargo-deny --version '^0.20' --locked --quiet --root "$SILLOK_TOOLS" &&
        rm -rf "$SILLOK_TOOLS/build"
}

# A Python with the packages of examples/python, by their versions: another list is another directory. Sets SILLOK_PYTHON.
setup_python() {
    local wanted=examples/python/requirements.txt venv
    venv="$SILLOK_TOOLS/python-$(sha256sum "$wanted" | cut -c1-12)"
    SILLOK_PYTHON="$venv/bin/python"
    [ ! -x "$SILLOK_PYTHON" ] || return 0
    # Debian has the module venv without ensurepip, until python3-venv is there.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        is_debian || {
            echo "Install Python 3.10 or later with venv, then run this again." >&2
            return 1
        }
        install_packages python3 python3-venv
    fi
    echo "Installing the Python packages of $wanted (once) …" >&2
    rm -rf "$venv.new" && python3 -m venv "$venv.new"
    "$venv.new/bin/python" -m pip install --quiet --requirement "$wanted"
    # Scripts in a venv name its place, so only the interpreter is used after the move.
    mv "$venv.new" "$venv"
}

setup_packages
setup_rust
