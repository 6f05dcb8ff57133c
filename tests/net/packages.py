# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of Debian's packages that servers.py runs where they are installed, or unpacked under its --root: how to start and ask them."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from wire import GUEST

ADDRESS = bytes([192, 0, 2, 1])
ZONE = "$TTL 60\n@ SOA a b 1 1 1 1 1\n@ NS a\na A 192.0.2.1\n"
NAMED = """options { directory "/tmp"; listen-on { any; }; recursion no; dnssec-validation no; pid-file none; };
zone "example.test" { type master; file "/etc/zone"; };
"""
UNBOUND = """server:
 interface: 0.0.0.0
 access-control: 0.0.0.0/0 allow
 chroot: ""
 username: ""
 directory: "/tmp"
 pidfile: ""
 use-syslog: no
 do-daemonize: no
 local-zone: "example.test." static
 local-data: "a.example.test. A 192.0.2.1"
remote-control:
 control-enable: no
"""
PROMETHEUS = "global:\n  scrape_interval: 1m\n"


@dataclass(frozen=True)
class Package:
    """A server of a package: program, arguments, port, how to ask it, its files."""

    program: str
    argv: tuple[str, ...]
    port: int
    ask: Callable[[int], None]
    files: dict[str, str] = field(default_factory=dict)
    memory: int = 128
    slack: int = 4 << 20


def request(port: int, method: str, path: str, body: str | None = None) -> bytes:
    """One HTTP request that must succeed."""
    peer = http.client.HTTPConnection(GUEST, port, timeout=20)
    try:
        peer.request(method, path, body)
        answer = peer.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{path}: {answer.status}"
        return text
    finally:
        peer.close()


def ask_etcd(port: int) -> None:
    request(port, "POST", "/v3/kv/put", json.dumps({"key": "Zm9v", "value": "YmFy"}))
    assert b"YmFy" in request(port, "POST", "/v3/kv/range", json.dumps({"key": "Zm9v"}))


def ask_caddy(port: int) -> None:
    assert request(port, "GET", "/index.html") == b"hello, world\n"


def ask_prometheus(port: int) -> None:
    request(port, "GET", "/-/ready")
    assert b"success" in request(port, "GET", "/api/v1/query?query=up")


def ask_tinyproxy(port: int) -> None:
    assert b"tinyproxy" in request(port, "GET", "http://tinyproxy.stats/").lower()


def ask_nats(port: int) -> None:
    with socket.create_connection((GUEST, port), 20) as peer:
        stream = peer.makefile("rwb")
        assert stream.readline().startswith(b"INFO")
        stream.write(b'CONNECT {"verbose":false}\r\nSUB a 1\r\nPUB a 5\r\nhello\r\n')
        stream.flush()
        lines: Iterator[bytes] = iter(stream.readline, b"")
        assert any(line == b"hello\r\n" for line in lines)
        peer.shutdown(socket.SHUT_WR)


def ask_mosquitto(port: int) -> None:
    with socket.create_connection((GUEST, port), 20) as peer:
        stream = peer.makefile("rwb")
        for send, want in ((b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", b"\x20\x02\x00\x00"),
                           (b"\x82\x06\x00\x01\x00\x01t\x00", b"\x90\x03\x00\x01\x00"), (b"\x30\x05\x00\x01thi", b"\x30\x05\x00\x01thi")):
            stream.write(send)
            stream.flush()
            assert stream.read(len(want)) == want
        stream.write(b"\xe0\x00")
        stream.flush()


def ask_dns(port: int) -> None:
    """The same question by UDP and by TCP."""
    name = b"\x01a\x07example\x04test\0"
    question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(3)
        peer.sendto(question, (GUEST, port))
        assert ADDRESS in peer.recv(4096)
    with socket.create_connection((GUEST, port), 20) as peer:
        peer.sendall(struct.pack(">H", len(question)) + question)
        stream = peer.makefile("rb")
        assert ADDRESS in stream.read(struct.unpack(">H", stream.read(2))[0])


PACKAGES = {
    "etcd": Package("/usr/bin/etcd", ("--data-dir", "/tmp/etcd", "--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls",
                                      f"http://{GUEST}:2379"), 2379, ask_etcd, memory=256, slack=48 << 20),
    "caddy": Package("/usr/bin/caddy", ("file-server", "--root", "/www", "--listen", ":80"), 80, ask_caddy, memory=256, slack=48 << 20),
    "nats": Package("/usr/sbin/nats-server", (), 4222, ask_nats, memory=192, slack=48 << 20),
    "prometheus": Package("/usr/bin/prometheus", ("--config.file=/etc/prometheus.yml", "--storage.tsdb.path=/tmp/tsdb"), 9090, ask_prometheus,
                          {"etc/prometheus.yml": PROMETHEUS}, memory=384, slack=64 << 20),
    "mosquitto": Package("/usr/sbin/mosquitto", ("-c", "/etc/mosquitto.conf"), 1883, ask_mosquitto,
                         {"etc/mosquitto.conf": "listener 1883\nallow_anonymous true\nuser root\n"}),
    "named": Package("/usr/sbin/named", ("-g", "-c", "/etc/named.conf"), 53, ask_dns, {"etc/named.conf": NAMED, "etc/zone": ZONE}, 256, 16 << 20),
    "unbound": Package("/usr/sbin/unbound", ("-d", "-c", "/etc/unbound.conf"), 53, ask_dns, {"etc/unbound.conf": UNBOUND}),
    "dnsmasq": Package("/usr/sbin/dnsmasq", ("-d", "-u", "root", "-C", "/dev/null", "--address=/example.test/192.0.2.1", "--pid-file"), 53, ask_dns),
    "tinyproxy": Package("/usr/bin/tinyproxy", ("-d", "-c", "/etc/tinyproxy.conf"), 8888, ask_tinyproxy,
                         {"etc/tinyproxy.conf": "Port 8888\nListen 0.0.0.0\nUser root\nGroup root\nTimeout 60\n"}),
}
