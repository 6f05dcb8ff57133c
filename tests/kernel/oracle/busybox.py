# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's static busybox: one applet or shell script a case, compared with the host in a chroot of the same disk.

Uni has no second process, so a script uses built-ins and one ``exec``; busybox's shell runs its own applets that way.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path

from .build import BUILD, make_disk, newer, skeleton
from .case import HERE, Case

BUSYBOX = Path("/bin/busybox")
SCRIPTS = HERE / "busybox"
APPLETS = "ash awk cat cmp comm cp cut date dd df diff du env expand factor find fold grep gunzip gzip head hexdump id ln ls " \
          "md5sum mkdir mv nl od paste printf pwd readlink rev rm sed seq sh sha1sum sha256sum sha512sum sleep sort stat " \
          "strings sum sync tac tail tar tee test touch tr true uname uniq unxz wc which xxd yes zcat".split()

#: name -> arguments of busybox
COMMANDS: dict[str, list[str]] = {
    "echo": ["echo", "hello", "world"],
    "ls": ["ls", "-la", "/data"],
    "ls-all": ["ls", "-lR", "/data", "/bin", "/usr", "/scratch"],
    "ls-root": ["ls", "/"],
    "sha256": ["sha256sum", "/bin/busybox", "/data/text", "/data/random"],
    "sha512": ["sha512sum", "/bin/busybox"],
    "md5": ["md5sum", "/data/text"],
    "sort": ["sort", "/data/words"],
    "sort-numeric": ["sort", "-n", "-r", "-k", "2", "/data/table"],
    "uniq": ["uniq", "-c", "/data/table"],
    "awk": ["awk", "{s[$1] += $2} END {for (k in s) n++; print n; print s[\"a\"], s[\"b\"]}", "/data/table"],
    "sed": ["sed", "-n", "s/line/LINE/;10,20p", "/data/text"],
    "grep": ["grep", "-n", "-E", "9{2}", "/data/text"],
    "grep-none": ["grep", "absent", "/data/text"],
    "tar-list": ["tar", "tvf", "/data/archive.tar"],
    "tar-extract": ["tar", "xvf", "/data/archive.tar", "-C", "/scratch"],
    "tar-create": ["tar", "cf", "/scratch/new.tar", "-C", "/data", "sub"],
    "gzip": ["gzip", "-dc", "/data/text.gz"],
    "gzip-bad": ["gzip", "-dc", "/data/text"],
    "gzip-make": ["gzip", "-k", "/data/words"],
    "date": ["date", "-u", "-d", "@1700000000"],
    "date-format": ["date", "-u", "-d", "@0", "+%Y-%m-%dT%H:%M:%S"],
    "uname": ["uname", "-snm"],
    "stat": ["stat", "-c", "%N %s %b %B %o %h %F %A %y", "/data/text", "/data/sub", "/data/link"],
    "stat-format": ["stat", "-c", "%n %s %F %a %u %g %h %Y %i", "/data/text", "/data/sub", "/data/link"],
    "find": ["find", "/data", "/bin", "-type", "f"],
    "find-size": ["find", "/data", "-size", "+4k", "-name", "*e*"],
    "wc": ["wc", "/data/text", "/data/words", "/data/random"],
    "od": ["od", "-A", "x", "-t", "x1z", "/data/random"],
    "hexdump": ["hexdump", "-C", "/data/words"],
    "xxd": ["xxd", "/data/table"],
    "cat": ["cat", "/data/text"],
    "cat-missing": ["cat", "/data/none", "/data/words"],
    "cp": ["cp", "-a", "/data/sub", "/scratch/copy"],
    "mv": ["mv", "/data/text", "/scratch/moved"],
    "rm": ["rm", "-r", "/data/sub"],
    "ln": ["ln", "-s", "/data/text", "/scratch/link"],
    "touch": ["touch", "-d", "2020-01-02 03:04:05", "/scratch/touched"],
    "dd": ["dd", "if=/dev/zero", "of=/scratch/zeros", "bs=4096", "count=100", "conv=fsync"],
    "du": ["du", "-a", "/data"],
    "head": ["head", "-c", "100", "/data/text"],
    "tail": ["tail", "-n", "3", "/data/text"],
    "cut": ["cut", "-d", " ", "-f", "2", "/data/table"],
    "tac": ["tac", "/data/table"],
    "cmp": ["cmp", "/data/text", "/data/words"],
    "diff": ["diff", "/data/text", "/data/words"],
    "env": ["env"],
    "id": ["id"],
    "pwd": ["pwd"],
    "readlink": ["readlink", "-f", "/data/link"],
    "seq": ["seq", "1", "3", "20"],
    "factor": ["factor", "1234567890123"],
    "strings": ["strings", "-n", "20", "/bin/busybox"],
    "false": ["false"],
    "unknown": ["no-such-applet"],
}


def fill(data: Path) -> None:
    """The files that the commands work on; nothing random, every time fixed."""
    (data / "sub/deeper").mkdir(parents=True)
    (data / "text").write_text("".join(f"line {number} of the text\n" for number in range(2000)))
    words = [f"{number * 7919 % 10007:05d}" for number in range(1500)]
    (data / "words").write_text("\n".join(words) + "\n")
    (data / "table").write_text("".join(f"{'abcd'[number % 4]} {number * 37 % 101}\n" for number in range(300)))
    (data / "random").write_bytes(bytes((number * number * 31 + number // 7) % 256 for number in range(5000)))
    (data / "sub/file").write_text("in a directory\n")
    (data / "sub/deeper/file").write_text("deeper\n")
    (data / "link").symlink_to("sub/file")
    (data / "text.gz").write_bytes(gzip.compress((data / "text").read_bytes(), mtime=0))
    with tarfile.open(data / "archive.tar", "w") as archive:
        for name in ("one", "two/three"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = 6, 1500000000, 0o640
            archive.addfile(member, io.BytesIO(b"member"))
    for path in [data, *data.rglob("*")]:
        os.utime(path, (1600000000, 1600000000), follow_symlinks=False)


def disk() -> Path:
    """The disk with busybox, its links, the data and the scripts."""
    target = BUILD / "busybox.ext2"
    if newer(target, BUSYBOX, Path(__file__), *SCRIPTS.glob("*.sh")):
        return target
    tree = BUILD / "tree-busybox"
    skeleton(tree)
    shutil.copy2(BUSYBOX, tree / "bin/busybox")
    for applet in APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    shutil.copytree(SCRIPTS, tree / "scripts")
    (tree / "data").mkdir()
    fill(tree / "data")
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (1600000000, 1600000000), follow_symlinks=False)
    # Without hashed directories every kernel lists them in the order on disk, so find and tar need no sorting.
    return make_disk(tree, target, features="^dir_index")


def cases() -> list[Case]:
    """One case a command and one a script."""
    found = [Case(name=f"busybox/{name}", tree="busybox", argv=("/bin/busybox", *words), cwd="/scratch")
             for name, words in COMMANDS.items()]
    found += [Case(name=f"busybox/{path.stem}.sh", tree="busybox", argv=("/bin/sh", f"/scripts/{path.name}", "first", "second word"),
                   cwd="/scratch", env={"GIVEN": "value"})
              for path in sorted(SCRIPTS.glob("*.sh"))]
    return found
