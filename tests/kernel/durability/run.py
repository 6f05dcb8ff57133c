#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill QEMU at random moments while writer.c works; then e2fsck -p must repair the disk, and all that fsync promised must be there.

    run.py [--kills 10] [--seed 1] [--kernel FILE] [--block 4096]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from oracle import build
from oracle.case import Case
from oracle.guest import Machine, qemu_line, records
from oracle.tether import tether

KERNEL = HERE.parents[2] / "kernel/build/uni.elf"
WRITER = Case("writer", "durability", ("/bin/writer",), memory=64)


def make_disk(block: int) -> Path:
    """A disk with the writer on it."""
    tree = build.BUILD / "tree-durability"
    build.skeleton(tree)
    binary = build.compile_c(HERE / "writer.c", build.BUILD / "durability/writer", "musl", ("-O2",))
    (tree / "bin/writer").write_bytes(binary.read_bytes())
    (tree / "bin/writer").chmod(0o755)
    return build.make_disk(tree, build.BUILD / f"durability-{block}.ext2", free=40, block=block)


def content(kind: int, number: int, size: int) -> bytes:
    """What writer.c's fill() makes."""
    start = kind * 101 + number * 31
    period = bytes((start + k * 7) & 255 for k in range(256))
    return (period * (size // 256 + 1))[:size]


def kill_at(line: list[str], console: Path, rng: random.Random) -> bytes:
    """Start QEMU, kill it some time after the first promise; the console."""
    console.unlink(missing_ok=True)
    with subprocess.Popen(tether(line), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
        deadline = time.monotonic() + 60
        while not (console.exists() and console.stat().st_size > 200) and time.monotonic() < deadline and qemu.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 1.5))
        qemu.kill()
        qemu.wait()
    return console.read_bytes() if console.exists() else b""


def dump(disk: Path, name: str) -> bytes | None:
    """A file's contents by debugfs; None where it is not there."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["debugfs", "-R", f"dump /scratch/{name} {out.name}", str(disk)], capture_output=True, text=True, check=False)
        return None if "not found" in done.stderr else Path(out.name).read_bytes()


def broken_promises(disk: Path, console: bytes) -> list[str]:
    """What the console promises and the disk does not hold."""
    log_end = log_items = 0
    config: int | None = None
    files: dict[int, tuple[str, int]] = {}
    bad = []
    for words in (line.split() for line in console.decode(errors="replace").splitlines()[:] if not line.startswith("uni: ")):
        if len(words) != 3 or not words[1].isdigit() or not words[2].isdigit():
            continue                          # the last line may be cut
        name, number, size = words[0], int(words[1]), int(words[2])
        if name == "log":
            log_items, log_end = number + 1, size
        elif name == "config":
            config = number
        elif name == "unlink":
            files.pop(number, None)
        elif name.startswith("dir"):
            files[number] = (name, size)
    whole = b"".join(content(1, n, 50 + n * 37 % 5000) for n in range(log_items))
    log = dump(disk, "log")
    if log_items and (log is None or log[:log_end] != whole[:log_end]):
        bad.append(f"log: {len(log or b'')} bytes, {log_end} promised")
    found = dump(disk, "config")
    if config is not None and found not in [content(2, n, 1 + n * 977 % 30000) for n in (config, config + 1)]:
        bad.append(f"config: not version {config} or the next ({len(found) if found is not None else 'missing'})")
    for number, (name, size) in files.items():
        if dump(disk, name) != content(3, number, size):
            bad.append(f"{name} is not what was promised")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--block", type=int, default=4096, choices=[1024, 2048, 4096])
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    original = make_disk(options.block)
    failed = promises = 0
    with tempfile.TemporaryDirectory(prefix="uni-durability.") as name:
        scratch = Path(name)
        (scratch / "config").write_bytes(records(WRITER))
        for number in range(options.kills):
            disk = build.sparse_copy(original, scratch / "disk")
            console = kill_at(qemu_line(Machine(options.kernel), WRITER, disk, scratch), scratch / "console", rng)
            check = subprocess.run(["e2fsck", "-f", "-p", str(disk)], capture_output=True, text=True, check=False)
            bad = broken_promises(disk, console)
            promises += console.count(b"\n")
            if check.returncode > 1:
                bad.append(f"e2fsck -p says {check.returncode}:\n{check.stdout}")
            if not console.count(b"\n"):
                bad.append("the guest promised nothing")
            if bad:
                failed += 1
                print(f"kill {number}: " + "\n  ".join(bad))
    print(f"{options.kills} kills, {promises} promises, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
