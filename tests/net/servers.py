# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers, unmodified, in Uni: do they serve, under load, without a wrong byte, a stall or a leak?

    tests/net/servers.py [--machine microvm|q35] [--connections N] [--runs N] [--root DIR] [names...]

For each server: checked answers, wrk or a checked loop as load, the server must answer at once afterwards, and after N connections
opened and closed the guest's sockets and memory are back where they were. --runs repeats the keep-alive load: stalls come once in a while. Programs that are not on this machine are named and
left out; --root is a folder where packages were unpacked (dpkg -x), for those that are not installed. Needs root (a network namespace with a TAP device), QEMU, e2fsprogs, kernel/build/uni.elf.
"""

from __future__ import annotations

import argparse
import glob
import http.client
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import wire
from control import Control
from packages import PACKAGES
from wire import GUEST, HOST, MICROVM, tether

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
KERNEL = TOP / "kernel" / "build" / "uni.elf"
BUILD = TOP / ".build" / "net-servers"
PAGE = b"hello, world\n"
BIG = bytes(range(256)) * 2048


@dataclass(frozen=True)
class Server:
    """A server: its program (a path here, copied with its libraries), arguments, files of its own, how to ask it."""

    program: str
    argv: tuple[str, ...]
    port: int
    ask: Callable[[int], None]
    files: dict[str, str] = field(default_factory=dict)
    trees: tuple[str, ...] = ()
    memory: int = 64
    wrk: str = ""
    disk: str = "160M"
    slack: int = 1 << 20        # bytes that the program itself may grow by (garbage collectors, arenas)


def http_get(port: int, path: str = "/index.html", want: bytes = PAGE, tls: bool = False) -> None:
    context = ssl._create_unverified_context() if tls else None
    peer = http.client.HTTPSConnection(GUEST, port, timeout=20, context=context) if tls else \
        http.client.HTTPConnection(GUEST, port, timeout=20)
    try:
        for _ in range(3):
            peer.request("GET", path)
            answer = peer.getresponse()
            body = answer.read()
            assert answer.status == 200 and body == want, f"{answer.status}: {len(body)} bytes"
    finally:
        peer.close()


def ask_files(port: int) -> None:
    http_get(port)
    http_get(port, "/big.bin", BIG)


def ask_page(port: int) -> None:
    http_get(port)


def ask_tls(port: int) -> None:
    http_get(port, tls=True)


def ask_memcached(port: int) -> None:
    with socket.create_connection((GUEST, port), 20) as peer:
        stream = peer.makefile("rwb")
        for number in range(50):
            value = bytes((number + i) % 256 for i in range(number * 37 + 1))
            stream.write(b"set key%d 0 0 %d\r\n" % (number, len(value)) + value + b"\r\n")
            stream.write(b"get key%d\r\n" % number)
            stream.flush()
            assert stream.readline() == b"STORED\r\n"
            assert stream.readline() == b"VALUE key%d 0 %d\r\n" % (number, len(value))
            assert stream.read(len(value) + 2) == value + b"\r\n" and stream.readline() == b"END\r\n"


def ask_redis(port: int) -> None:
    with socket.create_connection((GUEST, port), 20) as peer:
        stream = peer.makefile("rwb")
        for number in range(50):
            stream.write(b"SET k%d v%d\r\nGET k%d\r\n" % (number, number, number))
            stream.flush()
            value = b"v%d" % number
            assert stream.readline() == b"+OK\r\n"
            assert stream.readline() == b"$%d\r\n" % len(value) and stream.readline() == value + b"\r\n"


NGINX = """daemon off; master_process off; error_log /dev/null; pid /tmp/nginx.pid; user root root;
events { worker_connections 2048; }
http { access_log off; sendfile on; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d;
scgi_temp_path /tmp/e; keepalive_requests 1000000; server { listen 80; root /www; } }
"""
HAPROXY = """global
  maxconn 2000
  nbthread 1
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend web
  bind :80
  http-request return status 200 content-type text/plain string "hello, world\\n"
"""
LIGHTTPD = 'server.document-root = "/www"\nserver.port = 80\nserver.errorlog = "/dev/null"\nindex-file.names = ("index.html")\n'
ASYNCIO = """import asyncio
async def serve(reader, writer):
    try:
        while (await reader.readuntil(b"\\r\\n\\r\\n")):
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 13\\r\\n\\r\\nhello, world\\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 80) as server:
        await server.serve_forever()
