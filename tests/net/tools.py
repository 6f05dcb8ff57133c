# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that look at a network and change it, unmodified, on this machine's Linux and on Uni: do they say the same?

    tests/net/tools.py [words...]        only the commands that contain one of the words

Both have loopback and one Ethernet interface with the same addresses: in Linux a veth pair's end in a namespace of its own. Counters,
queueing disciplines and the names of the other end are taken out of both outputs before they are compared.

Needs root, QEMU, e2fsprogs, iproute2, busybox and kernel/build/uni.elf.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import servers
from wire import GUEST, HOST, MICROVM

BUILD = servers.TOP / ".build" / "net-tools"
MAC = "02:00:00:00:00:01"
#: `ip -batch`: changes, each looked at afterwards.
CHANGES = """\
addr show dev eth0
link set eth0 mtu 1400
link show eth0
link set eth0 mtu 1500
addr add 10.9.0.2/24 dev eth0
route add default via 10.9.0.1
addr del 10.9.0.77/24 dev eth0
route add default via 192.168.77.1
route del default
route show
route del default
route add default via 10.9.0.1 dev eth0
route show
route add 1.2.0.0/16 via 10.9.0.1
route add 1.2.0.0/16 via 10.9.0.1
route add 1.2.3.4 via 10.9.0.9
route add 2.0.0.0/8 dev eth0
route add 3.0.0.0/8 via 192.168.77.1
route add 10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.2
route show
route get 1.2.5.5
route get 1.2.3.4
route get 2.5.5.5
route replace 1.2.0.0/16 via 10.9.0.8
route get 1.2.5.5
route del 1.2.3.4
route del 1.2.3.4
route del 1.2.0.0/16 via 10.9.0.1
route del 1.2.0.0/16
route show
addr del 10.9.0.2/24 dev eth0
addr show dev eth0 scope global
route show
addr add 10.9.0.2/24 brd + dev eth0
addr add fd00:9::2/64 dev eth0
addr show dev eth0 scope global
addr del fd00:9::2/64 dev eth0
link set eth0 down
link show eth0
link set eth0 up
neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth0
neigh del 10.9.0.9 dev eth0
link set nosuch up
"""
COMMANDS = [
    "ip -o link", "ip link show lo", "ip -o link show dev eth0", "ip link show nosuch", "ip -4 -o addr", "ip -6 -o addr", "ip addr show dev eth0", "ip -br addr",
    "ip -j -4 addr", "ip -4 route", "ip -4 route show table local", "ip -6 route show default", "ip rule", "ip -6 rule",
    "ip route get 10.9.0.1", "ip route get 192.168.5.5", "ip route get 127.0.0.1", "ip route get 10.9.0.2", "ip -force -batch /changes",
    "busybox ifconfig", "busybox ifconfig -a", "busybox ifconfig eth0", "busybox ifconfig nosuch", "busybox route -n", "busybox netstat -rn",
    "busybox netstat -ltun", "busybox netstat -ltunw", "busybox netstat -x", "busybox ip addr", "busybox ip link", "busybox ip route", "busybox ip rule",
    "busybox ifconfig eth0 mtu 1300", "busybox ifconfig eth0 10.9.0.3 netmask 255.255.0.0", "busybox route del default",
    "busybox route add default gw 10.9.0.1", "busybox ip link set eth0 down", "busybox cat /proc/net/route", "busybox cat /proc/net/if_inet6",
    "busybox cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/raw /proc/net/raw6 /proc/net/unix", "busybox arp -n",
    "ip maddr", "busybox route -A inet6", "netstat -s", "busybox cat /proc/net/igmp /proc/net/igmp6 /proc/net/dev_mcast",
    "nstat -asz UdpIn* UdpNo* UdpOut* UdpRcv* UdpLiteIn* TcpExtSync* TcpExtListen* TcpExtTCPSynRetrans TcpExtTCPTimeouts TcpExtPAWSEstab IcmpIn* TcpA* TcpP* TcpR* TcpO*",
]
NOISE = (
    (r"@if\d+", ""), (r" link-netnsid \d+", ""), (r"qdisc \w+", "qdisc Q"), (r"\b(state) (?:UNKNOWN|UP|DOWN)\b(?=.*loopback)", r"\1 S"),
    (r"(?<=[RT]X )(packets|bytes):.*", r"\1"), (r"[RT]X bytes.*", ""), (r" tentative", ""), (r" nodad", ""), (r' ?"link_index":\d+,', ""), (r"collisions:\d+", "collisions"),
    (r"txqueuelen:\d+", "txqueuelen"), (r"[ \t]+$", ""), (r"LOWERLAYERDOWN|DOWN", "DOWN"), (r"NO-CARRIER,|,M-DOWN", ""), (r" (?:proto \w+|noprefixroute)", ""),
    (r'"link_netnsid":\d+,|"qdisc":"\w+",', ""), (r"^(eth0|lo) +(?=\w)", r"\1 "), (r"\b(?:40|c0)(?= +eth0)", "80"), (r"\S*/changes:", "/changes:"),
    (r".*(?:33:33:ff|3333ff|1:ff00:1|1ff000001).*\n", ""),      # joined with the first probe for a double of the address
    (r"^(\S+/\d+ .*) +\d+ +\d+ +(?=\w+$)", r"\1 "), (r"^MPTcpExt:\n|.*headers predicted\n|.*(?:Octets|Pkts): \d+\n", ""), (r"^#kernel\n", ""),
    ("Error: ipv4: Address already assigned.", "RTNETLINK answers: File exists"),
    ("Error: ipv4: Address not found.", "RTNETLINK answers: Cannot assign requested address"),
    ("Error: Nexthop has invalid gateway.", "RTNETLINK answers: Network is unreachable"),
)


