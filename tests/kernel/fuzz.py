#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz Uni's ELF loader, ext2 reader, journal replay and system calls. Seeded: every run of one seed is the same.

    fuzz.py                     the short form: some mutants of each kind
    fuzz.py --long              many more
    fuzz.py --seed 7 ext2       one kind, another seed
    fuzz.py --only 12 ext2      one mutant, its files kept
    fuzz.py races               threads that pull things away from under each other's calls; no round may leave memory taken

Every boot must end by itself, with the program's end or a refusal that the kernel reports. A time-out is a failure, unless the
kernel still answers an NMI and says that it is the program that runs (the mutant itself may loop); so is a kernel fault.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE / "durability"))

import crash
from oracle import build
from oracle.case import Case, Outcome
from oracle.guest import Machine, qemu_line, records, run_on_uni

import scripts

KERNEL = HERE.parent.parent / "kernel/build/uni.elf"
#: Panics that are the right answer to a disk that cannot be the root.
REFUSALS = re.compile(r"root|mount|init|ext2", re.IGNORECASE)
EHDR = 64


def program(name: str) -> Path:
    return build.compile_c(HERE / "fuzz" / f"{name}.c", build.BUILD / "fuzz" / name, "musl")


def bad(outcome: Outcome) -> str:
    """Why an outcome is a failure; nothing where it is not."""
    if outcome.end.startswith(("exit ", "signal ")):
        return ""
    if outcome.end.startswith("kernel panic: ") and REFUSALS.search(outcome.end.split(" at ")[0]) and "fault" not in outcome.end:
        return ""
    return outcome.end


