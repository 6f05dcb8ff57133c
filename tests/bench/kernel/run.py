#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uni's kernel against Debian's cloud Linux as guest, under the same QEMU (TCG): one table of ratios.

    run.py                 everything
    run.py --runs 5        medians of more boots (default 3)
    run.py --only micro    one part: micro, memory

Both guests run on q35 with the same processor, disk and static binary; Uni is measured on microvm as well. Times are only ever
compared with each other, never with a clock: a ratio below 1.0 means that Uni is faster.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/kernel"))

from oracle import build, linux_guest, real
from oracle.case import Case, Outcome
from oracle.guest import Machine, read_events, run_on_uni

KERNEL = ROOT / "kernel/build/uni.elf"
MICRO = Case("micro", "bench", ("/bin/micro",), timeout=300, fsck=False)
INSERT = Case("insert", "bench-sqlite", ("/usr/bin/sqlite3", "/work/bench.db", ".read /insert.sql"), timeout=300, fsck=False)
HELLO = Case("hello", "bench-hello", ("/bin/hello",), timeout=30, fsck=False)


def disks() -> dict[str, Path]:
    """The benchmarks' disks."""
    made: dict[str, Path] = {}
    for name, programs in (("bench", ("micro",)), ("bench-hello", ("hello",))):
        tree = build.BUILD / f"tree-{name}"
        build.skeleton(tree)
        for program in programs:
            binary = build.compile_c(HERE / f"{program}.c", build.BUILD / "bench" / program, "musl", ("-O2",))
            shutil.copy2(binary, tree / "bin" / program)
        made[name] = build.make_disk(tree, build.BUILD / f"{name}.ext2", free=32 if name == "bench" else 2)
    real.sqlite()
    shutil.copy2(HERE / "insert.sql", build.BUILD / "tree-sqlite/insert.sql")
    made["bench-sqlite"] = build.make_disk(build.BUILD / "tree-sqlite", build.BUILD / "bench-sqlite.ext2", free=48)
    return made


def rows(outcome: Outcome, where: str) -> dict[str, int]:
    """``name TAB nanoseconds`` lines; SystemExit with the output where the run did not end well."""
    if outcome.end != "exit 0":
        sys.exit(f"{where}: {outcome.end}\n{outcome.output.decode(errors='replace')[-2000:]}")
    pairs = [line.split("\t") for line in outcome.output.decode().splitlines() if "\t" in line]
    return {name: int(value) for name, value in pairs}


def medians(runs: list[dict[str, int]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def micro(machine: Machine, scratch: Path, made: dict[str, Path], runs: int) -> bool:
    """Print the table of times; False where a row is slower than Linux's."""
    def on_linux(case: Case) -> Outcome:
        return linux_guest.run(case, made[case.tree], scratch / "linux", machine)

    def on_uni(case: Case, kind: str) -> Outcome:
        return run_on_uni(case, made[case.tree], scratch / kind, replace(machine, machine=kind))

    collected: dict[str, list[dict[str, int]]] = {"linux": [], "q35": [], "microvm": []}
    for _ in range(runs):
        collected["linux"].append({**rows(on_linux(MICRO), "linux"), **rows(on_linux(INSERT), "linux")})
        for kind in ("q35", "microvm"):
            collected[kind].append({**rows(on_uni(MICRO, kind), kind), **rows(on_uni(INSERT, kind), kind)})
    linux, q35, microvm = (medians(collected[kind]) for kind in ("linux", "q35", "microvm"))
    print(f"{'':32}{'uni/linux':>10}{'microvm/linux':>15}    (medians of {runs} boots; aim 0.7, never above 1.0)")
    for name, value in linux.items():
        print(f"{name:32}{q35[name] / value:10.2f}{microvm[name] / value:15.2f}")
    return all(microvm[name] <= value for name, value in linux.items())


def memory(machine: Machine, scratch: Path, made: dict[str, Path]) -> None:
    """Print the least -m that a static hello runs with, and what the kernel holds after boot at 128 MiB."""
    smallest = 0
    for size in range(2, 17):
        outcome = run_on_uni(HELLO, made["bench-hello"], scratch / "hello", replace(machine, memory=f"{size}M"))
        if outcome.end == "exit 0" and outcome.output == b"hello\n":
            smallest = size
            break
    print(f"static hello runs with -m {smallest}M" if smallest else "static hello does not run with up to -m 16M")
    run_on_uni(replace(HELLO, memory=128), made["bench-hello"], scratch / "hello", machine)
    for event in read_events(scratch / "hello/control"):
        if event.get("event") == "ready" and "mem_free" in event:
            print(f"kernel's own memory after boot at 128 MiB: {(int(str(event['mem_total'])) - int(str(event['mem_free']))) >> 10} KiB")
    size = machine.kernel.stat().st_size
    print(f"kernel image {size >> 10} KiB, {size / linux_guest.kernel_image().stat().st_size:.3f} of Linux's compressed one")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["micro", "memory"])
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="uni-bench."))
    machine = Machine(options.kernel)
    try:
        made = disks()
        good = options.only == "memory" or micro(machine, scratch, made, options.runs)
        if options.only != "micro":
            memory(machine, scratch, made)
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
