#!/usr/bin/env bash
# test_ssh.sh BIN: deploy/cluster/ssh.sh for real: two sshd on loopback are two hosts, each with a home folder of its own; three workers
# start there, answer, and are stopped. Exit code 77: there is no sshd.
set -euo pipefail
bin=$1
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
model=$top/deploy/local/model/kingjames.gguf

skip() {
    echo "left out: $*"
    exit 77
}
fail() {
    echo "FAILED: $*"
    exit 1
}
sshd=$(PATH=$PATH:/usr/sbin command -v sshd) || skip "no sshd (Debian's openssh-server)"
command -v ssh-keygen >/dev/null || skip "no ssh (Debian's openssh-client)"

scratch=$(mktemp -d)
servers=()
clean_up() {
    local file
    for file in "$scratch"/home*/.local/share/yllama-worker/*.pid; do
        [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap clean_up EXIT
# Where sshd of root keeps its unprivileged part.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

ssh-keygen -q -t ed25519 -N '' -f "$scratch/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$scratch/user_key"
cp "$scratch/user_key.pub" "$scratch/authorized_keys"
start_host() { # NUMBER PORT
    mkdir "$scratch/home$1"
    cat >"$scratch/sshd$1" <<END
ListenAddress 127.0.0.1:$2
HostKey $scratch/host_key
AuthorizedKeysFile $scratch/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
ForceCommand HOME=$scratch/home$1 YLLAMA_CACHE_DIR=$scratch/home$1/cache sh -c "\$SSH_ORIGINAL_COMMAND"
END
    "$sshd" -D -f "$scratch/sshd$1" -E "$scratch/sshd$1.log" &
    servers+=($!)
}
port=$((20000 + $$ % 20000))
start_host 1 $port
start_host 2 $((port + 1))
cat >"$scratch/ssh_config" <<END
Host *
    IdentityFile $scratch/user_key
    IdentitiesOnly yes
    UserKnownHostsFile $scratch/known_hosts
    StrictHostKeyChecking accept-new
    BatchMode yes
END
export YLLAMA_SSH="ssh -F $scratch/ssh_config -o ConnectTimeout=10 -o LogLevel=ERROR"
user=$(id -un)
for try in 1 2 3 4 5 6 7 8 9 10; do
    if $YLLAMA_SSH -p $port "$user@127.0.0.1" true && $YLLAMA_SSH -p $((port + 1)) "$user@127.0.0.1" true; then break; fi 2>/dev/null
    [ $try != 10 ] || skip "sshd lets $user not in here: $(cat "$scratch"/sshd1.log)"
    sleep 1
done

cat >"$scratch/hosts" <<END
# three workers on two hosts
one    ssh://$user@127.0.0.1:$port         --threads 1

two    ssh://$user@127.0.0.1:$((port + 1))    --threads 1 # the second machine
three  ssh://$user@127.0.0.1:$((port + 1))    --threads 1 --data tcp://127.0.0.1:*
END
coordinator=tcp://127.0.0.1:$((port + 2))
"$bin/yllama" keygen >"$scratch/key"
key=$(cat "$scratch/key")
run() { "$top/deploy/cluster/ssh.sh" -f "$scratch/hosts" -b "$bin/yllama-worker" "$@"; }
# run_and_expect CODE COUNT WORDS ARGUMENTS...: its exit code, and how many lines have these words
run_and_expect() {
    local code=0 expected=$1 count=$2 words=$3
    shift 3
    run "$@" >"$scratch/said" 2>&1 || code=$?
    cat "$scratch/said"
    [ $code = "$expected" ] || fail "'$*' ended with $code, and not $expected"
    [ "$(grep -c -e "$words" "$scratch/said")" = "$count" ] || fail "'$*' did not say '$words' $count times"
}

run_and_expect 2 1 "one of copy, start, status, stop"
run_and_expect 2 1 "none of copy" dance
run_and_expect 2 1 "needs -c" start
run_and_expect 2 1 "holds no key" -k "$scratch/hosts" -c "$coordinator" start
run_and_expect 1 3 "does not run" status
run_and_expect 1 3 "copy comes first" -c "$coordinator" start
run_and_expect 0 3 "works here" copy
run_and_expect 0 3 "the program is there" copy
run_and_expect 0 3 "started, process" -c "$coordinator" -k "$scratch/key" start
run_and_expect 0 3 "runs already" -c "$coordinator" -k "$scratch/key" start
run_and_expect 0 3 "runs, process .* looks for the coordinator\|runs, process .* nobody answers" status

# The key is nowhere but in their memory.
for file in "$scratch"/home*/.local/share/yllama-worker/*.pid; do
    for what in cmdline environ; do
        ! tr '\0' '\n' <"/proc/$(cat "$file")/$what" | grep -q yl1_ || fail "the key is in a worker's $what"
    done
done
[ "$(cat "$scratch"/home*/.local/share/yllama-worker/*.pid | wc -l)" = 3 ] || fail "not three workers were noted"
! grep -r -q -e "$key" "$scratch"/home* || fail "the key is in a file on a host"

answer() { "$bin/yllama" run -m "$model" -p "In the beginning" -n 40 --seed 1 "$@" 2>"$scratch/log"; }
answer --local 1 >"$scratch/local"
answer --workers 3 --layers even --listen "$coordinator" --key-file "$scratch/key" >"$scratch/joined" || fail "no answer: $(cat "$scratch/log")"
cmp "$scratch/local" "$scratch/joined" || fail "the answer is another one than that of a local worker"
for name in one two three; do grep -q "^$name: " "$scratch/log" || fail "'$name' was no stage: $(cat "$scratch/log")"; done

run_and_expect 0 3 ": stopped" stop
run_and_expect 0 3 "did not run" stop
run_and_expect 1 3 "does not run" status
echo "one nowhere.invalid" >"$scratch/hosts"
run_and_expect 1 1 "Could not resolve" status
printf 'one %s\none %s\n' a b >"$scratch/hosts"
run_and_expect 2 1 "two workers are named" stop
echo "all is as it should be"
