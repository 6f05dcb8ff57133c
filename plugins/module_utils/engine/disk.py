# SPDX-License-Identifier: GPL-3.0-or-later
"""Root disks: raw ext2 images, built whole and named by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.ext2 import write_ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.records import TEMP_PREFIX, host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree, tree_from_directory

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Disk:
    """A raw disk: ``sha256`` in hexadecimal, ``size`` in bytes."""

    path: Path
    sha256: str
    size: int


def build_disk(tree: Tree | Path, out: Path, *, size: int | None = None, label: str = "") -> Disk:
    """Write ``tree`` (or the directory) as an ext2 image to ``out``: complete and on disk, or not at all.

    Equal trees and sizes give equal bytes. A plain user gets the same owners and devices as root.

    :param size: bytes; by default what the contents need, a quarter more and at least 16 MiB of room
    :raises HostError: ``host.disk_full``, ``host.permission``; nothing is left behind
    :raises UsageError: ``disk.too_small``
    """
    if isinstance(tree, Path):
        tree = tree_from_directory(tree)
    temp = temporary(out)
    try:
        try:
            total = write_ext2(tree, temp, size=size, label=label)
            digest = file_digest(temp)
            temp.rename(out)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise host_error(error, out) from error
    return Disk(out, digest, total)


def temporary(path: Path) -> Path:
    """A name beside ``path`` that no other process and no earlier call uses; a sweep knows it by its
    prefix.
    """
    return path.parent / f"{TEMP_PREFIX}{path.name}.{os.getpid()}.{os.urandom(4).hex()}"


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of the file ``path``."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