asyncio.run(main())
"""
GO = """package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log"
	"math/big"
	"net/http"
	"time"
)

func main() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello, world\\n")) })
	go func() { log.Fatal(http.ListenAndServe(":80", nil)) }()
	server := http.Server{Addr: ":443", TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	log.Fatal(server.ListenAndServeTLS("", ""))
}
"""
RUST = """use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\\r\\n" {
            writer.write_all(b"HTTP/1.1 200 OK\\r\\nContent-Length: 13\\r\\n\\r\\nhello, world\\n")?;
        }
        line.clear();
    }
    Ok(())
}

fn main() {
    let listener = TcpListener::bind("0.0.0.0:80").expect("bind");
    let (sender, receiver) = mpsc::channel::<TcpStream>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..64 {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || loop {
            let next = receiver.lock().unwrap().recv();
            match next {
                Ok(stream) => drop(serve(stream)),
                Err(_) => return,
            }
        });
    }
    for stream in listener.incoming() {
        if let Ok(stream) = stream {
            sender.send(stream).unwrap();
        }
    }
}
"""
#: connections that are open at the same time; each takes about 1.7 KB in the guest
CROWD = 2000
PYTHON_TREE = ("/usr/lib/python3.11",)

SERVERS = {
    "epoll": Server("epoll_server", ("/bin/epoll_server",), 8080, ask_page, wrk="/index.html", memory=16, slack=128 << 10),
    "nginx": Server("/usr/sbin/nginx", ("-c", "/etc/nginx.conf"), 80, ask_files, {"etc/nginx.conf": NGINX}, wrk="/index.html", memory=32),
    "redis": Server("/usr/bin/redis-server", ("--save", "", "--appendonly", "yes", "--dir", "/tmp", "--protected-mode", "no"), 6379,
                    ask_redis, memory=48, slack=4 << 20),
    "memcached": Server("/usr/bin/memcached", ("-u", "root", "-m", "16", "-l", "0.0.0.0"), 11211, ask_memcached),
    "haproxy": Server("/usr/sbin/haproxy", ("-db", "-f", "/etc/haproxy.cfg"), 80, ask_page, {"etc/haproxy.cfg": HAPROXY},
                      wrk="/index.html", memory=128),
    "lighttpd": Server("/usr/sbin/lighttpd", ("-D", "-f", "/etc/lighttpd.conf"), 80, ask_files, {"etc/lighttpd.conf": LIGHTTPD},
                       ("/usr/lib/lighttpd",), wrk="/index.html"),
    "go": Server("go_server", ("/bin/go_server",), 443, ask_tls, memory=96, slack=24 << 20),
    "go-plain": Server("go_server", ("/bin/go_server",), 80, ask_page, wrk="/", memory=96, slack=24 << 20),
    "rust": Server("rust_server", ("/bin/rust_server",), 80, ask_page, wrk="/", memory=32),
    "python": Server("/usr/bin/python3.11", ("-m", "http.server", "-d", "/www", "80"), 80, ask_files, trees=PYTHON_TREE, memory=128, slack=4 << 20),
    "asyncio": Server("/usr/bin/python3.11", ("/srv.py",), 80, ask_page, {"srv.py": ASYNCIO}, PYTHON_TREE, 128, wrk="/", slack=4 << 20),
}

SERVERS |= {name: Server(p.program, p.argv, p.port, p.ask, p.files, memory=p.memory, slack=p.slack) for name, p in PACKAGES.items()}


def run(*words: str | Path, **keywords: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **keywords)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr or done.stdout}")
    return str(done.stdout)


def built(name: str) -> Path:
    """Our own servers."""
    target = BUILD / name
    if name == "epoll_server":
        run("musl-gcc", "-O2", "-static", "-o", target, TOP / "tests/bench/net/epoll_server.c")
    elif name == "rust_server":
        compiler = shutil.which("rustc") or str(Path("~/.cargo/bin/rustc").expanduser())
        source = BUILD / "rust_server.rs"
        source.write_text(RUST)
        run(compiler, "-O", "--edition", "2021", "-C", "target-feature=+crt-static", "-o", target, source)
    elif not target.exists():
        source = BUILD / "go_server.go"
        source.write_text(GO)
        run("go", "build", "-o", target, source, env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GO111MODULE": "off"})
    return target


def libraries(program: Path) -> list[Path]:
    found = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", found)]


def place(tree: Path, path: Path) -> None:
    target = tree / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path.resolve(), target)


def make_disk(server: Server) -> tuple[Path, list[str]]:
    """The disk of a server and its argument vector."""
    image = BUILD / "disk"
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        tree = Path(name)
        for folder in ("bin", "etc", "tmp", "www", "dev", "proc", "sys", "run", "var/lib/nginx", "var/log/nginx"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        argv = list(server.argv)
        if server.program.startswith("/"):
            program = Path(server.program)
            argv.insert(0, server.program)
            place(tree, program)
        else:
            program = built(server.program)
            shutil.copy(program, tree / "bin")
        parts = [program]
        for top in server.trees:
            shutil.copytree(top, tree / top[1:], symlinks=True, ignore=shutil.ignore_patterns("test", "tests", "__pycache__", "idlelib",
                                                                                            "lib2to3", "tkinter", "dist-packages"))
            owner = Path(top).stat()
            for path in [tree / top[1:], *(tree / top[1:]).rglob("*")] if owner.st_uid else []:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            parts += list(Path(top).rglob("*.so"))
        for part in parts:
            for library in libraries(part):
                if not (tree / library.relative_to("/")).exists():
                    place(tree, library)
        (tree / "www/index.html").write_bytes(PAGE)
        (tree / "www/big.bin").write_bytes(BIG)
        (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        for path, text in server.files.items():
            (tree / path).write_text(text)
        image.unlink(missing_ok=True)
        run("/sbin/mke2fs", "-q", "-t", "ext2", "-b", "4096", "-d", tree, image, server.disk)
    return image, argv


class Guest:
    """A guest with a server and its control port."""

    def __init__(self, server: Server, machine: str, *further: str) -> None:
        image, argv = make_disk(server)
        pairs = [f"init={argv[0]}", *(f"arg={word}" for word in argv[1:]), f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off", "uni.tty=0",
                 "uni.rlimit=nofile:20000:20000", f"env=LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:{os.environ.get('LD_LIBRARY_PATH', '')}", *further]
        (BUILD / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
        for stale in ("console", "control"):
            (BUILD / stale).unlink(missing_ok=True)
        bus = "device" if machine == "microvm" else "pci"
        self.process = subprocess.Popen(
            tether(["qemu-system-x86_64", "-M", MICROVM if machine == "microvm" else machine, "-global", "virtio-mmio.force-legacy=false",
             "-accel", "tcg", "-cpu", "max", "-m", f"{server.memory}M", "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot",
             "-display", "none", "-serial", f"file:{BUILD / 'console'}", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
             "-chardev", f"socket,id=ctl,path={BUILD / 'control'},server=on,wait=off", "-device",
             "isa-serial,chardev=ctl,iobase=0x2f8,irq=3", "-kernel", KERNEL, "-append", "console=ttyS0 root=/dev/vda rw quiet",
             "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}",
             "-drive", f"file={image},format=raw,if=none,id=d0,cache=unsafe", "-device", f"virtio-blk-{bus},drive=d0",
             "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", f"virtio-net-{bus},netdev=n0"]),
            stdin=subprocess.DEVNULL)
        self.control: Control | None = None

    def console(self) -> str:
        return (BUILD / "console").read_text(errors="replace")[-3000:]

    def stats(self) -> dict[str, int]:
        """The control port's stats."""
        self.control = self.control or Control(BUILD / "control")
        return self.control.stats()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_ready(guest: Guest, server: Server) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            server.ask(server.port)
            return
        except (OSError, http.client.HTTPException, AssertionError) as error:
            if guest.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it does not come up ({error})\n{guest.console()}") from error
            time.sleep(0.2)


