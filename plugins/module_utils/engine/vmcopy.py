# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a VM as a declaration: what shall be where, with which mode and owner. Compare first, write what differs.

Comparing reads the VM's disk, also while it runs (see :mod:`.vmfiles`). Writing needs a VM that does not run.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles, vmfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import open_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    NotFoundError,
    StateError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2, Inode
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import HIDDEN, Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import TEMP_PREFIX, host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import (
    Content,
    Entry,
    Tree,
    normalize,
    tree_from_directory,
)

MAX_SHOWN = 64 << 10  # bytes of a text file that a difference shows when it is asked to
FILE_MODE = 0o644     # of a new file that is given as text


@dataclass(frozen=True)
class Source:
    """What is copied into a VM: ``content``, a file or directory of this host, or a tar archive of a directory.

    ``name`` is the name that it gets in a directory; ``contents_only`` puts what is in the directory there instead.
    """

    content: bytes | None = None
    path: Path | None = None
    archive: Path | None = None
    name: str = ""
    contents_only: bool = False
    mode: int | None = None   # of a file whose copy at ``path`` has lost its own
    mtime: int | None = None  # seconds since the epoch, likewise


@dataclass(frozen=True)
class Attributes:
    """Wanted modes and owners; None: new files as in the source, those that are there keep theirs."""

    mode: int | None = None
    directory_mode: int | None = None
    owner: int | None = None
    group: int | None = None


def parse_mode(value: object, what: str = "mode") -> int:
    """``"0640"``, ``"640"`` or a number (as YAML reads 0640, in which case it has been octal already).

    :raises UsageError: code ``copy.mode``
    """
    try:
        mode = value if isinstance(value, int) and not isinstance(value, bool) else int(str(value), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"{what}: {value!r} is no mode", code="copy.mode",
                         hint="octal digits in quotes, such as '0640'")
    return mode


def copy_in(root: Root, reference: str, source: Source, dest: str, attributes: Attributes | None = None, *,
            check: bool = False, restart: bool = False, show: bool = False) -> Plan:
    """Make ``dest`` in the VM what the source says; the actions (none: it is).

    :param restart: a running VM that has to change is stopped for it and started again
    :param show: the plan's differences have the text of files
    :raises StateError: code ``vm.running``: it would have to change, runs, and ``restart`` is not set
    """
    wanted = attributes or Attributes()
    running = False
    with vmfiles.reading(root, reference, dest) as place:
        running = place.disk.shared
        plan, _tree = _compare(place, reference, source, dest, wanted, show)
    if check or not plan.changed:
        return plan
    if running and not restart:
        raise StateError(f"VM {reference} is running, and {plan.actions[0].summary.partition(' ')[2]} differs",
                         code="vm.running", hint="stop it first, or allow a restart (restart: true)")
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    if running:
        api.stop(root, reference)
    try:
        with vmfiles.writing(root, reference, dest) as place:
            plan, tree = _compare(place, reference, source, dest, wanted, show)
            if len(tree) > 1:
                diskfiles.write_tree(place.disk, tree, directories=True)
    finally:
        if running:
            api.start(root, reference)
    if running:
        reason = "its disk cannot be written while it runs"
        stop = Action("restart", f"vm/{reference}", f"restart: {reason}", {"status": "running"},
                      {"status": "running", "restart": reason})
        plan = Plan((*plan.actions, stop))
    return plan


