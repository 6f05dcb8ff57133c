# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the keeper without a VM: health probes, records on a full disk, the loop."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import hardening
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper import launch, privileges
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.health import Health
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.loop import Loop
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import health


class FakeVm:
    """What a health check needs of a VM."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.fields: dict[str, str] = {}
        self.launched = time.monotonic()
        self.seen: list[str] = []
        self.killed = 0
        self.shown = b""
        self.log = self

    def replay(self) -> bytes:
        return self.shown

    def record(self, **fields: str) -> None:
        self.fields.update(fields)
        self.seen.append(json.loads(fields["health"]))
        if self.seen[-1] in ("healthy", "unhealthy"):
            self.loop.running = False

    def event(self, kind: str, **details: Any) -> None:
        pass

    def answer(self, kind: str, reply: dict[str, Any]) -> None:
        pass

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def server() -> Iterator[int]:
    """An HTTP server: /ok 200 "fine", /moved 302, everything else 500."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/ok": 200, "/moved": 302}.get(self.path, 500))
            self.end_headers()
            self.wfile.write(b"fine")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found.server_address[1]
        found.shutdown()
        thread.join()


def judge(check: dict[str, Any], port: int, console: bytes = b"", before: bytes = b"") -> FakeVm:
    """Run a check until it knows. ``before``: what the console had shown when it began."""
    vm = FakeVm()
    vm.shown = before
    config = health.for_keeper(health.normalise({"interval": "100ms", "timeout": "2s", "start_period": 0, "retries": 2,
                                                 **check}), "127.0.0.1", port, forwarded=False)
    checker = Health(vm, json.dumps(config))  # type: ignore[arg-type]
    if console:
        checker.console(console[:5])
        checker.console(console[5:])
    if vm.loop.running:
        vm.loop.run()
    checker.close()
    return vm


@pytest.mark.parametrize(("check", "result"), [
    ({"test": "http:80:/ok"}, "healthy"), ({"test": "http:80:/moved"}, "healthy"), ({"test": "http:80:/bad"}, "unhealthy"),
    ({"test": "http:80:/ok", "body": "fine"}, "healthy"), ({"test": "http:80:/ok", "body": "great"}, "unhealthy"),
    ({"test": "http:80:/moved", "status": "200-299"}, "unhealthy"), ({"test": "http:80:/bad", "status": 500}, "healthy"),
    ({"test": "tcp:80"}, "healthy"), ({"test": "ready"}, "healthy"),
])
def test_judgement(server: int, check: dict[str, Any], result: str) -> None:
    assert judge(check, server).seen[-1] == result


def test_nobody_listens_and_what_follows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    vm = judge({"test": "tcp:80", "on_failure": "kill"}, port)
    assert vm.seen == ["starting", "unhealthy"] and vm.killed == 1


def test_a_line_of_the_console_split_in_two() -> None:
    assert judge({"test": "log:is (up|on)$"}, 0, b"it is up\n").seen[-1] == "healthy"
    assert judge({"test": "log:never", "timeout": "100ms"}, 0, b"it is up\n").seen[-1] == "unhealthy"
    assert judge({"test": "log:up", "timeout": "100ms"}, 0, before=b"it is up\n").seen == ["starting", "healthy"]


def test_a_record_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = launch.Directory(str(tmp_path))
    directory.write("state.json", b'{"status":"running","pid":1234}')
    real = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        if ".tmp-" in str(path):
            raise OSError(28, "No space left on device")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    directory.write("state.json", b'{"status":"exited"}')
    assert json.loads((tmp_path / "state.json").read_bytes()) == {"status": "exited"}
    monkeypatch.undo()
    directory.release()


def test_one_keeper_per_vm(tmp_path: Path) -> None:
    first, second = launch.Directory(str(tmp_path)), launch.Directory(str(tmp_path))
    first.hold()
    with pytest.raises(BlockingIOError):
        second.hold()
    first.release()
    second.hold()
    second.release()


def test_records_with_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "launch").write_bytes(b"arg=a=b\nc\0arg=\xff\0damaged\0name=web\0")
    found = launch.read_records(str(tmp_path / "launch"))
    assert found == {"arg": ["a=b\nc", "\udcff"], "name": ["web"]}


@pytest.mark.parametrize("kvm", [False, True])
def test_privileges_are_dropped_as_setpriv_drops_them(kvm: bool) -> None:
    uid = hardening.UID_FIRST + 5 if os.geteuid() == 0 else None
    shown = ["/bin/grep", "-E", "^(Uid|Gid|Groups|Cap...|NoNewPrivs):", "/proc/self/status"]
    become = hardening.become(uid, low_ports=False, kvm=kvm)
    records = {"arg": shown, "become": [become], "wrapper": hardening.wrapper(uid, low_ports=False, kvm=kvm)}
    results = []
    for calls in (privileges.library(), None):
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(into, 1)
                words = privileges.settled(records, calls)
                os.execv(words[0], words)
            finally:
                os._exit(99)
        os.close(into)
        with os.fdopen(out) as file:
            results.append(file.read())
        assert os.waitpid(pid, 0)[1] == 0
    assert results[0] == results[1] and "NoNewPrivs:\t1" in results[0]
    assert ("CapBnd:\t0000000000000000" in results[0]) is (uid is not None)


def test_a_capability_that_is_kept_is_left_to_setpriv() -> None:
    assert hardening.become(hardening.UID_FIRST, low_ports=True, kvm=False) is None
    assert hardening.become(None, low_ports=True, kvm=False) == ""
    assert hardening.become(7, low_ports=False, kvm=False) == "7:"
    assert privileges.settled({"arg": ["a", "b"]}, None) == ["a", "b"]


def test_timers_fire_in_time_and_not_when_cancelled() -> None:
    loop, seen = Loop(), []
    loop.after(0.0, lambda: seen.append("cancelled")).cancel()
    loop.after(0.01, lambda: (seen.append("b"), setattr(loop, "running", False)))
    loop.after(0.0, lambda: seen.append("a"))
    loop.run()
    assert seen == ["a", "b"]
