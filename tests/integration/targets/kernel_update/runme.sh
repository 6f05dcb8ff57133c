#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Three hosts that are three root directories: a good release rolls over all of them, a second run changes nothing, and a
# release that does not boot is undone on the first host and never reaches the others.
set -eux

build=$(sed -n 's/^kernel_build: //p' ../../integration_config.yml)
work=$(mktemp -d)
chmod 755 "$work" # QEMU enters under a uid of its own
collection=${build%/kernel/build}
uni() { "$collection/bin/uni" "$@"; }
finish() {
    for host in one two three; do
        uni --root "$work/$host" ps -aq | while read -r id; do uni --root "$work/$host" rm -f "$id"; done
    done
    rm -rf "$work"
}
trap finish EXIT

# release VERSION FILE: publish FILE as the kernel VERSION
release() {
    mkdir -p "$work/build"
    cp "$2" "$work/build/uni.elf"
    echo "$1" > "$work/build/VERSION"
    uni --root "$work/publisher" kernel publish "$work/build" "$work/releases" --key "$work/key"
}

roll() {
    ansible-playbook -i "$work/inventory" uni.engine.kernel_update -e kernel_update_serial=1 \
        -e kernel_update_source="$work/releases" -e kernel_update_key="$work/key.pub" "$@"
}

state() { # HOST: its default kernel, the kernel that its VM runs, the VM's pid
    uni --root "$work/$1" kernel list --output json | python3 -c 'import json, sys; print(*[k["version"] for k in json.load(sys.stdin) if k["default"]])'
    uni --root "$work/$1" inspect sleeper --output json | python3 -c 'import json, sys; vm = json.load(sys.stdin)[0]; print(vm["boot"]["kernel"], vm["pid"])'
}

uni --root "$work/publisher" kernel keygen "$work/key"
release 0.1.0 "$build/uni.elf"
echo '[all]' > "$work/inventory"
for host in one two three; do
    echo "$host ansible_connection=local ansible_python_interpreter=/usr/bin/python3 uni_root=$work/$host" >> "$work/inventory"
    uni --root "$work/$host" kernel add "$work/build"
    uni --root "$work/$host" build /bin/busybox --memory 32M
    uni --root "$work/$host" run busybox --name sleeper -- sleep 100000
done

release 0.2.0 "$build/uni.elf"
before=$(state three)
roll --check
[ "$(state three)" = "$before" ]
roll
for host in one two three; do
    state "$host" | grep -q '^0.2.0$'
    state "$host" | grep -q "/0.2.0/uni.elf"
done
before=$(state one; state two; state three)
roll | tee "$work/second"
[ "$(grep -c 'changed=0 .*failed=0' "$work/second")" = 3 ]
[ "$(state one; state two; state three)" = "$before" ]

release 0.3.0 /bin/true
if roll > "$work/broken"; then cat "$work/broken"; exit 1; fi
grep -q "was undone" "$work/broken"
grep -q "kernel 0.3.0 does not boot" "$work/broken"
[ "$(state one; state two; state three)" = "$before" ]
