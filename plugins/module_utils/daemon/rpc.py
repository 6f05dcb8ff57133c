# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC 2.0 over a UNIX socket, one message a line: the table of methods and the server.

Methods are plain functions (run in threads: the engine is synchronous) or asynchronous generators. A generator's items
come as notifications ``{"method": "stream", "params": {"id": ID, "item": ...}}`` before the response, which counts
them; the notification ``{"method": "cancel", "params": {"id": ID}}`` ends one, as closing the connection does.

Reference: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon.client import reachable
from ansible_collections.uni.engine.plugins.module_utils.daemon.connection import Connection, Peer
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

_BACKLOG = 128

_log = logging.getLogger("unid.rpc")


@dataclass(frozen=True)
class Method:
    """One method: a function whose keyword parameters are the method's.

    ``waits``: what becomes of a call that runs while the daemon renews itself. Empty: its end is awaited. ``again``: it
    only waits, so it is asked again. ``cut``: it is ended, and its caller told.
    """

    name: str
    function: Callable[..., Any]
    summary: str
    waits: str = ""

    def bind(self, params: Any) -> dict[str, Any]:
        """Keyword arguments from a request's ``params``. :raises TypeError: they do not fit"""
        signature = inspect.signature(self.function)
        bound = signature.bind(*params) if isinstance(params, list) else signature.bind(**(params or {}))
        return dict(bound.arguments)

    def describe(self) -> dict[str, Any]:
        """The method in OpenRPC's form (https://spec.open-rpc.org)."""
        params = []
        for parameter in inspect.signature(self.function).parameters.values():
            schema = _schema(str(parameter.annotation))
            if parameter.default is not inspect.Parameter.empty and parameter.default is not None:
                schema["default"] = parameter.default
            required = parameter.default is inspect.Parameter.empty
            params.append({"name": parameter.name, "required": required, "schema": schema})
        kind = "stream" if inspect.isasyncgenfunction(self.function) else "result"
        result: dict[str, Any] = {"name": kind, "schema": {}}
        return {"name": self.name, "summary": self.summary, "params": params, "result": result}


class Methods:
    """The table of methods. ``rpc.discover`` describes them all."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._table: dict[str, Method] = {}
        self.add("rpc.discover", self.discover)

    def add(self, name: str, function: Callable[..., Any], *, waits: str = "") -> None:
        """Offer ``function`` as ``name``; the first line of its docstring is the summary."""
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        self._table[name] = Method(name, function, summary, waits)

    def get(self, name: str) -> Method | None:
        """The method, or None."""
        return self._table.get(name)

    def discover(self) -> dict[str, Any]:
        """The description of every method, as an OpenRPC document."""
        return {
            "openrpc": "1.2.6", "info": {"title": "unid", "version": self._version},
            "methods": [method.describe() for _name, method in sorted(self._table.items())],
        }


class RpcServer:
    """Serves ``methods`` on a UNIX socket to peers that may.

    :param allowed: tells whether a peer may call anything at all
    """

    def __init__(self, methods: Methods, allowed: Callable[[Peer], bool]) -> None:
        self._methods = methods
        self._allowed = allowed
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._acceptor: asyncio.Task[None] | None = None
        self.socket: socket.socket | None = None

    async def start(self, path: Path, *, group: int | None = None) -> None:
        """Listen at ``path``: mode 0600, or 0660 for ``group``. A stale socket is replaced, a live one refused.

        :raises HostError: code ``daemon.running``
        """
        if answers(path):
            raise HostError(f"a daemon already listens on {path}", code="daemon.running",
                            hint="stop it first, or give this one another --socket")
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        old = os.umask(0o177)
        try:
            with reachable(path) as address:
                listening.bind(address)
        finally:
            os.umask(old)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        listening.listen(_BACKLOG)
        self.go_on(listening, [])

    def go_on(self, listening: socket.socket, connections: Sequence[Mapping[str, Any]]) -> None:
        """Serve a socket that listens already, and connections as :meth:`hand_over` gave them."""
        listening.setblocking(False)
        self.socket = listening
        for state in connections:
            self._begin(socket.socket(fileno=int(state["descriptor"])), state)
        self._acceptor = asyncio.get_running_loop().create_task(self._accept(listening))

    async def hand_over(self) -> list[dict[str, Any]]:
        """Accept nothing more, let the running calls end, and describe every connection for another process.

        Calls that only wait go along as they were asked. The descriptors stay open.
        """
        await self._no_more()
        handed = [await connection.hand_over() for connection in list(self._connections.values())]
        return [state for state in handed if state is not None]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        await self._no_more()
        if self.socket is not None:
            self.socket.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)      # closed transports let go of their sockets in the loop's next round

    async def _no_more(self) -> None:
        if self._acceptor is not None:
            self._acceptor.cancel()
            await asyncio.gather(self._acceptor, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _address = await loop.sock_accept(listening)
            except OSError as error:        # no descriptor is left: who waits is served when there is one again
                _log.error("cannot accept: %s", error)
                await asyncio.sleep(1)
                continue
            self._begin(sock, {})

    def _begin(self, sock: socket.socket, state: Mapping[str, Any]) -> None:
        connection = Connection(self._methods, self._allowed, sock, state)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


def allow(uids: Iterable[int], gid: int | None = None) -> Callable[[Peer], bool]:
    """A rule for :class:`RpcServer`: these uids, and members of the group ``gid``."""
    may = frozenset(uids)

    def rule(peer: Peer) -> bool:
        return peer.uid in may or (gid is not None and (peer.gid == gid or gid in peer.groups))

    return rule


def answers(path: Path) -> bool:
    """Whether somebody listens at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with reachable(path) as address:
                return probe.connect_ex(address) == 0
        except OSError:
            return False


def _schema(annotation: str) -> dict[str, Any]:
    """A JSON schema for the few annotations that methods use (they are strings: postponed evaluation)."""
    names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    kinds = [names[part] for part in annotation.replace(" ", "").split("|") if part in names]
    if annotation.startswith(("list", "tuple", "Sequence")):
        return {"type": "array"}
    if annotation.startswith(("dict", "Mapping")):
        return {"type": "object"}
    if not kinds:
        return {}
    return {"type": kinds[0] if len(kinds) == 1 else kinds}
