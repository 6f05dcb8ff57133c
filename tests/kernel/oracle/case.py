# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case is, and how the C programs say which cases they want."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROGRAMS = HERE / "programs"
EXPECT = HERE / "expect"

#: The environment that Uni gives a program by default (docs/guest-interface.md), and so what the oracle gets as well.
ENVIRONMENT = {
    "HOME": "/",
    "TERM": "linux",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

DIRECTIVE = re.compile(r"^// oracle: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One program, run once. ``tree`` names the disk it lives on; ``memory`` is in MiB, ``timeout`` in seconds.

    A server has a ``port``, a ``client`` (a script in real/) whose output is compared too, and, where the client cannot end it, the
    signal to ``stop`` it with.
    """

    name: str
    tree: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/scratch"
    memory: int = 128
    timeout: int = 180
    only: str = ""
    config: tuple[str, ...] = ()
    fsck: bool = True
    port: int = 0
    client: str = ""
    stop: str = ""

    @property
    def expectation(self) -> Path:
        """A file whose text replaces the oracle's answer where Uni differs by design (no second process)."""
        return EXPECT / f"{self.name.split('@')[0]}.uni"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the bytes it printed and ``exit N``, ``signal N`` or a sentence that says why there is neither."""

    output: bytes
    end: str
    notes: tuple[str, ...] = ()

    def same_as(self, other: Outcome) -> bool:
        """Equal, where both ended at all."""
        return self.output == other.output and self.end == other.end and self.end.startswith(("exit ", "signal "))


def directives(source: str) -> dict[str, str]:
    """Read the ``// oracle: key=value ...`` lines of a program."""
    found: dict[str, str] = {}
    for line in DIRECTIVE.findall(source):
        for word in shlex.split(line):
            key, _, value = word.partition("=")
            if key not in {"libc", "cwd", "disk", "args", "memory", "timeout", "only", "config", "env", "each"}:
                raise ValueError(f"unknown oracle directive {key!r}")
            found[key] = f"{found[key]};{value}" if key in {"config", "env"} and key in found else value
    return found


def program_cases() -> list[Case]:
    """Every case of ``programs/*.c``: per libc, working directory and kind of disk that its directives name."""
    cases: list[Case] = []
    for path in sorted(PROGRAMS.glob("*.c")):
        cases.extend(cases_of(path.stem, path.read_text()))
    return cases


def cases_of(stem: str, source: str) -> list[Case]:
    """The cases of one program; the first has the plain name, the others say what is different about them."""
    marks = directives(source)
    env = dict(pair.split("=", 1) for pair in marks.get("env", "").split(";") if pair)
    cases: list[Case] = []
    libcs = marks.get("libc", "musl").split(",")
    for libc in libcs:
        for disk in marks.get("disk", "4k").split(","):
            for cwd in marks.get("cwd", "/scratch").split(","):
                special = (cwd != "/scratch") + (disk != "4k") + (libc != libcs[0])
                if special > 1:
                    continue
                tags = ([libc] if libc != libcs[0] else []) + ([disk] if disk != "4k" else [])
                tags += [cwd.strip("/").replace("/", "-")] if cwd != "/scratch" else []
                base = Case(
                    name="@".join([stem, *tags]),
                    tree=f"programs-{disk}",
                    argv=(f"/bin/{stem}.{libc}", *shlex.split(marks.get("args", ""))),
                    cwd=cwd,
                    env=env,
                    config=tuple(marks["config"].split(";")) if "config" in marks else (),
                    only=marks.get("only", ""),
                )
                cases.append(with_numbers(base, marks))
    each = marks.get("each", "")
    if each:
        return [replace(case, name=f"{case.name}@{word}", argv=(*case.argv, word)) for case in cases for word in each.split(",")]
    return cases


def with_numbers(case: Case, marks: dict[str, str]) -> Case:
    """Apply the directives that hold a number."""
    return replace(
        case,
        memory=int(marks.get("memory", case.memory)),
        timeout=int(marks.get("timeout", case.timeout)),
    )
