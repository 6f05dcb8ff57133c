# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the daemon: a small synchronous JSON-RPC client without imports that cost time."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UniError

MAX_LINE = 64 << 20
_RENEWAL_SECONDS = 600.0


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for the socket ``path`` that fits into sockaddr_un's 108 bytes (unix(7)), however deep it lies."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class Client:
    """One connection. :raises HostError: code ``daemon.unreachable``"""

    def __init__(self, path: Path, *, timeout: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            with reachable(path) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise HostError(f"no daemon answers on {path}: {error.strerror or error}", code="daemon.unreachable",
                            hint="start it: uni daemon run, or systemctl start unid") from error
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._early: dict[int, list[Any]] = {}      # items of streams that came while something else was awaited

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and with it every stream."""
        self._file.close()
        self._socket.close()

    def call(self, method: str, **params: Any) -> Any:
        """The result of a method.

        :raises UniError: what the daemon answered, with the engine's code
        """
        return _result(self._answer(self._send(method, params)))

    def stream(self, method: str, **params: Any) -> Iterator[Any]:
        """The items of a streaming method, as they come. It has begun when this returns."""
        return self._items(self._send(method, params))

    def _items(self, identity: int) -> Iterator[Any]:
        while True:
            waiting = self._early.setdefault(identity, [])
            while waiting:
                yield waiting.pop(0)
            message = self._next()
            if _stream_of(message) == identity:
                yield message["params"]["item"]
            elif message.get("id") == identity:
                _result(message)
                return
            else:
                self._keep(message)

    def _answer(self, identity: int) -> dict[str, Any]:
        while True:
            message = self._next()
            if message.get("id") == identity and "method" not in message:
                return message
            self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        """An item of another stream waits for its reader."""
        stream = _stream_of(message)
        if stream is not None:
            self._early.setdefault(stream, []).append(message["params"]["item"])

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise HostError(f"the daemon went away: {error.strerror or error}", code="daemon.closed") from error
        return self._number

    def _next(self) -> dict[str, Any]:
        try:
            line = self._file.readline(MAX_LINE)
        except OSError as error:
            raise HostError(f"the daemon went away: {error.strerror or error}", code="daemon.closed") from error
        if not line:
            raise HostError("the daemon closed the connection", code="daemon.closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            return {}
        if "error" in message and message.get("id") is None:
            _result(message)        # about the connection, not about one call: it is refused, or cannot be understood
        return message


def renew(path: Path, *, outdated: bool = False) -> dict[str, Any]:
    """Have the daemon at ``path`` go on as the uni that is installed now; its status afterwards, with ``changed``.

    :param outdated: only where another one is installed than it runs
    :raises UniError: the installed one cannot go on; the daemon is as it was
    """
    with Client(path, timeout=_RENEWAL_SECONDS) as client:
        before = client.call("daemon.status")
        changed = bool(before["outdated"]) or not outdated
        if changed:
            client.call("daemon.renew")
        after = client.call("daemon.status")        # the connection goes along
        while changed and after["started"] == before["started"]:
            time.sleep(0.05)
            after = client.call("daemon.status")
        return {**after, "changed": changed, "before": before["version"]}


def status(path: Path) -> dict[str, Any] | None:
    """How the daemon at ``path`` is; None where none answers."""
    try:
        with Client(path, timeout=5) as client:
            answer: dict[str, Any] = client.call("daemon.status")
            return answer
    except (UniError, OSError):
        return None


def _stream_of(message: dict[str, Any]) -> Any:
    """The id of the stream that a message is an item of; None for anything else."""
    return message["params"].get("id") if message.get("method") == "stream" else None


def _result(message: dict[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message.get("result")
    data = error.get("data") or {}
    raise UniError(data.get("message", error.get("message", "")), code=data.get("code", "daemon.error"),
                   hint=data.get("hint", ""))
