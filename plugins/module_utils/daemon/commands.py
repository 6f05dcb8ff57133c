# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole command line over the socket: the daemon runs `uni` for its client and streams what it prints."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

MAX_WORDS, MAX_BYTES = 4096, 1 << 20
_CHUNK = 65536


class Commands:
    """Runs command lines on one root directory.

    :param program: the words that start `uni`
    """

    def __init__(self, program: Sequence[str], root: str) -> None:
        self._program = [*program, "--root", root]

    async def run(self, argv: list[str], cwd: str = "/") -> AsyncIterator[dict[str, Any]]:
        """Run a command of uni; items are pieces of its stdout and stderr (base64), the last one its exit status."""
        _check(argv)
        directory = cwd if os.path.isabs(cwd) and os.path.isdir(cwd) else "/"
        process = await asyncio.create_subprocess_exec(
            *self._program, *argv, cwd=directory, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True)
        try:
            async for piece in _output(process):
                yield piece
            yield {"exit": await process.wait()}
        finally:
            if process.returncode is None:      # the client went away
                os.killpg(process.pid, signal.SIGINT)
                await process.wait()


def _check(argv: Any) -> None:
    words = argv if isinstance(argv, list) else [None]
    if len(words) > MAX_WORDS or not all(isinstance(word, str) and "\0" not in word for word in words) \
            or sum(map(len, words)) > MAX_BYTES:
        raise UsageError("argv is not a list of words", code="daemon.argv")
    if words[:1] == ["daemon"]:
        raise UsageError("a daemon runs no daemon", code="daemon.argv")


async def _output(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    """What the process prints, as it comes, from both pipes."""
    queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(16)

    async def pump(name: str, stream: asyncio.StreamReader) -> None:
        while True:
            data = await stream.read(_CHUNK)
            await queue.put((name, data))
            if not data:
                return

    if process.stdout is None or process.stderr is None:
        raise AssertionError("both are pipes")
    loop = asyncio.get_running_loop()
    pumps = [loop.create_task(pump("stdout", process.stdout)), loop.create_task(pump("stderr", process.stderr))]
    try:
        left = len(pumps)
        while left:
            name, data = await queue.get()
            if data:
                yield {"stream": name, "data": base64.b64encode(data).decode()}
            else:
                left -= 1
    finally:
        for task in pumps:
            task.cancel()
