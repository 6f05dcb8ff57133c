# SPDX-License-Identifier: GPL-3.0-or-later
"""From layers to what a monitor opens: the raw root disk and the kernel, unpacked once, verified before each
use.

An unpacked file is named by its SHA-256 and read-only. After a verification a small record beside it keeps
the inode's identity and times; while those stand, nobody has written to the file and the next boot need not
read it all again. When they changed, it is hashed again, and a wrong file is replaced from the verified
layer.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.disk import file_digest, temporary
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, StateError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    KERNEL_PATH,
    OWN,
    ROOTFS_PATH,
    URUNC,
    Descriptor,
    ImageInfo,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    host_error,
    lock,
    read_json,
    write_json,
)


def disk_for(store: ImageStore, image: ImageInfo) -> Path:
    """The verified raw disk of ``image``.

    :raises StateError: code ``image.no_disk``: it is not a unikernel image with a block image
    :raises VerifyError: ``blob.tampered`` and the like; ``disk.mismatch`` when the layer holds another disk
    :raises HostError: ``host.disk_full``; nothing is left behind
    """
    inside = image.annotations.get(URUNC + "block") or image.labels.get(URUNC + "block") or ROOTFS_PATH
    if image.disk_digest:
        return _unpacked(store, image, inside, f"{image.disk_digest[7:]}.ext2", image.disk_digest)
    path = _find(store, image, inside, "rootfs")
    if path is None:
        raise StateError(f"the image {image.name or image.digest} has no root disk", code="image.no_disk",
                         hint="a container image is turned into a unikernel with `uni build --from`")
    return path


def kernel_for(store: ImageStore, image: ImageInfo) -> Path | None:
    """The verified kernel that ``image`` carries; None when it carries none. Errors as :func:`disk_for`."""
    inside = image.annotations.get(URUNC + "binary") or image.labels.get(URUNC + "binary") or KERNEL_PATH
    return _find(store, image, inside, "kernel")


def adopt(store: ImageStore, built: Path, digest: str, suffix: str) -> Path:
    """Take the freshly built file ``built`` (same file system) under its digest, ``sha256:...``."""
    path = store.root.disks / f"{digest[7:]}.{suffix}"
    built.chmod(0o444)
    built.rename(path)
    _remember(path)
    return path


def _find(store: ImageStore, image: ImageInfo, inside: str, role: str) -> Path | None:
    """The file ``inside`` from the topmost layer that has it; layers marked with another role are not asked."""
    for index in range(len(image.layers) - 1, -1, -1):
        layer = image.layers[index]
        marked = layer.get("annotations", {}).get(OWN + "layer", role)
        if marked == role:
            path = _from_layer(store, image, layer, index, inside, role)
            if path is not None:
                return path
    return None


def _from_layer(store: ImageStore, image: ImageInfo, layer: Descriptor, index: int, inside: str,
                role: str) -> Path | None:
    """As :func:`_unpacked`, for a file whose digest only unpacking can tell; the layer's digest names it."""
    name = f"{layer['digest'][7:]}.{'kernel' if role == 'kernel' else 'layer'}"
    path = store.root.disks / name
    record = read_json(path.with_name(name + ".ok"))
    with store.writing(), lock(store.root.locks / "disks.lock"):
        if path.exists() and isinstance(record, dict) and _intact(path, str(record.get("digest", ""))):
            return path
        digest = _unpack(store, image, layer, index, inside, path)
        if digest is not None:
            _remember(path, digest)
    return path if digest else None


def _unpacked(store: ImageStore, image: ImageInfo, inside: str, name: str, digest: str) -> Path:
    path = store.root.disks / name
    if _untouched(path):
        return path
    with store.writing(), lock(store.root.locks / "disks.lock"):
        if _intact(path, digest):
            return path
        for index, layer in enumerate(image.layers):
            if layer["digest"] == image.disk_layer:
                found = _unpack(store, image, layer, index, inside, path, digest)
                if found is not None:
                    _remember(path)
                    return path
    raise NotFoundError(f"the layer {image.disk_layer} has no file {inside}", code="image.no_disk",
                        hint="pull or build the image again")


def _unpack(store: ImageStore, image: ImageInfo, layer: Descriptor, index: int, inside: str, path: Path,
            expected: str = "") -> str | None:
    """Unpack one file; its digest, or None when the layer does not hold it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import (
        LayerReader,
        extract_file,
    )

    blob = store.blob_path(layer["digest"])
    if not blob.exists():
        raise NotFoundError(f"the layer {layer['digest']} is missing from {store.path}", code="blob.missing",
                            hint="pull or build the image again")
    temp = temporary(path)
    diff_id = image.diff_ids[index] if index < len(image.diff_ids) else ""
    try:
        with LayerReader(blob, layer, diff_id) as reader:
            if not extract_file(reader, inside, temp):
                return None
        digest = f"sha256:{file_digest(temp)}"
        if expected and digest != expected:
            raise VerifyError(f"the disk in layer {layer['digest']} is {digest}, the manifest promises {expected}",
                              code="disk.mismatch", hint="pull or build the image again")
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        temp.chmod(0o444)
        temp.rename(path)
    except OSError as error:
        raise host_error(error, path) from error
    finally:
        temp.unlink(missing_ok=True)
    return digest


def _intact(path: Path, digest: str) -> bool:
    """Whether ``path`` holds ``digest``, by its record or by reading it."""
    if _untouched(path):
        return True
    if not path.exists() or f"sha256:{file_digest(path)}" != digest:
        return False
    _remember(path, digest)
    return True


def _identity(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def _untouched(path: Path) -> bool:
    record = read_json(path.with_name(path.name + ".ok"))
    try:
        return isinstance(record, dict) and record.get("identity") == _identity(path)
    except FileNotFoundError:
        return False


def _remember(path: Path, digest: str = "") -> None:
    write_json(path.with_name(path.name + ".ok"),
               {"identity": _identity(path), "digest": digest or f"sha256:{path.name.partition('.')[0]}"})
