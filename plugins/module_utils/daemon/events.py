# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of VMs: keepers append them to a log, the daemon hands them on as they come."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon.inotify import CREATE, MODIFY, MOVED_TO, Inotify

# A subscriber that does not read loses the oldest events first.
MAX_PENDING = 1000
_SETTLE_SECONDS, _ROUNDS = 0.02, 100

_log = logging.getLogger("unid.events")


class Events:
    """Follows the log at ``path`` (which may not exist yet) and feeds subscribers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._identity = 0
        self._inotify = Inotify()
        self._subscribers: set[asyncio.Queue[dict[str, Any]]] = set()

    def start(self, place: tuple[int, int] | None = None) -> None:
        """Follow from now on, or from ``place`` (see :meth:`pause`); what was written before is history."""
        self._inotify.watch(self._path.parent, MODIFY | CREATE | MOVED_TO)
        try:
            status = self._path.stat()
            self._offset, self._identity = place or (status.st_size, status.st_ino)
        except FileNotFoundError:
            pass
        loop = asyncio.get_running_loop()
        loop.add_reader(self._inotify.fd, self._changed)
        if place is not None:
            loop.call_later(_SETTLE_SECONDS, self._catch_up)

    async def pause(self) -> tuple[int, int]:
        """Look no more, let subscribers have what they have not read yet; where to go on."""
        asyncio.get_running_loop().remove_reader(self._inotify.fd)
        for _round in range(_ROUNDS):       # a subscriber that does not read is not waited for
            if all(queue.empty() for queue in self._subscribers):
                break
            await asyncio.sleep(_SETTLE_SECONDS)
        await asyncio.sleep(0)
        return self._offset, self._identity

    def stop(self) -> None:
        """Stop following."""
        asyncio.get_running_loop().remove_reader(self._inotify.fd)
        self._inotify.close()

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """Every event from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_PENDING)
        self._subscribers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)

    def _changed(self) -> None:
        if any(name in (self._path.name, "") for _watch, _mask, name in list(self._inotify.read())):
            self._catch_up()

    def _catch_up(self) -> None:
        for event in self._new():
            self._publish(event)

    def _new(self) -> list[dict[str, Any]]:
        """Events appended since the last look; the log may have been rotated away or cut meanwhile."""
        events = []
        try:
            with open(self._path, "rb") as file:
                status = self._path.stat()
                if status.st_ino != self._identity or status.st_size < self._offset:
                    self._offset, self._identity = 0, status.st_ino
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                _log.warning("a damaged line in %s", self._path)
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def _publish(self, event: dict[str, Any]) -> None:
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
