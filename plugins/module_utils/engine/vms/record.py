# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs on disk: one directory each, found by id, id prefix or name.

``<root>/vms/<id>/vm.json`` is what the VM shall be, ``state.json`` what became of it (written by its keeper while
it runs). A name is a symbolic link ``.names/<name>`` to the directory: making it is one atomic step, so two
callers can never create one name twice, and finding a VM by name costs one system call.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    DeadlineError,
    NotFoundError,
    UniError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    host_error,
    lock,
    read_json,
    sync_directory,
    write_json,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.summaries import (
    ID_LENGTH,
    RUNNING,
    sound,
    status_of,
)

NAMES = ".names"
SAVED = "saved.state"     # a saved VM's memory, beside its record: while it is there, the guest has not gone on
#: What is taken for granted of a VM's record, and of the image in it, where it is there.
KINDS: dict[str, type | tuple[type, ...]] = {"name": str, "created": str, "uid": int, "values": dict, "image": dict}
IMAGE_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "digest", "name", "disk", "workdir", "user", "stop_signal"), str),
    **dict.fromkeys(("env", "labels"), dict), **dict.fromkeys(("memory", "cpus"), int),
    **dict.fromkeys(("entrypoint", "cmd"), list),
}
SAVING = f".tmp-{SAVED}"  # not whole yet; what a killed caller left goes when the guest goes on, or is started
LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class Vm:
    """One VM as it stands on disk.

    ``record`` (vm.json, durable) is what it shall be, ``state`` (state.json, its keeper's) what it is doing, and
    ``runtime`` (start.json) what its last start settled: host ports, addresses, accelerator, the fields it has.
    """

    directory: Path
    record: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """12 hexadecimal digits."""
        return self.directory.name

    @property
    def name(self) -> str:
        """The name."""
        return str(self.record.get("name", self.id))

    @property
    def values(self) -> dict[str, Any]:
        """The fields that the user set."""
        values = self.record.get("values")
        return values if isinstance(values, dict) else {}

    @property
    def image(self) -> dict[str, Any]:
        """What it was made from: ``id``, and the defaults that the image brings."""
        image = self.record.get("image")
        return image if isinstance(image, dict) else {}

    @property
    def uid(self) -> int | None:
        """The VM's own uid; None when it runs as its user."""
        uid = self.record.get("uid")
        return uid if isinstance(uid, int) else None

    def qemu(self) -> Identity | None:
        """The identity of its QEMU, as recorded."""
        return Identity.from_record(self.state)

    def keeper(self) -> Identity | None:
        """The identity of its keeper, as recorded."""
        return Identity.from_record(self.state.get("keeper"), str(self.state.get("boot", "")))

    def fresh(self) -> Vm:
        """The same VM, read again.

        :raises NotFoundError: it was removed meanwhile
        """
        return read(self.directory)


def now() -> str:
    """The time as RFC 3339, UTC."""
    moment = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment % 1 * 1e6):06d}Z"


def seen(vm: Vm) -> Vm:
    """``vm``, read again when its record says that it runs and its processes do not: it may have ended since."""
    if status_of(vm.state) == "lost" or orphaned(vm):
        try:
            return vm.fresh()
        except NotFoundError:
            pass  # removed at its end: what was read is all that is known
    return vm


def orphaned(vm: Vm) -> bool:
    """Whether its QEMU runs and its keeper does not."""
    keeper = vm.keeper()
    return status_of(vm.state) in RUNNING and (keeper is None or not keeper.alive())


def names(root: Root) -> Path:
    """The directory of names."""
    path = root.vms / NAMES
    if not path.is_dir():
        path.mkdir(mode=0o755, exist_ok=True)
    return path


def read(directory: Path) -> Vm:
    """The VM in ``directory``.

    :raises NotFoundError: code ``vm.not_found``
    :raises UniError: code ``record.corrupt``: a user's VM must not start as something else than it was
    """
    if not _written(directory):
        raise NotFoundError(f"no VM {directory.name}", code="vm.not_found", hint="see `uni ps -a`")
    try:
        record = read_json(directory / "vm.json")
    except UniError as error:
        if error.code != "record.corrupt":
            raise
        raise corrupt(directory, error.message) from None
    if record is None:  # removed meanwhile
        raise NotFoundError(f"no VM {directory.name}", code="vm.not_found", hint="see `uni ps -a`")
    damage = _damage(record)
    if damage:
        raise corrupt(directory, f"the record {directory / 'vm.json'} is damaged: {damage}")
    return Vm(directory, record, _read_loose(directory / "state.json"), _read_loose(directory / "start.json"))


def corrupt(directory: Path, message: str) -> UniError:
    """What a command says of a VM whose record cannot be believed."""
    return UniError(message, code="record.corrupt",
                    hint=f"restore it from a backup, or remove the VM: uni rm -f {directory.name}")


