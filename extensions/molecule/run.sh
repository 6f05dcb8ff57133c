#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Run the Molecule scenarios, as root: extensions/molecule/run.sh [SCENARIO...]   (default: host fleet)
# Needs what test.sh installs, and openssh-server. Molecule has an environment of its own, because its
# newest releases want a newer Ansible than the one that the tests are pinned to.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
venv=$top/.build/molvenv
[ -x "$venv/bin/molecule" ] || {
    /usr/bin/python3 -m venv --system-site-packages "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'molecule>=25.3,<25.10' ansible-core==2.17.14
}
link=$top/.build/collections/ansible_collections/uni/engine
[ -e "$link" ] || { mkdir -p "${link%/*}"; ln -s "$top" "$link"; }
export PATH=$venv/bin:$PATH LC_ALL=C.UTF-8 ANSIBLE_NOCOWS=1 MOLECULE_PROJECT_DIRECTORY=$top/extensions
export ANSIBLE_COLLECTIONS_PATH=$top/.build/collections
make -s -C "$top/kernel"    # the release that the hosts get is the checkout's
cd "$top/extensions"
[ $# -gt 0 ] || set -- host fleet
for scenario in "$@"; do molecule test -s "$scenario"; done
