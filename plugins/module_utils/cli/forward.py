# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands through the daemon: which ones, over which socket, and how a terminal reaches them.

The daemon starts the command with the client's own standard streams and working directory, which go along as
descriptors (SCM_RIGHTS, unix(7)): a terminal stays a terminal with its size, a pipe stays a pipe, nothing is copied.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ansible_collections.uni.engine.plugins.module_utils.cli.options import HOST_ROOT, SOCKET, root_path

if TYPE_CHECKING:
    import socket

NONE = "none"                       # UNI_SOCKET=none: as --no-daemon
# Commands that only look, or that work on this installation: the owner of the state reads it faster than he can ask.
DIRECT = frozenset({
    "ps", "logs", "attach", "inspect", "wait", "port", "stats", "top", "status", "events",
    "images", "image inspect", "image history",
    "pkg search", "pkg list", "compose plan", "compose ps", "compose logs", "compose config", "compose ls",
    "volume ls", "volume inspect", "volume export", "network ls", "network inspect", "kernel list", "kernel verify",
    "kernel keygen", "kernel publish", "upgrade", "upgrade check", "upgrade list", "upgrade rollback",
    "upgrade publish", "version", "completion", "doctor",
})
_PATIENCE = 5.0                     # seconds for a daemon that nobody named to start the command


@dataclass(frozen=True)
class Choice:
    """What the command line says about the way."""

    socket: str | None = None
    root: str | None = None
    off: bool = False


@dataclass(frozen=True)
class Way:
    """A daemon to go through. ``named``: the user named it, or it is the only way in, so that it must answer."""

    socket: str
    named: bool
    root: str | None = None


def take(leading: list[str], rest: list[str]) -> tuple[Choice, list[str], list[str]]:
    """Take the options about the daemon out of a command line; (choice, leading, rest) without them."""
    off, path, root = False, None, None
    kept: list[list[str]] = []
    for words in (leading, rest):
        end = words.index("--") if "--" in words else len(words)
        out, index = [], 0
        while index < end:
            word, following = words[index], words[index + 1:index + 2]
            if word == "--no-daemon":
                off = True
            elif word == "--socket" and following and rest[:1] != ["daemon"]:
                path, index = following[0], index + 1
            elif word.startswith("--socket=") and rest[:1] != ["daemon"]:
                path = word.partition("=")[2]
            else:
                if word == "--root" and following:
                    root = following[0]
                elif word.startswith("--root="):
                    root = word.partition("=")[2]
                out.append(word)
            index += 1
        kept.append(out + words[end:])
    return Choice(path, root, off), kept[0], kept[1]


def way(choice: Choice, name: str) -> Way | None:
    """The daemon that shall run the command ``name``; None: this process does.

    A user whom the host daemon's group lets in means the host's root, unless he names another one.

    :raises UsageError: a root directory and a daemon are named
    """
    if choice.socket and choice.root:
        from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

        raise UsageError("--root and --socket exclude each other", code="cli.usage",
                         hint="a daemon serves the root directory that it was started with")
    named = choice.socket or os.environ.get("UNI_SOCKET") or ""
    if choice.off or named == NONE:
        return None
    if named and (choice.socket or not choice.root):
        return Way(named, True)
    root = choice.root or os.environ.get("UNI_ROOT", "")
    if not root and os.geteuid() != 0 and os.access(f"{HOST_ROOT}/{SOCKET}", os.W_OK):
        return Way(f"{HOST_ROOT}/{SOCKET}", True)
    path = root_path(choice.root)
    try:
        mine = os.geteuid() in (0, os.stat(path).st_uid)
    except OSError:
        return None
    if mine and name in DIRECT:
        return None
    return Way(f"{path}/{SOCKET}", False, path)


