# SPDX-License-Identifier: GPL-3.0-or-later
"""An event loop of two dozen lines: epoll and timers. asyncio would cost more than a VM's start."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False  # collections.abc costs a millisecond
if TYPE_CHECKING:
    from collections.abc import Callable

BUSY_READS = 64
BUSY_WINDOW = 0.05  # seconds
BUSY_PAUSE = 0.02


class Timer:
    """A pending call; ``cancel`` makes it do nothing."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call = when, call
        self.active = True

    def cancel(self) -> None:
        """Forget the call."""
        self.active = False


class Brake:
    """A guest that floods a port costs the host a bounded share of a CPU: what was read BUSY_READS times within
    BUSY_WINDOW is left alone for BUSY_PAUSE; then ``resume`` is called. ``on`` while that lasts.
    """

    def __init__(self, loop: Loop, resume: Callable[[], None]) -> None:
        self.loop, self.resume = loop, resume
        self.on = False
        self.reads, self.window = 0, 0.0

    def count(self) -> bool:
        """It was read once more. True when that was too often."""
        now = time.monotonic()
        if now - self.window > BUSY_WINDOW:
            self.reads, self.window = 0, now
        self.reads += 1
        if self.reads < BUSY_READS or self.on:
            return False
        self.on = True
        self.loop.after(BUSY_PAUSE, self._release)
        return True

    def _release(self) -> None:
        self.on = False
        self.resume()


class Loop:
    """File descriptors with their handlers, and timers on the monotonic clock (seconds)."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, tuple[Callable[[int], None], int]] = {}
        self.timers: list[Timer] = []
        self.deferred: list[Callable[[], None]] = []
        self.running = True

    def watch(self, fd: int, handler: Callable[[int], None], events: int) -> None:
        """Call ``handler(events)`` when ``fd`` is ready; replaces an earlier watch of ``fd``."""
        known = self.handlers.get(fd)
        if known is None:
            self.epoll.register(fd, events)
        elif known[1] != events:
            self.epoll.modify(fd, events)
        self.handlers[fd] = (handler, events)

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``; before it is closed."""
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def after(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call once after ``delay`` seconds."""
        timer = Timer(time.monotonic() + delay, call)
        self.timers.append(timer)
        return timer

    def defer(self, call: Callable[[], None]) -> None:
        """Call once when everything that is ready now has been handled."""
        self.deferred.append(call)

    def run(self) -> None:
        """Serve until ``running`` is false."""
        while self.running:
            self.timers = [timer for timer in self.timers if timer.active]
            timeout = 0.0 if self.deferred else -1.0
            if self.timers and not self.deferred:
                timeout = max(0.0, min(timer.when for timer in self.timers) - time.monotonic())
            for fd, events in self.epoll.poll(timeout):
                entry = self.handlers.get(fd)
                if entry is not None:
                    entry[0](events)
            now = time.monotonic()
            for timer in [timer for timer in self.timers if timer.when <= now]:
                if timer.active:
                    timer.active = False
                    timer.call()
            calls, self.deferred = self.deferred, []
            for call in calls:
                call()
