# SPDX-License-Identifier: Apache-2.0
"""Build fs/ for the host under ASan and UBSan and try it on ext2 images made by mke2fs and checked by e2fsck.

stress: random work is compared with a model, then e2fsck -fn must find nothing.
kill:   the disk stops after the Nth write; e2fsck -p must repair it and what fsync promised must be there.
fuzz:   images with random damage may fail in any way but a crash.
rough:  random work on images whose fields lie, on a disk that fails, with memory that runs out: any error, but no crash, no lock kept.
"""
from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import damage

HERE = Path(__file__).resolve().parent
KERNEL = HERE.parents[2]
FS = ["inode", "dcache", "namei", "create", "open", "radix", "pagecache", "filerw", "writeback", "mount", "firsttree", "rundirs", "tmpfs", "tmpfs_dir"]
ENV = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", "UBSAN_OPTIONS": "halt_on_error=1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def build(out: Path) -> Path:
    sources = [KERNEL / "fs" / f"{n}.c" for n in FS] + sorted((KERNEL / "fs").glob("ext2_*.c"))
    sources += [KERNEL / "lib" / "hash.c", HERE / "stubs.c", HERE / "fstest.c", HERE / "rough.c"]
    # Unaligned fields of packed structures on disk are meant; so is a frame of any size here.
    flags = ["-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize=alignment", "-fno-strict-aliasing",
             "-fno-sanitize-recover=undefined", "-fno-builtin", "-w"]
    objects = []
    for n, source in enumerate([*sources, HERE / "host.c"]):
        obj = out / f"{n}-{source.stem}.o"
        inc = [] if source.name == "host.c" else ["-ffreestanding", f"-I{KERNEL / 'include'}", f"-I{HERE}"]
        subprocess.run(["gcc", *flags, *inc, "-c", str(source), "-o", str(obj)], check=True)
        objects.append(str(obj))
    exe = out / "fstest"
    subprocess.run(["gcc", *flags, *objects, "-o", str(exe)], check=True)
    return exe


def make_image(path: Path, block: int, size_kib: int, tree: Path | None = None, extra: tuple[str, ...] = ()) -> None:
    with path.open("wb") as f:
        f.truncate(size_kib * 1024)
    cmd = ["mke2fs", "-q", "-F", "-t", "ext2", "-b", str(block), *extra]
    if tree:
        cmd += ["-d", str(tree)]
    subprocess.run([*cmd, str(path)], check=True, env=ENV)


def run(exe: Path, *args: object, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(exe), *map(str, args)], capture_output=True, text=True, timeout=timeout, env=ENV, check=False)


def fsck(image: Path, mode: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["e2fsck", "-f", mode, str(image)], capture_output=True, text=True, errors="replace", env=ENV, check=False)


def stress(exe: Path, tmp: Path, seeds: range, ops: int) -> int:
    bad = 0
    for seed in seeds:
        block = (1024, 2048, 4096)[seed % 3]
        base, out = tmp / "base.img", tmp / "out.img"
        make_image(base, block, 2500 if seed % 5 == 0 else 16000)
        r = run(exe, "stress", base, out, seed, ops)
        c = fsck(out, "-n") if r.returncode == 0 else None
        if r.returncode or c is None or c.returncode:
            bad += 1
            print(f"stress seed {seed} block {block}: {r.stderr[-1500:]}{c.stdout if c else ''}")
            continue
        v = run(exe, "verify", out, *r.stdout.split())
        if v.returncode:
            bad += 1
            print(f"stress seed {seed}: after a new mount: {v.stderr[-1500:]}")
    print(f"stress: {len(seeds)} runs, {bad} failed")
    return bad


def kill(exe: Path, tmp: Path, seeds: range, ops: int) -> int:
    bad = promised = 0
    for seed in seeds:
        rng = random.Random(seed)
        block = (1024, 4096)[seed % 2]
        base, out = tmp / "base.img", tmp / "out.img"
        make_image(base, block, 16000)
        r = run(exe, "stress", base, out, seed, ops, rng.randrange(1, 3000))
        if r.returncode:
            bad += 1
            print(f"kill seed {seed}: {r.stderr[-1500:]}")
            continue
        c = fsck(out, "-p")
        words = r.stdout.split()
        promised += len(words) // 3
        v = run(exe, "verify", out, *words)
        if c.returncode not in (0, 1) or v.returncode:
            bad += 1
            print(f"kill seed {seed} block {block}: e2fsck {c.returncode}\n{c.stdout[-1200:]}{v.stderr[-500:]}")
    print(f"kill: {len(seeds)} runs, {promised} promised files, {bad} failed")
    return bad