def _damage(record: Any) -> str:
    """What is wrong with a record that is JSON; empty when nothing is. Pure."""
    if not isinstance(record, dict):
        return "it is not an object"
    if not isinstance(record.get("name"), str) or not isinstance(record.get("values"), dict):
        return "it has no name or no values"
    image = record.get("image")
    for what, fields, kinds in (("", record, KINDS), ("image.", image if isinstance(image, dict) else {}, IMAGE_KINDS)):
        for key, kind in kinds.items():
            value = fields.get(key)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                return f"{what}{key} is of a wrong type"
    return ""


def remains(root: Root, reference: str) -> Vm | None:
    """A VM whose record is damaged, as far as it is known, to be removed; None when ``reference`` names no such VM."""
    try:
        find(root, reference)
    except UniError as error:
        if error.code != "record.corrupt":
            return None
    else:
        return None
    try:
        directory = root.vms / os.readlink(names(root) / reference).rpartition("/")[2]
    except OSError:
        directory = next(root.vms / name for name in os.listdir(root.vms) if name.startswith(reference))
    links = (link.name for link in names(root).iterdir() if os.readlink(link).endswith(directory.name))
    state, runtime = (_read_loose(directory / name) for name in ("state.json", "start.json"))
    return Vm(directory, {"name": next(links, directory.name)}, state, runtime)


def _written(directory: Path) -> bool:
    """Whether the VM exists. An empty record is one that a crash of the host cut off before it was acknowledged."""
    try:
        return (directory / "vm.json").stat().st_size > 0
    except OSError:
        return False


def read_state(directory: Path) -> dict[str, Any]:
    """The state record alone; {} when there is none."""
    return _read_loose(directory / "state.json")


def _read_loose(path: Path) -> dict[str, Any]:
    """A record that may be lost; a damaged one counts as none, for a crash must not make a VM unmanageable."""
    try:
        content = read_json(path)
    except UniError:
        content = None
    return sound(content)


def find(root: Root, reference: str) -> Vm:
    """The VM with this name, id or unambiguous id prefix.

    :raises NotFoundError: code ``vm.not_found``
    :raises UsageError: code ``vm.ambiguous``
    """
    if "/" not in reference and reference not in ("", ".", ".."):
        try:
            named = read(root.vms / os.readlink(root.vms / NAMES / reference).rpartition("/")[2])
            if reference in (named.name, named.state.get("name")):  # as it is, or as it is shown after a killed rename
                return named
        except (OSError, NotFoundError):
            pass
        if all(char in "0123456789abcdef" for char in reference):
            found = [name for name in os.listdir(root.vms) if name.startswith(reference)]
            if len(found) > 1:
                raise UsageError(f"{reference!r} is the beginning of {len(found)} VM ids", code="vm.ambiguous",
                                 hint="give more digits, or the name")
            if found:
                return read(root.vms / found[0])
    raise NotFoundError(f"no VM {reference!r}", code="vm.not_found", hint="see `uni ps -a`")


def find_name(root: Root, name: str) -> Vm | None:
    """The VM with exactly this name; None when there is none (also when a creator, or a rename, died half-way)."""
    try:
        target = os.readlink(root.vms / NAMES / name)
        vm = read(root.vms / target.rpartition("/")[2])
    except (OSError, NotFoundError):
        return None
    return vm if vm.name == name else None


def load_all(root: Root) -> list[Vm]:
    """Every VM, in the order of their creation."""
    vms = []
    for name in os.listdir(root.vms):
        if len(name) == ID_LENGTH:
            try:
                vms.append(read(root.vms / name))
            except UniError:
                continue
    return sorted(vms, key=lambda vm: str(vm.record.get("created", "")))


@contextmanager
def locked(directory: Path, *, timeout: float = LOCK_SECONDS) -> Iterator[Vm]:
    """Hold the VM's lock; the VM is read under it.

    :raises NotFoundError: it was removed while we waited
    """
    path = directory / "lock"
    if not directory.is_dir():
        raise NotFoundError(f"no VM {directory.name}", code="vm.not_found", hint="see `uni ps -a`")
    with lock(path, timeout=timeout):
        yield read(directory)


@contextmanager
def claimed(root: Root, name: str, record: dict[str, Any]) -> Iterator[Path]:
    """Make a directory for a new VM and claim its name; its lock is held in the body, which writes the record.

    The record makes the VM exist. The lock is taken before the name: whoever finds a name without a record waits
    for the lock, and knows then that the creator died. Such a claim is taken over.

    :raises ConflictError: code ``vm.exists``: the name is in use
    """
    directory = root.vms / str(record["id"])
    link = names(root) / name
    try:
        directory.mkdir(mode=0o755)
        directory.chmod(0o711)
    except OSError as error:
        raise host_error(error, directory) from error
    with lock(directory / "lock"):
        try:
            take_name(root, link, directory)
        except OSError as error:
            erase(root, directory, None)
            raise host_error(error, link) from error
        except UniError:
            erase(root, directory, None)
            raise
        yield directory


