# SPDX-License-Identifier: GPL-3.0-or-later
"""Real QEMU, tiny guests: each test has a root directory of its own and must leave no process behind."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .netguest import Outside

CLONE_NEWNET = 0x40000000
TOP = Path(__file__).resolve().parents[2]
COLLECTIONS = TOP / ".build" / "collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))
os.environ["UNI_ACCEL"] = "tcg"

from ansible_collections.uni.engine.plugins.module_utils.engine import probe_guest as code
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec


def event(**fields: object) -> bytes:
    """Code that sends one line over the control port."""
    return code.out_patiently(code.COM2, json.dumps(fields, separators=(",", ":")).encode() + b"\n")


BOOT = event(event="boot", version="test", abi=1, boot_us=1) + event(event="ready", boot_us=2)
# in al, dx in a loop until COM2 has a byte (line status register, bit 0): mov dx,0x2fd; in al,dx; test al,1; jz -5
WAIT_COMMAND = b"\x66\xba\xfd\x02\xec\xa8\x01\x74\xfb"
# the same for COM1; then echo the byte: mov dx,0x3f8; in al,dx; out dx,al; jump back to the wait
ECHO = b"\x66\xba\xfd\x03\xec\xa8\x01\x74\xfb\x66\xba\xf8\x03\xec\xee\xeb\xef"

GUESTS = {
    "hello": BOOT + code.out(code.COM1, b"hello\n") + event(event="exit", status=0) + code.leave(0),
    "fail": BOOT + code.out(code.COM1, b"failing\n") + event(event="exit", status=3) + code.leave(1),
    "count": BOOT + code.out_patiently(code.COM1, b"".join(b"%d\n" % number for number in range(300)))
    + event(event="exit", status=0) + code.leave(0),
    "idle": BOOT + code.out(code.COM1, b"idle\n") + code.halt(),
    "polite": BOOT + WAIT_COMMAND + code.out(code.COM1, b"asked to end\n") + event(event="exit", status=0)
    + code.leave(0),
    "echo": BOOT + code.out(code.COM1, b"echo\n") + ECHO,
    "panic": BOOT + event(event="panic", reason="out of luck", rip="0x1", symbol="main") + code.leave(3),
    "crash": BOOT + event(event="exit", signal=11, name="SIGSEGV") + code.leave(2),
    "mute": code.halt(),
    "gone": code.leave(0),
    # out 'x' for ever: mov dx,0x3f8; mov al,'x'; out dx,al; jmp back
    "flood": BOOT + b"\x66\xba\xf8\x03\xb0x\xee\xeb\xfd",
    # lines of garbage, an endless line, then the truth
    "liar": BOOT + code.out_patiently(code.COM2, b"not json\n[1]\n{\"event\":\"exit\",\"status\":{\"a\":1}}\n"
                                      b"{\"event\":\"exit\",\"status\":99999}\n" + b"A" * 9000 + b"\n")
    + event(event="exit", status=5) + code.leave(1),
}


def forever(port_code: bytes) -> bytes:
    """Code again and again: jmp back to its start (opcode e9 with a 32-bit distance)."""
    return port_code + b"\xe9" + (-(len(port_code) + 5) & 0xFFFFFFFF).to_bytes(4, "little")


# What steers a terminal, cannot be encoded, or turns the direction of writing round.
FOUL = "\x1b]0;owned\x07\x1b[2J\ud800\0\r\u202e"
GUESTS["foul"] = BOOT + event(event="oom", what=FOUL, program=FOUL, pages=FOUL) + event(
    event="crash", signal=FOUL, rip=True, addr=FOUL) + event(event="unsupported", call=FOUL) + code.out_patiently(
    code.COM2, b'{"event":true,"id":true}\n{"event":"exit","status":true}\n{"event":"exit","signal":true}\n{"event":"exit","status":'
    + b"9" * 4000 + b"}\n" + b"[" * 4000 + b"\n\xff\xfe\0\n") + code.out(
    code.COM1, b"\0\xff\x1b[2J\r2026-01-01T00:00:00Z stdout F fake\n") + event(event="exit", signal=11, name=FOUL[:14]) + code.leave(2)
GUESTS["chatter"] = BOOT + forever(event(event="ready"))


class Host:
    """One root directory with VMs made from tiny guests."""

    def __init__(self, path: Path) -> None:
        self.root = Root(path / "root")
        self.path = path

    def guest(self, name: str) -> str:
        """The path of a tiny guest's image."""
        path = self.path / f"{name}.elf"
        if not path.exists():
            path.write_bytes(code.elf(GUESTS[name]))
        return str(path)

    def spec(self, name: str, guest: str, **options: object) -> VmSpec:
        """A specification that boots a tiny guest."""
        base = {"kernel": self.guest(guest), "rng": False, "memory": "16M", "stop_timeout": "200ms"}
        return VmSpec.parse(name, {**base, **options})

    def run(self, name: str, guest: str, **options: object) -> dict[str, object]:
        """Create and start."""
        return api.run(self.root, self.spec(name, guest, **options))


