# SPDX-License-Identifier: GPL-3.0-or-later
"""Names for other hosts: what is answered, what is refused, what is noise."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import peers, responder
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.ipam import choose
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec, build, plan_network
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root


def query(name: bytes, kind: int = responder.A, **fields: int) -> bytes:
    head = struct.pack("!HHHHHH", 7, fields.get("flags", 0x0100), fields.get("count", 1), 0, 0, fields.get("more", 0))
    return head + bytes([len(name)]) + name + b"\0" + struct.pack("!HH", kind, fields.get("family", 1))


def read(packet: bytes) -> tuple[int, int]:
    """Response code and number of answers."""
    flags, questions, answers = struct.unpack_from("!HHH", packet, 2)
    assert flags & 0x8000 and questions == 1 and packet[:2] == b"\0\7"
    return flags & 15, answers


@pytest.fixture
def names(tmp_path: Path) -> responder.Names:
    (tmp_path / "one").write_text("10.50.0.64 web www\nfd00::64 web\n")
    (tmp_path / "two").write_text("10.50.0.65 WEB\nnonsense\n\n10.50.0.66\n")
    (tmp_path / ".tmp-x").write_text("10.50.0.99 hidden\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe 1")
    return responder.read_names(str(tmp_path))


def test_answers(names: responder.Names) -> None:
    assert read(responder.answer(query(b"web"), names)) == (0, 2)
    assert responder.answer(query(b"www"), names).endswith(b"\n2\0@")
    assert read(responder.answer(query(b"WeB", responder.AAAA), names)) == (0, 1)
    assert read(responder.answer(query(b"www", responder.AAAA), names)) == (0, 0), "it has none: no reason to ask others"
    assert read(responder.answer(query(b"www", 16), names)) == (0, 0)
    assert read(responder.answer(query(b"nobody"), names)) == (responder.REFUSED, 0)
    assert read(responder.answer(query(b"hidden"), names)) == (responder.REFUSED, 0)
    assert read(responder.answer(query(b"web", more=1) + b"\0\0\x29\x10\0\0\0\0\0\0\0", names)) == (0, 2), "EDNS is left out"


@pytest.mark.parametrize("packet", [
    b"", b"\0" * 12, query(b"web", flags=0x8180), query(b"web", count=2), query(b"web", family=3), query(b"web")[:-1],
    query(b"a")[:12] + b"\3web\3com\0\0\1\0\1", query(b"a")[:12] + b"\xc0\x0c\0\1\0\1", query(b"web", flags=0x2900)])
def test_noise(names: responder.Names, packet: bytes) -> None:
    with pytest.raises(ValueError):
        responder.answer(packet, names)


def test_hostile_packets(names: responder.Names) -> None:
    chance = random.Random(7)
    good = query(b"web")
    for _turn in range(20000):
        packet = bytearray(good if chance.random() < 0.7 else chance.randbytes(chance.randrange(80)))
        for _change in range(chance.randrange(4)):
            if packet:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        try:
            assert len(responder.answer(bytes(packet), names)) <= 512
        except ValueError:
            continue


def test_many_addresses_fit() -> None:
    name = b"n" * 63
    names = {name: {responder.A: [], responder.AAAA: [bytes(16)] * 50}}
    assert len(responder.answer(query(name, responder.AAAA), names)) <= 512


def test_the_process(tmp_path: Path) -> None:
    """It sees names come and go, and goes when their directory does."""
    from socket import AF_INET, SOCK_DGRAM, socket

    hosts = tmp_path / "hosts"
    hosts.mkdir()
    with socket(AF_INET, SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pid = int(subprocess.run([sys.executable, "-I", "-S", responder.__file__, "127.0.0.1", str(port), str(hosts), "0"],
                             capture_output=True, text=True, check=True, timeout=30).stdout)
    try:
        with socket(AF_INET, SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.connect(("127.0.0.1", port))

            def ask() -> tuple[int, int]:
                sock.send(query(b"web"))
                return read(sock.recv(512))

            assert ask() == (responder.REFUSED, 0)
            (hosts / "one").write_text("10.50.0.64 web\n")
            assert ask() == (0, 1)
            (hosts / "one").unlink()
            assert ask() == (responder.REFUSED, 0)
            hosts.rmdir()
            sock.send(query(b"web"))
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, 9)


def test_a_network_over_hosts_needs_a_range() -> None:
    vxlan = {"id": 7, "remotes": ["192.0.2.2"], "gateways": ["10.50.0.2"]}
    spec = NetworkSpec.parse("wide", {"subnet": "10.50.0.0/29", "vxlan": vxlan})
    with pytest.raises(UsageError) as caught:
        plan_network(spec, None, [])
    assert caught.value.code == "network.vxlan_range"
    spec = NetworkSpec.parse("wide", {"subnet": "10.50.0.0/29", "ip_range": "10.50.0.0/30", "vxlan": vxlan})
    assert plan_network(spec, None, []).changed
    network = build(Root(Path("/r")), spec, None, [])
    assert network.get("mtu") == 1450 and choose(network, []) == "10.50.0.3", "the other host's gateway is nobody's"
    assert not plan_network(spec, network, ["a VM"]).changed
    assert peers.questions(network) == ["--server=//10.50.0.2#10053"]
    with pytest.raises(UsageError):
        build(Root(Path("/r")), NetworkSpec.parse("wide", {"subnet": "10.60.0.0/29", "vxlan": vxlan}), None, [])
