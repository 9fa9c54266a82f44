# Shared by scripts/*: sourced, never run. Plain POSIX sh.
# setup_base      what a lab needs: Debian packages and .venv with klab; a second call installs nothing.
# have, say, die  small words used by all scripts.

set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else die "needs root for: $* (there is no sudo here; run that command as root once, then again this script)"
    fi
}

# apt_install PROGRAM=PACKAGE ...: installs the packages whose program (or, with '/', file) is missing.
apt_install() {
    missing=
    for pair in "$@"; do
        program=${pair%%=*} package=${pair#*=}
        case $program in
            /*) [ -e "$program" ] && continue ;;
            *) have "$program" && continue ;;
        esac
        missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    have apt-get || die "missing:$missing (Debian's names; this system has no apt-get: install them with its own tool)"
    say "installing:$missing"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$apt_log" 2>&1 && return 0
    as_root apt-get update -q >"$apt_log" 2>&1 || { tail -5 "$apt_log" >&2; die "apt-get update failed"; }
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$apt_log" 2>&1 ||
        { tail -15 "$apt_log" >&2; die "could not install:$missing"; }
}
apt_log=$(mktemp)
trap 'rm -f "$apt_log"' EXIT

pick_python() {
    # The system's own interpreter first: every user of the machine can read it.
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        have "$candidate" || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$candidate"; return 0; }
    done
    return 1
}

setup_packages() {
    apt_install mnexec=mininet ip=iproute2 tc=iproute2 iptables=iptables nft=nftables conntrack=conntrack \
        newuidmap=uidmap brctl=bridge-utils busybox=busybox-static ping=iputils-ping ethtool=ethtool \
        kubectl=kubernetes-client dig=bind9-dnsutils
}

setup_python() {
    python=$(pick_python) || { apt_install python3=python3; python=$(pick_python) || die "needs Python 3.11 or newer"; }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install /nonexistent=python3-venv
    want=$(cat requirements.lock pyproject.toml | cksum)
    # Where the directory was moved or copied, klab still names the interpreter of the old place.
    [ -f "$venv/.stamp" ] && [ "$(cat "$venv/.stamp")" = "$want" ] && grep -qsF "$venv/bin/python" "$venv/bin/klab" &&
        return 0
    say "setting up $venv"
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock ||
        die "could not install the Python packages of requirements.lock"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        die "could not install netlab into $venv"
    printf '%s\n' "$want" >"$venv/.stamp"
}

# Debian's own kubectl (old: 1.20) beside whatever the user has, for the tests; unpacked, not installed.
setup_old_kubectl() {
    old="$root/.cache/kubectl-debian"
    [ -x "$old/usr/bin/kubectl" ] && return 0
    have apt-get || { say "no apt-get: the tests go without Debian's old kubectl"; return 0; }
    mkdir -p "$old"
    (cd "$old" && apt-get download -q kubernetes-client >"$apt_log" 2>&1) ||
        { as_root apt-get update -q >"$apt_log" 2>&1; (cd "$old" && apt-get download -q kubernetes-client >"$apt_log" 2>&1); } ||
        { say "could not fetch Debian's kubernetes-client; the tests go without it"; return 0; }
    dpkg -x "$old"/kubernetes-client_*.deb "$old"
    rm -f "$old"/*.deb
}

# nginx for the image of that name, unpacked and not installed: an installed one would serve port 80 of the machine.
setup_nginx() {
    programs="$venv/share/netlab/programs"
    [ -x /usr/sbin/nginx ] || [ -x "$programs/nginx" ] && return 0
    have apt-get || return 0
    unpacked=$(mktemp -d)
    (cd "$unpacked" && apt-get download -q nginx >"$apt_log" 2>&1 && dpkg -x nginx_*.deb .) || true
    if [ -x "$unpacked/usr/sbin/nginx" ] && ! ldd "$unpacked/usr/sbin/nginx" | grep -q 'not found'; then
        mkdir -p "$programs"
        cp "$unpacked/usr/sbin/nginx" "$programs/nginx"
    else
        say "no nginx could be unpacked here: the image nginx needs the package nginx-light"
    fi
    rm -rf "$unpacked"
}

# Compiled beforehand: the first lab is as quick as the second one. Where nothing has changed it takes no time.
setup_bytecode() { "$venv/bin/python" -m compileall -q netlab || true; }

setup_base() { setup_packages; setup_python; setup_bytecode; setup_nginx; }
