# SPDX-License-Identifier: GPL-3.0-or-later
"""All cases together, and the one way to run any of them on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import build, busybox, linux_guest, real
from .case import Case, Outcome, program_cases
from .guest import Machine, run_on_uni
from .host import run_on_host


def all_cases() -> list[Case]:
    """Every case of the suite, in a fixed order."""
    return [*program_cases(), *busybox.cases(), *real.cases()]


def select(cases: list[Case], words: list[str]) -> list[Case]:
    """The cases whose names contain one of the words (``=NAME``: are that name); all where there is no word."""
    if not words:
        return cases
    return [case for case in cases
            if any(case.name == word[1:] if word.startswith("=") else word in case.name for word in words)]


def expected_of(case: Case) -> Outcome:
    """Where Uni differs from Linux by design: the answer as a file, its last line ``# exit N``."""
    text, _, end = case.expectation.read_text().rstrip("\n").rpartition("\n# ")
    return Outcome(f"{text}\n".encode(), end)


@dataclass
class Runner:
    """Runs cases on the oracle and on the guest. ``prepare`` once, then ``run`` from any thread."""

    machine: Machine
    scratch: Path
    oracle_twice: bool = False
    on_linux_guest: bool = False
    timeout: int = 0
    disks: dict[str, Path] = field(default_factory=dict)
    unbuilt: dict[str, str] = field(default_factory=dict)

    def prepare(self, cases: list[Case]) -> None:
        """Build the disks that the cases need."""
        trees = {case.tree for case in cases}
        if any(tree.startswith("programs-") for tree in trees):
            self.disks.update(build.program_disks())
        for tree in sorted(trees - self.disks.keys()):
            try:
                self.disks[tree] = TREES[tree]()
            except (build.BuildError, OSError) as error:
                self.unbuilt[tree] = str(error)
        if self.on_linux_guest:
            linux_guest.prepare()

    def run(self, case: Case) -> tuple[Outcome, Outcome]:
        """The oracle's outcome and the guest's."""
        if self.timeout:
            case = replace(case, timeout=self.timeout)
        if case.tree in self.unbuilt:
            return Outcome(b"", "a disk to run from"), Outcome(b"", f"no disk: {self.unbuilt[case.tree]}")
        place = self.scratch / case.name.replace("/", "-")
        disk = self.disks[case.tree]
        if case.expectation.exists():
            return expected_of(case), run_on_uni(case, disk, place, self.machine)
        expected = run_on_host(case, disk, place)
        if self.oracle_twice:
            return expected, run_on_host(case, disk, place)
        if self.on_linux_guest:
            return expected, linux_guest.run(case, disk, place, self.machine)
        return expected, run_on_uni(case, disk, place, self.machine)


#: How the disks other than the programs' are made, by name.
TREES: dict[str, Callable[[], Path]] = {"busybox": busybox.disk, **real.TREES}