def wrk(server: Server) -> str:
    text = run("wrk", "-t1", "-c32", "-d2", "--latency", f"http://{GUEST}:{server.port}{server.wrk}", timeout=60)
    assert "Socket errors" not in text and "Non-2xx" not in text, text
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return f", {float(rate[1]):.0f} requests/s" if rate else ""


def churn(server: Server, connections: int) -> None:
    """Connections opened and closed, some in the middle of things."""
    for number in range(connections):
        with socket.create_connection((GUEST, server.port), 20) as peer:
            if number % 4 == 0:
                peer.sendall(b"GET / HTTP/1.0\r\n\r\n")


def crowd(server: Server, connections: int) -> None:
    """Connections that are all open at once, then closed. Nothing may be left unread here: closing would send an RST, which is never
    repeated, and one that the TAP device's full queue drops leaves the guest with a connection that it cannot know to be dead."""
    peers = []
    try:
        for _ in range(connections):
            peers.append(socket.create_connection((GUEST, server.port), 20))
    finally:
        for peer in peers:
            peer.close()


def used(before: dict[str, int], after: dict[str, int]) -> int:
    """Bytes that are in use now and were not; the page cache counts as free."""
    return before["mem_free"] + before["mem_cache"] - after["mem_free"] - after["mem_cache"]


