# SPDX-License-Identifier: GPL-3.0-or-later
"""Network throughput and latency of Uni against Debian's cloud Linux as the guest: same binaries, same disk, same load, same QEMU.

    tests/bench/net.py [--seconds N] [--rounds N] [--only ROW,...] [--machine microvm|q35]

Linux runs on q35 (Debian's kernel hangs in about half of its boots on microvm under TCG). Every answer is checked by the load
generators; after every row the server must still answer. Aim: at least 1.5 times Linux on every row.

"boot to first answer" counts from the start of QEMU, on the same disk; less is better there and in the rows of latencies.

The guests hang on a TAP device in a network namespace (root). With --net user they are behind QEMU's user networking, whose
listening sockets have a backlog of one: clients that open several connections at once then wait seconds for lost SYNs, whatever the guest.
"""

from __future__ import annotations

import argparse
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "kernel"), str(HERE.parent / "net")]

import wire
from oracle import linux_guest
from oracle.tether import tether

TOP = HERE.parents[1]
BUILD = TOP / ".build" / "bench-net"
KERNEL = TOP / "kernel" / "build" / "uni.elf"
MICROVM = "microvm,acpi=off,rtc=on,pit=off,pic=off,isa-serial=on,auto-kernel-cmdline=on,x-option-roms=off"
GUEST_PORTS = {"http": 8080, "sink": 8081, "source": 8082, "echo": 8083, "nginx": 80, "redis": 6379}
GUEST, HOST = "10.0.2.15", "10.0.2.2"
ADDRESS = f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off"


@dataclass(frozen=True)
class Server:
    """A program in the guest and its memory in MiB (of Uni; Linux gets 256)."""

    name: str
    argv: tuple[str, ...]
    port: str


SERVERS = {
    "epoll": Server("epoll", ("/bin/epoll_server",), "http"),
    "nginx": Server("nginx", ("/usr/sbin/nginx", "-c", "/etc/bench-nginx.conf"), "nginx"),
    "redis": Server("redis", ("/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--daemonize", "no"), "redis"),
}
NGINX_CONF = """daemon off; master_process off; worker_processes 1; error_log /dev/null; pid /tmp/nginx.pid; user root root;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; open_file_cache max=100;
server { listen 80 reuseport; root /www; } }
"""


