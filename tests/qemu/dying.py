# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that kill themselves at a chosen step: callers of the engine, and keepers."""

from __future__ import annotations

import subprocess
import sys

from .conftest import COLLECTIONS, Host

# A step is an entry into a function of a file whose name has WITHIN in it; EVERY counts returns and built-in functions, too.
TRACE = """
import os, sys
steps = 0
def trace(frame, event, argument):
    global steps
    if ({every} or event == "call") and {within!r} in frame.f_code.co_filename:
        steps += 1
        if steps == {step}:
            os.kill(os.getpid(), 9)
"""
CALLER = """
sys.path.insert(0, {collections!r})
from pathlib import Path
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api, saved
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
root = Root(Path({root!r}))
spec = VmSpec.parse("web", {options!r})
sys.setprofile(trace)
{what}
"""
KEEPER = """
sys.path.insert(0, sys.argv[1])
sys.setprofile(trace)
from uni_keeper.main import main
main(sys.argv[2:])
"""


def caller(host: Host, what: str, step: int, *, within: str = "/module_utils/engine/", every: bool = False, **options: object) -> bool:
    """Run ``what`` (it knows ``root``, ``api``, ``saved``, and ``spec`` of the VM "web") until a step; whether it got to its end."""
    options = {"kernel": host.guest("idle"), "rng": False, "memory": "16M", "stop_timeout": "200ms", **options}
    script = TRACE.format(within=within, step=step, every=every) + CALLER.format(
        collections=str(COLLECTIONS), root=str(host.root.path), options=options, what=what)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == 0


def keeper(step: int) -> str:
    """What stands in for ``keepers._START``: a keeper that dies at a step."""
    return TRACE.format(within="/uni_keeper/", step=step, every=False) + KEEPER
