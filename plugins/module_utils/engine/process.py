# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a process is: its pid, the moment it started and the boot of the host, never the number alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine import liveness
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import boot_id, start_ticks


@dataclass(frozen=True)
class Identity:
    """One process, for ever: a recycled pid has another start time."""

    pid: int
    start: int
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a living process (``start`` 0 when there is none)."""
        return cls(pid, start_ticks(pid), boot_id())

    @classmethod
    def from_record(cls, record: Any, boot: str = "") -> Identity | None:
        """From ``{"pid": .., "start": ..}``; None for anything else, also from a damaged record."""
        found = liveness.identity(record, boot)
        return cls(*found) if found is not None else None

    def alive(self, boot: str = "") -> bool:
        """Whether exactly this process runs. ``boot``: the current boot id, read when empty."""
        return liveness.alive((self.pid, self.start, self.boot), boot or boot_id())

    def kill(self, signo: int) -> bool:
        """Send a signal to this process and to no other; False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive():
                return False
            from signal import pidfd_send_signal

            pidfd_send_signal(handle, signo)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until the process has ended; False when it still runs after ``timeout`` seconds."""
        import select

        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return True
        try:
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(timeout * 1000)) or not self.alive()
        finally:
            os.close(handle)


__all__ = ["Identity", "boot_id", "start_ticks"]