def run(*words: str | Path, timeout: float = 120) -> str:
    """Run a command; its standard output. Raises with what it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr or done.stdout}")
    return done.stdout


def libraries(program: Path) -> list[Path]:
    """What ldd finds for a dynamic program."""
    found = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", found)]


def build_disk() -> Path:
    """One ext2 disk with all servers."""
    BUILD.mkdir(parents=True, exist_ok=True)
    run("musl-gcc", "-O2", "-static", "-o", BUILD / "epoll_server", HERE / "net" / "epoll_server.c")
    run("gcc", "-O2", "-o", BUILD / "load", HERE / "net" / "load.c")
    image = BUILD / "servers.ext2"
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        tree = Path(name)
        for folder in ("bin", "etc", "tmp", "www", "dev", "proc", "sys", "run", "var/lib/nginx", "var/log/nginx"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / "epoll_server", tree / "bin")
        for program in ("/usr/sbin/nginx", "/usr/bin/redis-server"):
            for path in [Path(program), *libraries(Path(program))] if Path(program).exists() else []:
                target = tree / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path.resolve(), target)
        (tree / "www/index.html").write_text("hello, world\n")
        (tree / "etc/bench-nginx.conf").write_text(NGINX_CONF)
        (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        (tree / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        image.unlink(missing_ok=True)
        run("/sbin/mke2fs", "-q", "-t", "ext2", "-d", tree, image, "64M")
    return image


class Guest:
    """A running guest: Uni or Linux."""

    def __init__(self, system: str, server: Server, disk: Path, options: argparse.Namespace) -> None:
        machine, memory = options.machine, options.memory
        tap = options.net == "tap"
        self.host = GUEST if tap else "127.0.0.1"
        self.ports = dict(GUEST_PORTS) if tap else {name: free_port() for name in GUEST_PORTS}
        self.scratch = Path(tempfile.mkdtemp(dir=BUILD))
        copy = self.scratch / "disk"
        run("cp", "--sparse=always", disk, copy)
        pairs = [f"init={server.argv[0]}", *(f"arg={word}" for word in server.argv[1:]), ADDRESS, "uni.tty=0"]
        (self.scratch / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
        microvm = system == "uni" and machine == "microvm"
        bus = "device" if microvm else "pci"
        forwards = ",".join(f"hostfwd={'udp' if name == 'echo' else 'tcp'}:127.0.0.1:{self.ports[name]}-:{port}"
                            for name, port in GUEST_PORTS.items())
        line = ["qemu-system-x86_64", "-M", MICROVM if microvm else "q35", "-global", "virtio-mmio.force-legacy=false",
                "-accel", "tcg", "-cpu", "max", "-m", memory if system == "uni" else "256M", "-smp", "1", "-nodefaults",
                "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{self.scratch}/console",
                "-serial", f"file:{self.scratch}/control", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
                "-fw_cfg", f"name=opt/uni/config,file={self.scratch}/config",
                "-drive", f"file={copy},format=raw,if=none,id=d0,cache=unsafe", "-device", f"virtio-blk-{bus},drive=d0",
                "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no" if tap else f"user,id=n0,{forwards}",
                "-device", f"virtio-net-{bus},netdev=n0"]
        if system == "uni":
            line += ["-kernel", str(KERNEL), "-append", "console=ttyS0 root=/dev/vda rw quiet"]
            if microvm:
                line = [word for word in line if word != f"file:{self.scratch}/control"]
                line.remove("-serial") if line.count("-serial") > 1 else None
                line = fix_serial(line, self.scratch)
        else:
            line += ["-kernel", str(linux_guest.kernel_image()), "-append", linux_guest.APPEND, "-initrd", str(linux_guest.prepare())]
        self.server = server
        self.boot_ms = 0.0
        started = time.monotonic()
        self.process = subprocess.Popen(tether(line), stdin=subprocess.DEVNULL, stderr=(self.scratch / "qemu.log").open("wb"))
        if tap and server.port == "http":
            first_answer(self.host, self.ports["http"], started + 60)
            self.boot_ms = (time.monotonic() - started) * 1000
        self.wait()

    def wait(self, seconds: float = 60) -> None:
        """Until the server answers."""
        end = time.monotonic() + seconds
        while not self.alive():
            if self.process.poll() is not None or time.monotonic() > end:
                console = (self.scratch / "console").read_bytes()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{self.server.name}: no answer\n{console}")
            time.sleep(0.05)

    def alive(self) -> bool:
        """One checked answer, on a new connection."""
        port = self.ports[self.server.port]
        try:
            if self.server.name == "redis":
                with socket.create_connection((self.host, port), 2) as peer:
                    peer.settimeout(2)
                    peer.sendall(b"PING\r\n")
                    return peer.recv(64) == b"+PONG\r\n"
            with urllib.request.urlopen(f"http://{self.host}:{port}/index.html", timeout=2) as answer:
                return bool(answer.read() == b"hello, world\n")
        except OSError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


def first_answer(host: str, port: int, end: float) -> None:
    """Until an HTTP server that is yet to come up has answered once. A new connection is tried every three milliseconds, because one
    that came too early would wait a second for its next SYN. Raises TimeoutError at `end` (time.monotonic())."""
    pending: list[socket.socket] = []
    try:
        while time.monotonic() < end:
            probe = socket.socket()
            probe.setblocking(False)
            probe.connect_ex((host, port))
            pending.append(probe)
            for peer in select.select([], pending, [], 0.003)[1]:
                if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    peer.settimeout(5)
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n")
                    if peer.recv(4096).endswith(b"hello, world\n"):
                        return
                pending.remove(peer)
                peer.close()
            for old in pending[:-200]:
                pending.remove(old)
                old.close()
    finally:
        for peer in pending:
            peer.close()
    raise TimeoutError(f"{host}:{port} does not answer")


def booted(guest: Guest, seconds: float) -> dict[str, float]:
    """Milliseconds from the start of QEMU to the first answered request; less is better, aim: at most 0.15 of Linux."""
    return {"ms": guest.boot_ms} if seconds and guest.boot_ms else {}


def fix_serial(line: list[str], scratch: Path) -> list[str]:
    """microvm has one serial port of its own; the control port is a device."""
    words = [word for word in line if word != "-serial"]
    words = [word for word in words if not word.startswith(f"file:{scratch}/console")]
    return [*words, "-serial", f"file:{scratch}/console", "-chardev", f"file,id=ctl,path={scratch}/control",
            "-device", "isa-serial,chardev=ctl,iobase=0x2f8,irq=3"]


def make_network() -> None:
    """A network namespace of our own with a TAP device."""
    wire.enter_namespace()
    run("ip", "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr")
    run("ip", "addr", "add", f"{HOST}/24", "dev", "tap0")
    for number in range(100, 200):
        run("ip", "addr", "add", f"10.0.2.{number}/24", "dev", "tap0")
    run("ip", "link", "set", "tap0", "up")
    # QEMU's first network card; the first packet of the host need not wait for ARP's retries while the guest boots.
    run("ip", "neigh", "replace", GUEST, "lladdr", "52:54:00:12:34:56", "dev", "tap0", "nud", "permanent")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def milliseconds(text: str) -> float:
    """wrk's 1.23ms, 456.00us, 1.20s."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    assert match, text
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]]


