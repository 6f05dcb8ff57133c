# SPDX-License-Identifier: GPL-3.0-or-later
"""The system calls of a running VM as they come: its kernel prints them on the console, here they are sorted out."""

from __future__ import annotations

import argparse
import os
import re
import select
import sys
import time

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

# "[THREAD] name(arguments) = result", as the kernel prints it (docs/guest-interface.md, uni.trace).
CALL = re.compile(rb"\[\d+\] ([a-z_0-9]+)\(")
_MAX_LINE = 65536


def run(args: argparse.Namespace, ui: Ui, vm_id: str) -> int:
    """Turn the tracing on, print what comes, turn it off again however this ends."""
    names = {name.strip().encode() for name in (args.filter or "").split(",") if name.strip()}
    seconds = None if args.time is None else parse_duration(args.time, what="--time")
    out = sys.stdout.fileno()
    if args.into is not None:
        out = os.open(args.into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with api.attach(ui.root, vm_id, typing=False) as stream:
        api.command(ui.root, vm_id, {"cmd": "trace", "on": True})
        seen: set[bytes] = set()
        try:
            _pump(stream, out, names, seconds, seen)
        except KeyboardInterrupt:
            pass  # this is how one leaves it
        finally:
            try:
                api.command(ui.root, vm_id, {"cmd": "trace", "on": False})
            except UniError:
                ui.note("the VM has ended")
            if args.into is not None:
                os.close(out)
    if names and seen and not names & seen:  # a name may be misspelt
        ui.note(f"none of these calls was made; others were: {', '.join(sorted(name.decode() for name in seen))}")
    return 0


def _pump(stream: object, out: int, names: set[bytes], seconds: float | None, seen: set[bytes]) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(stream, select.POLLIN)  # type: ignore[arg-type]
    rest = b""
    while True:
        left = None if deadline is None else (deadline - time.monotonic()) * 1000
        if (left is not None and left <= 0) or not poll.poll(left):
            return
        data = stream.recv(65536)  # type: ignore[attr-defined]
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_MAX_LINE:]
        calls = [(line[match.start():], match[1]) for line in lines for match in [CALL.search(line)] if match]
        seen.update(name for _line, name in calls)
        found = b"".join(line.rstrip(b"\r") + b"\n" for line, name in calls if not names or name in names)
        view = memoryview(found)
        while view:
            view = view[os.write(out, view):]
