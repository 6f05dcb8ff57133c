#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# From a fresh Debian 12 or Ubuntu 22.04/24.04 machine to a running unikernel:
#   ./quickstart.sh [options of ansible-playbook]
# Installs what is missing, builds and installs the collection, runs the playbook uni.engine.quickstart here.
# Run it again whenever you like: what is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/bootstrap.sh
. scripts/bootstrap.sh

[ "$(uname -m)" = x86_64 ] || die "Uni runs on x86-64 only, this machine is $(uname -m)"
apt_install python3 python3-venv
make_venv requirements.txt

# Ansible wants a UTF-8 locale, and this run is about this checkout alone.
export LC_ALL=C.UTF-8 ANSIBLE_NOCOWS=1 ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false

collections=${ANSIBLE_COLLECTIONS_PATH:-$HOME/.ansible/collections}
collections=${collections%%:*}
install_collection "$collections"
export ANSIBLE_COLLECTIONS_PATH=$collections ANSIBLE_CALLBACK_RESULT_FORMAT=yaml

become=()
if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
    say "Some packages may have to be installed: sudo will want your password"
    become=(--ask-become-pass)
fi
exec .venv/bin/ansible-playbook "${become[@]}" uni.engine.quickstart "$@"
