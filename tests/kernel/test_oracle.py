# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest's face of run.py: one test a case. Needs root, QEMU and kernel/build/uni.elf, as run.py does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from oracle import suite
from oracle.guest import Machine
from run import KERNEL, difference

if TYPE_CHECKING:
    from oracle.case import Case

CASES = suite.all_cases()


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> suite.Runner:
    """A runner with every disk built."""
    assert KERNEL.exists(), f"{KERNEL} is not there; build it with: make -C kernel"
    made = suite.Runner(Machine(KERNEL), tmp_path_factory.mktemp("oracle"))
    made.prepare(CASES)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_as_linux(case: Case, runner: suite.Runner) -> None:
    """Output and end are those of Linux."""
    expected, actual = runner.run(case)
    assert expected.same_as(actual), "\n" + difference(expected, actual, ("linux", "uni"), full=False)
