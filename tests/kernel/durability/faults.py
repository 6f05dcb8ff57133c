#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fails: what read, write, fsync and a mapping tell the program, and what is on the disk in the end.

The order of errors is Linux's: fsync tells of a failed write back once through each open file (fs: errseq_t, lib/errseq.c).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

import nbd
from crash import KERNEL, on_server
from ext2 import Image
from oracle import build
from oracle.case import Case

EXPECTED = """\
write: good
fsync: good
done
write: good
fsync: EIO
fsync again: good
fsync of the other: EIO
and again: good
fsync of a new one: good
done
write: good
fsync: good
done
read: EIO
touch: SIGBUS
done
read: good
done
write: good
fsync: EIO
done
rename: good
write: good
fsync: EIO
fsync of the directory: EIO
done
write: good
fsync: good
fsync of the directory: good
"""


class Failing(nbd.Disk):
    """Fails what the phase of faults.c is about."""

    def fail(self, kind: int, offset: int, data: bytes) -> bool:
        """See nbd.Disk."""
        return {
            1: kind == nbd.WRITE and data.startswith(b"MARK"),
            3: kind == nbd.READ,
            5: kind == nbd.FLUSH,
            6: kind == nbd.WRITE,
        }.get(self.lines, False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uni-faults.") as directory:
        scratch = Path(directory)
        tree = scratch / "tree"
        build.skeleton(tree)
        program = build.compile_c(HERE / "faults.c", build.BUILD / "durability/faults", "musl")
        (tree / "bin/faults").write_bytes(program.read_bytes())
        (tree / "bin/faults").chmod(0o755)
        (tree / "big").write_bytes(bytes(range(256)) * 1024)
        image = build.make_disk(tree, scratch / "disk", free=4)
        disk = Failing(image.read_bytes(), scratch)
        said = on_server(disk, Case("faults", "durability", ("/bin/faults",), memory=32), options.kernel, scratch)
        image.write_bytes(disk.image)
        check = subprocess.run(["e2fsck", "-fp", str(image)], capture_output=True, text=True, check=False)
        repaired = image.read_bytes()
    printed = "".join(f"{line}\n" for line in disk.console.decode().splitlines() if not line.startswith(("uni: ", "ext2 on ")))
    wrong = []
    if printed != EXPECTED:
        wrong.append(f"printed:\n{printed}{said}")
    if check.returncode > 1:
        wrong.append(f"e2fsck -p says {check.returncode}: {check.stdout}")
    else:
        content = {path: node.content for path, node in Image(repaired).walk()}
        for path, letter in (("/scratch/f", b"c"), ("/scratch/h", b"f")):
            if content.get(path) != b"MARK" + letter * 8188:
                wrong.append(f"{path} is not what was written last")
    print("\n".join(wrong) or "a failing disk is reported as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
