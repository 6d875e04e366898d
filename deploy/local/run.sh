#!/usr/bin/env bash
# Installs what is missing, builds, and runs a command of yllama over local workers.
#
#   deploy/local/run.sh                                          answer a prompt with the model in this repository, over 2 workers
#   deploy/local/run.sh -w 3 run -m model.gguf -p "Hello" -n 64   any command of yllama, over 3 workers
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
model=$here/model/kingjames.gguf
# shellcheck source=deploy/packages.sh
. "$top/deploy/packages.sh"

workers=2
case "${1-}" in
-w)
    workers=${2:?"-w takes a number of workers"}
    shift 2
    ;;
-h | --help)
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

build() {
    install_packages "building yllama" $YLLAMA_BUILD_PACKAGES
    echo "Building into $top/build" >&2
    local log=$top/build/build.log
    mkdir -p "$top/build"
    if ! { cmake -S "$top" -B "$top/build" -DCMAKE_BUILD_TYPE=Release && cmake --build "$top/build" -j "$(nproc)" --target yllama yllama-worker; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "The build failed; all of its output is in $log" >&2
        exit 1
    fi
}

# Later runs start at once: built again only when a source is newer than the programs.
program=$top/build/bin/yllama
if [ ! -x "$program" ] || [ ! -x "$program-worker" ] ||
    [ -n "$(find "$top/CMakeLists.txt" "$top/common" "$top/proto" "$top/worker" "$top/coordinator" -newer "$program" -type f -print -quit)" ]; then
    build
    touch "$program" # also when nothing had to be linked again
fi

if [ $# -eq 0 ]; then
    set -- run -m "$model" -p "In the beginning" -n 96 --seed 1
fi
command=$1
shift
# Commands that need no workers do not know --local.
case "$command" in
run | chat | logits | perplexity) exec "$program" "$command" --local "$workers" "$@" ;;
*) exec "$program" "$command" "$@" ;;
esac
