#!/usr/bin/env bash
# test_files.sh BIN: keeps deploy/cluster true: each flag in it exists, scripts and the unit are well-formed, the image has what building
# takes. What needs a tool that is not here is left out, and said.
set -euo pipefail
bin=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
files=deploy/cluster
failed=0
fail() {
    echo "FAILED: $*"
    failed=1
}

# Flags: ours, and those of other programs that these files call, by name.
known=" $({
    "$bin/yllama-worker" --help
    "$bin/yllama" help run
    "$bin/yllama" help keygen
} | grep -o -E -e '--[a-z][a-z0-9-]*' | sort -u | tr '\n' ' ')"
others=" --network --rm --entrypoint --isolation --variant --preset --build --install --prefix --strip --no-install-recommends --from --from-file --help --offline --now --owner --version "
n_flags=0
while IFS=: read -r file flag; do
    n_flags=$((n_flags + 1))
    [[ $known$others == *" $flag "* ]] || fail "$file: there is no flag $flag"
done < <(grep -r -o -E -e '(^|[^A-Za-z0-9-])--[a-z][a-z0-9-]*' "$files" | sed -E 's/:[^:-]*--/:--/')
[ "$n_flags" -gt 20 ] || fail "only $n_flags flags were found: this test does not see them"

# The ports are those of the programs.
for port in 7620 7621; do
    "$bin/yllama-worker" --help | grep -q "$port" || fail "yllama-worker --help does not name port $port, but $files does"
done

for script in "$files"/*.sh tests/deploy/*.sh; do bash -n "$script" || fail "$script"; done
if command -v shellcheck >/dev/null; then
    shellcheck "$files"/*.sh tests/deploy/*.sh || fail shellcheck
else
    echo "left out: shellcheck is not here"
fi

unit=$files/systemd/yllama-worker.service
if command -v systemd-analyze >/dev/null; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    sed "s#/usr/local/bin/#$bin/#" "$unit" >"$scratch/yllama-worker.service"
    said=$(systemd-analyze verify "$scratch/yllama-worker.service" 2>&1) || fail "systemd-analyze verify: $said"
    [ -z "$said" ] || fail "systemd-analyze verify: $said"
    # The sandbox: at most 2.0 of 10, as systemd 252 counts.
    if systemd-analyze security --help 2>&1 | grep -q -e --threshold; then
        systemd-analyze security --no-pager --offline=true --threshold=20 "$scratch/yllama-worker.service" >"$scratch/said" 2>&1 ||
            fail "systemd-analyze security: $(tail -n 1 "$scratch/said")"
    fi
else
    echo "left out: systemd-analyze is not here"
fi
# Both name the same variables.
while read -r variable; do
    grep -q "^$variable=" "$files/systemd/worker.env" || fail "worker.env has no $variable"
done < <(grep '^ExecStart' "$unit" | grep -o 'YLLAMA_[A-Z]*')
! grep -r -E -e 'yl1_[0-9a-f]{8}' "$files" || fail "there is a key in $files"

# The image is built from folders that exist, and all that the build takes are in it.
while read -r _ source _; do
    [ -e "$source" ] || fail "Containerfile: there is no $source"
done < <(grep -E '^COPY [^-]' "$files/Containerfile")
while read -r folder; do
    grep -q -E "^COPY $folder " "$files/Containerfile" || fail "Containerfile: CMakeLists.txt wants $folder"
    grep -q -x "!$folder" .containerignore || fail ".containerignore: CMakeLists.txt wants $folder"
done < <(sed -n 's/^add_subdirectory(\([a-z]*\))$/\1/p' CMakeLists.txt)

echo "$n_flags flags"
exit $failed
