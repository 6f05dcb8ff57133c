# SPDX-License-Identifier: GPL-3.0-or-later
"""``uni cp``: files between this host and a VM, on its root disk or on the volume mounted there.

Only a VM that does not run is written to. A running one can be read: its guest is asked to write out what it holds
(control port, ``sync``), and what it writes while we read may be seen half, as ``docker cp`` has it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import DiskRef
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import StateError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records


@dataclass(frozen=True)
class Place:
    """A path of a VM: the disk it is on, and its path there."""

    disk: DiskRef
    path: str


def split(text: str) -> tuple[str, str] | None:
    """``VM:/path`` as VM and path; None for a path of this host (``./odd:name`` is one, as in docker cp)."""
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name or name.startswith("."):
        return None
    if not path.startswith("/"):
        raise UsageError(f"{text!r} is not understood", code="cp.path", hint="a path of a VM is VM:/path")
    return name, path


def copy_from(root: Root, reference: str, path: str, local: Path, *, archive: bool = False) -> int:
    """Copy ``path`` of a VM to ``local``; see :func:`.diskfiles.copy_out`.

    :raises StateError: codes ``vm.saved``, ``vm.paused``
    """
    with reading(root, reference, path) as place:
        return diskfiles.copy_out(place.disk, place.path, local, archive=archive)


def tar_from(root: Root, reference: str, path: str, stream: IO[bytes]) -> None:
    """Write ``path`` of a VM to ``stream`` as a tar archive."""
    with reading(root, reference, path) as place:
        diskfiles.tar_out(place.disk, place.path, stream)


def copy_to(root: Root, local: str, reference: str, path: str, *, archive: bool = False) -> int:
    """Copy ``local`` to ``path`` of a VM; see :func:`.diskfiles.copy_in`.

    :raises StateError: codes ``vm.running``, ``vm.saved``
    """
    with writing(root, reference, path) as place:
        return diskfiles.copy_in(place.disk, local, place.path, archive=archive)


def tar_to(root: Root, archive: Path, reference: str, path: str) -> int:
    """Unpack a tar archive into the directory ``path`` of a VM."""
    with writing(root, reference, path) as place:
        return diskfiles.tar_in(place.disk, archive, place.path)


@contextmanager
def writing(root: Root, reference: str, path: str) -> Iterator[Place]:
    """Hold the VM's lock, so that it does not start meanwhile, and find the disk that ``path`` is on."""
    with records.locked(records.find(root, reference).directory) as vm:
        if records.status_of(vm.state) in (*records.RUNNING, "restarting"):
            raise StateError(f"VM {vm.name} is running: its program and we would both write its disk",
                             code="vm.running", hint=f"stop it first with `uni stop {vm.name}`")
        _not_saved(vm)
        yield _find(root, vm, path, True)


@contextmanager
def reading(root: Root, reference: str, path: str) -> Iterator[Place]:
    """As :func:`writing`, for a look: a running VM goes on, after it has written out what it holds."""
    with records.locked(records.find(root, reference).directory) as vm:
        _not_saved(vm)
        status = records.status_of(vm.state)
        place = _find(root, vm, path, False)
        if status not in (*records.RUNNING, "restarting"):
            yield place
            return
        if status != "running":
            raise StateError(f"VM {vm.name} is {status}: it cannot write out what it holds in memory",
                             code=f"vm.{status}", hint="unpause it, or wait until it runs")
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

        api.command(root, vm.id, {"cmd": "sync"})
        yield Place(DiskRef(place.disk.path, place.disk.base, shared=True), place.path)


def _not_saved(vm: records.Vm) -> None:
    if vm.state.get("status") == "saved":
        raise StateError(f"VM {vm.name} is saved: its memory remembers what was on its disk", code="vm.saved",
                         hint=f"start it and stop it: `uni start {vm.name}`, `uni stop {vm.name}`")


def _find(root: Root, vm: records.Vm, path: str, writing: bool) -> Place:
    """The volume whose mount point is nearest above ``path``, else the root disk."""
    # normpath drops the "/." that says "the contents".
    plain, ending = posixpath.normpath(path), "/." if path.endswith("/.") else ""
    mounts: list[tuple[str, str, bool]] = []
    for entry in vm.values.get("volumes") or ():
        source, _colon, rest = str(entry).partition(":")
        mount, _colon, options = rest.partition(":")
        if (plain + "/").startswith(mount.rstrip("/") + "/"):
            mounts.append((mount.rstrip("/"), source, "ro" in options.split(",")))
    if mounts:
        mount, source, read_only = max(mounts, key=lambda item: len(item[0]))
        if writing and read_only:
            raise StateError(f"{mount} of VM {vm.name} is mounted read-only", code="cp.read_only")
        return Place(DiskRef(_volume(root, source, vm.id, writing)), (plain[len(mount):] or "/") + ending)
    image = vm.record.get("image") or {}
    overlay = vm.directory / "disk.qcow2"
    if not image.get("disk") or not overlay.exists():
        raise StateError(f"VM {vm.name} has no root disk", code="cp.no_disk", hint="copy from one of its volumes")
    return Place(DiskRef(overlay, _base(root, image)), plain + ending)


def _base(root: Root, image: dict[str, object]) -> Path:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

    return Path(images.unpack(root, image)["disk"])


def _volume(root: Root, source: str, vm_id: str, writing: bool) -> Path:
    if source.startswith("/"):
        return Path(source)
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

    return volumes.use(root, source, vm_id, read_only=not writing)
