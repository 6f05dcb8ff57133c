# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that do not outlive the harness that started them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def tether(words: Sequence[str | Path]) -> list[str]:
    """The command, such that the kernel kills it when the thread that starts it ends, however that ends.

    The process keeps its number: setpriv(1) sets PR_SET_PDEATHSIG (prctl(2)) and becomes the command, unless the caller has
    ended before that: nobody would send the signal then, and the parent is another.
    """
    still_there = '[ "$PPID" = "$0" ] && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", still_there, str(os.getpid()), *map(str, words)]
