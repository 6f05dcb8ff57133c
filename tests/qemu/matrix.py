# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of a VM that a guest, or the host, can see: set it, look, change it, look again, and nothing in between.

``python3 matrix.py COLLECTIONS ROOT PROGRAM KERNEL`` (a build with its VERSION beside it) runs it as whoever calls; a line of standard output is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

Info = dict[str, Any]
Look = Union[str, Callable[[Info, str], bool]]  # a line of the console, or a question to both sides
PATIENCE = 60.0


def argv(vm: Info) -> list[str]:
    """QEMU's command line."""
    return Path(f"/proc/{vm['pid']}/cmdline").read_bytes().decode().split("\0")


def number(text: str, key: str) -> int:
    """The number that the guest printed last for a key."""
    return int(re.findall(rf"^{key}=(\d+)$", text, re.M)[-1])


@dataclass(frozen=True)
class Row:
    """One option with two values, and what shows each."""

    name: str
    first: Any
    seen: tuple[Look, ...]
    second: Any
    seen_then: tuple[Look, ...]
    live: bool = False


def rows(kernel: Path) -> Iterator[Row]:
    """All of them."""
    cpus = sorted(os.sched_getaffinity(0))
    other = kernel.with_name("other.elf")
    shutil.copy(kernel, other)
    yield Row("command", ["/bin/report", "a"], ("argv=a",), "/bin/report 'b c'", ("argv=b c",))
    yield Row("args", ["x", "y z"], ("argv=y z",), [], (lambda vm, text: text.count("argv=") == 1,))
    yield Row("env", {"A": "1 2", "B": "x=y"}, ("env=A=1 2", "env=B=x=y"), {"A": "3"}, ("env=A=3",))
    yield Row("workdir", "/bin", ("cwd=/bin",), "/", ("cwd=/",))
    yield Row("user", "1000:7", ("uid=1000", "gid=7"), "0", ("uid=0", "gid=0"))
    yield Row("hostname", "one", ("hostname=one",), "two", ("hostname=two",))
    yield Row("memory", "40M", (lambda vm, text: 25 < number(text, "memory") <= 40,),
              "80M", (lambda vm, text: 60 < number(text, "memory") <= 80,))
    yield Row("cpus", 1, (lambda vm, text: argv(vm)[argv(vm).index("-smp") + 1] == "1",),
              2, (lambda vm, text: argv(vm)[argv(vm).index("-smp") + 1] == "2",))
    yield Row("cpu_pin", str(cpus[0]), (lambda vm, text: os.sched_getaffinity(vm["pid"]) == {cpus[0]},),
              str(cpus[-1]), (lambda vm, text: os.sched_getaffinity(vm["pid"]) == {cpus[-1]},))
    yield Row("dns", ["9.9.9.9"], ("/etc/resolv.conf=nameserver 9.9.9.9",), ["1.1.1.1", "8.8.8.8"],
              ("/etc/resolv.conf=nameserver 1.1.1.1", "/etc/resolv.conf=nameserver 8.8.8.8"))
    yield Row("dns_search", ["a.example"], ("/etc/resolv.conf=search a.example",), ["b.example", "c.example"],
              ("/etc/resolv.conf=search b.example c.example",))
    yield Row("extra_hosts", {"db": "10.0.0.9"}, (lambda vm, text: bool(re.search(r"hosts=10\.0\.0\.9\s+db", text)),),
              ["db:10.0.0.8", "six=fd00::1"], (lambda vm, text: bool(re.search(r"hosts=fd00::1\s+six", text)),))
    yield Row("volumes", ["data:/data"], ("data=writable",), ["data:/data:ro"], ("data=Read-only file system",))
    yield Row("tmpfs", ["/scratch:size=4M"], ("scratch=4",), ["/scratch:size=8M"], ("scratch=8",))
    yield Row("ulimits", ["nofile:700:800"], ("nofile=700:800",), ["nofile:900"], ("nofile=900:900",))
    yield Row("secrets", [{"name": "key", "content": "alpha"}],
              ("/run/secrets/key=alpha", "mode:/run/secrets/key=400:0:0"),
              [{"name": "key", "content": "beta", "mode": "0440", "uid": 5, "gid": 6}],
              ("/run/secrets/key=beta", "mode:/run/secrets/key=440:5:6"))
    yield Row("read_only", True, ("root=Read-only file system",), False, ("root=writable",))
    yield Row("tty", True, ("tty=1",), False, ("tty=0",))
    yield Row("trace", True, (lambda vm, text: "getcwd(" in text,), False, (lambda vm, text: "getcwd(" not in text,))
    yield Row("rng", False, (lambda vm, text: "virtio-rng" not in " ".join(argv(vm)),),
              True, (lambda vm, text: "virtio-rng" in " ".join(argv(vm)),))
    yield Row("kernel", str(kernel), (lambda vm, text: vm["boot"]["kernel"] == str(kernel),),
              str(other), (lambda vm, text: vm["boot"]["kernel"] == str(other),))
    yield Row("kernel_args", "MARK=1", ("env=MARK=1",), "MARK=2", ("env=MARK=2",))
    yield Row("machine", "q35", (lambda vm, text: "q35," in " ".join(argv(vm)),),
              "microvm", (lambda vm, text: "microvm," in " ".join(argv(vm)),))
    yield Row("debug", True, (lambda vm, text: Path(vm["directory"], "gdb.sock").exists(),),
              False, (lambda vm, text: "-gdb" not in argv(vm),))
    yield Row("networks", ["none"], (lambda vm, text: "-netdev" not in argv(vm),),
              [{"name": "user", "mac": "52:54:00:00:00:77"}], (lambda vm, text: "52:54:00:00:00:77" in " ".join(argv(vm)),))
    yield from live_rows()