def _compare(place: vmfiles.Place, reference: str, source: Source, dest: str, wanted: Attributes,
             show: bool) -> tuple[Plan, Tree]:
    """What differs, as a plan and as the tree that has to be written."""
    actions = []
    tree = Tree()
    with open_disk(place.disk) as device:
        system = Ext2(device)
        for path, entry in _entries(system, source, place.path, dest).items():
            if entry.kind not in ("file", "dir", "link"):
                raise UsageError(f"{path} is a device or a pipe, which cannot be copied", code="file.kind")
            there = _look(system, path)
            full = _merged(entry, there, wanted)
            if there is not None and (there.kind == "dir") != (full.kind == "dir"):
                raise ConflictError(f"{path} in the VM is {'a' if there.kind == 'dir' else 'not a'} directory",
                                    code="file.exists", hint="remove it inside of the VM, or give another name")
            before, after = _facts(system, there, show), _wanted_facts(full, show)
            if before == after:
                continue
            tree.entries[path] = full
            kind = "update" if there is not None else "create"
            names = [key for key in after if before.get(key) != after[key]]
            if source.content is not None and not show:
                _hide(before, after, names)
            actions.append(Action(kind, f"vm/{reference}:{path}", f"{kind} {path}",
                                  {"state": "absent"} if there is None else {key: before[key] for key in names},
                                  {key: after[key] for key in names}))
    return Plan(tuple(actions)), tree


def _hide(before: dict[str, Any], after: dict[str, Any], names: list[str]) -> None:
    """A text may be a secret, and the digest of a short secret can be guessed back: neither is shown."""
    for key in ("sha256", "size"):
        if key in names:
            names.remove(key)
            before["contents"], after["contents"] = HIDDEN, f"{HIDDEN} (new)"
            if "contents" not in names:
                names.append("contents")


def _entries(system: Ext2, source: Source, path: str, dest: str) -> dict[str, Entry]:
    """The source as entries at their paths on the disk, symbolic links on the way to it resolved."""
    plain = normalize(path)
    there = diskfiles.existing(system, plain)
    is_tree = source.archive is not None or (source.path is not None and source.path.is_dir())
    below = not source.contents_only if is_tree else True
    if (there is not None and there.kind == "dir" and below) or (dest.endswith("/") and below):
        if not source.name:
            raise UsageError(f"{dest} is a directory", code="copy.dest", hint="name the file: dest: /directory/file")
        plain = f"{plain.rstrip('/')}/{source.name}"
    if plain == "/":
        real = "/"
    else:
        parent = diskfiles.existing(system, posixpath.dirname(plain))
        if parent is None or parent.kind != "dir":
            raise NotFoundError(f"there is no directory {posixpath.dirname(plain)} in the VM", code="file.not_found",
                                hint="copy a directory there first")
        real = diskfiles.real_path(system, posixpath.dirname(plain)).rstrip("/") + "/" + posixpath.basename(plain)
    if source.content is not None:
        return {real: Entry("file", FILE_MODE, content=Content.of_bytes(source.content))}
    if source.archive is not None:
        from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive

        tree = Tree()
        apply_archive(tree, source.archive, whiteouts=False)
        found = {(real.rstrip("/") + name).rstrip("/") or "/": entry for name, entry in tree.sorted()}
    elif source.path is not None and source.path.exists():
        found = diskfiles.entries_of(source.path, real)
        if source.mode is not None and source.mtime is not None:
            found[real] = replace(found[real], mode=source.mode, mtime=source.mtime)
    else:
        raise NotFoundError(f"there is no {source.path}", code="file.not_found", hint="check src")
    if is_tree and source.contents_only:
        found.pop(real, None)
    return found


def _look(system: Ext2, path: str) -> Inode | None:
    try:
        return system.lookup(path, follow=False)
    except NotFoundError:
        return None


def _merged(entry: Entry, there: Inode | None, wanted: Attributes) -> Entry:
    """The entry with the modes and owners that are asked for, else those that are there, else its own."""
    asked = wanted.directory_mode if entry.kind == "dir" else wanted.mode if entry.kind == "file" else None
    same = there is not None and there.kind == entry.kind
    kept = there.mode if there is not None and same else entry.mode
    uid, gid = (there.uid, there.gid) if there is not None and same else (0, 0)
    return replace(entry, mode=asked if asked is not None else kept, inode=None,
                   uid=uid if wanted.owner is None else wanted.owner, gid=gid if wanted.group is None else wanted.group)


