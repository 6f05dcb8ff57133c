# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC 2.0 over a UNIX socket, one message a line.

Methods are plain functions (run in threads: the engine is synchronous) or asynchronous generators. A generator's items
come as notifications ``{"method": "stream", "params": {"id": ID, "item": ...}}`` before the response, which counts
them; the notification ``{"method": "cancel", "params": {"id": ID}}`` ends one, as closing the connection does.

Reference: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon.client import reachable
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UniError

MAX_LINE = 1 << 20
MAX_IN_FLIGHT = 64
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, ENGINE_ERROR = -32603, -32000
_UCRED = struct.Struct("3i")
_REFUSAL_SECONDS = 2.0
_SO_PEERGROUPS = 59         # asm-generic/socket.h; Python has no name for it
_MAX_GROUPS = 1024          # bytes; Python asks for no more at once: the first 256 groups

_log = logging.getLogger("unid.rpc")


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a connection (SO_PEERCRED, unix(7)): the kernel says so, not the client."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Method:
    """One method: a function whose keyword parameters are the method's."""

    name: str
    function: Callable[..., Any]
    summary: str

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

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """Offer ``function`` as ``name``; the first line of its docstring is the summary."""
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        self._table[name] = Method(name, function, summary)

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
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, path: Path, *, group: int | None = None) -> None:
        """Listen at ``path``: mode 0600, or 0660 for ``group``. A stale socket is replaced, a live one refused.

        :raises HostError: code ``daemon.running``
        """
        if _answers(path):
            raise HostError(f"a daemon already listens on {path}", code="daemon.running",
                            hint="stop it first, or give this one another --socket")
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            with reachable(path) as address:
                self._server = await asyncio.start_unix_server(self._connected, address, limit=MAX_LINE)
        finally:
            os.umask(old)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)      # a connection that was just accepted gets its task
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)      # closed transports let go of their sockets in the loop's next round

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError
        self._connections.add(task)
        try:
            peer = _peer(writer)
            if self._allowed(peer):
                await _Connection(self._methods, reader, writer).run()
            else:
                _log.warning("refused uid %d (pid %d)", peer.uid, peer.pid)
                # What is left unread when the socket closes would reset it before the client has seen the answer.
                await asyncio.wait_for(reader.readline(), _REFUSAL_SECONDS)
                message = f"uid {peer.uid} may not use this daemon"
                writer.write(_line(_failure(None, ENGINE_ERROR, message, {"code": "daemon.forbidden"})))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.TimeoutError, ValueError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One client: reads lines, runs each request as a task, writes answers as they come."""

    def __init__(self, methods: Methods, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._methods = methods
        self._reader = reader
        self._writer = writer
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def run(self) -> None:
        try:
            while True:
                try:
                    line = await self._reader.readline()
                except ValueError:      # longer than MAX_LINE: where the next message begins cannot be known
                    await self._send(_failure(None, INVALID_REQUEST, f"a line may have at most {MAX_LINE} bytes"))
                    return
                if not line:
                    return
                await self._received(line)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _received(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            await self._send(_failure(None, PARSE_ERROR, "not JSON"))
            return
        for request in message if isinstance(message, list) and message else [message]:
            if not _is_request(request):
                await self._send(_failure(None, INVALID_REQUEST, "not a JSON-RPC 2.0 request"))
            elif request["method"] == "cancel" and "id" not in request:
                task = self._tasks.get((request.get("params") or {}).get("id"))
                if task:
                    task.cancel()
            else:
                await self._room.acquire()
                key = request.get("id", object())
                task = asyncio.get_running_loop().create_task(self._serve(request))
                self._tasks[key] = task
                task.add_done_callback(lambda _task, key=key: self._done(key))  # type: ignore[misc]

    def _done(self, key: Any) -> None:
        self._tasks.pop(key, None)
        self._room.release()

    async def _serve(self, request: Mapping[str, Any]) -> None:
        answer = await self._answer(request)
        if "id" in request:
            await self._send(answer)

    async def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        identity = request.get("id")
        method = self._methods.get(request["method"])
        if method is None:
            return _failure(identity, METHOD_NOT_FOUND, f"there is no method {request['method']!r}")
        try:
            arguments = method.bind(request.get("params"))
        except TypeError as error:
            return _failure(identity, INVALID_PARAMS, f"{method.name}: {error}")
        try:
            if inspect.isasyncgenfunction(method.function):
                result: Any = await self._stream(identity, method.function(**arguments))
            elif inspect.iscoroutinefunction(method.function):
                result = await method.function(**arguments)
            else:
                result = await asyncio.to_thread(method.function, **arguments)
            return {"jsonrpc": "2.0", "id": identity, "result": result}
        except UniError as error:
            return _failure(identity, ENGINE_ERROR, error.message, error.to_dict())
        except Exception:
            # The trace may hold secrets that the arguments held: it stays in the daemon's log.
            _log.exception("method %s failed", method.name)
            return _failure(identity, INTERNAL_ERROR, f"{method.name} failed; the daemon's log says why")

    async def _stream(self, identity: Any, items: AsyncIterator[Any]) -> dict[str, int]:
        count = 0
        async for item in items:
            count += 1
            await self._send({"jsonrpc": "2.0", "method": "stream", "params": {"id": identity, "item": item}})
        return {"items": count}

    async def _send(self, message: Mapping[str, Any]) -> None:
        self._writer.write(_line(message))
        await self._writer.drain()


def allow(uids: Iterable[int], gid: int | None = None) -> Callable[[Peer], bool]:
    """A rule for :class:`RpcServer`: these uids, and members of the group ``gid``."""
    may = frozenset(uids)

    def rule(peer: Peer) -> bool:
        return peer.uid in may or (gid is not None and (peer.gid == gid or gid in peer.groups))

    return rule


def _peer(writer: asyncio.StreamWriter) -> Peer:
    """The peer's credentials and supplementary groups as they were when it connected."""
    sock = writer.get_extra_info("socket")
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS)
    except OSError:             # more groups than that: only the first one counts
        raw = b""
    return Peer(pid, uid, gid, frozenset(struct.unpack(f"{len(raw) // 4}I", raw)))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with reachable(path) as address:
                return probe.connect_ex(address) == 0
        except OSError:
            return False


def _is_request(value: Any) -> bool:
    return (isinstance(value, dict) and value.get("jsonrpc") == "2.0" and isinstance(value.get("method"), str)
            and isinstance(value.get("params", {}), (dict, list, type(None)))
            and isinstance(value.get("id", 0), (str, int, type(None))))


def _failure(identity: Any, code: int, message: str, data: Any = None) -> dict[str, Any]:
    error = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, default=str, separators=(",", ":")).encode() + b"\n"


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
