# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a recorded process still runs. No import that Python has not made itself: `uni ps` is built on this."""

from __future__ import annotations

from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import start_ticks

TYPE_CHECKING = False  # typing costs two milliseconds
if TYPE_CHECKING:
    from typing import Any


def identity(record: Any, boot: str = "") -> tuple[int, int, str] | None:
    """Pid, start and boot in ``{"pid": .., "start": .., "boot": ..}``; None for anything else."""
    if not isinstance(record, dict):
        return None
    pid, start = record.get("pid"), record.get("start")
    if isinstance(pid, bool) or isinstance(start, bool) or not isinstance(pid, int) or not isinstance(start, int) \
            or pid <= 1 or start <= 0:
        return None
    return pid, start, str(record.get("boot") or boot)


def alive(who: tuple[int, int, str] | None, boot: str) -> bool:
    """Whether exactly this process runs. ``boot``: the current boot id."""
    return who is not None and who[1] > 0 and (not who[2] or who[2] == boot) and start_ticks(who[0]) == who[1]