def take_name(root: Root, link: Path, directory: Path) -> None:
    """Claim a name for the VM in ``directory``, whose lock is held; also one that a killed caller has left.

    :raises ConflictError: code ``vm.exists``
    """
    while True:
        try:
            if os.path.islink(link) and os.readlink(link).endswith(directory.name):
                return
            link.symlink_to(f"../{directory.name}")
            return
        except FileExistsError:
            if not _abandoned(root, link):
                raise ConflictError(f"a VM named {link.name} exists", code="vm.exists",
                                    hint="choose another name, or remove it: uni rm NAME") from None


def _abandoned(root: Root, link: Path) -> bool:
    """Remove a name whose creator died before the record was written, or that a killed rename left. True when the name
    may be tried again.
    """
    try:
        owner = root.vms / os.readlink(link).rpartition("/")[2]
    except OSError:
        return True
    if owner.is_dir() and not abandoned(root, owner) and not _renamed(owner, link.name):
        return False
    try:
        if os.readlink(link).endswith(owner.name):
            link.unlink()
    except FileNotFoundError:
        pass
    return True


def _renamed(owner: Path, name: str) -> bool:
    """Whether the VM has another name, and nobody is about to give it this one."""
    try:
        if read(owner).name == name:
            return False
        with lock(owner / "lock", timeout=LOCK_SECONDS):
            return read(owner).name != name
    except DeadlineError:
        return False
    except UniError:
        return not owner.is_dir()


def abandoned(root: Root, directory: Path) -> bool:
    """Remove a directory whose creator died before the record was written. True when it is gone."""
    if _written(directory):
        return False
    try:
        with lock(directory / "lock", timeout=LOCK_SECONDS):
            if _written(directory):
                return False
            erase(root, directory, None)
    except DeadlineError:
        return False
    except UniError:
        return not directory.is_dir()
    return True


def erase(root: Root, directory: Path, name: str | None) -> None:
    """Remove a VM's directory and name: the record goes first, so that a half-done removal is no VM any more."""
    import shutil

    try:
        (directory / "vm.json").unlink(missing_ok=True)
        if name is not None:
            link = root.vms / NAMES / name
            if link.is_symlink() and os.readlink(link).endswith(directory.name):
                link.unlink()
        shutil.rmtree(directory)
        sync_directory(root.vms)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise host_error(error, directory, "remove") from error


def save(vm: Vm) -> None:
    """Write the record (durable)."""
    write_json(vm.directory / "vm.json", vm.record)


def save_new(vm: Vm) -> None:
    """Write a new VM's record; :func:`settle` makes it durable before anybody is told that the VM exists."""
    write_loose(vm.directory / "vm.json", json.dumps(vm.record, indent=1, sort_keys=True).encode() + b"\n")


def settle(root: Root, vms: Iterable[Vm]) -> None:
    """Make new VMs durable: side by side, for a file system commits at once what is asked for at once."""
    directories = [vm.directory for vm in vms]
    if not directories:
        return
    errors: list[OSError] = []
    if len(directories) < 4:
        _sync_all(directories, errors)
    else:
        import threading

        threads = [threading.Thread(target=_sync_all, args=(directories[first::8], errors)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    try:
        if errors:
            raise errors[0]
        sync_directory(names(root))
        sync_directory(root.vms)
    except OSError as error:
        raise host_error(error, root.vms) from error


def _sync_all(directories: Sequence[Path], errors: list[OSError]) -> None:
    try:
        for directory in directories:
            try:
                with (directory / "vm.json").open("rb") as file:
                    os.fsync(file.fileno())
                sync_directory(directory)
            except FileNotFoundError:
                continue  # it removed itself (--rm) meanwhile
    except OSError as error:
        errors.append(error)


def write_loose(path: Path, data: bytes, *, uid: int | None = None, whole: bool = True) -> None:
    """Replace a file, without waiting for the disk: for what a start makes anew.

    :param uid: owner of the file
    :param whole: false: nobody reads it meanwhile, and a torn one counts as none
    """
    temp = path.with_name(f".tmp-{path.name}") if whole else path
    try:
        try:
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                if uid is not None:
                    os.fchown(fd, uid, uid)
                file.write(data)
            if whole:
                os.rename(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise host_error(error, path) from error


def save_state(directory: Path, state: dict[str, Any]) -> None:
    """Write the state record; only while no keeper writes it."""
    write_loose(directory / "state.json", json.dumps(state, separators=(",", ":")).encode() + b"\n")


def save_runtime(vm: Vm) -> None:
    """Write what the last start settled."""
    write_loose(vm.directory / "start.json", json.dumps(vm.runtime).encode() + b"\n", whole=False)


__all__ = ["ID_LENGTH", "LOCK_SECONDS", "NAMES", "RUNNING", "Vm", "abandoned", "claimed", "erase", "find", "find_name",
           "load_all", "locked", "names", "now", "orphaned", "read", "read_state", "remains",
           "save", "save_new", "save_runtime",
           "save_state", "settle", "status_of", "take_name", "write_loose"]