def settle(guest: Guest, before: dict[str, int]) -> dict[str, int]:
    """The stats once the sockets and their memory have gone (TCP keeps a closed connection for a while), or after ten seconds."""
    for _ in range(50):
        after = guest.stats()
        if after["sockets"] <= before["sockets"] and used(before, after) < 1 << 16:
            break
        time.sleep(0.2)
    return after


def check(server: Server, options: argparse.Namespace) -> str:
    guest = Guest(server, options.machine)
    try:
        wait_ready(guest, server)
        note = ""
        for _ in range(20):
            server.ask(server.port)
        for _ in range(options.runs if server.wrk else 0):
            note = wrk(server)
            server.ask(server.port)
        together = min(options.connections, CROWD) if server.program == "epoll_server" else 0
        crowd(server, together)                          # caches, heaps and tables grow to their size
        churn(server, options.connections // 4)
        time.sleep(1)
        before = guest.stats()
        crowd(server, together)
        churn(server, options.connections)
        server.ask(server.port)
        after = settle(guest, before)
        assert after["sockets"] <= before["sockets"], f"sockets {before['sockets']} -> {after['sockets']}"
        grown = used(before, after)
        assert grown < server.slack, f"{grown} bytes more in use after {options.connections} connections"
        return f"{note}, memory {grown:+d} after {options.connections} connections"
    finally:
        guest.stop()


def refused(machine: str) -> str:
    """PostgreSQL starts a process for everything: it must say so in one clear line, and end."""
    program = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))[-1])
    share = Path("/usr/share/postgresql") / program.parts[4]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:      # the guest's /tmp is another one
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        data.mkdir()
        os.chown(data, 33, 33)
        run("setpriv", "--reuid=33", "--regid=33", "--clear-groups", program.parent / "initdb", "-D", data, "-U", "postgres", timeout=120,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, cwd="/")
        server = Server(str(program), ("-D", str(data), "-k", "/tmp"), 5432, ask_page,
                        trees=(str(data), str(share), "/usr/share/zoneinfo", str(program.parents[1] / "lib")), memory=256, disk="320M")
        guest = Guest(server, machine, "user=33:33")
        try:
            guest.process.wait(60)
        finally:
            guest.stop()
    lines = [line for line in guest.console().splitlines() if line.startswith("uni: postgres: ")]
    assert len(lines) == 1 and "fork" in lines[0], guest.console()
    return f", refused: {lines[0]}"


def make_network() -> None:
    wire.enter_namespace()
    run("ip", "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr")
    run("ip", "addr", "add", f"{HOST}/24", "dev", "tap0")
    run("ip", "link", "set", "tap0", "up")


def attempt(machine: str) -> tuple[bool, str]:
    """The refusal, where PostgreSQL is on this machine."""
    if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
        return True, "none postgres: it is not on this machine"
    try:
        return True, f"ok   postgres{refused(machine)}"
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        return False, f"FAIL postgres: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", choices=[[], *SERVERS, "postgres"])
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35", "pc"))
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))
    BUILD.mkdir(parents=True, exist_ok=True)
    make_network()
    passed = failed = 0
    for name, server in SERVERS.items():
        if options.names and name not in options.names:
            continue
        if options.root and (options.root / server.program.lstrip("/")).exists():
            server = replace(server, program=str(options.root / server.program[1:]))
            os.environ["LD_LIBRARY_PATH"] = f"{options.root}/usr/lib/x86_64-linux-gnu"
        if server.program.startswith("/") and not Path(server.program).exists():
            print(f"none {name}: {server.program} is not on this machine", flush=True)
            continue
        try:
            print(f"ok   {name}{check(server, options)}", flush=True)
            passed += 1
        except (AssertionError, OSError, RuntimeError, http.client.HTTPException, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
    if not options.names or "postgres" in options.names:
        good, note = attempt(options.machine)
        passed, failed = passed + good, failed + (not good)
        print(note, flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
