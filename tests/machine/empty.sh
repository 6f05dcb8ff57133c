#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Run a command in a clean clone of this checkout on an empty Debian: nothing but what debootstrap calls minbase.
#   tests/machine/empty.sh ./quickstart.sh
#   tests/machine/empty.sh ./test.sh lint unit
# Shows whether the lists of packages are complete. As root; the system is made anew in .build/machine/empty each time,
# from a copy that debootstrap makes once. SUITE takes another release, MIRROR another archive, as for Ubuntu 22.04:
#   SUITE=jammy COMPONENTS=main,universe MIRROR=http://archive.ubuntu.com/ubuntu tests/machine/empty.sh ./quickstart.sh
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
suite=${SUITE:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}
base=$top/.build/machine/minbase-$suite root=$top/.build/machine/empty-$suite

[ -e "$base/.complete" ] || {
    rm -rf "$base"
    mkdir -p "${base%/*}"
    debootstrap --variant=minbase ${COMPONENTS:+--components="$COMPONENTS"} "$suite" "$base" "$mirror" >"$base.log" 2>&1 || { tail "$base.log" >&2; exit 1; }
    touch "$base/.complete"
}
[ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"
[ -d "$root" ] || cp -a --reflink=auto "$base" "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# How this machine reaches its package index: pip's settings, and the authorities that they name.
settings=
[ -e /etc/pip.conf ] && cp /etc/pip.conf "$root/etc/pip.conf"
if [ -n "${PIP_CERT:-}" ]; then
    mkdir -p "$root/etc/uni-test"
    cp "$PIP_CERT" "$root/etc/uni-test/authorities.pem"
    sed -i "s|^cert *=.*|cert = /etc/uni-test/authorities.pem|" "$root/etc/pip.conf" 2>/dev/null || true
    settings=PIP_CERT=/etc/uni-test/authorities.pem
fi
[ -d "$root/root/uni" ] || git clone -q "$top" "$root/root/uni"

# A PID namespace: whatever the tests leave behind ends with this script. The mounts are gone with theirs.
export root settings
# shellcheck disable=SC2016
exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sys "$root/sys"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        TERM=dumb UNI_ACCEL="${UNI_ACCEL:-tcg}" $settings bash -euc '\''cd /root/uni && exec "$@"'\'' empty "$@"
' empty "$@"
