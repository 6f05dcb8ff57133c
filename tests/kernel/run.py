#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare Uni with Linux: every program in programs/, the busybox scripts and the real programs, on both.

Needs root (mounts and namespaces for the oracle), QEMU, e2fsprogs, gcc and musl-gcc, and kernel/build/uni.elf.

    run.py                     everything
    run.py files sig           the cases whose names contain one of the words
    run.py --list              the names
    run.py --oracle-twice      no guest: is the oracle's own output deterministic?
    run.py --linux-guest       boot Debian's cloud kernel (on q35) instead of Uni
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from oracle import suite
from oracle.build import BuildError
from oracle.case import Case, Outcome
from oracle.guest import Machine

KERNEL = HERE.parent.parent / "kernel" / "build" / "uni.elf"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run only the cases whose names contain one of these; =NAME is exact")
    parser.add_argument("-m", "--memory", default="", help="guest memory in QEMU's words, instead of each case's own")
    parser.add_argument("--machine", default="microvm", choices=["microvm", "q35", "q35-intx", "pc"],
                        help="q35-intx: without MSI-X, so with PCI's interrupt lines")
    parser.add_argument("--cpu", default="max", help="QEMU's name of the processor; qemu64 has no AVX, SMEP, SMAP, FSGSBASE")
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    parser.add_argument("--append", default="console=ttyS0 root=/dev/vda rw quiet", help="kernel command line")
    parser.add_argument("--keep", action="store_true", help="keep disks, consoles and command lines, and say where")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=int, default=0, help="seconds, instead of each case's own")
    parser.add_argument("--rounds", type=int, default=0, help="of the case soak: 2000 take minutes")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--oracle-twice", action="store_true")
    parser.add_argument("--linux-guest", action="store_true")
    parser.add_argument("--full", action="store_true", help="print whole differences, not their first lines")
    return parser.parse_args()


def difference(expected: Outcome, actual: Outcome, names: tuple[str, str], full: bool) -> str:
    """A unified difference of the outputs, and the two ends where they differ."""
    parts: list[str] = []
    if expected.end != actual.end:
        parts.append(f"  end: {names[0]} {expected.end}, {names[1]} {actual.end}")
    lines = list(difflib.unified_diff(
        expected.output.decode(errors="backslashreplace").splitlines(),
        actual.output.decode(errors="backslashreplace").splitlines(), *names, lineterm="", n=2))
    shown = lines if full else lines[:24]
    parts.extend("  " + line for line in shown)
    if len(shown) < len(lines):
        parts.append(f"  ... {len(lines) - len(shown)} more lines (--full)")
    if "no end" in actual.end or "no exit" in actual.end or "panic" in actual.end:
        parts.append("  console's tail: " + actual.output[-300:].decode(errors="backslashreplace").replace("\n", "\n    "))
    parts.extend("  " + note.replace("\n", "\n  ") for note in actual.notes[-12:])
    return "\n".join(parts)


def main() -> int:
    options = arguments()
    cases = suite.select(suite.all_cases(), options.words)
    if options.rounds:
        cases = [replace(case, argv=(case.argv[0], str(options.rounds)), timeout=300 + 3 * options.rounds)
                 if case.name.startswith("soak") else case for case in cases]
    if options.oracle_twice or options.linux_guest:
        cases = [case for case in cases if not case.expectation.exists()]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    if not cases:
        print("no case has such a name", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("run.py: the oracle needs root for its mounts and namespaces", file=sys.stderr)
        return 2
    if not (options.oracle_twice or options.linux_guest or options.kernel.exists()):
        print(f"run.py: {options.kernel} is not there; build it with: make -C kernel", file=sys.stderr)
        return 2
    scratch = Path(tempfile.mkdtemp(prefix="uni-oracle."))
    machine = Machine(options.kernel, options.machine, options.memory, options.append, options.keep, options.cpu)
    names = ("linux", "linux again" if options.oracle_twice else "linux guest" if options.linux_guest else "uni")
    runner = suite.Runner(machine, scratch, options.oracle_twice, options.linux_guest, options.timeout)
    try:
        runner.prepare(cases)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    failed: list[str] = []

    def one(case: Case) -> tuple[Case, Outcome, Outcome]:
        return (case, *runner.run(case))

    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        for case, expected, actual in pool.map(one, cases):
            good = expected.same_as(actual)
            print(f"{'ok  ' if good else 'FAIL'} {case.name}", flush=True)
            if not good:
                failed.append(case.name)
                print(difference(expected, actual, names, options.full), flush=True)
    print(f"{len(cases) - len(failed)} of {len(cases)} equal" + (f"; different: {' '.join(failed)}" if failed else ""))
    if options.keep:
        print(f"kept in {scratch}")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
