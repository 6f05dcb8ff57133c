# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting keepers, and asking one that runs: the engine's side of ``keeper.sock``."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    HostError,
    StateError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

PYTHON = "/usr/bin/python3"
_START = "import sys; sys.path.insert(0, sys.argv[1]); from uni_keeper.main import main; main(sys.argv[2:])"


def _sources() -> dict[str, bytes]:
    """The keeper's files: {name: text}. The imports make AnsiballZ carry them to managed hosts."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import keeper
    from ansible_collections.uni.engine.plugins.module_utils.engine.keeper import (
        cleanup,
        client,
        control,
        health,
        identity,
        launch,
        log,
        loop,
        main,
        net,
        privileges,
        requests,
        stdin,
        vm,
    )

    modules = (cleanup, client, control, health, identity, launch, log, loop, main, net, privileges, requests, stdin,
               vm)
    sources = {}
    for module in (keeper, *modules):
        spec = module.__spec__
        if spec is None or spec.origin is None or spec.loader is None:
            raise HostError("the keeper's source is not where Python can read it", code="keeper.source")
        name = "__init__" if module is keeper else spec.name.rpartition(".")[2]
        sources[f"{name}.py"] = spec.loader.get_data(spec.origin)  # type: ignore[attr-defined]
    return sources


def _install(root: Root) -> Path:
    """A copy of the keeper that outlives this process (a module's files are gone when it ends).

    Its directory carries the digest of its content, so a newer engine never changes a running keeper's files.
    """
    here = Path(__file__).parent / "keeper"
    on_disk = here.is_dir()
    sources = {path.name: path.read_bytes() for path in sorted(here.glob("*.py"))} if on_disk else _sources()
    import hashlib

    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    target = root.run / f"keeper-{digest.hexdigest()[:16]}"
    if not (target / "uni_keeper").is_dir():
        temp = root.run / f".tmp-keeper-{os.getpid()}-{time.monotonic_ns():x}"
        (temp / "uni_keeper").mkdir(parents=True)
        for name, data in sources.items():
            (temp / "uni_keeper" / name).write_bytes(data)
        try:
            temp.rename(target)
        except OSError:
            import shutil

            shutil.rmtree(temp, ignore_errors=True)
            if not (target / "uni_keeper").is_dir():
                raise
    return target


class Started:
    """A keeper that was just started: what it says about its VMs until they run."""

    def __init__(self, fd: int, orders: int) -> None:
        self.fd, self.orders = fd, orders
        self.pending: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}
        self.buffer = b""

    def add(self, directory: Path) -> None:
        """Hand a VM to the keeper; it starts at once."""
        self.pending.add(directory.name)
        try:
            os.write(self.orders, os.fsencode(directory) + b"\n")
        except OSError as error:
            raise HostError("the keeper went away", code="keeper.failed") from error

    def wait(self, wanted: Sequence[str], timeout: float) -> dict[str, dict[str, Any]]:
        """Until each VM has said one of ``wanted`` (or ended, or failed): {vm id: {"event", "exit"}}.

        A VM that has said nothing of it after ``timeout`` seconds is missing from the result.
        """
        self._no_more()
        final = {*wanted, "exited", "failed", "taken"}
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                break
            data = os.read(self.fd, 65536)
            if not data:
                break
            self.buffer += data
            *lines, self.buffer = self.buffer.split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] in final and event["vm"] in self.pending:
                    self.results[event["vm"]] = event
                    self.pending.discard(event["vm"])
        return self.results

    def _no_more(self) -> None:
        if self.orders >= 0:
            os.close(self.orders)
            self.orders = -1

    def close(self) -> None:
        """Stop listening; the keeper goes on."""
        self._no_more()
        os.close(self.fd)


@contextmanager
def started(root: Root, *, adopt: bool = False) -> Iterator[Started]:
    """Start a keeper; it detaches itself from this process and takes the VMs that are added."""
    home = _install(root)
    python = PYTHON if os.access(PYTHON, os.X_OK) else sys.executable
    argv = [python, "-I", "-S", "-c", _START, str(home)]
    argv += ["--adopt"] if adopt else []
    out, into = os.pipe2(os.O_CLOEXEC)
    orders_out, orders = os.pipe2(os.O_CLOEXEC)
    log = os.open(root.log / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(argv, stdin=orders_out, stdout=into, stderr=log, cwd="/",
                                 env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
    except OSError as error:
        os.close(out)
        os.close(orders)
        raise HostError(f"cannot start {python}: {error.strerror}", code="keeper.start") from error
    finally:
        os.close(into)
        os.close(orders_out)
        os.close(log)
    handle = Started(out, orders)
    try:
        yield handle
    finally:
        handle.close()
        child.wait()


def connect(directory: Path) -> socket.socket | None:
    """A connection to the VM's keeper; None when there is no keeper."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"/proc/self/fd/{fd}/keeper.sock")  # sun_path holds 108 bytes, the directory may be deeper
    except OSError:
        sock.close()
        return None
    finally:
        os.close(fd)
    return sock


def ask(directory: Path, request: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
    """One request to the VM's keeper and its answer.

    :raises StateError: code ``keeper.none``: no keeper, or it died before it answered
    :raises DeadlineError: code ``keeper.deadline``: no answer within ``timeout`` seconds
    """
    sock = connect(directory)
    if sock is None:
        raise StateError(f"no keeper watches {directory.name}", code="keeper.none")
    data = b""
    try:
        sock.settimeout(timeout)
        sock.sendall(json.dumps(request).encode() + b"\n")
        while not data.endswith(b"\n"):
            chunk = sock.recv(65536)
            if not chunk:
                break
            data += chunk
    except socket.timeout:
        raise DeadlineError(f"the keeper of {directory.name} did not answer within {timeout:g} s",
                            code="keeper.deadline") from None
    except OSError:
        pass  # it went away: said below
    finally:
        sock.close()
    if not data.endswith(b"\n"):
        raise StateError(f"the keeper of {directory.name} went away", code="keeper.none")
    answer: dict[str, Any] = json.loads(data)
    return answer
