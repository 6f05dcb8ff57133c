#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uni's kernel against Debian's cloud Linux as guest, under the same QEMU (TCG): one table of ratios.

    run.py                 everything
    run.py --runs 5        the best of more boots (default 3)
    run.py --only micro    one part: micro, memory

Both guests run on q35 with the same processor, disk and static binary; Uni is measured on microvm as well. Times are only ever
compared with each other, never with a clock: a ratio below 1.0 means that Uni is faster.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/kernel"))

from oracle import build, linux_guest, real
from oracle.case import Case, Outcome
from oracle.guest import Machine, qemu_line, read_events, records, run_on_uni

KERNEL = ROOT / "kernel/build/uni.elf"
MICRO = Case("micro", "bench", ("/bin/micro",), timeout=300, fsck=False)
INSERT = Case("insert", "bench-sqlite", ("/usr/bin/sqlite3", "/scratch/bench.db", ".read /insert.sql"), timeout=300, fsck=False)
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


def best(runs: list[dict[str, int]]) -> dict[str, int]:
    """The least of each row: whatever else the machine does can only add."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


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
    linux, q35, microvm = (best(collected[kind]) for kind in ("linux", "q35", "microvm"))
    print(f"{'':32}{'uni/linux':>10}{'microvm/linux':>15}    (best of {runs} boots; aim 0.7, never above 1.0)")
    for name, value in linux.items():
        print(f"{name:32}{q35[name] / value:10.2f}{microvm[name] / value:15.2f}")
    return all(microvm[name] <= value for name, value in linux.items())


def ask_stats(scratch: Path) -> dict[str, object]:
    """The guest's statistics, asked on the control port once the program runs. SystemExit where it does not answer."""
    deadline = time.monotonic() + 30
    while not any(event.get("event") == "ready" for event in read_events(scratch / "control")):
        if time.monotonic() > deadline:
            sys.exit("the guest did not get ready")
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(scratch / "c.sock"))
        port.settimeout(30)
        port.sendall(b'{"cmd": "stats", "id": 1}\n')
        for line in port.makefile():
            event = json.loads(line)
            if event.get("event") == "stats":
                return dict(event)
    sys.exit("the guest did not answer")


# Between conventional memory and the first MiB lies no RAM, on any PC (what `-m` counts there is hidden behind ROMs).
HOLE = 0x100000 - 0x9fc00


def own_memory(machine: Machine, scratch: Path, disk: Path) -> tuple[int, int]:
    """While a static program waits in 128 MiB: bytes that are neither free nor the program's nor page cache, and of
    these the bytes beside the kernel's image."""
    place = scratch / "stats"
    place.mkdir()
    case = replace(HELLO, argv=("/bin/hello", "stay"), stop="SIGTERM")
    (place / "config").write_bytes(records(case))
    process = subprocess.Popen(qemu_line(machine, case, disk, place), stdin=subprocess.DEVNULL)
    try:
        stats = {name: int(str(value)) for name, value in ask_stats(place).items() if str(value).isdigit()}
    finally:
        process.kill()
        process.wait()
    ram = (128 << 20) - HOLE
    own = ram - stats["mem_free"] - stats.get("mem_cache", 0) - stats.get("mem_anon", 0)
    return own, own - (ram - stats["mem_total"])


def memory(machine: Machine, scratch: Path, made: dict[str, Path]) -> None:
    """Print the least -m that a static hello runs with, and what the kernel holds after boot at 128 MiB."""
    smallest = 0
    for size in range(2, 17):
        outcome = run_on_uni(HELLO, made["bench-hello"], scratch / "hello", replace(machine, memory=f"{size}M"))
        if outcome.end == "exit 0" and outcome.output == b"hello\n":
            smallest = size
            break
    print(f"static hello runs with -m {smallest}M" if smallest else "static hello does not run with up to -m 16M")
    own, heap = own_memory(machine, scratch, made["bench-hello"])
    print(f"kernel's own memory after boot at 128 MiB: {own >> 10} KiB, {heap >> 10} of it beside its image (aim: at most 1024)")
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
