# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a process from a later one with the same number. The engine uses it too: it imports next to nothing."""

from __future__ import annotations


def start_ticks(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot (proc(5), stat, field 22); 0: no such process.

    A zombie has ended: it counts as no process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def boot_id() -> str:
    """The random name of this boot of the host (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
