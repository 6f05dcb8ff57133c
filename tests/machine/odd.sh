#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# quickstart.sh and the command line under odd circumstances, each in a system of its own (tests/machine/empty.sh).
#   tests/machine/odd.sh [SCENARIO...]      as root; one to five minutes each, and a first time that prepares
# Closes with N passed, N failed; what a scenario said is in .build/machine/odd-SCENARIO.log.
# shellcheck disable=SC2016,SC2088,SC2317 # as_user's shell expands; the functions are called by name, inside the system
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
logs=$(cd "$here/../.." && pwd)/.build/machine
export SUITE=${SUITE:-bookworm}

# --- inside the system: helpers ----------------------------------------------------------------------------------------
fail() { echo "ODD: $*"; exit 1; }
quick() { ./quickstart.sh -e quickstart_port="${port:-18080}"; }
# says TEXT COMMAND...: the command fails and says so in a line that begins with "error:" or "uni:" and holds TEXT.
says() {
    local text=$1 said status=0
    shift
    said=$("$@" 2>&1 </dev/null) || status=$?
    printf '%s\n' "$said"
    [ "$status" -ne 0 ] || fail "succeeded: $*"
    grep -q -E "^(error|uni): .*$text" <<<"$said" || fail "no line 'error: ... $text'"
}
good() {
    uni ps
    uni doctor | tee /tmp/doctor || fail "doctor finds something broken"
    uni run busybox --attach --rm -- cat /srv/welcome.txt | grep -q "in the image" || fail "the first image does not run"
}
unchanged() { quick | tee /tmp/again; grep -q 'changed=0 ' /tmp/again || fail "the second run changed something"; }
# user NAME [sudo]: a plain user with a clone of his own.
user() {
    useradd --create-home --shell /bin/bash "$1"
    [ -z "${2:-}" ] || { mkdir -p /etc/sudoers.d; echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"; }
    cp -r /root/uni "/home/$1/uni"
    chown -R "$1:" "/home/$1/uni"
}
as_user() { su - "$1" -c "cd uni && export UNI_ACCEL=tcg PIP_CERT=${PIP_CERT:-} && $2"; }

# --- scenarios ---------------------------------------------------------------------------------------------------------
# A system where every package and pip's cache are there, and nothing else of Uni; most others begin with it.
on_prepared() {
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends sudo locales >/dev/null
    sed -i -E 's/^# ((de_DE|tr_TR).UTF-8)/\1/' /etc/locale.gen
    locale-gen >/dev/null
    quick
    rm -rf .venv .build ~/.ansible ~/.cache/uni /var/lib/uni /usr/local/lib/uni /usr/local/bin/uni ~/uni
}
on_root() { quick; good; unchanged; }
# A plain user on a prepared machine needs no root, but for what is the host's.
on_user() {
    user dev
    as_user dev './quickstart.sh -e quickstart_port=18081'
    as_user dev 'export PATH=~/.local/bin:$PATH; uni ps; uni doctor; uni run busybox --attach --rm -- cat /srv/welcome.txt'
    says root as_user dev '~/.local/bin/uni network create lan'
}
on_user_sudo() {
    apt-get -qq -y remove qemu-system-x86 make >/dev/null
    user dev sudo
    as_user dev './quickstart.sh -e quickstart_port=18082'
    as_user dev './quickstart.sh -e quickstart_port=18082' | tee /tmp/again
    grep -q 'changed=0 ' /tmp/again
}
bare_user_bare() {
    user dev
    says 'no sudo' as_user dev ./quickstart.sh
    says 'no sudo' as_user dev './test.sh lint'
    apt-get -qq update
    apt-get -qq -y install --no-install-recommends python3-venv sudo >/dev/null
    says 'apt-get install.* qemu-system-x86' as_user dev ./quickstart.sh
}
bare_offline() { says 'could not be installed' unshare --net ./quickstart.sh; }
on_offline_prepared() {
    says 'package index' unshare --net ./quickstart.sh
    quick
    unshare --net sh -c 'ip link set lo up; ./quickstart.sh -e quickstart_port=18080' | tee /tmp/again
    grep -q 'failed=0 ' /tmp/again
}
# The script alone is killed: what it started goes on beside the next one.
on_killed() {
    local seconds
    for seconds in 1 2 4 7 11 16 22 30 40; do
        timeout --foreground --signal KILL "$seconds" ./quickstart.sh -e quickstart_port=18080 || true
    done
    quick; good; unchanged
}
# Everything is gone at once, as when the power fails.
bare_power() {
    local seconds
    for seconds in 6 10 14 18 30 45 60 75; do
        timeout --signal KILL "$seconds" unshare --pid --fork --kill-child --mount-proc ./quickstart.sh -e quickstart_port=18080 || true
    done
    quick; good; unchanged
}
on_two() {
    (quick; echo "status $?") >/tmp/one 2>&1 &
    (quick; echo "status $?") >/tmp/two 2>&1 &
    wait
    tail -n 3 /tmp/one /tmp/two
    [ "$(grep -h -c '^status 0' /tmp/one /tmp/two | tr '\n' ' ')" = '1 1 ' ] || fail "one of the two failed"
    grep -h 'Another one' /tmp/one /tmp/two || fail "neither waited"
    good
}
on_port() {
    python3 -m http.server --bind 127.0.0.1 18083 >/dev/null 2>&1 &
    ! port=18083 quick >/tmp/said 2>&1 || fail "the port was taken"
    cat /tmp/said
    tr '\n' ' ' </tmp/said | grep -q '18083.*quickstart_port=' || fail "it does not name the port and the option"
    port=18084 quick; good
}
full() { # full COMMAND...: it fails and names the reason
    ! "$@" >/tmp/said 2>&1 || fail "the disk was full"
    cat /tmp/said
    grep -qi 'no space left' /tmp/said || fail "it does not name the full disk"
}
on_full() {
    local room
    mkdir /small
    for room in 0 8 50; do # megabytes: nothing, a part of the virtual environment, nearly all of it
        mount -t tmpfs -o size=300M small /small
        cp -r /root/uni /small/uni
        cd /small/uni
        fallocate -l "$(($(stat -f -c '%a * %S' /small) - room * 1048576))" /small/filler
        full quick
        cd /root/uni
        umount -l /small
    done
    quick
    mount -t tmpfs -o size=1M small /var/lib/uni
    full quick
    umount -l /var/lib/uni
    quick; good
}
on_locales() {
    local name
    for name in de_DE.UTF-8 C tr_TR.UTF-8 xx_XX; do
        export LANG=$name LC_ALL=$name LANGUAGE=$name
        rm -rf .venv ~/.ansible ~/.cache/uni
        quick || fail "$name"
        uni ps -a
        uni run busybox --attach --rm -- echo ä | grep -q ä || fail "uni with $name"
    done
}
on_umask() {
    umask 077
    quick; good
    useradd --create-home guest
    su - guest -c 'uni --help >/dev/null && uni images' || fail "others cannot use uni"
}
on_home() {
    env -u HOME ./quickstart.sh -e quickstart_port=18080
    good
    says 'HOME is /nowhere' env HOME=/nowhere ./quickstart.sh
    user dev
    says 'cannot write' as_user dev 'HOME=/etc ./quickstart.sh'
    chmod 755 /root
    says 'not writable' su dev -c './quickstart.sh'
}
on_spaces() {
    mv /root/uni "/root/my uni's (copy)"
    cd "/root/my uni's (copy)"
    quick; good; unchanged
    ./test.sh lint unit
    make -C kernel
}
on_owner() {
    useradd --create-home dev
    chown -R dev: /root/uni
    quick; good
    ./test.sh lint
}
on_noexec() { # /tmp is mounted so
    ! cp /bin/true /tmp/true || ! /tmp/true || fail "/tmp is not noexec"
    quick; good
    ./test.sh unit qemu
}
on_tun() {
    mount -t tmpfs none /dev/net
    quick; good
    grep -q 'tun' /tmp/doctor || fail "doctor does not say that /dev/net/tun is missing"
    # Bridges of its own: those of the machine, and whoever uses them now, are none of our business.
    says 'needs /dev/net/tun' unshare --net sh -c 'ip link set lo up; uni network create lan; uni run busybox --attach --network lan -- true'
}
on_container() { # neither cgroups nor sysfs
    umount -l /sys
    quick; good
    grep -q 'no cgroup v2' /tmp/doctor || fail "doctor does not say that there are no cgroups"
}

# --- outside -----------------------------------------------------------------------------------------------------------
if [ "${1:-}" = --inside ]; then # the name of the function, as root in the system
    set -euo pipefail
    "$2"
    exit
fi
main() { # read as a whole before it runs, so that the file may be edited meanwhile
    local names passed failed name begun status options kind word
    names=() passed=0 failed=0
    mkdir -p "$logs"
    for name in "$@"; do names+=("$name"); done
    [ $# -gt 0 ] || mapfile -t names < <(declare -F | sed -n 's/^declare -f \(on\|bare\)_//p' | grep -vx prepared)
    [ -d "$logs/empty-$SUITE-prepared" ] || {
        NAME=prepared "$here/empty.sh" tests/machine/odd.sh --inside on_prepared >"$logs/odd-prepared.log" 2>&1 || {
            tail "$logs/odd-prepared.log"
            rm -rf "$logs/empty-$SUITE-prepared"
            exit 1
        }
    }
    for name in "${names[@]}"; do
        begun=$SECONDS status=0 options=()
        if declare -F "on_$name" >/dev/null; then kind=on options=(ON=prepared); else kind=bare; fi
        [ "$name" = noexec ] && options+=(OPTIONS=noexec)
        env NAME="odd-$name" "${options[@]}" timeout 3000 "$here/empty.sh" tests/machine/odd.sh --inside "${kind}_$name" \
            >"$logs/odd-$name.log" 2>&1 </dev/null || status=$?
        if [ "$status" -eq 0 ]; then
            passed=$((passed + 1)) word="ok  "
        else
            failed=$((failed + 1)) word=FAIL
        fi
        printf '%s %s (%s s) %s\n' "$word" "$name" "$((SECONDS - begun))" "$(grep '^ODD: ' "$logs/odd-$name.log" | tail -n 1)"
        rm -rf --one-file-system "$logs/empty-$SUITE-odd-$name"
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
main "$@"; exit # in one line: nothing of the file is read after it
