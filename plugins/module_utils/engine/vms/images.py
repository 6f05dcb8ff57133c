# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where VMs meet the image store: what a VM keeps of its image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_env


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
    }


def unpack(root: Root, image: Mapping[str, Any]) -> dict[str, Any]:
    """The image with the path of its (verified) raw disk, and of the kernel it carries."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore

    store = ImageStore(root)
    found = store.resolve(str(image["id"]))
    kernel = store.kernel_for(found)
    return {**image, "disk": str(store.disk_for(found)), "kernel": str(kernel) if kernel else None}
