#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut a machine's writes everywhere: on each disk that a kill could leave, e2fsck -p must repair all, and every fsync must hold.

    crash.py                        a script for each operation and some random ones, every cut
    crash.py --sample 0.1           a tenth of the cuts, as the suite does
    crash.py --boot 0.05            the guest mounts a twentieth of them first
    crash.py --random 40            more random scripts
    crash.py --power                not QEMU is killed, but the host loses power
    crash.py --block 4096 NAME...   another size of blocks; the scripts whose names contain a word
    crash.py --list

The guest works on a disk whose server (nbd.py) records its writes. A kill leaves any part of the writes that the guest did not yet
know to be done, and all before them. Each such disk (all parts of up to four blocks, else some) goes through "e2fsck -f -p", which
may end with 0 or 1 only, and then is compared with the model of the script (model.py). Some are first mounted by the guest, which
replays the journal itself.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

from ext2 import Image, Node
from model import Model
from nbd import Disk, Window
from oracle import build
from oracle.case import Case
from oracle.guest import Machine, end_of, qemu_line, read_events, records, run_qemu

import scripts

KERNEL = HERE.parents[2] / "kernel/build/uni.elf"
ALL_PARTS = 4                          # blocks of a window of which every part is tried


@dataclass(frozen=True)
class Cut:
    """A disk that a kill could leave, with the operations that were done and begun."""

    data: bytes
    done: int
    begun: int
    where: str


