#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Run a command in a clean clone of this checkout on an empty Debian: nothing but what debootstrap calls minbase.
#   tests/machine/empty.sh ./quickstart.sh
#   tests/machine/empty.sh ./test.sh lint unit
# Shows whether the lists of packages are complete. As root; the system is made anew in .build/machine/empty-SUITE each
# time, from a copy that debootstrap makes once. The environment says what else:
#   SUITE=noble MIRROR=... COMPONENTS=main,universe   another release, its archive (Ubuntu's needs universe)
#   NAME=x              the system is empty-SUITE-x, so that several can run side by side
#   KEEP=1              go on with the system as the last run left it
#   ON=y                the system is what run y left, seen through an overlay: y itself stays as it is
#   OPTIONS=noexec      options of the mount of /tmp
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
suite=${SUITE:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}
case $suite in
    jammy | noble) mirror=${MIRROR:-http://archive.ubuntu.com/ubuntu} COMPONENTS=${COMPONENTS:-main,universe} ;;
esac
work=$top/.build/machine
base=$work/minbase-$suite root=$work/empty-$suite${NAME:+-$NAME} lower=${ON:+$work/empty-$suite-$ON}

[ -e "$base/.complete" ] || {
    rm -rf "$base"
    mkdir -p "$work"
    # An older debootstrap has no name for a newer Ubuntu; its script is the same for all of them.
    script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=${script%/*}/jammy
    debootstrap --variant=minbase ${COMPONENTS:+--components="$COMPONENTS"} "$suite" "$base" "$mirror" "$script" >"$base.log" 2>&1 || { tail "$base.log" >&2; exit 1; }
    touch "$base/.complete"
}
[ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"
if [ -n "$lower" ]; then
    mkdir -p "$root/root" "$root/upper" "$root/work"
else
    [ -d "$root" ] || cp -a --reflink=auto "$base" "$root"
fi

# A PID namespace: whatever the tests leave behind ends with this script. The mounts are gone with theirs.
export top root lower
# shellcheck disable=SC2016
exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    if [ -n "$lower" ]; then
        mount -t overlay -o "lowerdir=$lower,upperdir=$root/upper,workdir=$root/work" empty "$root/root"
        root=$root/root
    else
        mount --bind "$root" "$root"    # a mount point, as the root of any machine
    fi
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # How this machine reaches its package index: pip'\''s settings, and the authorities that they name.
    settings=
    if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
    if [ -n "${PIP_CERT:-}" ]; then
        mkdir -p "$root/etc/uni-test"
        cp "$PIP_CERT" "$root/etc/uni-test/authorities.pem"
        sed -i "s|^cert *=.*|cert = /etc/uni-test/authorities.pem|" "$root/etc/pip.conf" 2>/dev/null || true
        settings=PIP_CERT=/etc/uni-test/authorities.pem
    fi
    [ -d "$root/root/uni" ] || git clone -q "$top" "$root/root/uni"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sys "$root/sys"
    mount -t tmpfs -o "mode=1777${OPTIONS:+,$OPTIONS}" tmp "$root/tmp"
    # The first process stays a shell: it reaps orphans, as init does.
    exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        TERM=dumb UNI_ACCEL="${UNI_ACCEL:-tcg}" $settings bash -euc '\''cd /root/uni; status=0; "$@" || status=$?; exit "$status"'\'' empty "$@"
' empty "$@"
