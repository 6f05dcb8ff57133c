# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole command line over the socket: the daemon starts `uni` on its client's own standard streams.

The command then belongs to its client, not to the daemon (see :mod:`..cli.control`): restarting or killing the daemon
does not end it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.control import VARIABLE
from ansible_collections.uni.engine.plugins.module_utils.cli.forward import NONE, namespaces
from ansible_collections.uni.engine.plugins.module_utils.daemon.connection import Caller, caller
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError

MAX_WORDS, MAX_BYTES = 4096, 1 << 20
DESCRIPTORS = 5     # standard input, output and error, the working directory, the end of a socket pair
# They say which code runs, so they are taken from a client with the daemon's own uid alone.
_OF_ANOTHER = ("PATH", "LD_", "PYTHON", "GCONV_", "GLIBC_", "MALLOC_")
_OWN = ("UNI_ROOT", "UNI_SOCKET", VARIABLE, "NOTIFY_SOCKET", "LISTEN_", "UNID_")


class Commands:
    """Runs command lines on one root directory.

    :param program: the words that start `uni`
    """

    def __init__(self, program: Sequence[str], root: str) -> None:
        self._program = list(program)
        self._root = root
        self._running: dict[int, int] = {}      # pid -> pidfd

    async def start(self, argv: list[str], environment: dict[str, str] | None = None, umask: int = 0o22,
                    root: str | None = None, namespaces: dict[str, int] | None = None) -> dict[str, int]:
        """Start a command of uni on five descriptors that come with the connection's first byte: its three standard
        streams, its working directory, and the end of a socket pair that it reports to."""
        _check(argv, environment)
        self._check_place(root, namespaces)
        client = caller()
        handles = client.take_descriptors()
        try:
            if len(handles) != DESCRIPTORS:
                raise UsageError(f"a command needs {DESCRIPTORS} descriptors", code="daemon.streams")
            words = [*self._program, "--root", root or self._root, *argv]
            pid = await asyncio.to_thread(self._spawn, client, handles, words, environment or {}, umask & 0o777)
        finally:
            for handle in handles:
                os.close(handle)
        self.watch(pid)
        return {"pid": pid}

    def watch(self, pid: int) -> None:
        """Reap a command when it ends."""
        handle = os.pidfd_open(pid)
        self._running[pid] = handle
        asyncio.get_running_loop().add_reader(handle, self._ended, pid)

    def running(self) -> list[int]:
        """The pids of the commands that run."""
        return list(self._running)

    def _ended(self, pid: int) -> None:
        handle = self._running.pop(pid)
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass

    def _check_place(self, root: str | None, theirs: Mapping[str, int] | None) -> None:
        """Refuse where the command would see other files or networks than its client does.

        :raises HostError: code ``daemon.elsewhere``
        """
        if theirs is not None and theirs != namespaces():
            raise HostError("the daemon runs in other namespaces", code="daemon.elsewhere")
        if root is not None and not os.path.samefile(root, self._root):
            raise HostError(f"the daemon serves {self._root}, not {root}", code="daemon.elsewhere")

    def _spawn(self, client: Caller, handles: Sequence[int], argv: list[str], environment: dict[str, str],
               umask: int) -> int:
        own = client.peer.uid == os.geteuid()
        kept = {name: value for name, value in environment.items() if not name.startswith(_OWN)
                and (own or not name.startswith(_OF_ANOTHER))}
        if "PATH" not in kept:
            kept["PATH"] = os.environ.get("PATH", os.defpath)
        kept.update({"UNI_SOCKET": NONE, VARIABLE: str(handles[4])})
        # A session of its own: what a terminal sends to its foreground comes from the client.
        process = subprocess.Popen(argv, stdin=handles[0], stdout=handles[1], stderr=handles[2], env=kept, umask=umask,
                                   cwd=f"/proc/self/fd/{handles[3]}", pass_fds=[handles[4]], start_new_session=True)
        process.returncode = 0      # reaped by its pidfd, not by this object
        return process.pid


def _check(argv: Any, environment: Any) -> None:
    words = argv if isinstance(argv, list) else [None]
    if len(words) > MAX_WORDS or not all(isinstance(word, str) and "\0" not in word for word in words) \
            or sum(map(len, words)) > MAX_BYTES:
        raise UsageError("argv is not a list of words", code="daemon.argv")
    if not isinstance(environment or {}, dict) or any(
            not isinstance(value, str) or "\0" in name + value for name, value in (environment or {}).items()):
        raise UsageError("environment is not a mapping of names to texts", code="daemon.argv")
    if words[:1] == ["daemon"]:
        raise UsageError("a daemon runs no daemon", code="daemon.argv")