def make_disk(script: list[str], block: int, scratch: Path) -> bytes:
    """A small disk with the program and its script."""
    tree = scratch / "tree"
    for name in ("bin", "dev", "proc", "sys", "tmp", "run", "etc", "scratch"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    program = build.compile_c(HERE / "ops.c", build.BUILD / "durability/ops", "musl", ("-Os", "-s"))
    (tree / "bin/ops").write_bytes(program.read_bytes())
    (tree / "bin/ops").chmod(0o755)
    (tree / "ops").write_text("".join(f"{line}\n" for line in script))
    disk = scratch / "disk"
    disk.unlink(missing_ok=True)
    size = "2M" if block == 1024 else "6M"
    build.run(["mke2fs", "-q", "-t", "ext2", "-b", str(block), "-N", "256", "-m", "0", "-d", str(tree), str(disk), size])
    return disk.read_bytes()


def on_server(disk: Disk, case: Case, kernel: Path, scratch: Path) -> str:
    """Run a case with ``disk`` as its disk and console; QEMU's complaints."""
    (scratch / "config").write_bytes(records(case))
    line = qemu_line(Machine(kernel), case, scratch / "disk", scratch)
    line = [word.replace(f"file={scratch / 'disk'},", f"file=nbd+unix:///?socket={scratch / 'nbd'},").replace(",cache=unsafe", "")
            .replace("file,id=console,", "socket,id=console,") for word in line]
    disk.start()
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return done.stderr[-300:] + ("" if disk.finish(10) else "the server of the disk does not end")


def record(script: list[str], image: bytes, kernel: Path, scratch: Path) -> Disk:
    """Let the guest work; the disk with its record."""
    disk = Disk(image, scratch)
    said = on_server(disk, Case("ops", "durability", ("/bin/ops",), memory=32, cwd="/scratch"), kernel, scratch)
    if disk.lines != len(script):
        console = disk.console.decode(errors="replace")[-300:]
        raise RuntimeError(f"the guest did {disk.lines} of {len(script)} operations: {said}{console}")
    return disk


def killed_at_the_end(image: bytes, disk: Disk) -> bytes:
    """The disk as a kill leaves it when the last operation is done, its journal still there."""
    data = bytearray(image)
    for window in disk.windows:
        if window.before == disk.lines:
            break
        for off, piece in window.writes:
            data[off:off + len(piece)] = piece
    return bytes(data)


def parts(window: Window, block: int, chance: random.Random) -> Iterator[list[tuple[int, bytes]]]:
    """Parts of a window that may have reached the disk; the last is the whole."""
    pieces = [(off + at, data[at:at + block]) for off, data in window.writes for at in range(0, len(data), block)]
    count = len(pieces)
    if count <= ALL_PARTS:
        chosen: set[tuple[int, ...]] = {some for size in range(count + 1) for some in itertools.combinations(range(count), size)}
    else:
        chosen = {tuple(range(size)) for size in range(count + 1)} | {(one,) for one in range(count)}
        chosen |= {tuple(k for k in range(count) if k != one) for one in range(count)}
        chosen |= {tuple(sorted(chance.sample(range(count), chance.randint(2, count - 1)))) for _ in range(8)}
    for some in sorted(chosen, key=lambda some: (len(some), some)):
        yield [pieces[k] for k in some]


def cuts(image: bytes, disk: Disk, block: int) -> Iterator[Cut]:
    """Every disk that a kill could have left, each once."""
    chance = random.Random(1)
    base = bytearray(image)
    for number, window in enumerate(disk.windows):
        last = base
        seen: set[bytes] = set() if number else {b""}
        for some in parts(window, block, chance):
            data = bytearray(base)
            for off, piece in some:
                data[off:off + len(piece)] = piece
            key = bytes(data)
            last = data
            if key not in seen and (data != base or not number):
                seen.add(key)
                yield Cut(key, window.before, window.after + 1, f"window {number}, {len(some)} blocks of it at {[off // block for off, _ in some]}")
        base = last


def between_flushes(disk: Disk) -> list[Window]:
    """The windows joined up to each flush: what a host without power may have kept in any part."""
    ends = sorted({*disk.flushes, len(disk.windows)})
    joined = []
    for start, end in zip([0, *ends], ends):
        some = disk.windows[start:end]
        if some:
            joined.append(Window(some[0].before, some[-1].after, [write for window in some for write in window.writes]))
    return joined


def content_of(data: bytes) -> dict[str, Node]:
    """The names below /scratch."""
    image = Image(data)
    return {path[len("/scratch/"):]: node for path, node in image.walk() if path.startswith("/scratch/")}


def boot(disk: Path, kernel: Path, place: Path) -> str:
    """Mount the disk by the guest, do nothing, unmount; what went wrong, if anything."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        scratch = Path(name)
        case = Case("ops", "durability", ("/bin/ops", "/nothing"), memory=32, cwd="/scratch", timeout=60)
        (scratch / "config").write_bytes(records(case))
        code, _ = run_qemu(qemu_line(Machine(kernel), case, disk, scratch), case, scratch)
        end = end_of(read_events(scratch / "control"), code, case.timeout)
        return "" if end == "exit 0" else f"the guest ends with {end}"


def judge(cut: Cut, model: Model, place: Path, kernel: Path | None) -> list[str]:
    """What is wrong with a cut; ``kernel`` shall mount it before e2fsck sees it."""
    with tempfile.NamedTemporaryFile(dir=place) as file:
        file.write(cut.data)
        file.flush()
        if kernel and (wrong := boot(Path(file.name), kernel, place)):
            return [wrong]
        check = subprocess.run(["e2fsck", "-f", "-p", file.name], capture_output=True, text=True, check=False)
        if check.returncode > 1:
            said = check.stdout.replace(f"{file.name}: ", "").strip()
            return [f"e2fsck -p says {check.returncode}: {said}"]
        return model.broken(content_of(Path(file.name).read_bytes()), cut.done, cut.begun)


def run(name: str, script: list[str], options: argparse.Namespace) -> tuple[int, int]:
    """One script: how many cuts, how many bad."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="uni-crash.", dir=memory if memory.is_dir() else None) as directory:
        scratch = Path(directory)
        model = Model(script)
        image = make_disk(script, options.block, scratch)
        disk = record(script, image, options.kernel, scratch)
        if options.power:
            disk.windows = between_flushes(disk)
        count = bad = 0
        with ThreadPoolExecutor(2) as pool:
            chance = random.Random(options.seed)
            stream = (cut for cut in cuts(image, disk, options.block) if options.sample >= 1 or chance.random() < options.sample)
            while some := list(itertools.islice(stream, 64)):
                booted = [options.kernel if chance.random() < options.boot else None for _ in some]
                for cut, wrong in zip(some, pool.map(lambda cut, kernel: judge(cut, model, scratch, kernel), some, booted)):
                    count += 1
                    if not wrong:
                        continue
                    bad += 1
                    if bad <= options.show:
                        doing = script[cut.done] if cut.done < len(script) else "the end"
                        print(f"{name}: after {cut.done} operations, in {doing!r}, {cut.where}:\n    " + "\n    ".join(wrong), flush=True)
    return count, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="the scripts whose names contain one of these")
    parser.add_argument("--random", type=int, default=3, help="how many random scripts")
    parser.add_argument("--length", type=int, default=120, help="operations of a random script")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=float, default=1.0, help="try this part of the cuts")
    parser.add_argument("--power", action="store_true", help="the host loses power: only a flush keeps writes in order")
    parser.add_argument("--boot", type=float, default=0.0, help="let the guest mount this part of the cuts before e2fsck")
    parser.add_argument("--block", type=int, default=1024, choices=[1024, 2048, 4096])
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    parser.add_argument("--show", type=int, default=3, help="of each script, this many bad cuts in words")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = dict(scripts.NAMED)
    chosen.update({f"random-{options.seed + k}": scripts.random_script(options.seed + k, options.length) for k in range(options.random)})
    chosen = {name: lines for name, lines in chosen.items() if not options.words or any(word in name for word in options.words)}
    if options.list:
        print("\n".join(chosen))
        return 0
    total = wrong = 0
    for name, lines in chosen.items():
        count, bad = run(name, lines, options)
        print(f"{'FAIL' if bad else 'ok  '} {name}: {count} cuts" + (f", {bad} bad" if bad else ""), flush=True)
        total += count
        wrong += bad
    print(f"{total} cuts, {wrong} bad")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
