#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Run the tests; the last line of the output is the sum over all of them.
#   ./test.sh              every suite
#   ./test.sh unit lint    these only (see ./test.sh --list)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/bootstrap.sh
. scripts/bootstrap.sh

check_surroundings
one_at_a_time .build/prepare.lock
apt_install \
    python3 python3-venv python3-yaml python3-requests python3-pyroute2 python3-psutil python3-jinja2 \
    python3-aiohttp python3-cryptography git shellcheck \
    qemu-system-x86 qemu-utils e2fsprogs busybox-static \
    gcc make libc6-dev musl-tools dpkg-dev xz-utils skopeo docker-registry apache2-utils python3-bcrypt openssl \
    openssh-client iproute2 iptables nftables ufw dbus-daemon dnsmasq-base conntrack util-linux procps gdb golang-go sqlite3 redis-server redis-tools nginx-light wrk
# The network suite runs firewalld in a namespace of its own; who did not have it must not find it running after a reboot.
if ! command -v firewall-cmd >/dev/null; then
    apt_install firewalld
    as_root "Disabling firewalld" systemctl disable --quiet firewalld 2>/dev/null || true
fi
# Any compiler of Rust does; a machine that has one need not get Debian's too.
command -v rustc >/dev/null || [ -x "$HOME/.cargo/bin/rustc" ] || apt_install rustc
make_venv tests/requirements.txt
exec 9>&-   # prepared; several suites may run at once
exec .venv/bin/python tests/run.py "$@"
