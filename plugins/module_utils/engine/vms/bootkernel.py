# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernel a VM boots, and whether it understands what this engine tells it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import effective

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm


def find_kernel(root: Root, vm: Vm) -> Path:
    """The kernel that the VM boots.

    :raises NotFoundError: code ``kernel.not_found``, ``kernel.no_default`` or ``kernel.not_in_image``
    :raises UsageError: code ``kernel.too_old``: the release does not understand what this engine tells a guest
    """
    wanted = str(effective(vm.values, "kernel"))
    if "/" in wanted:
        path = Path(wanted)
        if not path.is_file():
            raise NotFoundError(f"the kernel {wanted} of VM {vm.name} does not exist", code="kernel.not_found",
                                hint="name an existing file, a version, default or image")
        return path
    image = vm.record.get("image") or {}
    if wanted == "image":
        return _image_kernel(root, vm, image)
    from ansible_collections.uni.engine.plugins.module_utils.engine import kernels

    if wanted != "default":
        release = kernels.get(root, wanted)
        return _understood(vm, release.version, release.path)
    try:
        release = kernels.default(root)
    except NotFoundError:
        if image:
            return _image_kernel(root, vm, image)
        raise
    accepted = str(image.get("kernel_range") or "")
    if accepted and not kernels.in_range(release.version, accepted):
        # The host's default only where the image accepts it.
        return _image_kernel(root, vm, image, f"its image accepts kernels {accepted}, the host's default is"
                                              f" {release.version}")
    return _understood(vm, release.version, release.path)


def _understood(vm: Vm, version: str, path: Path) -> Path:
    """The kernel's path, where the release is not older than what it will be told."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
    from ansible_collections.uni.engine.plugins.module_utils.engine.guests.uni import KERNELS

    if not kernels.in_range(version, KERNELS):
        raise UsageError(f"VM {vm.name} would boot kernel {version}, but this engine works with {KERNELS}",
                         code="kernel.too_old",
                         hint="get a newer one (uni kernel update, or uni kernel add --default DIR); kernel: VERSION"
                              " names one that is not the default")
    return path


def _image_kernel(root: Root, vm: Vm, image: dict[str, Any], why: str = "") -> Path:
    """The kernel that the image carries; ``why``: what speaks against the host's."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

    path = images.kernel(root, image) if image else None
    if path is None:
        because = f"{why}, and the image" if why else "the image"
        raise NotFoundError(f"VM {vm.name}: {because} carries no kernel", code="kernel.not_in_image",
                            hint="add a kernel to the host (uni kernel add DIR, uni kernel update), then use kernel:"
                                 " default or its version")
    version = images.kernel_version(root, image)
    return _understood(vm, version, path) if version else path