def calm(text: str) -> str:
    """Without what may differ."""
    for pattern, instead in NOISE:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"


@contextlib.contextmanager
def linux_side() -> Iterator[int]:
    """A process in a network namespace as the guest's network is; its number."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        servers.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", str(holder.pid))
        servers.run("ip", "link", "set", "veth0", "up")
        inside = ["nsenter", "-t", str(holder.pid), "-n"]
        servers.run(*inside, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra;"
                    f"ip link set lo up; ip link set eth0 up; ip addr add {GUEST}/24 brd + dev eth0; ip route add default via {HOST}")
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def linux_says(command: str, changes: Path) -> str:
    """What a command says in a namespace that was made for it."""
    with linux_side() as pid:
        words = [str(changes) if word == "/changes" else word for word in command.split()]
        done = subprocess.run(["nsenter", "-t", str(pid), "-n", "unshare", "-m", "sh", "-c", 'mount -t proc proc /proc; exec "$@"', "-", "stdbuf", "-oL", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
        subprocess.run(["ip", "link", "del", "veth0"], check=False, capture_output=True)
    return done.stdout + f"exit {done.returncode}\n"


def make_disk(changes: Path) -> Path:
    """All the programs."""
    image = BUILD / "disk"
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        tree = Path(name)
        for folder in ("etc", "tmp", "dev", "proc", "sys", "run"):
            (tree / folder).mkdir()
        for program in ("/usr/bin/ip", "/usr/bin/busybox", "/usr/bin/ss", "/usr/bin/nstat", "/usr/bin/netstat"):
            real = Path(program).resolve()
            for part in (real, *servers.libraries(real)):
                if not (tree / part.relative_to("/")).exists():
                    servers.place(tree, part)
            servers.place(tree, real)
            (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
            if not (tree / program[1:]).exists():
                (tree / program[1:]).symlink_to(real)
        if Path("/etc/iproute2").exists():
            subprocess.run(["cp", "-r", "/etc/iproute2", tree / "etc"], check=True)
        (tree / "changes").write_text(changes.read_text())
        image.unlink(missing_ok=True)
        servers.run("/sbin/mke2fs", "-q", "-t", "ext2", "-b", "4096", "-d", tree, image, "48M")
    return image


def uni_says(command: str, image: Path) -> str:
    """What it says in a guest, whose interface comes up as Linux's did."""
    words = command.split()
    pairs = [f"init=/usr/bin/{words[0]}", *(f"arg={word}" for word in words[1:]), f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off", "uni.tty=0",
             "env=LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"]
    (BUILD / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
    done = subprocess.run(
        ["qemu-system-x86_64", "-M", MICROVM, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg", "-cpu", "max", "-m", "64M",
         "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
         "-kernel", servers.KERNEL, "-append", "console=ttyS0 root=/dev/vda rw quiet", "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}",
         "-drive", f"file={image},format=raw,if=none,id=d0,cache=unsafe,snapshot=on", "-device", "virtio-blk-device,drive=d0",
         "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", f"virtio-net-device,netdev=n0,mac={MAC}"],
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL)
    return done.stdout.replace("\r", "") + f"exit {done.returncode >> 1}\n"


def main() -> int:
    words = sys.argv[1:]
    BUILD.mkdir(parents=True, exist_ok=True)
    servers.make_network()
    changes = BUILD / "changes"
    changes.write_text(CHANGES)
    image = make_disk(changes)
    failed = 0
    chosen = [command for command in COMMANDS if not words or any(word in command for word in words)]
    for command in chosen:
        linux, uni = calm(linux_says(command, changes)), calm(uni_says(command, image))
        if "table" in command or "inet6" in command:     # Linux's order is that of its hash tables
            linux, uni = "\n".join(sorted(linux.splitlines())), "\n".join(sorted(uni.splitlines()))
        print(f"{'ok  ' if linux == uni else 'FAIL'} {command}", flush=True)
        if linux != uni:
            failed += 1
            print("\n".join("  " + line for line in difflib.unified_diff(linux.splitlines(), uni.splitlines(), "linux", "uni", lineterm="", n=0)))
    print(f"{len(chosen) - failed} of {len(chosen)} equal")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
