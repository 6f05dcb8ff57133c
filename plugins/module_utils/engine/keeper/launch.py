# SPDX-License-Identifier: GPL-3.0-or-later
"""From a VM's launch records to a running QEMU: descriptors, limits, fork, exec."""

from __future__ import annotations

import fcntl
import os
import resource
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM
from _socket import socket as Socket  # the C class: the socket module costs 5 ms, a quarter of QEMU's start

from .privileges import library, settled


def read_records(path: str) -> dict[str, list[str]]:
    """``KEY=VALUE`` records ended by NUL bytes: {key: values in order}."""
    with open(path, "rb") as file:
        data = file.read()
    records: dict[str, list[str]] = {}
    for record in data.split(b"\0"):
        key, equals, value = record.partition(b"=")
        if equals:
            records.setdefault(key.decode(), []).append(value.decode("utf-8", "surrogateescape"))
    return records


class Directory:
    """A VM's directory, addressed by descriptor: sockets in it have short names (sun_path holds 108 bytes)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def hold(self) -> None:
        """Be the VM's only keeper: BlockingIOError when there is another. Ends with ``release`` or the process."""
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Let another keeper take the VM."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def listen(self, name: str) -> Socket:
        """A listening socket ``name.sock`` with mode 0600; replaces one that was left behind."""
        address = f"/proc/self/fd/{self.fd}/{name}.sock"
        if os.path.lexists(address):
            os.unlink(address)
        sock = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            sock.bind(address)
        finally:
            os.umask(before)
        sock.listen(64)
        return sock

    def connect(self, name: str) -> Socket:
        """A connection to ``name.sock``; it is in the backlog before anybody accepts it."""
        sock = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        sock.connect(f"/proc/self/fd/{self.fd}/{name}.sock")
        return sock

    def write(self, name: str, data: bytes, *, sync: bool = False) -> None:
        """Replace a file whole. On a full disk the old file's own block is used again: a record is not lost."""
        path, temp = f"{self.path}/{name}", f"{self.path}/.tmp-{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(temp, flags | os.O_TRUNC, 0o600)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError("short write")
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temp, path)
        except OSError:
            fd = os.open(path, flags, 0o600)
            try:
                os.pwrite(fd, data.ljust(os.fstat(fd).st_size), 0)
            finally:
                os.close(fd)


class Child:
    """A forked QEMU that waits at its gate: ``open_gate`` lets it exec; a keeper that dies first ends it."""

    def __init__(self, records: dict[str, list[str]], directory: Directory) -> None:
        self.directory = directory
        self.fds: dict[str, int] = {}
        self.sockets: list[Socket] = []
        self.calls = library() if "become" in records else None
        gate_out, self.gate = os.pipe2(os.O_CLOEXEC)
        self.report, report_in = os.pipe2(os.O_CLOEXEC)
        try:
            self._open_all(records)
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self.gate)
                self._become(records, gate_out, report_in)
        finally:
            os.close(gate_out)
            os.close(report_in)
            for sock in self.sockets:
                sock.close()
            for name, fd in self.fds.items():
                if not name.startswith("socket:"):
                    os.close(fd)

    def _open_all(self, records: dict[str, list[str]]) -> None:
        for entry in records.get("file", []):
            name, mode, path = entry.split(":", 2)
            self.fds[name] = os.open(path, (os.O_RDWR if mode == "rw" else os.O_RDONLY) | os.O_CLOEXEC)
        for name in records.get("socket", []):
            sock = self.directory.listen(name)
            self.sockets.append(sock)
            self.fds[f"socket:{name}"] = sock.fileno()
        for entry in records.get("tap", []):
            from .net import open_tap

            name, rest = entry.split(":", 1)
            self.fds[name] = open_tap(rest)
        if records.get("setup"):
            from .cleanup import run_commands

            if run_commands(records["setup"]):
                raise ValueError("the limits of the network bandwidth could not be set: see the keeper's log")
        log = os.open(f"{self.directory.path}/monitor.log",
                      os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.fds["monitor.log"] = log

    def _become(self, records: dict[str, list[str]], gate: int, report: int) -> None:
        """In the child: limits, descriptors, exec. Never returns."""
        try:
            os.setsid()
            log = self.fds.pop("monitor.log")
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            for directory in records.get("cgroup", []):
                with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write("0")
            for limit in records.get("rlimit", []):
                number, soft, hard = (int(part) for part in limit.split(":"))
                resource.setrlimit(number, (soft, hard))
            for cpus in records.get("pin", []):
                os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
            argv = settled(records, self.calls)
            for name, fd in self.fds.items():
                token = f"@{name.rpartition(':')[2]}@"
                argv = [word.replace(token, str(fd)) for word in argv]
                os.set_inheritable(fd, True)
            if os.read(gate, 1):
                os.execv(argv[0], argv)
        except BaseException as error:
            os.write(report, str(error).encode("utf-8", "replace"))
        finally:
            os._exit(127)

    def open_gate(self) -> None:
        """Let the child exec."""
        os.write(self.gate, b"1")
        os.close(self.gate)

    def outcome(self) -> str:
        """Once ``report`` is readable: the error as text, or "" when QEMU (or the setpriv before it) runs."""
        error = os.read(self.report, 4096).decode("utf-8", "replace")
        os.close(self.report)
        return error