def _facts(system: Ext2, inode: Inode | None, show: bool) -> dict[str, Any]:
    if inode is None:
        return {}
    facts: dict[str, Any] = {"kind": inode.kind, "owner": inode.uid, "group": inode.gid}
    if inode.kind != "link":
        facts["mode"] = f"{inode.mode:04o}"
    if inode.kind == "link":
        facts["target"] = system.target(inode)
    elif inode.kind == "file":
        digest, text = diskfiles.digest_of(system, inode, MAX_SHOWN if show else 0)
        facts.update(size=inode.size, sha256=digest, **_text(text, show))
    return facts


def _wanted_facts(entry: Entry, show: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": entry.kind, "owner": entry.uid, "group": entry.gid}
    if entry.kind != "link":
        facts["mode"] = f"{entry.mode:04o}"
    if entry.kind == "link":
        facts["target"] = entry.target
    elif entry.content is not None:
        text = entry.content.read() if show and entry.content.size <= MAX_SHOWN else b""
        facts.update(size=entry.content.size, sha256=entry.content.digest, **_text(text, show))
    return facts


def _text(data: bytes, show: bool) -> Mapping[str, Any]:
    if not show or not data:
        return {}
    try:
        return {"text": data.decode().splitlines()}
    except UnicodeDecodeError:
        return {}


def copy_out(root: Root, reference: str, path: str, dest: Path, *, mode: int | None = None,
             check: bool = False) -> Plan:
    """Make ``dest`` on this host what ``path`` in the VM is (what else is in a directory there stays); the actions.

    :raises NotFoundError: code ``file.not_found``; :raises ConflictError: code ``file.exists``
    """
    if not dest.parent.is_dir():
        raise NotFoundError(f"there is no directory {dest.parent}", code="file.not_found", hint="make it first")
    scratch = Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}fetch-", dir=dest.parent))
    try:
        with vmfiles.reading(root, reference, path) as place:
            found = scratch / "found"
            diskfiles.copy_out(place.disk, place.path, found)
        if dest.is_dir() and not found.is_dir():
            dest = dest / (posixpath.basename(posixpath.normpath(path)) or "root")
        if mode is not None and found.is_file():
            found.chmod(mode)
        pairs = _different(found, dest)
        actions = [_fetched(new, old, reference, path) for new, old in pairs]
        for new, old in [] if check else pairs:
            _install(new, old)
        return Plan(tuple(actions))
    except OSError as error:
        raise host_error(error, dest) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _different(found: Path, dest: Path) -> list[tuple[Path, Path]]:
    """What was found and its place on this host, where the two differ; directories before what is in them.

    :raises ConflictError: code ``file.exists``
    """
    pairs = [(found, dest)]
    if found.is_dir() and not found.is_symlink():
        pairs = [(Path(f"{found}{name}"), Path(f"{dest}{name}"))
                 for name, _entry in tree_from_directory(found).sorted()]
    result = []
    for new, old in pairs:
        after, before = _host_facts(new), _host_facts(old)
        if before and (before["kind"] == "dir") != (after["kind"] == "dir"):
            raise ConflictError(f"{old} is {'a' if before['kind'] == 'dir' else 'not a'} directory",
                                code="file.exists", hint="move it away")
        if before != after:
            result.append((new, old))
    return result


def _fetched(new: Path, old: Path, reference: str, path: str) -> Action:
    before = _host_facts(old)
    return Action("update" if before else "create", str(old), f"copy from {reference}:{path}",
                  before or {"state": "absent"}, _host_facts(new))


def _install(new: Path, old: Path) -> None:
    """Put one file, link or directory in its place, each by one rename; a link that is there is not followed."""
    if new.is_dir() and not new.is_symlink():
        old.mkdir(exist_ok=True)
        old.chmod(new.stat().st_mode & 0o7777)
    else:
        os.replace(new, old)


def _host_facts(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        return {"kind": "link", "target": os.readlink(path)}
    if path.is_dir():
        return {"kind": "dir", "mode": f"{path.stat().st_mode & 0o7777:04o}"}
    if not path.exists():
        return {}
    content = Content.of_file(path)
    return {"kind": "file", "mode": f"{path.stat().st_mode & 0o7777:04o}", "size": content.size,
            "sha256": content.digest}