def go(how: Way, words: list[str]) -> int | None:
    """Have the daemon run a command; its exit status, or None when there is no daemon that does.

    :raises UniError: a daemon that was named does not answer, or refuses
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

    try:
        sock = _connect(how.socket)
    except OSError as error:
        if not how.named:
            return None
        from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

        raise HostError(f"no daemon answers on {how.socket}: {error.strerror or error}", code="daemon.unreachable",
                        hint="start it: uni daemon run, or systemctl start unid") from error
    try:
        return _Call(sock, how, words).run()
    except UniError:
        if how.named:
            raise
        return None     # the command has not been started


def _connect(path: str) -> socket.socket:
    """:raises OSError: nobody listens there, or not for us"""
    os.stat(path)           # the common case of no daemon, without importing socket
    import socket
    from pathlib import Path

    from ansible_collections.uni.engine.plugins.module_utils.daemon.client import reachable

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(Path(path)) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


class _Call:
    """One command at the daemon."""

    def __init__(self, sock: socket.socket, how: Way, words: list[str]) -> None:
        import socket

        self._sock = sock
        self._how = how
        self._words = words
        self._control, self._theirs = socket.socketpair()
        self._signal = 0
        self._running = False

    def run(self) -> int:
        import signal

        from ansible_collections.uni.engine.plugins.module_utils.cli.control import GO

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        before = {number: signal.signal(number, self._forward) for number in numbers
                  if signal.getsignal(number) is not signal.SIG_IGN}
        try:
            self._ask()
            self._until_ready()
            self._control.send(GO)
            self._running = True
            if self._signal:
                self._control.send(bytes([self._signal]))
            status = self._until_ended()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._sock.close()
            self._control.close()
        if status is not None:
            return status
        # It was ended by a signal, ours or another's: so do we, and the shell sees what it would see without a daemon.
        if self._signal:
            signal.signal(self._signal, signal.SIG_DFL)
            os.kill(os.getpid(), self._signal)
        return 128 + signal.SIGKILL

    def _forward(self, number: int, _frame: object) -> None:
        self._signal = number
        if self._running:
            self._control.send(bytes([number]))

    def _ask(self) -> None:
        import array
        import json
        import socket

        how = self._how
        params: dict[str, Any] = {"argv": self._words, "environment": dict(os.environ), "umask": _umask()}
        if not how.named:
            params.update(root=how.root, namespaces=namespaces())
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "command.start", "params": params}).encode() + b"\n"
        streams = [_stream(number) for number in range(3)]
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        handles = array.array("i", [*streams, here, self._theirs.fileno()])
        try:
            sent = self._sock.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
            self._sock.sendall(line[sent:])
        except OSError:
            pass            # it went away, or refuses us and says why: what it answered is read next
        finally:
            self._theirs.close()
            os.close(here)
            for number, stream in enumerate(streams):
                if stream != number:
                    os.close(stream)

    def _until_ready(self) -> None:
        """:raises UniError: the daemon refused, or nothing came of it: then the command does nothing either"""
        import select
        import time

        from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

        deadline = None if self._how.named else time.monotonic() + _PATIENCE
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._sock, select.POLLIN)
        answer = b""
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = {handle for handle, _events in poll.poll(left)}
            if not ready:
                raise HostError("the daemon does not answer", code="daemon.hangs")
            if self._control.fileno() in ready:
                if self._control.recv(1):
                    return
                _refused(answer + self._rest())     # nobody holds the other end any more
            elif self._sock.fileno() in ready:
                data = _receive(self._sock)
                answer += data
                if not data:
                    poll.unregister(self._sock)

    def _rest(self) -> bytes:
        rest = b""
        self._sock.settimeout(10)
        while not rest.endswith(b"\n"):
            data = _receive(self._sock)
            if not data:
                break
            rest += data
        return rest

    def _until_ended(self) -> int | None:
        """The exit status; None when it was killed."""
        said = b""
        while True:
            data = self._control.recv(64)
            if not data:
                break
            said += data
        return int(said[1:]) if said.startswith(b"e") else None


def namespaces() -> dict[str, int]:
    """The mount and network namespaces of this process: where its paths and its networks are."""
    return {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in ("mnt", "net")}


def _umask() -> int:
    value = os.umask(0o77)
    os.umask(value)
    return value


def _stream(number: int) -> int:
    """A standard stream, or the null device where it is closed."""
    try:
        os.fstat(number)
        return number
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _refused(answer: bytes) -> NoReturn:
    """:raises UniError: what the daemon answered"""
    import json

    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UniError

    try:
        error = json.loads(answer.splitlines()[0])["error"]
    except (ValueError, LookupError, TypeError):
        raise HostError("the daemon closed the connection", code="daemon.closed") from None
    data = error.get("data") or {}
    raise UniError(data.get("message", error.get("message", "")), code=data.get("code", "daemon.error"),
                   hint=data.get("hint", ""))
