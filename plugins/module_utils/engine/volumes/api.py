# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: raw ext2 files that outlive VMs.

    volumes/NAME/volume.json     size in bytes, labels, time of creation
    volumes/NAME/data.ext2       the disk, sparse, readable by its owner alone
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    StateError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    TEMP_PREFIX,
    host_error,
    lock,
    read_json,
    sync_directory,
    write_json,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name, format_size, parse_size

DEFAULT_SIZE = 1 << 30
MIN_SIZE = 1 << 20
_BLOCK = 4096
_CLEAN = 1     # s_state, include/linux/ext2_fs.h: EXT2_VALID_FS
_TOOLS = {"mke2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs"}


@dataclass(frozen=True)
class VolumeSpec:
    """What a volume shall be. None: not set, not compared."""

    name: str
    size: int | None = None
    labels: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, name: str, size: str | int | None = None, labels: Mapping[str, str] | None = None) -> VolumeSpec:
        """From what a user wrote. :raises UsageError: name, or a size below 1M"""
        check_name("volume", name)
        number = None if size is None else -(-parse_size(size, what="size") // _BLOCK) * _BLOCK
        if number is not None and number < MIN_SIZE:
            raise UsageError(f"size: {size!r} is too small for a volume", code="volume.size", hint="at least 1M")
        return cls(name, number, None if labels is None else dict(labels))


@dataclass(frozen=True)
class Volume:
    """A volume that is there."""

    name: str
    path: Path
    size: int
    created: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``used`` is what the sparse file takes on the disk, in bytes."""
        used = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        return {"name": self.name, "size": self.size, "used": used, "created": self.created,
                "labels": dict(self.labels), "path": str(self.path)}


@dataclass(frozen=True)
class Result:
    """What was, or would be, done."""

    plan: Plan
    volume: Volume | None = None

    @property
    def changed(self) -> bool:
        """Whether anything changed, or would."""
        return self.plan.changed


def list_volumes(root: Root, labels: Mapping[str, str] | None = None) -> list[Volume]:
    """All volumes by name; only those that carry ``labels`` when given."""
    wanted = (labels or {}).items()
    found = [find(root, path.name) for path in sorted(root.volumes.iterdir()) if not path.name.startswith(".")]
    return [v for v in found if v is not None and all(v.labels.get(key) == value for key, value in wanted)]


def find(root: Root, name: str) -> Volume | None:
    """The volume ``name``, or None."""
    directory = root.volumes / check_name("volume", name)
    record = read_json(directory / "volume.json")
    if not isinstance(record, dict):
        return None
    return Volume(name, directory / "data.ext2", int(record["size"]), str(record.get("created", "")),
                  record.get("labels") or {})


def inspect(root: Root, name: str) -> Volume:
    """As :func:`find`. :raises NotFoundError: code ``volume.not_found``"""
    volume = find(root, name)
    if volume is None:
        raise NotFoundError(f"there is no volume {name!r}", code="volume.not_found", hint="see `uni volume ls`")
    return volume


def plan_volume(spec: VolumeSpec, observed: Volume | None) -> Plan:
    """The actions that make the volume what it shall be. Pure.

    :raises UsageError: code ``volume.shrink``
    """
    target = f"volume/{spec.name}"
    if observed is None:
        after = {"status": "present", "size": format_size(spec.size or DEFAULT_SIZE), "labels": dict(spec.labels or {})}
        return Plan((Action("create", target, f"create volume {spec.name}", {"status": "absent"}, after),))
    actions = []
    if spec.size is not None and spec.size < observed.size:
        raise UsageError(f"volume {spec.name} has {format_size(observed.size)}; it cannot shrink to"
                         f" {format_size(spec.size)}", code="volume.shrink", hint="create a smaller one and copy")
    if spec.size is not None and spec.size > observed.size:
        actions.append(Action("grow", target, f"grow volume {spec.name}", {"size": format_size(observed.size)},
                              {"size": format_size(spec.size)}))
    if spec.labels is not None and dict(spec.labels) != dict(observed.labels):
        actions.append(Action("update", target, f"change labels of volume {spec.name}",
                              {"labels": dict(observed.labels)}, {"labels": dict(spec.labels)}, live=True))
    return Plan(tuple(actions))


def ensure_present(root: Root, spec: VolumeSpec, *, check: bool = False) -> Result:
    """Create the volume, or grow it, or change its labels.

    :raises StateError: code ``volume.in_use``: a running VM uses a volume that would have to grow
    """
    with locked(root, spec.name):
        observed = find(root, spec.name)
        plan = plan_volume(spec, observed)
        if plan.changed and not check:
            if observed is None:
                create(root, spec)
            else:
                _change(root, observed, spec)
            observed = inspect(root, spec.name)
        return Result(plan, observed)


def ensure_absent(root: Root, name: str, *, check: bool = False) -> Result:
    """Remove the volume with its data.

    :raises ConflictError: code ``volume.in_use``: a VM, running or not, names it
    """
    with locked(root, name):
        volume = find(root, name)
        if volume is None:
            return Result(Plan())
        users = _users(root, name)
        if users:
            raise ConflictError(f"volume {name} is used by {', '.join(u.name for u in users)}", code="volume.in_use",
                                hint="remove these VMs first")
        plan = Plan((Action("remove", f"volume/{name}", f"remove volume {name}",
                            {"status": "present", "size": format_size(volume.size)}, {"status": "absent"}),))
        if not check:
            # Renamed first: a removal that is killed half-way leaves no volume without its data.
            doomed = root.volumes / f"{TEMP_PREFIX}{name}.{os.urandom(4).hex()}"
            (root.volumes / name).rename(doomed)
            sync_directory(root.volumes)
            shutil.rmtree(doomed)
        return Result(plan, volume)


def use(root: Root, name: str, vm_id: str, *, read_only: bool = False, resumed: bool = False) -> Path:
    """The disk of a volume for a VM that is about to start, checked. QEMU gets it as an open descriptor.

    :param resumed: the VM goes on from its saved memory, which knows the file system as it is: nothing is repaired

    :raises NotFoundError: code ``volume.not_found``
    :raises ConflictError: code ``volume.two_writers``: another running VM writes it, or reads it while this one would
        write; ext2 is no cluster file system
    :raises HostError: code ``volume.damaged``: ``e2fsck -p`` could not repair it
    """
    with locked(root, name):
        volume = inspect(root, name)
        others = [u for u in _users(root, name) if u.running and u.id != vm_id]
        for other in others:
            if not (read_only and other.read_only):
                raise ConflictError(f"volume {name} is in use by VM {other.name}", code="volume.two_writers",
                                    hint="stop that VM, or mount it read-only (:ro) in both")
        if not others and not read_only and not resumed:
            repair(volume.path)
        return volume.path


def repair(path: Path) -> bool:
    """Run ``e2fsck -p`` when the file system was not unmounted cleanly. True when it had to run.

    :raises HostError: code ``volume.damaged``
    """
    with open(path, "rb") as file:
        file.seek(1024 + 58)
        state = int.from_bytes(file.read(2), "little")
    if state == _CLEAN:
        return False
    done = _tool("e2fsck", "-p", "-f", str(path))
    # e2fsck(8): 1 and 2 say that errors were corrected.
    if done.returncode not in (0, 1, 2):
        raise HostError(f"{path} is damaged and e2fsck -p could not repair it: {done.stdout.strip()[-400:]}",
                        code="volume.damaged", hint=f"look at it yourself: e2fsck {path}")
    return True


@dataclass(frozen=True)
class _User:
    id: str
    name: str
    running: bool
    read_only: bool


def _users(root: Root, name: str) -> list[_User]:
    """VMs whose record names the volume."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records

    result = []
    for vm in records.load_all(root):
        for entry in vm.values.get("volumes", ()):
            source, _colon, rest = str(entry).partition(":")
            if source == name:
                status = records.status_of(vm.state)
                # A saved VM has the file system half in its memory: for everybody else it is mounted.
                running = status in (*records.RUNNING, "restarting", "saved")
                result.append(_User(vm.id, vm.name, running, rest.endswith(":ro")))
    return result


def users_now(root: Root, name: str, *, writers: bool = False) -> list[str]:
    """The names of VMs that have the volume mounted now (or saved); only those that may write to it."""
    return [user.name for user in _users(root, name) if user.running and not (writers and user.read_only)]


def _format(spec: VolumeSpec, disk: Path, size: int) -> None:
    with open(disk, "xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
    # No reserved blocks: there is no other user in a unikernel to save them from.
    done = _tool("mke2fs", "-q", "-F", "-t", "ext2", "-b", str(_BLOCK), "-m", "0", "-L", spec.name[:16], str(disk))
    if done.returncode != 0:
        said = (done.stdout.strip().splitlines() or ["mke2fs failed"])[-1]
        raise HostError(f"cannot make the file system of volume {spec.name}: {said[:400]}",
                        code="volume.mke2fs", hint="is there enough space on the disk?")


def create(root: Root, spec: VolumeSpec, fill: Callable[[Path], None] | None = None) -> None:
    """Make the volume (its lock is held) under a temporary name; it exists when the directory has its own name.

    :param fill: writes the disk; by default an empty file system
    """
    import time

    size = spec.size or DEFAULT_SIZE
    temp = root.volumes / f"{TEMP_PREFIX}{spec.name}.{os.urandom(4).hex()}"
    try:
        temp.mkdir(mode=0o700)
        temp.chmod(0o711)
        disk = temp / "data.ext2"
        if fill is None:
            _format(spec, disk, size)
        else:
            fill(disk)
        with open(disk, "rb") as file:
            os.fsync(file.fileno())
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_json(temp / "volume.json", {"size": size, "created": stamp, "labels": dict(spec.labels or {})})
        temp.rename(root.volumes / spec.name)
        sync_directory(root.volumes)
    except OSError as error:
        raise host_error(error, root.volumes / spec.name) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _change(root: Root, volume: Volume, spec: VolumeSpec) -> None:
    size = volume.size
    if spec.size is not None and spec.size > size:
        running = [u.name for u in _users(root, volume.name) if u.running]
        if running:
            raise StateError(f"volume {volume.name} is in use by {', '.join(running)}", code="volume.in_use",
                             hint="stop the VM, then grow the volume")
        size = spec.size
        os.truncate(volume.path, size)
        for command in (("e2fsck", "-p", "-f"), ("resize2fs",)):
            done = _tool(*command, str(volume.path))
            if done.returncode not in (0, 1):
                raise HostError(f"cannot grow volume {volume.name}: {done.stdout.strip()[-400:]}", code="volume.grow",
                                hint="its data is as it was; run the same command again when the cause is gone")
    labels = dict(volume.labels if spec.labels is None else spec.labels)
    write_json(volume.path.parent / "volume.json", {"size": size, "created": volume.created, "labels": labels})


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    for directory in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return subprocess.run([f"{directory}/{name}", *arguments], stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    raise HostError(f"{name} is not installed", code="host.tool", hint=f"install the package {_TOOLS[name]}")


def locked(root: Root, name: str) -> AbstractContextManager[None]:
    """Hold the volume's lock: nobody starts with it, grows it or removes it meanwhile."""
    check_name("volume", name)
    return lock(root.locks / f"volume-{name}.lock", timeout=60)


def sweep(root: Root) -> Sequence[str]:
    """Remove what killed callers left. Returns the names removed."""
    import time

    gone = []
    for path in root.volumes.glob(f"{TEMP_PREFIX}*"):
        if path.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path.name)
    return gone
