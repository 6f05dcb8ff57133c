#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# From a fresh Debian 12 or Ubuntu 22.04/24.04 machine to a running unikernel:
#   ./quickstart.sh [options of ansible-playbook]        -e quickstart_port=8081 takes another port than 8080
# Installs what is missing, builds and installs the collection, runs the playbook uni.engine.quickstart here.
# Run it again whenever you like: what is there already is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/bootstrap.sh
. scripts/bootstrap.sh

check_surroundings
one_at_a_time "$HOME/.cache/uni/quickstart.lock"
apt_install python3 python3-venv
make_venv requirements.txt

# Ansible wants a UTF-8 locale, and this run is about this checkout alone.
export LC_ALL=C.UTF-8 ANSIBLE_NOCOWS=1 ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false

collections=${ANSIBLE_COLLECTIONS_PATH:-$HOME/.ansible/collections}
collections=${collections%%:*}
install_collection "$collections"
export ANSIBLE_COLLECTIONS_PATH=$collections ANSIBLE_CALLBACK_RESULT_FORMAT=yaml

# The playbook becomes root for packages only; whoever cannot is told now and not by a prompt for a password.
become=()
mapfile -t wanted < <(.venv/bin/python scripts/packages.py)
mapfile -t missing < <(missing_packages "${wanted[@]}")
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" -ne 0 ]; then
    remedy="let root run: apt-get install --no-install-recommends ${missing[*]}"
    command -v sudo >/dev/null || die "packages are missing, you are $(id -un), and there is no sudo here; $remedy"
    if ! sudo -n true 2>/dev/null; then
        [ -t 0 ] || die "packages are missing, and sudo wants a password, but there is no terminal to ask for it; $remedy"
        say "Packages have to be installed: sudo will want your password"
        become=(--ask-become-pass)
    fi
fi
exec .venv/bin/python -m ansible playbook "${become[@]}" uni.engine.quickstart "$@"