def make_tree(root: Path) -> None:
    (root / "dir").mkdir(parents=True)
    for n in range(60):
        (root / "dir" / f"many{n}").write_bytes(bytes([n]) * (n * 137))
    (root / "big").write_bytes(random.Random(1).randbytes(900_000))
    with (root / "sparse").open("wb") as f:
        f.seek(70_000_000)
        f.write(b"end")
    (root / "link").symlink_to("dir/many3")
    (root / "long-link").symlink_to("x" * 90)
    (root / "hard").hardlink_to(root / "big")


def filled_images(tmp: Path, *extra: str) -> dict[int, bytes]:
    """The same tree with blocks of either size."""
    tree, path = tmp / "tree", tmp / "filled.img"
    make_tree(tree)
    images = {}
    for block in (1024, 4096):
        make_image(path, block, 6000, tree, extra)
        images[block] = path.read_bytes()
    shutil.rmtree(tree)
    return images


def ends(exe: Path, *args: object) -> subprocess.CompletedProcess[str] | None:
    """None: it does not end."""
    try:
        return run(exe, *args, timeout=60)
    except subprocess.TimeoutExpired:
        return None


def fuzz(exe: Path, tmp: Path, seeds: range) -> int:
    bad = 0
    images = filled_images(tmp)
    for seed in seeds:
        rng = random.Random(seed)
        block = (1024, 4096)[seed % 2]
        data = bytearray(images[block])
        for _index in range(rng.choice((1, 3, 20, 200))):
            # Metadata sits in front and is where damage hurts.
            at = rng.randrange(1024, rng.choice((2048, 8192, 200_000, len(data))))
            for k in range(at, min(at + rng.choice((1, 2, 4)), len(data))):
                data[k] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
        image = tmp / "damaged.img"
        image.write_bytes(data)
        r = ends(exe, "fuzz", image)
        if r is None or r.returncode:
            bad += 1
            print(f"fuzz seed {seed} block {block}: {r.stderr[-2500:] if r else 'does not end'}")
            if bad > 3:
                break
    print(f"fuzz: {len(seeds)} images, {bad} failed")
    return bad


def rough(exe: Path, tmp: Path, seeds: range, ops: int) -> int:
    """Random work on sound and on lying images, with a disk and a memory that fail."""
    bad = 0
    images = filled_images(tmp, "-N", "256")
    for seed in seeds:
        rng = random.Random(seed)
        block = (1024, 4096)[seed % 2]
        lies, disk, memory = ((0, 0, 60), (0, 40, 0), (1, 0, 0), (1, 0, 0), (1, 60, 60))[seed % 5]
        image, out = tmp / "rough.img", tmp / "rough-out.img"
        image.write_bytes(damage.structural(rng, images[block]) if lies else images[block])
        r = ends(exe, "rough", image, out, seed, ops, disk, memory)
        said = f"{r.stderr[-2500:]}" if r else "does not end"
        if r and r.returncode == 0:
            # Without lies and failed requests nothing is wrong that e2fsck would have to ask about: at most, what could not be freed
            # without memory still counts as used.
            sound = not lies and not disk
            check = fsck(out, "-p" if sound else "-y")
            said = check.stdout[-1500:] if check.returncode not in ((0, 1) if sound else (0, 1, 4, 8, 9, 12)) else ""
        if said:
            bad += 1
            print(f"rough seed {seed} block {block} lies {lies} disk {disk} memory {memory}: {said}")
            if bad > 3:
                break
    print(f"rough: {len(seeds)} runs, {bad} failed")
    return bad


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--first", type=int, default=1, help="first seed")
    p.add_argument("--stress", type=int, default=12, help="runs")
    p.add_argument("--kill", type=int, default=60, help="runs")
    p.add_argument("--fuzz", type=int, default=150, help="images")
    p.add_argument("--rough", type=int, default=150, help="runs")
    p.add_argument("--ops", type=int, default=1500, help="operations of a run")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        exe = build(tmp)
        first = a.first
        bad = stress(exe, tmp, range(first, first + a.stress), a.ops)
        bad += kill(exe, tmp, range(first, first + a.kill), a.ops)
        bad += fuzz(exe, tmp, range(first, first + a.fuzz))
        bad += rough(exe, tmp, range(first, first + a.rough), 400)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