def live_rows() -> Iterator[Row]:
    """What changes while the guest goes on."""
    yield Row("labels", {"tier": "front"}, (labelled("tier=front"),), {"tier": "back"}, (labelled("tier=back"),), live=True)
    yield Row("ports", ["127.0.0.1:0:80"], (lambda vm, text: vm["ports"][0].endswith(":80/tcp"),),
              ["127.0.0.1:0:81", "127.0.0.1:0:82/udp"],
              (lambda vm, text: [port.rpartition(":")[2] for port in vm["ports"]] == ["81/tcp", "82/udp"],), live=True)
    yield Row("health_check", "log:^reported", (lambda vm, text: vm["health"] == "healthy",),
              "none", (lambda vm, text: vm["health"] is None,), live=True)
    yield Row("health_check", "none", (lambda vm, text: vm["health"] is None,),
              "log:^reported", (lambda vm, text: vm["health"] == "healthy",), live=True)
    yield Row("stop_signal", "USR1", (option("stop_signal", 10),), "HUP", (option("stop_signal", 1),), live=True)
    yield Row("stop_timeout", "3s", (option("stop_timeout", 3),), "1m", (option("stop_timeout", 60),), live=True)
    yield Row("restart_policy", "always", (option("restart_policy", "always"),), "no", (option("restart_policy", "no"),),
              live=True)
    yield Row("auto_remove", False, (option("auto_remove", False),), True, (option("auto_remove", True),), live=True)
    yield Row("log_max_size", "1M", (option("log_max_size", 1 << 20),), "2M", (option("log_max_size", 2 << 20),), live=True)
    yield Row("log_max_files", 2, (option("log_max_files", 2),), 4, (option("log_max_files", 4),), live=True)
    for name, first, second in (("disk_bps", "1M", "2M"), ("disk_read_bps", "1M", "2M"), ("disk_write_bps", "1M", "2M"),
                                ("disk_iops", 50, 100), ("disk_read_iops", 50, 100), ("disk_write_iops", 50, 0)):
        yield Row(name, first, (option(name, 1 << 20 if first == "1M" else first),),
                  second, (option(name, 2 << 20 if second == "2M" else second),), live=True)


