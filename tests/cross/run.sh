#!/usr/bin/env bash
# Every table of kernels computes the same bits on every machine: runs kernel_bits natively with each table that this machine has,
# as older x86 and as ARM under qemu, and as wasm under Node; each run compares its table with its scalar one, and all that they
# print must be equal. Speeds mean nothing here.
#
#   tests/cross/run.sh [BUILD]    BUILD: a build folder with bin/kernel_bits (default: build). What cannot be run is left out, and said.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${1:-$top/build}" && pwd)
native=$build/bin/kernel_bits
work=$build/cross
mkdir -p "$work"
failed=0

# run NAME TABLE COMMAND... runs a kernel_bits, which must choose TABLE, and compares what it prints with the first one's output.
run() {
    local name=$1 table=$2
    shift 2
    if ! "$@" >"$work/$name.out" 2>"$work/$name.err"; then
        echo "FAILED $name: a kernel differs from scalar, or the program broke:"
        { grep -h "of scalar" "$work/$name.out" || tail -n 5 "$work/$name.err"; } | head -n 10
        failed=1
    elif ! grep -qx "kernels: $table" "$work/$name.err"; then
        echo "FAILED $name: chose $(grep '^kernels:' "$work/$name.err"), not $table"
        failed=1
    elif ! cmp -s "$work/native-scalar.out" "$work/$name.out"; then
        echo "FAILED $name: other bits than this machine's scalar kernels:"
        diff "$work/native-scalar.out" "$work/$name.out" | head -n 10
        failed=1
    else
        echo "same bits: $name ($table), $(wc -l <"$work/$name.out") cases"
    fi
}

# build_for NAME CMAKE-OPTION... builds work/NAME/kernel_bits
build_for() {
    local name=$1
    shift
    if ! { cmake -S "$top/tests/cross" -B "$work/$name" -DCMAKE_BUILD_TYPE=Release "$@" &&
        cmake --build "$work/$name" -j "$(nproc)"; } >"$work/$name.log" 2>&1; then
        echo "FAILED $name: it does not build:"
        tail -n 20 "$work/$name.log"
        failed=1
        return 1
    fi
}

# has COMMAND... says which one is missing
has() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || { echo "left out: there is no $command"; return 1; }
    done
}

run native-scalar scalar "$native" --isa scalar
for isa in avx2 avx512 neon dotprod; do
    "$native" --isa "$isa" >/dev/null 2>&1 || [ $? = 1 ] || continue # 2: not on this machine
    run "native-$isa" "$isa" "$native" --isa "$isa"
done

if [ "$(uname -m)" = x86_64 ] && has qemu-x86_64; then
    run x86-haswell avx2 qemu-x86_64 -cpu Haswell "$native"
    run x86-haswell-without-f16c scalar qemu-x86_64 -cpu Haswell,-f16c "$native"
    run x86-nehalem scalar qemu-x86_64 -cpu Nehalem "$native"
fi

run_arm() { # NAME COMPILER-OPTION...
    local name=$1
    shift
    build_for "$name" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_EXE_LINKER_FLAGS=-static "$@" || return 0
    run "$name-max" dotprod qemu-aarch64 -cpu max "$work/$name/kernel_bits"
    run "$name-cortex-a72" neon qemu-aarch64 -cpu cortex-a72 "$work/$name/kernel_bits"
}

if has qemu-aarch64 aarch64-linux-gnu-gcc; then
    run_arm arm-gcc -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc
    if has clang; then
        run_arm arm-clang -DCMAKE_C_COMPILER=clang -DCMAKE_C_COMPILER_TARGET=aarch64-linux-gnu
    fi
fi

if has clang wasm-ld llvm-ar node; then # (the system's ar cannot index objects of wasm)
    if echo 'int main(void) { return 0; }' | clang --target=wasm32-wasi -x c - -o "$work/empty.wasm" 2>"$work/empty.err"; then
        if build_for wasm -DCMAKE_SYSTEM_NAME=Generic -DCMAKE_SYSTEM_PROCESSOR=wasm32 -DCMAKE_C_COMPILER=clang \
            -DCMAKE_C_COMPILER_TARGET=wasm32-wasi; then
            run wasm wasm node --no-warnings "$top/tests/cross/wasi.mjs" "$work/wasm/kernel_bits"
        fi
    else
        echo "left out: wasm, for clang does not link for WASI here (wasi-libc, libclang-rt-*-dev-wasm32): $(head -n 1 "$work/empty.err")"
    fi
fi
exit "$failed"
