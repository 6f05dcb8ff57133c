# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What quickstart.sh and test.sh have in common: packages, the virtual environment, the collection's path.
# Sourced by both with the repository's root as the current directory.

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The distribution's own interpreter, never one that a version manager put first in the PATH: its
# packages (python3-yaml and friends) are what Uni runs on.
PYTHON=/usr/bin/python3

# room: the reason that pip and venv do not give.
room() {
    local free
    free=$(df --output=avail --block-size=1M . | tail -n 1)
    [ "$free" -ge 200 ] || printf ': no space left on the disk (%d MB)' "$free"
}

# What would fail later, and say so less clearly: the machine, the two places that are written to, git's word.
check_surroundings() {
    [ "$(uname -m)" = x86_64 ] || die "Uni runs on x86-64 only, this machine is $(uname -m)"
    command -v dpkg-query >/dev/null || die "no dpkg here: Uni is developed on Debian 12 and Ubuntu 22.04 or 24.04"
    [ -w . ] || die "$PWD is not writable by $(id -un): clone the repository as the user who works in it"
    if [ -z "${HOME:-}" ]; then
        HOME=$(getent passwd "$(id -u)" | cut -d: -f6) || true
        [ -n "$HOME" ] || die "HOME is not set, and there is no user $(id -u): set HOME to a directory of yours"
        export HOME
    fi
    if ! [ -d "$HOME" ] || ! [ -w "$HOME" ]; then
        die "HOME is $HOME, which $(id -un) cannot write to: Ansible and Uni keep files there, set HOME to a directory of yours"
    fi
}

# one_at_a_time FILE: waits until nobody else is where this script is. The lock ends with the shell and what it executes;
# VMs do not inherit it, because Python closes what it was not told to keep.
one_at_a_time() {
    mkdir -p "${1%/*}"
    exec 9>"$1"
    flock --nonblock 9 && return 0
    say "Another one is running (it holds $1): waiting for it"
    flock 9
}

# as_root WHAT-FOR COMMAND...
as_root() {
    local purpose=$1
    shift
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@" || return
    else die "$purpose needs root, you are $(id -un), and there is no sudo here"
    fi
}

# missing_packages PACKAGE...: the ones that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || printf '%s\n' "$name"
    done
}

# apt_install PACKAGE...: installs the ones that are missing; needs no privilege when there are none.
apt_install() {
    local missing purpose
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return 0
    say "Installing ${missing[*]}"
    purpose="Installing packages (apt-get install ${missing[*]})"
    # RUNLEVEL=1: invoke-rc.d starts no service of a package that is installed for its program (nginx, redis).
    local quietly=(env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive) get=(apt-get -qq -y -o DPkg::Lock::Timeout=300)
    # An installation that was killed leaves packages unpacked, and apt-get refuses to go on.
    if [ -n "$(dpkg --audit)$(ls /var/lib/dpkg/updates)" ]; then
        as_root "$purpose" "${quietly[@]}" dpkg --force-confold --configure --pending >/dev/null 9>&- || true
        as_root "$purpose" "${quietly[@]}" "${get[@]}" --no-install-recommends --fix-broken install >/dev/null 9>&- || true
    fi
    # An archive that does not answer need not be the one that is wanted: installing tells.
    as_root "$purpose" "${quietly[@]}" "${get[@]}" update 9>&- || true
    as_root "$purpose" "${quietly[@]}" "${get[@]}" install --no-install-recommends "${missing[@]}" >/dev/null 9>&- ||
        die "these packages could not be installed (the reason stands above; the archives of /etc/apt must be in reach): ${missing[*]}"
}

# make_venv REQUIREMENTS: .venv with exactly these; a stamp of the file's content makes the second call free.
# System packages are visible in it, because the engine is tested against the distribution's libraries.
make_venv() {
    local requirements=$1 base own
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "ansible-core 2.17 wants Python 3.10 or newer, $PYTHON is $("$PYTHON" -V)"
    # Scripts in .venv/bin name the directory and the interpreter: another one of these makes them anew.
    base=$({ cat requirements.txt; "$PYTHON" -V; printf '%s\n' "$PWD"; } | sha256sum | cut -c1-16)
    own=$(sha256sum < "$requirements" | cut -c1-16)
    [ -e ".venv/.$base-$own" ] && return 0
    say "Making the virtual environment .venv ($requirements)"
    # Whoever was killed before the end left the mark.
    if [ -e .venv/.unfinished ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        rm -rf .venv
        "$PYTHON" -m venv --system-site-packages .venv || die "the virtual environment could not be made in $PWD/.venv$(room)"
    fi
    rm -f .venv/.????????????????-*
    touch .venv/.unfinished
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --ignore-installed \
        --requirement "$requirements" 2> >(grep -v '^WARNING: Location' >&2) ||
        die "the Python packages of $requirements could not be installed (the reason stands above; the package index must be in reach)$(room)"
    # Every file of requirements includes the first one.
    touch ".venv/.$base-$own" ".venv/.$base-$(sha256sum < requirements.txt | cut -c1-16)"
    rm .venv/.unfinished
}

# install_collection DIR: build the collection of this checkout and install it below DIR, if its files changed.
install_collection() {
    local target=$1/ansible_collections/uni/engine mark=$1/ansible_collections/.uni.engine.source digest
    digest=$(find . \( -name .git -o -name .venv -o -name .build -o -name build -o -name .ansible -o -name '*_cache' \
        -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
    digest=${digest%% *}
    [ -e "$target/MANIFEST.json" ] && [ "$(cat "$mark" 2>/dev/null)" = "$digest" ] && return 0
    say "Building and installing the collection uni.engine"
    rm -rf "$mark" .build/dist
    mkdir -p .build/dist
    .venv/bin/python -m ansible galaxy collection build --force --output-path .build/dist . >/dev/null
    .venv/bin/python -m ansible galaxy collection install --force --offline --no-deps \
        -p "$1" .build/dist/uni-engine-*.tar.gz >/dev/null
    echo "$digest" > "$mark"
}
