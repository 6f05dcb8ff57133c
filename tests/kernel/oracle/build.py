# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the guest programs and make the disks they run from. Everything lands in ``tests/kernel/build``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import case

BUILD = case.HERE / "build"
COMMON = ["-O1", "-std=gnu11", "-static", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-pthread",
          "-Wno-missing-field-initializers"]
#: The programs hand nonsense to the system on purpose; the compilers' warnings about that are not wanted.
QUIET = ["-Wno-nonnull", "-Wno-unused-result", "-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-deprecated-declarations",
         "-Wno-alloc-size-larger-than"]
#: musl-gcc hides the kernel's own headers; behind musl's they do no harm.
MUSL_HEADERS = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
BLOCK_SIZES = {"4k": 4096, "1k": 1024}
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "scratch", "small", "usr/bin")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"


class BuildError(RuntimeError):
    """A program or disk could not be made; the text is the tool's own."""


def run(argv: list[str], **kwargs: object) -> None:
    """Run a tool and turn its failure into a BuildError with its output."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **kwargs)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise BuildError(f"{' '.join(argv)}\n{done.stdout.decode(errors='replace')}")


def newer(target: Path, *sources: Path) -> bool:
    """True where target is there and younger than every source."""
    if not target.exists():
        return False
    mtime = target.stat().st_mtime
    return all(source.stat().st_mtime <= mtime for source in sources)


def with_included(source: Path) -> set[Path]:
    """The file and what it includes of the programs' own, at any depth."""
    found, new = set(), {source}
    while new:
        found |= new
        new = {case.PROGRAMS / name for path in new for name in re.findall(r'^#include "(\S+)"', path.read_text(), re.MULTILINE)} - found
    return found


def compile_c(source: Path, target: Path, libc: str, extra: tuple[str, ...] = ()) -> Path:
    """Compile one C file statically against ``musl`` or ``glibc``."""
    if newer(target, *with_included(source)):
        return target
    compiler = ["musl-gcc", *MUSL_HEADERS] if libc == "musl" else ["gcc"]
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"{target.name}.{os.getpid()}")
    run([*compiler, *COMMON, *QUIET, *extra, f"-I{case.PROGRAMS}", "-o", str(scratch), str(source), "-lm"])
    scratch.replace(target)
    return target


def compile_programs(only: set[str] | None = None) -> list[Path]:
    """Compile every program with each libc that it asks for."""
    jobs: list[tuple[Path, Path, str]] = []
    for source in sorted(case.PROGRAMS.glob("*.c")):
        if only is not None and source.stem not in only:
            continue
        for libc in case.directives(source.read_text()).get("libc", "musl").split(","):
            jobs.append((source, BUILD / "bin" / f"{source.stem}.{libc}", libc))
    errors: list[str] = []

    def one(job: tuple[Path, Path, str]) -> Path:
        try:
            return compile_c(*job)
        except BuildError as error:
            errors.append("\n".join(line for line in str(error).splitlines()[1:] if "error" in line))
            return job[1]

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        targets = list(pool.map(one, jobs))
    if errors:
        raise BuildError("\n".join(errors))
    return targets


def skeleton(tree: Path) -> None:
    """Start a tree afresh with the directories that every disk has."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")


def make_disk(tree: Path, disk: Path, free: int = 24, block: int = 4096, features: str = "") -> Path:
    """Make an ext2 disk of a tree with ``free`` MiB to spare; ``features`` are mke2fs's words."""
    used = sum(path.lstat().st_size + block for path in tree.rglob("*") if not path.is_dir() or path.is_symlink())
    size = (used * 11 // 10 >> 20) + free + 2
    scratch = disk.with_suffix(f".{os.getpid()}")
    run(["mke2fs", "-q", "-t", "ext2", "-b", str(block), "-N", "4096" if used < 64 << 20 else "16384", "-m", "0",
         *(["-O", features] if features else []), "-d", str(tree), str(scratch), f"{size}M"])
    scratch.replace(disk)
    return disk


def program_disks(only: set[str] | None = None) -> dict[str, Path]:
    """The disks that hold the C programs, one per block size."""
    programs = compile_programs(only)
    disks = {f"programs-{name}": BUILD / f"programs-{name}.ext2" for name in BLOCK_SIZES}
    if only is None and all(newer(disk, *programs) for disk in disks.values()):
        return disks
    tree = BUILD / "tree-programs"
    skeleton(tree)
    for program in programs:
        shutil.copy2(program, tree / "bin" / program.name)
    for name, block in BLOCK_SIZES.items():
        make_disk(tree, disks[f"programs-{name}"], block=block)
    if only is not None:
        for disk in disks.values():
            os.utime(disk, (0, 0))
    return disks


def sparse_copy(source: Path, target: Path) -> Path:
    """Copy a disk without writing out its holes."""
    run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)])
    return target
