# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks, run by the keeper so that they need no daemon.

The launch record ``health`` is a JSON object: ``kind`` (tcp, http, log, ready), ``address`` and ``port`` of the
connection, ``path``, ``host``, ``statuses`` ([[200, 399]]), ``body`` (text that the answer must hold),
``pattern`` (a regular expression for a line of the console), ``interval``, ``timeout``, ``start_period`` (seconds),
``retries`` (failures in a row that make a VM unhealthy), ``on_failure``: ``none``, ``restart`` or ``kill``.
"""

from __future__ import annotations

import errno
import select
from _socket import AF_INET, AF_INET6, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .loop import Timer
    from .vm import Vm

MAX_ANSWER = 65536  # bytes of an HTTP answer that are looked at
MAX_LINE = 8192     # bytes of a console line that are matched


class Health:
    """The health of one VM: ``starting`` until the first success, then ``healthy`` or ``unhealthy``."""

    def __init__(self, vm: Vm, config: str) -> None:
        import json
        import re

        self.vm = vm
        self.config: dict[str, Any] = json.loads(config)
        self.failed = 0
        self.probe: Probe | None = None
        self.timer: Timer | None = None
        self.line = b""
        self.pattern = re.compile(self.config["pattern"].encode()) if self.config["kind"] == "log" else None
        self.began = vm.launched
        self.set("starting")
        if self.config["kind"] == "ready":
            self.set("healthy")
        elif self.pattern is None:
            self._next(0.0)
        else:
            self.console(vm.log.replay())  # the line may have come before the guest said that it is ready
        if self.pattern is not None and vm.fields.get("health") == '"starting"' and self.config.get("timeout"):
            patience = float(self.config["start_period"]) or float(self.config["timeout"])
            self.timer = vm.loop.after(patience, self._silent)

    def set(self, health: str, message: str = "") -> None:
        """Record a change of health and tell who waits for it."""
        if self.vm.fields.get("health") == f'"{health}"':
            return
        self.vm.record(health=f'"{health}"')
        if health != "starting":
            self.vm.event("health", health=health, message=message)
        if health == "healthy":
            self.vm.answer("healthy", {"ok": True})

    def console(self, data: bytes) -> None:
        """Console output, for the log pattern."""
        if self.pattern is None or self.vm.fields.get("health") == '"healthy"':
            return
        lines = (self.line + data).split(b"\n")
        self.line = lines[-1][-MAX_LINE:]
        if any(self.pattern.search(line[:MAX_LINE]) for line in lines):
            if self.timer is not None:
                self.timer.cancel()
            self.set("healthy")

    def _silent(self) -> None:
        self.set("unhealthy", "the pattern did not appear on the console")

    def _next(self, delay: float) -> None:
        self.timer = self.vm.loop.after(delay, self._check)

    def _check(self) -> None:
        self.probe = Probe(self)

    def result(self, problem: str) -> None:
        """One check has ended; "" is success."""
        import time

        self.probe = None
        config = self.config
        in_start = time.monotonic() - self.began < float(config["start_period"])
        healthy = self.vm.fields.get("health") == '"healthy"'
        if not problem:
            self.failed = 0
            self.set("healthy")
        elif healthy or not in_start:
            self.failed += 1
            if self.failed >= int(config["retries"]):
                self.set("unhealthy", problem)
                if config.get("on_failure") in ("restart", "kill"):
                    self.failed = 0
                    self.vm.kill()
                    return
        # Before the first success a check that fails is repeated soon: starting is not what intervals are for.
        soon = problem and not healthy and in_start
        self._next(min(0.25, float(config["interval"])) if soon else float(config["interval"]))

    def close(self) -> None:
        """The VM has ended."""
        if self.timer is not None:
            self.timer.cancel()
        if self.probe is not None:
            self.probe.close()
            self.probe = None


class Probe:
    """One connection attempt, with the HTTP exchange where the check wants one."""

    def __init__(self, health: Health) -> None:
        self.health, self.loop = health, health.vm.loop
        self.config = health.config
        self.answer = b""
        self.timer = self.loop.after(float(self.config["timeout"]), lambda: self._done("no answer in time"))
        family = AF_INET6 if ":" in self.config["address"] else AF_INET
        self.sock = Socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            self.sock.connect((self.config["address"], int(self.config["port"])))
        except BlockingIOError:
            pass
        except OSError as error:
            self._done(error.strerror or str(error))
            return
        self.loop.watch(self.sock.fileno(), self._connected, select.EPOLLOUT)

    def _connected(self, events: int) -> None:
        del events
        problem = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if problem:
            import os

            self._done(os.strerror(problem))
            return
        if self.config["kind"] == "tcp":
            # QEMU's user networking accepts before the guest has: only a connection that stays open counts.
            self.loop.watch(self.sock.fileno(), self._closed, select.EPOLLIN | select.EPOLLRDHUP)
            self.timer.cancel()
            settle = min(float(self.config["timeout"]), float(self.config.get("settle", 0.0)))
            self.timer = self.loop.after(settle, lambda: self._done(""))
            return
        request = f"GET {self.config['path']} HTTP/1.0\r\nHost: {self.config['host']}\r\nConnection: close\r\n\r\n"
        try:
            self.sock.send(request.encode())
        except OSError as error:
            self._done(error.strerror or str(error))
            return
        self.loop.watch(self.sock.fileno(), self._read, select.EPOLLIN)

    def _closed(self, events: int) -> None:
        try:
            data = self.sock.recv(4096)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self._done(error.strerror or str(error))
            return
        self._done("" if data else "connection closed")

    def _read(self, events: int) -> None:
        del events
        try:
            data = self.sock.recv(MAX_ANSWER)
        except BlockingIOError:
            return
        except OSError as error:
            self._done(error.strerror or str(error))
            return
        self.answer += data
        if not data or len(self.answer) >= MAX_ANSWER:
            self._done(self._judge())

    def _judge(self) -> str:
        """RFC 9112, section 4: the status line."""
        head, _sep, body = self.answer.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            return "not an HTTP answer"
        status = int(words[1])
        if not any(low <= status <= high for low, high in self.config["statuses"]):
            return f"HTTP status {status}"
        wanted = self.config.get("body") or ""
        return "" if wanted.encode() in body else "the body lacks the expected text"

    def _done(self, problem: str) -> None:
        self.close()
        self.health.result(problem)

    def close(self) -> None:
        """Give up the connection."""
        self.timer.cancel()
        if self.sock.fileno() >= 0:
            self.loop.forget(self.sock.fileno())
            self.sock.close()
