# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules of CPython's own test suite and print one line per test: ``@@ STATUS TEST``, a failure's traceback after it."""

from __future__ import annotations

import faulthandler
import sys
import time
import unittest
from types import TracebackType
from typing import Any

from test import support


class Lines(unittest.TestResult):
    """A result that says each test's end at once, so that a hang shows where it is."""

    def say(self, status: str, test: unittest.TestCase, text: str = "") -> None:
        print(f"\n@@ {status} {test.id()}\n{text}", end="", flush=True)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        print(f"\n@@ start {test.id()}", flush=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.say("ok", test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.say("FAIL", test, self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.say("FAIL", test, self.errors[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.say("skip", test, reason + "\n")

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.say("ok", test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase,
                   err: tuple[type[BaseException], BaseException, TracebackType | None] | None) -> None:
        if err is not None:
            self.say("FAIL", test, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]


def main() -> None:
    # Sockets, but nothing that asks for much of the machine; there is no way out, so what wants the Internet fails on both sides.
    support.use_resources = ("network",)
    faulthandler.enable()
    for name in sys.argv[1:]:
        begun = time.monotonic()
        result = Lines()
        unittest.defaultTestLoader.loadTestsFromName(name).run(result)
        print(f"\n@@ module {name} {time.monotonic() - begun:.0f}", flush=True)


if __name__ == "__main__":
    main()