def labelled(label: str) -> Look:
    """Whether `uni ps` finds the VM by this label."""
    key, _sep, value = label.partition("=")
    return lambda vm, text: vm["options"]["labels"] == {key: value}


def option(name: str, value: Any) -> Look:
    """Whether the record has the value."""
    return lambda vm, text: vm["options"][name] == value


class Matrix:
    """One root directory with an image of the reporting program."""

    def __init__(self, root: Root, program: Path, kernel: Path) -> None:
        self.root, self.kernel = root, kernel
        kernels.register(root, kernel.parent)
        images.ensure_present(root, BuildSpec("report", program=program))
        volumes.ensure_present(root, volumes.VolumeSpec("data", size=4 << 20))

    def check(self, row: Row) -> None:
        """One row. :raises AssertionError: what was not as it should be"""
        name = f"vm-{row.name.replace('_', '-')}"
        try:
            self._pass(row, name, row.first, row.seen, 1)
            kinds = ["update"] if row.live else ["update", "restart"]
            spec = self.spec(row, name, row.second)
            planned = api.ensure(self.root, spec, check=True).plan
            found = [action.kind for action in planned.actions]
            assert found == kinds, f"changing it would {found}, not {kinds}"
            assert row.name in planned.actions[0].after, planned.actions[0]
            if row.name == "secrets":
                assert "beta" not in str(planned.diff()), "the difference shows a secret"
            self._pass(row, name, row.second, row.seen_then, 1 if row.live else 2)
        finally:
            if any(vm["name"] == name for vm in api.list_vms(self.root, everything=True)):
                api.remove(self.root, name, force=True)

    def spec(self, row: Row, name: str, value: Any) -> VmSpec:
        """The VM with one value of the option."""
        base = {"image": "report", "memory": "40M", "stop_timeout": "1s"}
        return VmSpec.parse(name, {**base, row.name: value})

    def _pass(self, row: Row, name: str, value: Any, looks: tuple[Look, ...], starts: int) -> None:
        spec = self.spec(row, name, value)
        before = api.list_vms(self.root, everything=True)
        assert api.ensure(self.root, spec, check=True).changed, "check mode sees nothing to do"
        assert api.list_vms(self.root, everything=True) == before, "check mode did something"
        assert api.ensure(self.root, spec).changed, "nothing was done"
        text = self.report(name, starts)
        vm = api.inspect(self.root, name)
        for look in looks:
            found = look in text.splitlines() if isinstance(look, str) else look(vm, text)
            assert found, f"{value!r}: {look if isinstance(look, str) else 'not'} seen in\n{text}"
        for again in (True, False):
            assert not api.ensure(self.root, spec, check=again).changed, "a second time something is to be done"

    def report(self, name: str, starts: int) -> str:
        """What the guest printed in its last start."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = b"".join(line.raw() for line in api.logs(self.root, name)).decode("utf-8", "replace").replace("\r", "")
            if text.count("\nreported\n") >= starts:
                return text if starts == 1 else text.split("\nreported\n")[starts - 1]
            assert time.monotonic() < deadline, f"the guest does not report:\n{text}"
            time.sleep(0.02)


def failures(root: Root, program: Path, kernel: Path) -> Iterator[str]:
    """What was not as it should be, row by row."""
    matrix = Matrix(root, program, kernel)
    for row in rows(kernel):
        try:
            matrix.check(row)
        except Exception as error:
            yield f"{row.name}: {type(error).__name__}: {error}"


if __name__ == "__main__":
    for failure in failures(Root(Path(sys.argv[2])), Path(sys.argv[3]), Path(sys.argv[4])):
        sys.stdout.write(failure + "\n")
