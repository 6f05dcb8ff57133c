# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon renews itself: it executes the `uni` that is installed now, in the same process.

What listens stays open, so nobody is refused meanwhile; connections go along with what was not read of them, commands
stay children of this process. What the new program needs to know goes along in a memfd.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import StateError

VARIABLE = "UNID_HANDOVER"
_CHECK_SECONDS = 60


@dataclass(frozen=True)
class Handover:
    """What goes along. Descriptors are numbers that stay the same."""

    listening: int
    registry: int | None
    connections: list[dict[str, Any]]
    commands: list[int]
    events: tuple[int, int]


def check(program: Sequence[str], arguments: Sequence[str]) -> None:
    """Whether the installed program can go on: it is asked with the very words that it will be run with.

    :raises StateError: code ``daemon.renewal``; nothing has changed
    """
    words = list(arguments)
    words[_verb(words)] = "check"
    try:
        answer = subprocess.run([*program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=_CHECK_SECONDS, text=True, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateError(f"the installed uni cannot be run: {error}", code="daemon.renewal") from error
    if answer.returncode != 0:
        said = (answer.stdout.strip().splitlines() or ["it says nothing"])[0]
        raise StateError(f"the installed uni cannot go on as the daemon: {said}", code="daemon.renewal",
                         hint="the daemon goes on as it is; to change to that version: systemctl restart unid")


def leave(handover: Handover, program: Sequence[str], arguments: Sequence[str]) -> None:
    """Become the installed program. Returns only by an OSError."""
    handles = [handover.listening, handover.registry]
    handles += [state["descriptor"] for state in handover.connections]
    handles += [number for state in handover.connections for number in state["descriptors"]]
    for handle in handles:
        if handle is not None:
            os.set_inheritable(handle, True)
    memory = os.memfd_create("unid-handover", 0)
    os.write(memory, json.dumps(asdict(handover)).encode())
    environment = {**os.environ, VARIABLE: str(memory)}
    os.execve(program[0], [*program, *arguments], environment)


def arrive() -> Handover | None:
    """What the program before left; None where there was none."""
    number = os.environ.pop(VARIABLE, "")
    if not number:
        return None
    with open(int(number), "rb") as file:
        file.seek(0)
        data = json.load(file)
    result = Handover(data["listening"], data["registry"], data["connections"], data["commands"],
                      (data["events"][0], data["events"][1]))
    for handle in [result.listening, result.registry, *(state["descriptor"] for state in result.connections),
                   *(number for state in result.connections for number in state["descriptors"])]:
        if handle is not None:
            os.set_inheritable(handle, False)
    return result


def _verb(words: Sequence[str]) -> int:
    """Where `run` stands in `[options] daemon run [options]`."""
    for index in range(len(words) - 1):
        if words[index] == "daemon" and words[index + 1] == "run":
            return index + 1
    raise StateError("this daemon was not started as `uni daemon run`", code="daemon.renewal",
                     hint="restart it the way it was started")
