# SPDX-License-Identifier: GPL-3.0-or-later
"""What every VM of a root is doing, for `uni ps` and all who count VMs: their state records, and who of them runs.

The records are the truth. Beside them lies an index, which any reader may write and nobody needs: it saves opening and
parsing a record that is still the file it was, by inode, size and both times. A record that had changed less than
``SETTLED`` before it was read is never put there, so that a second change in the same tick of the clock cannot hide.
Whoever writes records, an older engine too, need not know of it.

Few imports: `uni ps` is called in loops.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
from binascii import crc32

from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import boot_id
from ansible_collections.uni.engine.plugins.module_utils.engine.liveness import alive, identity

TYPE_CHECKING = False  # typing costs two milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ID_LENGTH = 12
RUNNING = ("starting", "running", "paused", "stopping")
#: What readers take for granted of a record's fields, where they are there.
KINDS: dict[str, type | tuple[type, ...]] = {
    "ports": list, "addresses": list, "labels": dict, "exit": dict, "keeper": dict, "boot": (str, dict), "values": dict,
}
SETTLED = 2_000_000_000  # ns; the coarsest time stamps that file systems keep are two seconds apart
WORTH = 16               # changed records that are worth writing the index again
# marshal is what Python keeps its bytecode in, and differs between versions as that does.
_MAGIC = f"uni index 1 {sys.implementation.cache_tag}\n".encode()


def status_of(state: Mapping[str, Any], boot: str = "") -> str:
    """What a VM is doing: created, starting, running, paused, stopping, restarting, saved, exited or lost.

    ``lost``: the record says that it runs, and neither QEMU nor keeper is there (killed, or the host rebooted).
    """
    status = str(state.get("status", "created"))
    if status not in RUNNING and status != "restarting":
        return status
    boot = boot or boot_id()
    if status != "restarting" and alive(identity(state), boot):
        return status
    if alive(identity(state.get("keeper"), str(state.get("boot", ""))), boot):
        return "restarting" if status == "restarting" else "stopping"
    return "lost"


def sound(record: Any) -> dict[str, Any]:
    """A state or start record as far as it can be believed: fields of a wrong type are left out, damage leaves {}."""
    if not isinstance(record, dict):
        return {}
    wrong = [key for key, kind in KINDS.items() if record.get(key) is not None and not isinstance(record[key], kind)]
    return {key: value for key, value in record.items() if key not in wrong} if wrong else record


def _without_state(path: str, name: str) -> dict[str, Any]:
    """A VM whose state record is damaged, from what it shall be: it must not vanish from the list."""
    entry = _read(f"{path}/vm.json")
    record = entry[4] if entry is not None and isinstance(entry[4], dict) else {}
    return {"id": name, "name": str(record.get("name", name)), "created": str(record.get("created", ""))}


def states(root: str) -> list[dict[str, Any]]:
    """Every VM's state record below the root directory ``root``."""
    base = f"{root}/vms"
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return []
    path = f"{root}/cache/states.index"
    index = _load(path)
    current: dict[str, tuple[int, int, int, int, Any]] = {}
    found, fresh = [], 0
    stat = os.stat
    for name in names:
        if len(name) != ID_LENGTH:
            continue
        try:
            if not stat(f"{base}/{name}/vm.json").st_size:
                continue  # a removal or a creation that was killed: nobody was told of that VM
            seen = stat(f"{base}/{name}/state.json")
        except OSError:
            continue
        entry = index.get(name)
        key = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        if entry is None or entry[:4] != key:
            entry = _read(f"{base}/{name}/state.json")
            if entry is None:
                continue
            if max(entry[2], entry[3]) + SETTLED < time.time_ns():
                current[name] = entry
                fresh += 1
        else:
            current[name] = entry
        state = sound(entry[4])
        found.append(state if state.get("id") == name else _without_state(f"{base}/{name}", name))
    if fresh >= WORTH or len(index) - len(current) > max(WORTH, len(current)):
        _store(path, current)
    return found


def _read(path: str) -> tuple[int, int, int, int, Any] | None:
    """A record with the marks of exactly the file that it was read from; a damaged one is None."""
    import json

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        seen = os.fstat(fd)
        text = os.read(fd, 1 << 20)
    finally:
        os.close(fd)
    try:
        state = json.loads(text)
    except ValueError:
        state = None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, state


def _load(path: str) -> dict[str, tuple[int, int, int, int, Any]]:
    """The index; nothing where there is none, or one of another Python, or a torn one."""
    try:
        with open(path, "rb", 0) as file:
            data = file.read()
    except OSError:
        return {}
    start = len(_MAGIC) + 9
    if not data.startswith(_MAGIC) or data[start - 9:start] != b"%08x\n" % crc32(data[start:]):
        return {}
    index: dict[str, tuple[int, int, int, int, Any]] = marshal.loads(data[start:])
    return index


def _store(path: str, index: dict[str, tuple[int, int, int, int, Any]]) -> None:
    """Replace the index. It only saves time: whoever may not write it, or finds the disk full, goes without."""
    data = marshal.dumps(index)
    temp = f"{path}.{os.getpid()}"
    try:
        if not os.path.isdir(os.path.dirname(path)):
            os.mkdir(os.path.dirname(path), 0o700)
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        with open(fd, "wb", 0) as file:
            whole = _MAGIC + b"%08x\n" % crc32(data) + data
            if file.write(whole) == len(whole):
                os.rename(temp, path)
                return
    except OSError:
        pass  # the disk is full
    os.unlink(temp)


def listing(root: str, *, everything: bool = False,
            filters: Mapping[str, str | list[str]] | None = None) -> list[dict[str, Any]]:
    """VMs for `uni ps`, the newest first: running ones, or all.

    :param filters: ``name``, ``status``, ``image``, ``label`` (NAME or NAME=VALUE), ``health``, ``exited``
        (a status), ``id``; a list means one of them, of labels all
    """
    boot = boot_id()
    result = []
    for state in states(root):
        status = status_of(state, boot)
        if status == "lost":  # or it ended between the reading and the looking
            entry = _read(f"{root}/vms/{state['id']}/state.json")
            again = sound(entry[4]) if entry is not None else {}
            state = again if again.get("id") == state["id"] else state
            status = status_of(state, boot)
        state["status"] = "exited" if status == "lost" else status
        state["lost"] = status == "lost"
        if (everything or status in RUNNING or status == "restarting") and (not filters or _matches(state, filters)):
            result.append(state)
    return sorted(result, key=lambda state: str(state.get("created", "")), reverse=True)


def _matches(state: Mapping[str, Any], filters: Mapping[str, str | list[str]]) -> bool:
    """Whether the VM has all labels and, for every other key, one of the values."""
    for key, values in filters.items():
        wanted = [values] if isinstance(values, str) else values
        if key == "label":
            labels = state.get("labels") or {}
            pairs = [item.partition("=") for item in wanted]
            fits = all(name in labels and (not equals or labels[name] == text) for name, equals, text in pairs)
        elif key in ("id", "name", "image"):
            fits = any(item in str(state.get(key, "")) for item in wanted)
        elif key == "exited":
            fits = state.get("status") == "exited" and str((state.get("exit") or {}).get("code")) in wanted
        else:
            fits = str(state.get(key)) in wanted
        if not fits:
            return False
    return True