def wrk(port: str, connections: int) -> Callable[[Guest, float], dict[str, float]]:
    """Requests a second and latency of a keep-alive HTTP server."""
    def row(guest: Guest, seconds: float) -> dict[str, float]:
        text = run("wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}", "--latency", f"http://{guest.host}:{guest.ports[port]}/index.html")
        if "Socket errors" in text or "Non-2xx" in text:
            raise RuntimeError(text)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        tail = re.search(r"^ +99%\s+(\S+)", text, re.MULTILINE)      # not "97.50%" of the table above
        middle = re.search(r"^ +50%\s+(\S+)", text, re.MULTILINE)
        assert rate and tail and middle, text
        return {"per second": float(rate[1]), "p50 ms": milliseconds(middle[1]), "p99 ms": milliseconds(tail[1])}
    return row


def load(kind: str, port: str, lanes: int) -> Callable[[Guest, float], dict[str, float]]:
    def row(guest: Guest, seconds: float) -> dict[str, float]:
        text = run(BUILD / "load", kind, guest.host, str(guest.ports[port]), str(seconds), str(lanes),
                   *(["100"] if guest.host == GUEST and kind == "connect" else []))
        return {"per second": float(text)}
    return row


def redis(command: str, pipeline: int) -> Callable[[Guest, float], dict[str, float]]:
    def row(guest: Guest, seconds: float) -> dict[str, float]:
        requests = int(seconds * (12000 if pipeline == 1 else 60000))
        text = run("redis-benchmark", "-h", guest.host, "-p", str(guest.ports["redis"]), "-t", command, "-c", "16",
                   "-P", str(pipeline), "-n",
                   str(requests), "--csv")
        fields = text.splitlines()[-1].replace('"', "").split(",")
        return {"per second": float(fields[1]), "p50 ms": float(fields[4]), "p99 ms": float(fields[6])}
    return row


ROWS: dict[str, tuple[str, Callable[[Guest, float], dict[str, float]]]] = {
    "boot to first answer": ("epoll", booted),
    "http keep-alive, 16 connections": ("epoll", wrk("http", 16)),
    "http keep-alive, 1 connection": ("epoll", wrk("http", 1)),
    "new connections": ("epoll", load("connect", "http", 16)),
    "udp echo, 16 in flight": ("epoll", load("udp", "echo", 16)),
    "bulk download MB": ("epoll", load("download", "source", 1)),
    "bulk upload MB": ("epoll", load("upload", "sink", 1)),
    "nginx, 16 connections": ("nginx", wrk("nginx", 16)),
    "redis GET": ("redis", redis("get", 1)),
    "redis SET": ("redis", redis("set", 1)),
    "redis GET, pipeline 16": ("redis", redis("get", 16)),
    "redis SET, pipeline 16": ("redis", redis("set", 16)),
}


def measure(options: argparse.Namespace) -> dict[str, dict[str, dict[str, list[float]]]]:
    """row -> system -> figure -> values."""
    disk = build_disk()
    chosen = {name: row for name, row in ROWS.items() if not options.only or any(word.lower() in name.lower() for word in options.only.split(","))}
    if not chosen:
        raise SystemExit(f"no row is called {options.only}; there are: {'; '.join(ROWS)}")
    results: dict[str, dict[str, dict[str, list[float]]]] = {name: {"uni": {}, "linux": {}} for name in chosen}
    for _ in range(options.rounds):
        for server in {row[0] for row in chosen.values()}:
            for system in ("uni",) if options.no_linux else ("linux", "uni"):
                guest = Guest(system, SERVERS[server], disk, options)
                try:
                    for name, (wanted, row) in chosen.items():
                        if wanted != server:
                            continue
                        for figure, value in row(guest, options.seconds).items():
                            results[name][system].setdefault(figure, []).append(value)
                        if not guest.alive():
                            raise RuntimeError(f"{name}: {system} does not answer after the load")
                finally:
                    guest.stop()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35"))
    parser.add_argument("--memory", default="128M")
    parser.add_argument("--no-linux", action="store_true")
    parser.add_argument("--net", default="tap", choices=("tap", "user"))
    options = parser.parse_args()
    if options.net == "tap":
        make_network()
    print(f"{'':34}{'uni':>12}{'linux':>12}{'ratio':>8}")
    for name, systems in measure(options).items():
        for figure, values in systems["uni"].items():
            mine = statistics.median(values)
            theirs = statistics.median(systems["linux"].get(figure, [0.0]))
            ratio = f"{mine / theirs:8.2f}" if theirs else ""
            print(f"{name + ' ' + figure if figure != 'per second' else name:34}{mine:12.2f}{theirs:12.2f}{ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
