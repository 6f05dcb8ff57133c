# SPDX-License-Identifier: GPL-3.0-or-later
"""The stripped kernel's size, and the smallest memory in which a static hello runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from common import KERNEL, disk, hello, qemu, uni_options


def runs(image: Path, megabytes: int) -> bool:
    """Whether hello prints its line and the guest powers itself off."""
    try:
        command = qemu(KERNEL, *uni_options(image), memory=f"{megabytes}M")
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return b"hello" in done.stdout and done.returncode == 1  # isa-debug-exit: (0 << 1) | 1


def main() -> None:
    size = KERNEL.stat().st_size
    print(f"Stripped kernel: {size} bytes, {size / 300 / 1024:.2f} of 300 KB (aim: at most 1), "
          f"{size / 600 / 1024:.2f} of 600 KB (aim with the network: at most 1)")
    image = disk(hello())
    smallest = next((size for size in range(1, 129) if runs(image, size)), None)
    print(f"Smallest -m for a static hello: {smallest}M, {(smallest or 0) / 8:.2f} of 8 MB (aim: at most 1)")


if __name__ == "__main__":
    main()
