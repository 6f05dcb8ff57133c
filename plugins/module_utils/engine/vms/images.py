# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where VMs meet the image store: what a VM keeps of its image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_env

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import ImageInfo
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore


def resolve(root: Root, reference: str) -> dict[str, Any]:
    """Identity and configuration of an image on this host; its disk is not touched.

    :raises NotFoundError: code ``image.not_found``
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore

    image = ImageStore(root).resolve(reference)
    return {
        "id": image.id, "digest": image.digest, "name": image.name, "entrypoint": list(image.entrypoint or ()),
        "cmd": list(image.cmd or ()), "env": parse_env(image.env), "workdir": image.workdir or "",
        "user": image.user or "", "stop_signal": image.stop_signal or "", "labels": dict(image.labels or {}),
        "memory": image.memory, "cpus": image.cpus, "kernel_range": image.kernel_range,
    }


def unchanged(root: Root, reference: str, image: Mapping[str, Any]) -> bool:
    """Whether a name stands for the image that a VM was made from. False also where only :func:`resolve` can say."""
    name = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    try:
        entries = json.loads((root.path / "images" / "index.json").read_bytes())["manifests"]
        named = {entry["digest"] for entry in entries
                 if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return named == {image.get("digest")}


def unpack(root: Root, image: Mapping[str, Any]) -> dict[str, Any]:
    """The image with the path of its raw disk, unpacked and verified."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.unpack import disk_for

    store = ImageStore(root)
    return {**image, "disk": str(disk_for(store, _stored(store, image)))}


def kernel(root: Root, image: Mapping[str, Any]) -> Path | None:
    """The (verified) kernel that the image carries; None when it carries none."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.unpack import kernel_for

    store = ImageStore(root)
    return kernel_for(store, _stored(store, image))


def kernel_version(root: Root, image: Mapping[str, Any]) -> str:
    """The version of the kernel that the image carries, as it says itself; empty when it says none that is one."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import URUNC
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
    from ansible_collections.uni.engine.plugins.module_utils.engine.kernels import version_key

    stored = _stored(ImageStore(root), image)
    version = str(stored.annotations.get(URUNC + "unikernelVersion") or "")
    try:
        version_key(version)
    except UsageError:
        return ""
    return version


def _stored(store: ImageStore, image: Mapping[str, Any]) -> ImageInfo:
    """The image that a VM was made from: images that differ in their memory alone share an id, so its digest counts."""
    found = store.find(str(image["digest"])) if image.get("digest") else None
    return found or store.resolve(str(image["id"]))
