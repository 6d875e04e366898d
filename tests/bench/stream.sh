#!/usr/bin/env bash
# How fast a worker of another machine gets its weights, here over loopback: to its cache and to memory, without and with a key,
# and how long its next start takes.
#
#   tests/bench/stream.sh BIN MODEL.gguf [threads of the worker]
set -euo pipefail

bin=$1 model=$(realpath "$2") threads=${3:-2}
dir=$(mktemp -d)
worker=
trap '[ -z "$worker" ] || kill "$worker"; rm -rf "$dir"' EXIT

run() { # what it is, the worker's flags, the coordinator's
    local port=$((20000 + RANDOM % 20000)) began ended
    "$bin/yllama-worker" --connect "tcp://127.0.0.1:$port" --name a -t "$threads" --cache-dir "$dir/worker" $2 2>"$dir/worker.log" &
    worker=$!
    began=$(date +%s%N)
    "$bin/yllama" run -m "$model" --cache-dir "$dir/coordinator" -p hi -n 1 -c 64 -vv --workers 1 --listen "tcp://127.0.0.1:$port" $3 \
        >/dev/null 2>"$dir/coordinator.log"
    ended=$(date +%s%N)
    kill "$worker"
    wait "$worker" || true
    worker=
    printf '%-28s %5d ms in all; %s; %s\n' "$1" $(((ended - began) / 1000000)) \
        "$(grep -o '[0-9.]* MiB of weights ([0-9.]* sent)' "$dir/coordinator.log")" \
        "$(grep -o 'ready after [0-9]* ms' "$dir/coordinator.log")"
}

"$bin/yllama" keygen >"$dir/key"
chmod 600 "$dir/key"
key="--key-file $dir/key"
cat "$model" >/dev/null
run "model hashed, to the cache" "" ""
for _ in 1 2 3; do
    rm -rf "$dir/worker"
    run "to the cache" "" ""
    run "next start" "" ""
done
for _ in 1 2 3; do
    rm -rf "$dir/worker"
    run "to the cache, key" "$key" "$key"
done
for _ in 1 2; do
    run "to memory" "--no-cache" ""
    run "to memory, key" "--no-cache $key" "$key"
done
