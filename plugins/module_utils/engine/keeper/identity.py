# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a process from a later one with the same number. The engine uses it too: it imports next to nothing."""

from __future__ import annotations

import os


def start_ticks(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot (proc(5), stat, field 22); 0: no such process.

    A zombie has ended: it counts as no process.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(fd, 4096).rpartition(b")")[2].split(None, 20)
        finally:
            os.close(fd)
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def boot_id() -> str:
    """The random name of this boot of the host (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
