# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance disks: an empty qcow2 overlay on a raw base, written here instead of by a qemu-img process per VM.

Format: QEMU's docs/interop/qcow2.txt. An empty image is a header, a refcount table, one refcount block and an
empty L1 table; with 64 KiB clusters the file is sparse and takes a few kilobytes on disk.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_L2_COVERS = _CLUSTER * (_CLUSTER // 8)      # bytes of the disk that one L2 table (one L1 entry) maps: 512 MiB
_REFCOUNTS = _CLUSTER // 2                   # 16-bit reference counts in one refcount block
_BACKING_FORMAT = 0xE2792ACA                 # header extension: backing file format name


def overlay_header(size: int, base: str) -> tuple[bytes, bytes, bytes, int]:
    """The non-empty parts of an overlay: (header, refcount table, refcount block, number of clusters).

    :param size: bytes of the disk, a multiple of 512
    :param base: path of the raw base image, at most 1,023 bytes
    """
    name = os.fsencode(base)
    if len(name) > 1023:
        raise UsageError(f"the path of the disk image is too long for qcow2: {base}", code="overlay.path")
    l1_entries = max(1, -(-size // _L2_COVERS))
    l1_clusters = -(-l1_entries * 8 // _CLUSTER)
    clusters = 3 + l1_clusters
    if clusters > _REFCOUNTS:
        raise UsageError(f"a disk of {size} bytes is too large", code="overlay.size")
    extensions = struct.pack(">II8s", _BACKING_FORMAT, 3, b"raw") + struct.pack(">II", 0, 0)
    name_offset = 104 + len(extensions)
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, name_offset, len(name), _CLUSTER_BITS, size,
        0, l1_entries, 3 * _CLUSTER,         # no encryption; L1 table in cluster 3
        _CLUSTER, 1, 0, 0,                   # refcount table: cluster 1, one cluster; no snapshots
        0, 0, 0, 4, 104,                     # no features; refcounts of 2^4 bits; length of this header
    )
    table = struct.pack(">Q", 2 * _CLUSTER)  # the one refcount block is cluster 2
    block = struct.pack(">H", 1) * clusters
    return header + extensions + name, table, block, clusters


def create_overlay(path: Path, base: Path, size: int, *, uid: int | None = None) -> None:
    """Make the overlay ``path`` of ``size`` bytes (0: the base's size) over the raw image ``base``.

    :param uid: owner of the file, when QEMU runs as another user
    :raises HostError: disk full, no permission; nothing is left behind
    """
    try:
        size = size or base.stat().st_size
        header, table, block, clusters = overlay_header(-(-size // 512) * 512, str(base))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, clusters * _CLUSTER)
            for offset, data in ((0, header), (_CLUSTER, table), (2 * _CLUSTER, block)):
                os.pwrite(fd, data, offset)
            if uid is not None:
                os.fchown(fd, uid, uid)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise host_error(error, path) from error
