# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What quickstart.sh and test.sh have in common: packages, the virtual environment, the collection's path.
# Sourced by both with the repository's root as the current directory.

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The distribution's own interpreter, never one that a version manager put first in the PATH: its
# packages (python3-yaml and friends) are what Uni runs on.
PYTHON=/usr/bin/python3

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "not root and no sudo: run as root, or install sudo, for: $*"
    fi
}

# apt_install PACKAGE...: installs the ones that are missing; needs no privilege when there are none.
apt_install() {
    local missing=() name
    command -v dpkg-query >/dev/null || die "no dpkg here: Uni is developed on Debian 12 and Ubuntu 22.04 or 24.04"
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "Installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 update
    # RUNLEVEL=1: invoke-rc.d starts no service of a package that is installed for its program (nginx, redis).
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "${missing[@]}" >/dev/null
}

# make_venv REQUIREMENTS: .venv with exactly these; a stamp of the file's content makes the second call free.
# System packages are visible in it, because the engine is tested against the distribution's libraries.
make_venv() {
    local requirements=$1 stamp
    stamp=".venv/.$(cat requirements.txt "$requirements" | sha256sum | cut -c1-16)"
    [ -e "$stamp" ] && return 0
    say "Making the virtual environment .venv ($requirements)"
    [ -x .venv/bin/python ] || "$PYTHON" -m venv --system-site-packages .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --ignore-installed \
        --requirement "$requirements" 2> >(grep -v '^WARNING: Location' >&2)
    touch "$stamp"
}

# install_collection DIR: build the collection of this checkout and install it below DIR, if its files changed.
install_collection() {
    local target=$1/ansible_collections/uni/engine digest
    digest=$(find . \( -name .git -o -name .venv -o -name .build -o -name build -o -name .ansible -o -name '*_cache' \
        -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
    digest=${digest%% *}
    [ "$(cat "$target/.source" 2>/dev/null)" = "$digest" ] && return 0
    say "Building and installing the collection uni.engine"
    mkdir -p .build/dist
    .venv/bin/ansible-galaxy collection build --force --output-path .build/dist . >/dev/null
    .venv/bin/ansible-galaxy collection install --force --offline --no-deps \
        -p "$1" .build/dist/uni-engine-*.tar.gz >/dev/null
    echo "$digest" > "$target/.source"
}
