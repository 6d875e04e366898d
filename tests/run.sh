#!/usr/bin/env bash
# Installs what the tests need, builds, and runs every test. Ends with ctest's summary.
#
#   tests/run.sh          all of it, as continuous integration does
#   tests/run.sh --fast   the release build's tests only
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
# shellcheck source=deploy/packages.sh
. deploy/packages.sh

install_packages "building yllama" $YLLAMA_BUILD_PACKAGES
install_packages "testing yllama" libcmocka-dev clang "libclang-rt-14-dev|libclang-rt-19-dev|libclang-rt-18-dev" clang-format clang-tidy nodejs
command -v npm >/dev/null || install_packages "testing yllama" npm

jobs=$(nproc)
quietly() { # runs a command; shows what it printed only when it fails
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 60 "$log"
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

step() { printf '\n== %s\n' "$*"; }

step "format"
if clang-format --version | grep -q 'version 14\.'; then
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
else
    echo "left out: other versions of clang-format than 14 put some lines otherwise"
fi

if [ "${1-}" != --fast ]; then
    step "clang, address and undefined behaviour sanitizers"
    quietly cmake --preset clang-asan
    quietly cmake --build build-asan -j "$jobs"
    ctest --test-dir build-asan -j "$jobs" --output-on-failure --no-tests=error -LE "measures|oracle" | tail -n 15

    if clang-tidy --version | grep -q 'version 14\.'; then
        step "clang-tidy"
        # Kernels of other machines are not in this build.
        git ls-files 'common/*.c' 'proto/*.c' 'worker/*.c' 'coordinator/*.c' | grep -Ev '/kernels/(neon|dotprod|wasm)' >build-asan/sources
        quietly xargs -a build-asan/sources -P "$jobs" -n 4 clang-tidy -p build-asan --quiet
    fi

    step "thread sanitizer"
    quietly cmake --preset tsan
    quietly cmake --build build-tsan -j "$jobs"
    ctest --test-dir build-tsan -j "$jobs" --output-on-failure --no-tests=error -L threads | tail -n 15
fi

step "release"
oracles=$top/build/oracles
mkdir -p "$oracles"
cp tests/oracle/package.json "$oracles"
if ! (cd "$oracles" && quietly npm install --ignore-scripts --omit=optional --no-audit --no-fund); then
    echo "The npm registry cannot be reached: the tests that compare with other programs are left out." >&2
    oracles=""
fi
quietly cmake --preset ci -DYLLAMA_ORACLES="${oracles:+$oracles/node_modules}"
quietly cmake --build build -j "$jobs"
ctest --test-dir build -j "$jobs" --output-on-failure --no-tests=error

if [ "${1-}" != --fast ]; then
    step "kernels on other machines, emulated"
    emulators="qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross lld wasi-libc llvm libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev-wasm32"
    for package in $emulators; do # what the archive has not, run.sh leaves out
        if apt-cache show "$package" >/dev/null 2>&1; then install_packages "testing kernels of other machines" "$package"; fi
    done
    tests/cross/run.sh build
fi
