# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/kernel/oracle/tether.py: what a harness starts ends with the harness, even when that is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

KERNEL_TESTS = Path(__file__).resolve().parents[1] / "kernel"
HARNESS = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from oracle.tether import tether
print(subprocess.Popen(tether(["sleep", "600"])).pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_harness_leaves_nothing_behind() -> None:
    harness = subprocess.Popen([sys.executable, "-c", HARNESS, str(KERNEL_TESTS)], stdout=subprocess.PIPE)
    assert harness.stdout is not None
    child = int(harness.stdout.readline())
    assert alive(child)
    harness.kill()
    harness.communicate()
    end = time.monotonic() + 30
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)
