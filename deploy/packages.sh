# packages.sh: installs Debian packages that are missing. Sourced by deploy/local/run.sh and tests/run.sh.

# What building yllama takes. An entry "a|b" is the first of these that the system's archive has.
YLLAMA_BUILD_PACKAGES="gcc libc6-dev cmake make pkg-config libzmq3-dev libmsgpack-dev|libmsgpack-c-dev libcjson-dev libpcre2-dev libssl-dev libxxhash-dev libedit-dev"

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_packages WHAT-FOR PACKAGE...
# Says what it installs; does nothing, and asks for no password, when all is there.
install_packages() {
    local purpose=$1 entry name missing="" sudo="" updated=""
    shift
    if ! command -v apt-get >/dev/null; then
        echo "This is no Debian or Ubuntu: install by hand what $purpose needs: $*" >&2
        return 0
    fi
    [ "$(id -u)" = 0 ] || sudo=sudo
    for entry in "$@"; do
        local found=""
        for name in ${entry//|/ }; do is_installed "$name" && found=$name; done
        [ -n "$found" ] && continue
        if [ -z "$updated" ] && ! apt-cache show "${entry%%|*}" >/dev/null 2>&1; then
            $sudo apt-get update -q >/dev/null
            updated=yes
        fi
        for name in ${entry//|/ }; do
            if [ -z "$found" ] && apt-cache show "$name" >/dev/null 2>&1; then found=$name; fi
        done
        missing="$missing ${found:-${entry%%|*}}"
    done
    [ -z "$missing" ] && return 0
    echo "Installing with apt-get what $purpose needs:$missing" >&2
    [ -n "$updated" ] || $sudo apt-get update -q >/dev/null || true
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
}
