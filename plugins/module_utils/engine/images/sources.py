# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the file tree of an image together from its sources, and checks that its program can run in it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.elf import ElfInfo, inspect_elf
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import BuildSpec, Settings, merge
from ansible_collections.uni.engine.plugins.module_utils.engine.libraries import (
    Found,
    TreeFiles,
    gather_libraries,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import (
    Content,
    Entry,
    Tree,
    add_skeleton,
    tree_from_directory,
)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the kernel tries when nothing is said (docs/guest-interface.md).
_INITS = ("/sbin/init", "/init", "/bin/init", "/bin/sh")
_MAX_SCRIPTS = 4


@dataclass(frozen=True)
class Assembled:
    """A finished tree, its digest (``sha256:...``) and how it runs."""

    tree: Tree
    content: str
    settings: Settings


def assemble(root: Root, spec: BuildSpec, scratch: Path, *, check: bool) -> Assembled:
    """Read every source and lay them over each other; spools go to ``scratch``, which the tree then refers to.

    :param check: nothing else is written; otherwise a container image is pulled into the store

    :raises UsageError: a source is unsuited; codes ``elf.*``, ``build.*``
    """
    tree, base = Tree(), Settings()
    if spec.image:
        from ansible_collections.uni.engine.plugins.module_utils.engine.images.container import container_tree

        tree, base = container_tree(root, spec.image, scratch, check=check)
    if spec.packages:
        from ansible_collections.uni.engine.plugins.module_utils.engine.images.debian import add_packages

        add_packages(root, tree, spec.packages, scratch)
    if spec.rootfs is not None:
        overlay(tree, tree_from_directory(spec.rootfs.absolute()))
    if spec.program is not None:
        path = _add_program(tree, spec)
        if spec.entrypoint is None:
            spec = replace(spec, entrypoint=(path,), cmd=spec.cmd if spec.cmd is not None else ())
    settings = merge(base, spec)
    add_skeleton(tree)
    for volume in settings.volumes:
        if tree.resolve(volume) is None:
            tree.add(volume, Entry("dir", 0o755))
    if settings.workdir != "/" and tree.resolve(settings.workdir) is None:
        # As in a Dockerfile, WORKDIR makes its directory.
        tree.add(settings.workdir, Entry("dir", 0o755))
    settings = replace(settings, entrypoint=_check_entrypoint(tree, settings, spec.packages), cmd=_command(settings),
                       user=_numeric_user(tree, settings.user))
    return Assembled(tree, f"sha256:{tree.digest()}", settings)


def overlay(tree: Tree, upper: Tree) -> None:
    """Lay ``upper`` over ``tree``; a directory over a symbolic link to one keeps the link (usr-merge)."""
    for path, entry in upper.sorted():
        if entry.kind == "dir" and path in tree and tree.entries[path].kind == "link":
            target = tree.resolve(path)
            if target is not None and tree.entries[target].kind == "dir":
                continue
        tree.add(path, entry)


def _add_program(tree: Tree, spec: BuildSpec) -> str:
    """Put the program in, with its libraries when it is dynamic and the tree does not have its interpreter."""
    if spec.program is None:
        raise AssertionError
    program = spec.program.absolute()
    info = inspect_elf(program.resolve())
    path = spec.program_path or f"/bin/{program.name}"
    if info.interpreter and tree.resolve(info.interpreter) is None:
        for target, found in gather_libraries(info).files.items():
            if tree.resolve(target) is None:
                _add_found(tree, target, found)
    return tree.add_file(path, program, 0o755)


def _add_found(tree: Tree, target: str, found: Found) -> None:
    tree.add(target, Entry("file", 0o755, content=Content.of_file(found.path)))


def _check_entrypoint(tree: Tree, settings: Settings, packages: Sequence[str]) -> tuple[str, ...]:
    """The entrypoint with an absolute path first; its interpreter and libraries are in the tree."""
    words = settings.entrypoint or settings.cmd[:1] or _of_package(tree, packages) or _default_init(tree)
    path = _look_up(tree, words[0], settings)
    _check_program(tree, path)
    return (path, *words[1:])


def _command(settings: Settings) -> tuple[str, ...]:
    return settings.cmd if settings.entrypoint else settings.cmd[1:]


def _of_package(tree: Tree, packages: Sequence[str]) -> tuple[str, ...]:
    """The program that the first package is named after: redis-server of redis-server, nginx of nginx-light."""
    name = packages[0].partition("=")[0].partition(":")[0] if packages else ""
    while name:
        for directory in _PATH.split(":"):
            path = tree.resolve(f"{directory}/{name}")
            if path and tree.entries[path].kind == "file" and tree.entries[path].mode & 0o111:
                return (f"{directory}/{name}",)
        name = name.rpartition("-")[0]
    return ()


def _default_init(tree: Tree) -> tuple[str, ...]:
    for path in _INITS:
        if tree.resolve(path):
            return (path,)
    raise UsageError("the image says no program to run, and has none of " + ", ".join(_INITS),
                     code="build.no_entrypoint", hint="say which program it runs: --entrypoint, entrypoint:")


def _look_up(tree: Tree, word: str, settings: Settings) -> str:
    """The absolute path of the program ``word``, by PATH when it has no slash."""
    if "/" in word:
        candidates = [posixpath.normpath(posixpath.join(settings.workdir, word))]
    else:
        candidates = [f"{directory}/{word}" for directory in settings.env.get("PATH", _PATH).split(":")]
    for path in candidates:
        full = tree.resolve(path)
        if full and tree.entries[full].kind == "file":
            if not tree.entries[full].mode & 0o111:
                raise UsageError(f"the program {path} is not executable in the image", code="build.entrypoint",
                                 hint="set its execute permission with chmod +x")
            return path
    raise UsageError(f"the program {word} is not in the image", code="build.entrypoint",
                     hint="give its absolute path in the image, or add it to the root directory")


def _check_program(tree: Tree, path: str) -> ElfInfo:
    """Follow ``#!`` lines to an ELF file; it and everything it needs must be there and of the right machine."""
    files = TreeFiles(tree, " in the image")
    content = None
    for _hop in range(_MAX_SCRIPTS):
        content = files.content(path)
        if content is None:
            raise UsageError(f"the interpreter {path} is not in the image", code="build.entrypoint",
                             hint="add it to the root directory")
        head = next(content.chunks(), b"")[:256]
        if head[:2] != b"#!":
            break
        words = head[2:].split(b"\n")[0].split()
        if not words:
            raise UsageError(f"the script {path} names no interpreter after #!", code="build.entrypoint")
        path = words[0].decode("utf-8", "replace")
    if content is None or content.path is None:
        raise UsageError(f"{path} is not an ELF executable", code="elf.not_elf")
    # $ORIGIN in its search path is where the file is, not a link to it (ld.so(8) asks /proc/self/exe).
    name = Path(tree.resolve(path) or path)
    info = inspect_elf(content.path, offset=content.offset, size=content.size, name=name)
    gather_libraries(info, files)
    return info


def _numeric_user(tree: Tree, user: str) -> str:
    """``UID[:GID]`` for names, by the image's own /etc/passwd and /etc/group (config.md, "User")."""
    if not user:
        return ""
    name, _colon, group = user.partition(":")
    files = TreeFiles(tree, "")
    entry = _account(files.text("/etc/passwd"), name)
    if entry is None and not name.isdigit():
        raise UsageError(f"the user {name} is not in the image's /etc/passwd", code="build.user",
                         hint="add it there, or give UID:GID")
    uid = name if name.isdigit() else str((entry or {}).get("2", ""))
    gid = group or (entry or {}).get("3", "0")
    if not gid.isdigit():
        found = _account(files.text("/etc/group"), gid)
        if found is None:
            raise UsageError(f"the group {gid} is not in the image's /etc/group", code="build.user",
                             hint="add it there, or give UID:GID")
        gid = found.get("2", "0")
    return f"{uid}:{gid}"


def _account(text: str, name: str) -> Mapping[str, str] | None:
    """The fields of the line of passwd(5) or group(5) for ``name`` (or its number), by their index."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and (fields[0] == name or (name.isdigit() and fields[2] == name)):
            return {str(index): value for index, value in enumerate(fields)}
    return None
