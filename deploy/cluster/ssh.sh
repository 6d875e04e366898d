#!/usr/bin/env bash
# Workers on machines that are reached by ssh, without root there: copies the program, starts, shows and stops them.
#
#   deploy/cluster/ssh.sh -f HOSTS copy                                    the program onto each host, where it is missing or another
#   deploy/cluster/ssh.sh -f HOSTS -c tcp://ME:7620 -k KEYFILE start       a worker for each line, in the background
#   deploy/cluster/ssh.sh -f HOSTS status                                  which run, and the last line of their logs
#   deploy/cluster/ssh.sh -f HOSTS stop                                    ends them
#
#   -f FILE     the hosts, a worker a line: NAME DESTINATION [flags of yllama-worker]; DESTINATION as ssh takes it, user@host or
#               ssh://user@host:port; empty lines and what follows '#' do not count
#   -c ADDRESS  the coordinator's address as the hosts reach it
#   -k FILE     the cluster's key (yllama keygen > FILE). It travels through ssh, and there stays in the worker's memory: no file
#               and no list of processes holds it. Without -k a worker starts only where its own rules allow that.
#   -b FILE     the worker to copy (default: build/bin/yllama-worker of this repository)
#   -d DIR      where it lies on the hosts, with logs (default: .local/share/yllama-worker, from the home folder)
#   $YLLAMA_SSH the ssh command (default: ssh -o BatchMode=yes -o ConnectTimeout=10)
#
# Exit code 0: it worked for all; 1: not for all; 2: called wrongly.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
    [ $# -eq 0 ] || echo "ssh.sh: $* (see --help)" >&2
    exit 2
}

hosts="" coordinator="" key_file="" program=$top/build/bin/yllama-worker dir=.local/share/yllama-worker
case "${1-}" in -h | --help)
    sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
while getopts f:c:k:b:d: option; do
    case $option in
    f) hosts=$OPTARG ;;
    c) coordinator=$OPTARG ;;
    k) key_file=$OPTARG ;;
    b) program=$OPTARG ;;
    d) dir=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage "one of copy, start, status, stop is missing"
action=$1
[ -n "$hosts" ] || usage "-f FILE with the hosts is missing"
[ -r "$hosts" ] || usage "$hosts cannot be read"
read -r -a ssh_command <<<"${YLLAMA_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=10}"

key=""
if [ -n "$key_file" ]; then
    key=$(cat "$key_file") || usage "$key_file cannot be read"
    [[ $key =~ ^yl1_[0-9a-f]{72}$ ]] || usage "$key_file holds no key: yllama keygen makes one"
fi

# In single quotes, for the shell on the host.
quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

# remote DESTINATION: runs a script that comes by standard input on the host, after the functions that all need.
# So neither the key nor anything else is an argument of a process, here or there.
remote() {
    {
        printf 'set -eu\nname=%s\ndir=%s\n' "$(quoted "$name")" "$(quoted "$dir")"
        cat <<'END'
cd
mkdir -p "$dir"
cd "$dir"
is_running() { # the process id that was noted may be another program's by now
    [ -s "$name.pid" ] && kill -0 "$(cat "$name.pid")" 2>/dev/null && tr '\0' ' ' <"/proc/$(cat "$name.pid")/cmdline" | grep -q -F -e "--name $name "
}
END
        cat
    } | "${ssh_command[@]}" -T "$1" 'exec sh -s'
}

# One function an action, for one host. $name, $destination and $flags are its line.

copy() {
    local sum there
    sum=$(sha256sum <"$program")
    there=$(printf '[ ! -e yllama-worker ] || sha256sum <yllama-worker\n' | remote "$destination") || return 1
    if [ "$there" = "$sum" ]; then
        echo "the program is there"
    else
        "${ssh_command[@]}" -T "$destination" "cd && cd $(quoted "$dir") && cat >yllama-worker.$name.new && chmod 755 yllama-worker.$name.new && mv -f yllama-worker.$name.new yllama-worker" <"$program" || return 1
        echo "the program was copied"
    fi
    remote "$destination" <<'END'
if version=$(./yllama-worker --version 2>&1); then
    echo "$version works here"
else
    echo "it does not run here (Debian's packages libzmq5 and libssl3 hold what it needs): $version"
    exit 1
fi
END
}

start() {
    local flag line=""
    for flag in --connect "$coordinator" --name "$name" "${flags[@]}"; do line+=" $(quoted "$flag")"; done
    {
        [ -z "$key" ] || printf 'YLLAMA_KEY=%s\nexport YLLAMA_KEY\n' "$key"
        # shellcheck disable=SC2016
        printf 'run() { setsid nohup ./yllama-worker%s >>"$name.log" 2>&1 </dev/null & }\n' "$line"
        cat <<'END'
if is_running; then
    echo "runs already, process $(cat "$name.pid")"
    exit 0
fi
[ -x yllama-worker ] || { echo "no program here: copy comes first"; exit 1; }
umask 077
: >"$name.log"
run
echo $! >"$name.pid"
sleep 1
if is_running; then
    echo "started, process $(cat "$name.pid")"
else
    rm -f "$name.pid"
    echo "ended at once: $(tail -n 1 "$name.log")"
    exit 1
fi
END
    } | remote "$destination"
}

status() {
    remote "$destination" <<'END'
if is_running; then
    echo "runs, process $(cat "$name.pid"): $(tail -n 1 "$name.log")"
else
    [ ! -e "$name.log" ] || last=": $(tail -n 1 "$name.log")"
    echo "does not run${last-}"
    exit 1
fi
END
}

stop() {
    remote "$destination" <<'END'
if is_running; then
    pid=$(cat "$name.pid")
    kill "$pid"
    for i in 1 2 3 4 5 6 7 8 9 10; do
        is_running || break
        sleep 1
    done
    if is_running; then
        kill -9 "$pid"
        echo "killed: it did not end within 10 seconds"
    else
        echo "stopped"
    fi
else
    echo "did not run"
fi
rm -f "$name.pid"
END
}

case $action in
copy) [ -x "$program" ] || usage "$program is no program: build it, or name it with -b" ;;
start) [ -n "$coordinator" ] || usage "start needs -c ADDRESS, the coordinator's" ;;
status | stop) ;;
*) usage "'$action' is none of copy, start, status, stop" ;;
esac

one_host() {
    case $action in
    copy) copy ;;
    start) start ;;
    status) status ;;
    stop) stop ;;
    esac
}

# All hosts at a time; each line of output begins with the worker's name.
names=" " jobs=()
while read -r name destination rest || [ -n "${name-}" ]; do
    name=${name%%#*} destination=${destination%%#*} rest=${rest%%#*}
    [ -n "$name" ] || continue
    [[ $name =~ ^[A-Za-z0-9._-]+$ && -n $destination ]] || usage "$hosts: '$name $destination' is not NAME DESTINATION [FLAGS]"
    [[ $names != *" $name "* ]] || usage "$hosts: two workers are named '$name'"
    names+="$name "
    read -r -a flags <<<"$rest"
    (one_host 2>&1 </dev/null | sed "s/^/$name: /") &
    jobs+=($!)
done <"$hosts"
[ ${#jobs[@]} -gt 0 ] || usage "$hosts names no host"
code=0
for job in "${jobs[@]}"; do wait "$job" || code=1; done
exit $code