def program_loops(case: Case, disk: Path, scratch: Path, machine: Machine) -> bool:
    """Boot again what did not end: does an NMI find the processor in the program (its code segment is 0x33)?"""
    (scratch / "config").write_bytes(records(case))
    copy = build.sparse_copy(disk, scratch / "again.ext2")
    console = scratch / "console"
    console.unlink(missing_ok=True)
    line = [*qemu_line(machine, case, copy, scratch), "-monitor", "stdio"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
        assert qemu.stdin is not None
        seen = False
        for _ in range(20):
            time.sleep(1)
            if qemu.poll() is not None or seen:
                break
            qemu.stdin.write(b"nmi\n")
            qemu.stdin.flush()
            seen = console.exists() and b"cs 33" in console.read_bytes()
        qemu.kill()
    copy.unlink()
    return seen


def interesting(chance: random.Random, width: int) -> int:
    """A value at the edges of a field of some bytes."""
    top = (1 << (8 * width)) - 1
    values = [0, 1, top, top >> 1, (top >> 1) + 1, chance.randrange(top + 1), 0xfff, 0x1000, 0x10000, 0x7ffffffff000, 0xffffffff80000000]
    return chance.choice(values) & top


def mutate_elf(original: bytes, chance: random.Random) -> bytes:
    """Change one to three fields of the file or program headers, or cut the file off."""
    data = bytearray(original)
    phoff, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    for _ in range(chance.randint(1, 3)):
        kind = chance.randrange(10)
        if kind == 0:
            return bytes(data[:chance.choice([0, 4, 16, 63, 64, 100, phoff + 10, len(data) // 2])])
        base = 16 + chance.randrange(24) * 2 if kind < 4 else phoff + chance.randrange(count) * 56 + chance.randrange(28) * 2
        width = chance.choice([2, 4, 8])
        if base + width <= len(data):
            data[base:base + width] = interesting(chance, width).to_bytes(width, "little")
    return bytes(data)


def fuzz_elf(count: int, seed: int, machine: Machine, scratch: Path) -> list[str]:
    """All mutants on one disk; a boot goes on until one is taken, the next goes on behind it."""
    tree = scratch / "elf-tree"
    build.skeleton(tree)
    shutil.copy2(program("execs"), tree / "bin/execs")
    (tree / "mutants").mkdir()
    original = program("execs").read_bytes()
    for number in range(count):
        path = tree / f"mutants/{number}"
        path.write_bytes(mutate_elf(original, random.Random(f"{seed} elf {number}")))
        path.chmod(0o755)
    disk = build.make_disk(tree, scratch / "elf.ext2", free=4)
    failures, at = [], 0
    while at < count:
        case = Case(f"elf-{at}", "", ("/bin/execs", str(at), str(count)), timeout=40, fsck=False)
        outcome = run_on_uni(case, disk, scratch / "elf", machine)
        tried = [int(number) for number in re.findall(rb"^try (\d+)\n", outcome.output, re.MULTILINE)]
        last = tried[-1] if tried else at
        if bad(outcome):
            failures.append(f"elf {last}: {bad(outcome)}")
        at = last + 1
    return failures


def base_disk(scratch: Path) -> Path:
    """A small disk with a file of each kind: sparse, with indirect blocks, long names, links, deep directories."""
    tree = scratch / "ext2-tree"
    build.skeleton(tree)
    shutil.copy2(program("walk"), tree / "bin/walk")
    for directory in ("data/d1", "data/d2/deep/deeper"):
        (tree / directory).mkdir(parents=True)
    for number in range(40):
        (tree / f"data/d1/f{number}").write_bytes(bytes([number]) * number * 97)
        (tree / f"data/d2/{'long' * 20}{number}").symlink_to("../d1/f1" if number % 2 else "x" * 100)
    (tree / "data/big").write_bytes(os.urandom(16) * 40000)
    (tree / "data/d2/deep/deeper/leaf").write_text("leaf\n")
    return build.make_disk(tree, scratch / "ext2-base.ext2", free=2, block=1024)


def metadata_blocks(disk: Path) -> list[int]:
    """Offsets of superblock, descriptors, bitmaps, inode tables and directories, as dumpe2fs and debugfs name them."""
    text = subprocess.run(["dumpe2fs", str(disk)], capture_output=True, text=True, check=True).stdout
    blocks = {1, 2}
    for name in (r"Block bitmap at (\d+)", r"Inode bitmap at (\d+)"):
        blocks.update(int(number) for number in re.findall(name, text))
    for first, last in re.findall(r"Inode table at (\d+)-(\d+)", text):
        blocks.update(range(int(first), min(int(last), int(first) + 24) + 1))
    for path in ("/", "/data", "/data/d1", "/data/d2", "/data/big", "/bin", "/bin/walk"):
        shown = subprocess.run(["debugfs", "-R", f"blocks {path}", str(disk)], capture_output=True, text=True, check=True).stdout
        blocks.update(int(number) for number in shown.split()[:16])
    return sorted(blocks)


def corrupt(data: bytearray, blocks: list[int], chance: random.Random) -> None:
    """Change a few bytes, or a whole block, of the metadata. The program's own first blocks are spared three times out of four."""
    for _ in range(chance.randint(1, 6)):
        block = chance.choice(blocks)
        at = block * 1024 + chance.randrange(1024 // 4) * 4
        kind = chance.randrange(8)
        if kind == 0:
            data[block * 1024:block * 1024 + 1024] = bytes(chance.randrange(256) for _ in range(1024))
        elif kind == 1:
            data[block * 1024:block * 1024 + 1024] = bytes([chance.choice([0, 255])]) * 1024
        elif kind < 5:
            data[at:at + 4] = interesting(chance, 4).to_bytes(4, "little")
        else:
            data[at + 2:at + 4] = interesting(chance, 2).to_bytes(2, "little")


def each(one: Callable[[int], str], count: int, only: int) -> list[str]:
    """What went wrong with the mutants of those numbers, or with one of them."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [text for text in pool.map(one, range(count) if only < 0 else [only]) if text]


def disk_with(name: str, scratch: Path) -> Path:
    """A disk with that program of fuzz/."""
    tree = scratch / f"{name}-tree"
    build.skeleton(tree)
    shutil.copy2(program(name), tree / "bin" / name)
    return build.make_disk(tree, scratch / f"{name}.ext2", free=16)


def fuzz_ext2(count: int, seed: int, machine: Machine, scratch: Path, only: int) -> list[str]:
    """One boot a mutant."""
    base = base_disk(scratch)
    blocks = metadata_blocks(base)

    def one(number: int) -> str:
        place = scratch / f"ext2-{number}"
        place.mkdir()
        data = bytearray(base.read_bytes())
        corrupt(data, blocks, random.Random(f"{seed} ext2 {number}"))
        (place / "mutant").write_bytes(data)
        case = Case(f"ext2-{number}", "", ("/bin/walk",), timeout=60, fsck=False)
        outcome = run_on_uni(case, place / "mutant", place, machine)
        wrong = bad(outcome)
        if wrong.startswith("no end") and program_loops(case, place / "mutant", place, machine):
            wrong = ""
        if not machine.keep:
            shutil.rmtree(place)
        return f"ext2 {number}: {wrong} {outcome.output[-200:]!r}" if wrong else ""

    return each(one, count, only)


def fuzz_journal(count: int, seed: int, machine: Machine, scratch: Path, only: int) -> list[str]:
    """Disks of a killed guest with damage in the journal: one boot a mutant, which replays what it can believe."""
    place = scratch / "journal"
    place.mkdir()
    script = scripts.NAMED["rename-dir"]
    image = crash.make_disk(script, 1024, place)
    killed = crash.killed_at_the_end(image, crash.record(script, image, machine.kernel, place))
    inode, = struct.unpack_from("<I", killed, 2 * 1024 + 8)
    first, = struct.unpack_from("<I", killed, inode * 1024 + 7 * 256 + 40)

    def one(number: int) -> str:
        chance = random.Random(f"{seed} journal {number}")
        data = bytearray(killed)
        for _ in range(chance.randint(1, 4)):
            block = chance.choice([first, first + chance.randrange(1, 40), inode + 1])
            at = block * 1024 + chance.choice([chance.randrange(12) * 4, chance.randrange(256) * 4])
            data[at:at + 4] = interesting(chance, 4).to_bytes(4, chance.choice(["big", "little"]))
        mine = scratch / f"journal-{number}"
        mine.mkdir()
        (mine / "mutant").write_bytes(data)
        case = Case(f"journal-{number}", "", ("/bin/ops", "/nothing"), timeout=60, fsck=False)
        outcome = run_on_uni(case, mine / "mutant", mine, machine)
        if not machine.keep:
            shutil.rmtree(mine)
        return f"journal {number}: {bad(outcome)} {outcome.output[-200:]!r}" if bad(outcome) else ""

    return each(one, count, only)


def fuzz_calls(count: int, seed: int, machine: Machine, scratch: Path, only: int) -> list[str]:
    """One boot a seed, some thousands of calls each."""
    disk = disk_with("syscalls", scratch)

    def one(number: int) -> str:
        words = ("/bin/syscalls", str(seed * 1000 + number), "4000", *(["say"] if only >= 0 else []))
        case = Case(f"calls-{number}", "", words, timeout=150)
        outcome = run_on_uni(case, disk, scratch / f"calls-{number}", machine)
        good = outcome.end == "exit 0" and outcome.output.endswith(b"survived\n")
        # An absurd fallocate of a memfd may take all memory: then the kernel says so and kills the program.
        good = good or (outcome.end == "signal 9" and any("out of memory" in note for note in outcome.notes))
        return "" if good else f"calls {number}: {outcome.end} {outcome.output[-200:]!r} {outcome.notes[-12:]}"

    return each(one, count, only)


def fuzz_races(count: int, seed: int, machine: Machine, scratch: Path, only: int) -> list[str]:
    """One boot a seed: rounds of racing threads, each ended by an execve under them. No round may leave memory taken."""
    disk = disk_with("races", scratch)

    def one(number: int) -> str:
        case = Case(f"races-{number}", "", ("/bin/races", str(seed * 1000 + number), "1000", "12"), timeout=240)
        outcome = run_on_uni(case, disk, scratch / f"races-{number}", machine)
        free = [int(text) for text in re.findall(rb"^round \d+ free (\d+)$", outcome.output, re.MULTILINE)]
        if outcome.end != "exit 0" or not outcome.output.endswith(b"survived\n"):
            return f"races {number}: {outcome.end} {outcome.output[-200:]!r} {[note[:160] for note in outcome.notes[-12:]]}"
        lost = max(free[2:5]) - max(free[-3:])
        return f"races {number}: {lost} KiB less after each round: {free}" if lost > 256 else ""

    return each(one, count, only)


#: What there is to fuzz, and how many mutants in the short and the long form.
KINDS: dict[str, tuple[Callable[[int, int, Machine, Path, int], list[str]], int, int]] = {
    "elf": (lambda count, seed, machine, scratch, _only: fuzz_elf(count, seed, machine, scratch), 80, 2000),
    "ext2": (fuzz_ext2, 24, 1000), "journal": (fuzz_journal, 16, 600), "calls": (fuzz_calls, 4, 200), "races": (fuzz_races, 3, 100),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", type=int, default=-1, help="this mutant alone, its files kept; not elf, whose mutants share a boot")
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="uni-fuzz."))
    machine = replace(Machine(options.kernel), keep=options.only >= 0)
    kinds = options.kinds or list(KINDS)
    failures: list[str] = []
    for kind in kinds:
        fuzz, short, long = KINDS[kind]
        failures += fuzz(long if options.long else short, options.seed, machine, scratch, options.only)
    print("\n".join(failures) if failures else f"{' '.join(kinds)}: every mutant ended well")
    if options.only >= 0:
        print(f"kept in {scratch}")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
