# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network tests share: guests that serve and ask, and another host on a wire."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

from .conftest import TOP, Host

KERNEL = TOP / "kernel" / "build" / "uni.elf"


def server(disk: Path, name: str, *args: str, **options: object) -> VmSpec:
    base = {"kernel": str(KERNEL), "volumes": [f"{disk}:/unused:ro"], "memory": "32M", "args": list(args),
            "kernel_args": "root=/dev/vda ro", "command": ["/bin/server"], "stop_timeout": 1}
    return VmSpec.parse(name, {**base, **options})


def start(net: Host, disk: Path, name: str, *networks_: str, **options: object) -> str:
    """A running server's address."""
    spec = server(disk, name, networks=list(networks_), health_check={"test": "log:listening"}, **options)
    vm = api.run(net.root, spec)
    api.wait_for(net.root, name, "healthy", timeout=60)
    return str(vm["addresses"][0]["address"])


def ask(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=10) as sock:
        sock.settimeout(10)
        return sock.recv(100).decode().strip()


def run_guest(net: Host, disk: Path, *args: str, networks: object = ("front",)) -> tuple[int, str]:
    """A guest that does one thing: its exit status and the last line of its console."""
    name = f"client-{time.monotonic_ns():x}"
    api.run(net.root, server(disk, name, *args, networks=list(networks)))  # type: ignore[call-overload]
    code = int(api.wait(net.root, name, timeout=60)["code"])
    lines = b"".join(line.raw() for line in api.logs(net.root, name)).decode().strip().splitlines()
    api.remove(net.root, name, force=True)
    return code, lines[-1]


def from_guest(net: Host, disk: Path, address: str, port: int, *networks_: str) -> tuple[int, str]:
    """A guest that connects: its exit status and its console."""
    return run_guest(net, disk, address, str(port), networks=networks_)


class Outside:
    """Another host on the same wire: 192.0.2.2 and 2001:db8::2, where this one has .1 and ::1; it serves on port 80."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        wait_for_namespace(self.holder.pid)
        ip = ("link add wire type veth peer name eriw", f"link set eriw netns {self.holder.pid}",
              "address add 192.0.2.1/24 dev wire", "address add 2001:db8::1/64 dev wire nodad", "link set wire up")
        for command in ip:
            subprocess.run(["ip", *command.split()], check=True)
        for command in ("link set lo up", "address add 192.0.2.2/24 dev eriw",
                        "address add 2001:db8::2/64 dev eriw nodad", "link set eriw up"):
            self.run("ip", *command.split())
        self.server = subprocess.Popen([*self.enter, str(binary)], stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None and self.server.stdout.readline() == "listening\n"

    @property
    def enter(self) -> list[str]:
        """What runs a program there."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        return subprocess.run([*self.enter, *command], capture_output=True, text=True, timeout=60, check=False)

    def ask(self, *arguments: str) -> str:
        """The client's answer from there; empty when there is none, twice: its patience is short for a busy host."""
        return self.run(str(self.binary), *arguments).stdout.strip() or self.run(str(self.binary), *arguments).stdout.strip()

    def close(self) -> None:
        """Take the wire away."""
        for process in (self.server, self.holder):
            process.kill()
            process.wait()
        assert self.server.stdout is not None
        self.server.stdout.close()
        subprocess.run(["ip", "link", "del", "wire"], check=False)


def wait_for_namespace(pid: int) -> None:
    """Until ``unshare`` has made its namespace and become ``sleep``."""
    while Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":
        time.sleep(0.01)