def processes(marker: str) -> list[int]:
    """The pids of processes whose command line names ``marker``."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
            except OSError:
                continue
    return found


@pytest.fixture
def host() -> Iterator[Host]:
    """A fresh host; its VMs are removed and checked for leftovers afterwards."""
    with tempfile.TemporaryDirectory(prefix="uni-test-") as name:
        host = Host(Path(name))
        os.chmod(name, 0o755)
        try:
            yield host
        finally:
            for state in api.list_vms(host.root, everything=True):
                api.remove(host.root, str(state["id"]), force=True)
        assert os.listdir(host.root.vms) in ([], [".names"])
        assert not (host.root.vms / ".names").is_dir() or not os.listdir(host.root.vms / ".names")
        assert not (host.root.run / "uids").is_dir() or not os.listdir(host.root.run / "uids")


@pytest.fixture
def net(host: Host) -> Iterator[Host]:
    """The host in a network namespace of its own, whose FORWARD policy is DROP (as Docker leaves it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
        yield host
        for state in api.list_vms(host.root, everything=True):
            api.remove(host.root, str(state["id"]), force=True)
        for network in networks.list_networks(host.root):
            networks.ensure_absent(host.root, network["name"])
        for tool in ("iptables-save", "ip6tables-save", "ebtables-save"):
            assert "UNI" not in subprocess.run([tool], capture_output=True, text=True, check=True).stdout
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(links) == 1, links
        tables = subprocess.run(["nft", "list", "tables", "bridge"], capture_output=True, text=True, check=True).stdout
        assert "uni" not in tables
        assert list(host.root.networks.iterdir()) == [] and not list(host.root.run.glob("net-*"))
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """The kernel of this tree, built once where it is missing."""
    if not (TOP / "kernel" / "build" / "uni.elf").exists():
        subprocess.run(["make", "-s", "-C", TOP / "kernel"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """server.c as a static program, for guests and for other namespaces."""
    path = tmp_path_factory.mktemp("binary") / "server"
    subprocess.run(["musl-gcc", "-O2", "-static", "-o", path, Path(__file__).with_name("server.c")], check=True)
    return path


@pytest.fixture(scope="session")
def disk(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext2 disk with the server."""
    home = tmp_path_factory.mktemp("disk")
    (home / "tree" / "bin").mkdir(parents=True)
    shutil.copy(binary, home / "tree/bin/server")
    image = home / "disk.ext2"
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-d", home / "tree", image, "4M"], check=True)
    return image


@pytest.fixture
def outside(net: Host, binary: Path) -> Iterator[Outside]:
    """Another host on the wire of the namespace."""
    from .netguest import Outside

    del net
    other = Outside(binary)
    try:
        yield other
    finally:
        other.close()
