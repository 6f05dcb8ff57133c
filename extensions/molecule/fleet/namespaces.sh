#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# namespaces.sh up|down: network namespaces one, two, three, joined to this one by a pair of interfaces each, with an sshd.
set -euo pipefail
work=/tmp/uni-molecule-fleet
number=0
mkdir -p "$work"
[ -e "$work/key" ] || { ssh-keygen -q -t ed25519 -N '' -f "$work/key"; ssh-keygen -q -t ed25519 -N '' -f "$work/host"; }
for name in one two three; do
    number=$((number + 1))
    [ ! -e "$work/$name.pid" ] || { kill "$(cat "$work/$name.pid")" 2>/dev/null || true; rm -f "$work/$name.pid"; }
    ip netns del "uni-$name" 2>/dev/null || true
    [ "$1" = up ] || continue
    ip netns add "uni-$name"
    ip link add "uni-$name" type veth peer name eth0 netns "uni-$name"
    ip addr add "10.213.$number.1/24" dev "uni-$name"
    ip link set "uni-$name" up
    ip -n "uni-$name" addr add "10.213.$number.2/24" dev eth0
    ip -n "uni-$name" link set eth0 up
    ip -n "uni-$name" link set lo up
    mkdir -p /run/sshd
    ip netns exec "uni-$name" /usr/sbin/sshd -f /dev/null -h "$work/host" -o "PidFile=$work/$name.pid" \
        -o "AuthorizedKeysFile=$work/key.pub" -o StrictModes=no -o PermitRootLogin=prohibit-password -o UsePAM=no
done
[ "$1" = up ] || rm -rf "$work"
