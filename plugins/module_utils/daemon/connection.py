# SPDX-License-Identifier: GPL-3.0-or-later
"""One client of the daemon: reads requests, runs each as a task, writes answers as they come.

Descriptors may come with the first byte of a connection (SCM_RIGHTS, unix(7)): the method that wants them takes them.
A connection can be handed over to another process image at any moment, with what was not read yet.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import inspect
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.daemon.rpc import Methods

MAX_LINE = 1 << 20
MAX_IN_FLIGHT = 64
MAX_DESCRIPTORS = 8
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


class Caller:
    """Who calls the running method, and the descriptors that came with the connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.descriptors: list[int] = []

    def take_descriptors(self) -> list[int]:
        """The descriptors; they are the taker's to close."""
        taken, self.descriptors = self.descriptors, []
        return taken


_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def caller() -> Caller:
    """Who calls the method that asks (an asynchronous one). :raises LookupError: outside of a call"""
    return _caller.get()


class Connection:
    """One client.

    :param allowed: tells whether a peer may call anything at all
    :param state: where another process left off (see :meth:`hand_over`); empty for a new client
    """

    def __init__(self, methods: Methods, allowed: Callable[[Peer], bool], sock: socket.socket,
                 state: Mapping[str, Any]) -> None:
        self._methods = methods
        self._allowed = allowed
        self._sock = sock
        self._state = state
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: dict[Any, tuple[asyncio.Task[None], Mapping[str, Any]]] = {}
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._leaving = asyncio.Event()         # set: another process goes on with this connection
        self._read = asyncio.Event()            # set: nothing more is read here
        self._caller = Caller(_peer(sock))
        self._caller.descriptors = [int(number) for number in state.get("descriptors", ())]

    async def run(self) -> None:
        """Serve until the client leaves, or the connection is handed over."""
        _caller.set(self._caller)
        try:
            if not await self._open():
                return
            if self._allowed(self._caller.peer):
                await self._serve_lines()
            else:
                await self._refuse()
        except (ConnectionError, asyncio.CancelledError, asyncio.TimeoutError, ValueError):
            pass
        finally:
            self._read.set()
            if not self._leaving.is_set():
                await self._close()

    async def hand_over(self) -> dict[str, Any] | None:
        """What another process needs to go on; None when there is nothing left. Calls that do something are awaited."""
        self._leaving.set()
        again: list[Mapping[str, Any]] = []
        while not self._read.is_set():      # calls that wait may take all the room that the last line read needs
            await self._stop_waiting(again)
            await _first(self._read.wait(), asyncio.sleep(0.05))
        if self._reader is None or self._writer is None:
            return self._description(b"", [])
        await self._stop_waiting(again)
        await asyncio.gather(*(task for task, _request in self._tasks.values()), return_exceptions=True)
        if self._writer.transport.is_closing():
            return None
        self._writer.transport.set_write_buffer_limits(0)
        await self._writer.drain()
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        self._reader.feed_eof()
        return self._description(await self._reader.read(), again)

    async def _stop_waiting(self, again: list[Mapping[str, Any]]) -> None:
        """End the calls that only wait; those that can be asked again are added to ``again``."""
        for task, request in list(self._tasks.values()):
            method = self._methods.get(request["method"])
            if method is None or not method.waits or task.done():
                continue
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if method.waits == "again":
                again.append(request)
            else:
                await self._send(_failure(request.get("id"), ENGINE_ERROR, "the daemon was renewed: ask again",
                                          {"code": "daemon.renewed"}))

    def _description(self, unread: bytes, again: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {"descriptor": self._sock.fileno() if self._writer is None
                else self._writer.get_extra_info("socket").fileno(),
                "unread": base64.b64encode(unread).decode(), "again": again, "descriptors": self._caller.descriptors}

    async def _open(self) -> bool:
        """Read the first byte with the descriptors that come with it; False when nothing comes."""
        unread = base64.b64decode(self._state.get("unread", ""))
        if not self._state:
            self._sock.setblocking(False)
            if not await self._readable():
                return False
            unread, self._caller.descriptors, _flags, _address = socket.recv_fds(
                self._sock, 1, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            if not unread:
                return False
        loop = asyncio.get_running_loop()
        self._reader = reader = asyncio.StreamReader(MAX_LINE, loop)
        if unread:
            reader.feed_data(unread)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _protocol = await loop.create_unix_connection(lambda: protocol, sock=self._sock)
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        for request in self._state.get("again", ()):
            await self._begin(request)
        return True

    async def _readable(self) -> bool:
        """Wait for the first byte; False when the connection is handed over before it."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._sock, ready.set)
        try:
            await _first(ready.wait(), self._leaving.wait())
        finally:
            loop.remove_reader(self._sock)
        return not self._leaving.is_set()

    async def _refuse(self) -> None:
        peer = self._caller.peer
        _log.warning("refused uid %d (pid %d)", peer.uid, peer.pid)
        # What is left unread when the socket closes would reset it before the client has seen the answer.
        if self._reader is not None:
            await asyncio.wait_for(self._reader.readline(), _REFUSAL_SECONDS)
        await self._send(_failure(None, ENGINE_ERROR, f"uid {peer.uid} may not use this daemon",
                                  {"code": "daemon.forbidden"}))

    async def _serve_lines(self) -> None:
        try:
            while True:
                line = await self._line()
                if not line:
                    break
                await self._received(line)
        finally:
            if not self._leaving.is_set():
                tasks = [task for task, _request in self._tasks.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _line(self) -> bytes:
        """The next line; empty at the end, and when the connection is handed over."""
        if self._reader is None:
            raise AssertionError
        reading = asyncio.get_running_loop().create_task(self._reader.readline())
        await _first(reading, self._leaving.wait())
        if not reading.done() or reading.cancelled():
            return b""      # a line that has come in part stays in the reader's buffer
        try:
            return reading.result()
        except ValueError:      # longer than MAX_LINE: where the next message begins cannot be known
            await self._send(_failure(None, INVALID_REQUEST, f"a line may have at most {MAX_LINE} bytes"))
            return b""

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
                task, _request = self._tasks.get((request.get("params") or {}).get("id"), (None, None))
                if task:
                    task.cancel()
            else:
                await self._begin(request)

    async def _begin(self, request: Mapping[str, Any]) -> None:
        await self._room.acquire()
        key = request.get("id", object())
        task = asyncio.get_running_loop().create_task(self._serve(request))
        self._tasks[key] = (task, request)
        task.add_done_callback(lambda _task: self._done(key))

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
        if self._writer is not None:
            self._writer.write(_line(message))
            await self._writer.drain()

    async def _close(self) -> None:
        for descriptor in self._caller.take_descriptors():
            os.close(descriptor)
        if self._writer is not None:
            self._writer.close()
        else:
            self._sock.close()


async def _first(*waiting: Any) -> None:
    """Wait until one of these is done; the others are cancelled, and have ended when this returns."""
    loop = asyncio.get_running_loop()
    tasks = [work if isinstance(work, asyncio.Task) else loop.create_task(work) for work in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _peer(sock: socket.socket) -> Peer:
    """The peer's credentials and supplementary groups as they were when it connected."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS)
    except OSError:             # more groups than that: only the first one counts
        raw = b""
    return Peer(pid, uid, gid, frozenset(struct.unpack(f"{len(raw) // 4}I", raw)))


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
