# SPDX-License-Identifier: GPL-3.0-or-later
"""From a file tree and settings to an image in the store. Equal input gives an equal manifest digest.

Layout, so that an image runs under urunc (and so containerd and Kubernetes) too: the kernel at ``/.boot/kernel`` in
a layer of its own, which registries then keep once; the ext2 disk at ``/.boot/rootfs``; ``/urunc.json``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.disk import build_disk, file_digest, temporary
from ansible_collections.uni.engine.plugins.module_utils.engine.elf import inspect_elf
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import LayerWriter, Member
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    CONFIG,
    KERNEL_PATH,
    LAYER_GZIP,
    MANIFEST,
    OWN,
    ROOTFS_PATH,
    URUNC,
    URUNC_PATH,
    Descriptor,
    canonical_json,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import FORMAT, Settings
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.images.unpack import adopt
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import Reference
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree


@dataclass(frozen=True)
class Kernel:
    """The kernel that goes into an image: its ELF file, its version where known, its SHA-256 (``sha256:...``)."""

    path: Path
    version: str
    digest: str


@dataclass(frozen=True)
class _Layer:
    descriptor: Descriptor
    diff_id: str
    created_by: str


def load_kernel(path: Path, version: str = "") -> Kernel:
    """Check that ``path`` can be a kernel.

    :raises UsageError: ``build.kernel`` or the error of :func:`inspect_elf`
    """
    info = inspect_elf(path, kernel=True)
    if info.kind == "dynamic":
        raise UsageError(f"{path} is a dynamic program, not a kernel", code="build.kernel",
                         hint="give kernel/build/uni.elf")
    return Kernel(path, version, f"sha256:{file_digest(path)}")


def apply_build(store: ImageStore, reference: Reference, tree: Tree, settings: Settings, content: str,
                kernel: Kernel | None) -> Descriptor:
    """Build the image and tag it; the descriptor of its manifest.

    Killed at any point it leaves the old image under ``reference`` and temporary files that the next build
    sweeps. :raises HostError: ``host.disk_full``
    """
    with store.writing():
        temp = temporary(store.root.disks / "build")
        try:
            disk = build_disk(tree, temp, size=settings.size, label="uni")
            disk_digest = f"sha256:{disk.sha256}"
            path = adopt(store, temp, disk_digest, "ext2")
        except OSError as error:
            raise host_error(error, store.root.disks) from error
        finally:
            temp.unlink(missing_ok=True)
        annotations = _annotations(settings, content, kernel)
        layers = []
        if kernel is not None:
            layers.append(_add_layer(store, [Member(KERNEL_PATH, 0o644, kernel.path)], "kernel"))
        layers.append(_add_layer(store, [Member(ROOTFS_PATH, 0o644, path)], "rootfs", {OWN + "disk": disk_digest}))
        layers.append(_add_layer(store, [Member(URUNC_PATH, 0o644, _urunc_json(annotations))], "metadata"))
        config = store.add_blob(canonical_json(_config(settings, annotations, layers)), media_type=CONFIG)
        manifest = store.add_blob(canonical_json({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [layer.descriptor for layer in layers], "annotations": annotations}), media_type=MANIFEST)
        store.tag(manifest, reference)
    return manifest


def _add_layer(store: ImageStore, members: list[Member], role: str, extra: dict[str, str] | None = None) -> _Layer:
    writer = LayerWriter(members)
    descriptor = store.add_blob(writer, media_type=LAYER_GZIP)
    descriptor["annotations"] = {OWN + "layer": role, **(extra or {})}
    return _Layer(descriptor, writer.diff_id, f"uni build: {role}")


def _annotations(settings: Settings, content: str, kernel: Kernel | None) -> dict[str, str]:
    """Manifest annotations: urunc's vocabulary, and ours below :data:`OWN`."""
    # urunc knows no type "uni", but whatever starts Linux starts Uni: same command line, same devices.
    annotations = {
        URUNC + "unikernelType": "linux", URUNC + "hypervisor": "qemu",
        URUNC + "cmdline": command_line((*settings.entrypoint, *settings.cmd)), URUNC + "block": ROOTFS_PATH,
        URUNC + "blkMntPoint": "/", URUNC + "mountRootfs": "false",
        OWN + "guest": "uni", OWN + "content": content, OWN + "format": FORMAT,
    }
    if kernel is not None:
        annotations[URUNC + "binary"] = KERNEL_PATH
        annotations[OWN + "kernel.digest"] = kernel.digest
        if kernel.version:
            annotations[URUNC + "unikernelVersion"] = kernel.version
    for key, value in (("kernel.range", settings.kernel_range), ("memory", settings.memory),
                       ("cpus", settings.cpus), ("disk.size", settings.size)):
        if value:
            annotations[OWN + key] = str(value)
    return annotations


def command_line(words: tuple[str, ...]) -> str:
    """Words as urunc splits them again: those with blanks in single quotes."""
    return " ".join(f"'{word}'" if not word or any(char.isspace() for char in word) else word for word in words)


def _urunc_json(annotations: dict[str, str]) -> bytes:
    """``/urunc.json``: a flat object of full keys, every value in standard padded base64."""
    return canonical_json({key: base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
                           for key, value in annotations.items() if key.startswith(URUNC)})


def _config(settings: Settings, annotations: dict[str, str], layers: list[_Layer]) -> dict[str, Any]:
    """The OCI config (config.md). No creation time: it would make equal images differ."""
    urunc = {key: value for key, value in annotations.items() if key.startswith(URUNC)}
    run: dict[str, Any] = {
        "Entrypoint": list(settings.entrypoint), "Cmd": list(settings.cmd),
        "Env": [f"{key}={value}" for key, value in sorted(settings.env.items())],
        "WorkingDir": settings.workdir, "User": settings.user,
        "ExposedPorts": {port: {} for port in settings.exposed_ports},
        "Volumes": {volume: {} for volume in settings.volumes}, "StopSignal": settings.stop_signal,
        "Labels": {**settings.labels, **urunc},
    }
    return {
        "architecture": "amd64", "os": "linux", "config": {key: value for key, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": layer.created_by} for layer in layers],
    }
