# SPDX-License-Identifier: GPL-3.0-or-later
"""What the maintainer scripts of Debian packages would have made: alternatives, links, copies, directories, users.

The scripts do not run: :mod:`literalshell` reads them, and what they say in plain words is done here. The commands are
those of update-alternatives(1), ln(1), ucf(1), cp(1), mkdir(1), install(1), adduser(8), addgroup(8), useradd(8) and
groupadd(8); sysusers.d(5) and the directories of tmpfiles.d(5) are read as well. What exists in the tree already is
never replaced.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import literalshell
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Entry, Tree

_SYSTEM_IDS = range(100, 1000)      # adduser.conf(5): FIRST_SYSTEM_UID to LAST_SYSTEM_UID
_NOGROUP = 65534
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_MODE = re.compile(r"[0-7]{3,4}")
_ID = re.compile(r"[0-9]{1,9}")
_SYSUSERS, _TMPFILES = "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/"
_MAX_CONFIG = 1 << 16       # bytes of a file in there
# Options of adduser, addgroup, useradd, groupadd and sysusers.d with a value in the next word.
_VALUED = frozenset({
    "--home", "--shell", "--gecos", "--comment", "--uid", "--gid", "--ingroup", "--firstuid", "--lastuid", "--firstgid",
    "--lastgid", "--conf", "--home-dir", "--base-dir", "--groups", "--key", "-d", "-s", "-c", "-u", "-g", "-G", "-b",
    "-k", "-K"})
_NO_HOME, _NO_SHELL = "/nonexistent", "/usr/sbin/nologin"


@dataclass(frozen=True)
class Alternative:
    """A path that could stand behind the link of a name; ``slaves`` (link, name, path) follow it."""

    link: str
    name: str
    path: str
    priority: int
    slaves: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Account:
    """A system user, or (``user`` false) a group alone. ``group``: its own name, another one, or "" for nogroup."""

    name: str
    user: bool = True
    group: str = ""
    home: str = _NO_HOME
    shell: str = _NO_SHELL
    uid: int | None = None


def apply(tree: Tree, scripts: Iterable[str]) -> None:
    """Do in ``tree`` what the postinst ``scripts`` of its packages say in plain words."""
    words = [command for script in scripts for command in literalshell.commands(script)]
    _choose(tree, [one for command in words if (one := alternative(command))])
    for command in words:
        _link(tree, command)
        _copy(tree, command)
        _directories(tree, command)
    accounts = [found for command in words if (found := account(command))]
    _add_accounts(tree, [*_sysusers(tree), *accounts])
    _tmpfiles(tree)


def _resolve(tree: Tree, path: str) -> str | None:
    """Where ``path`` is in the tree; None also for one that runs through a file or in circles."""
    try:
        return tree.resolve(path)
    except UsageError:
        return None


def alternative(command: Sequence[str]) -> Alternative | None:
    """What ``update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]...`` says, else None."""
    if PurePosixPath(command[0]).name != "update-alternatives" or "--install" not in command:
        return None
    rest = list(command[command.index("--install") + 1:])
    try:
        link, name, path, priority = rest[:4]
        slaves = [rest[at + 1:at + 4] for at, word in enumerate(rest) if word == "--slave"]
        number = int(priority)
    except ValueError:
        return None
    if not _is_link([link, name, path]):
        return None
    return Alternative(link, name, path, number, tuple((slave[0], slave[1], slave[2]) for slave in slaves
                                                       if _is_link(slave)))


def _is_link(words: Sequence[str]) -> bool:
    """Whether the words can be LINK NAME PATH: the name becomes a file in /etc/alternatives."""
    return len(words) == 3 and words[0].startswith("/") and words[2].startswith("/") and "/" not in words[1] \
        and bool(words[1].strip("."))


def _choose(tree: Tree, found: Sequence[Alternative]) -> None:
    """Link each name to the path of the highest priority that is there, the first of equals."""
    best: dict[str, Alternative] = {}
    for one in found:
        if _resolve(tree, one.path) is not None and (one.name not in best or one.priority > best[one.name].priority):
            best[one.name] = one
    for one in best.values():
        for link, name, path in ((one.link, one.name, one.path), *one.slaves):
            if _resolve(tree, path) is not None and _resolve(tree, link) is None \
                    and _symlink(tree, link, f"/etc/alternatives/{name}"):
                _symlink(tree, f"/etc/alternatives/{name}", path)


def _symlink(tree: Tree, path: str, target: str) -> bool:
    if path in tree:
        return False
    try:
        tree.add(path, Entry("link", 0o777, target=target))
    except UsageError:                  # the path runs through a file: a script for another system
        return False
    return True


def _link(tree: Tree, command: Sequence[str]) -> None:
    """``ln -s TARGET LINK`` where the link is missing and the target is there."""
    if command[0] not in ("ln", "/bin/ln") or len(command) != 4 or not re.fullmatch(r"-[fnv]*s[fnv]*", command[1]):
        return
    target, link = command[2:]
    if not link.startswith("/"):
        return
    link = _inside(tree, link, target)
    absolute = target if target.startswith("/") else f"{PurePosixPath(link).parent}/{target}"
    if _resolve(tree, link) is None and _resolve(tree, absolute) is not None:
        _symlink(tree, link, target)


def _inside(tree: Tree, path: str, source: str) -> str:
    """Where ln and cp put ``source``: at ``path``, or under its own name in the directory ``path``."""
    there = _resolve(tree, path)
    return f"{path.rstrip('/')}/{PurePosixPath(source).name}" if there and tree.entries[there].kind == "dir" else path


def _copy(tree: Tree, command: Sequence[str]) -> None:
    """``ucf [OPTION]... NEW FILE`` and ``cp [-a] NEW FILE``: the package's file becomes the one that is missing."""
    tool, paths = PurePosixPath(command[0]).name, [word for word in command[1:] if word.startswith("/")]
    if len(paths) != 2 or tool not in ("ucf", "cp") or (tool == "ucf" and {"--purge", "-p"} & set(command)):
        return
    source, target = _resolve(tree, paths[0]), _inside(tree, paths[1], paths[0])
    if source is not None and tree.entries[source].kind == "file" and _resolve(tree, target) is None:
        with contextlib.suppress(UsageError):
            tree.add(target, tree.entries[source])


def _directories(tree: Tree, command: Sequence[str]) -> None:
    """``mkdir [-p] DIRECTORY...`` and ``install -d DIRECTORY...``, with ``-m MODE``. They belong to root."""
    if command[0] != "mkdir" and (command[0] != "install" or "-d" not in command):
        return
    mode = next((int(after, 8) for word, after in zip(command, command[1:]) if word == "-m" and _MODE.fullmatch(after)),
                0o755)
    for path in command[1:]:
        if path.startswith("/") and _resolve(tree, path) is None:
            with contextlib.suppress(UsageError):
                tree.add(path, Entry("dir", mode))


def account(command: Sequence[str]) -> Account | None:
    """What ``adduser --system NAME`` and its relatives say, else None."""
    tool = PurePosixPath(command[0]).name
    if tool not in ("adduser", "useradd", "addgroup", "groupadd") or not {"--system", "-r"} & set(command):
        return None
    options, names = _options(command[1:])
    if len(names) != 1 or not _ACCOUNT.fullmatch(names[0]):
        return None
    alone = tool in ("addgroup", "groupadd")
    uid = options.get("--gid" if alone else "--uid", options.get("-g" if alone else "-u", ""))
    group = options.get("--ingroup") or options.get("--gid") or options.get("-g") or ""
    # adduser makes a group of the user's name when asked to, useradd unless told otherwise.
    if alone or ("--ingroup" not in options if "--group" in options else tool == "useradd" and not group):
        group = names[0]
    return Account(names[0], user=not alone, group=group, uid=int(uid) if _ID.fullmatch(uid) else None,
                   home=options.get("--home") or options.get("--home-dir") or options.get("-d") or _NO_HOME,
                   shell=options.get("--shell") or options.get("-s") or _NO_SHELL)


def _options(words: Sequence[str]) -> tuple[Mapping[str, str], list[str]]:
    """The options of a command with their values ("" for those without), and its other words."""
    options: dict[str, str] = {}
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            names.append(word)
        elif "=" in word:
            key, _equals, value = word.partition("=")
            options[key] = value
        else:
            options[word] = next(rest, "") if word in _VALUED else ""
    return options, names


def _sysusers(tree: Tree) -> Iterator[Account]:
    """The users and groups of sysusers.d(5) files: ``u NAME ID "GECOS" HOME SHELL`` and ``g NAME ID``."""
    for kind, name, number, _gecos, home, shell in _lines(tree, _SYSUSERS):
        if kind.rstrip("!") not in ("u", "g") or not _ACCOUNT.fullmatch(name):
            continue
        uid = number.partition(":")[0]
        yield Account(name, user=kind[0] == "u", group=name, uid=int(uid) if _ID.fullmatch(uid) else None,
                      home=home if home.startswith("/") else "/", shell=shell if shell.startswith("/") else _NO_SHELL)


def _tmpfiles(tree: Tree) -> None:
    """The directories of tmpfiles.d(5) files: ``d PATH MODE USER GROUP``. The kernel keeps those below /run."""
    users, groups = _Names(tree, "/etc/passwd").ids, _Names(tree, "/etc/group").ids
    for kind, path, mode, user, group, _age in _lines(tree, _TMPFILES):
        path = f"/run{path[8:]}" if path.startswith("/var/run/") else path
        wanted = kind.rstrip("!+-") in ("d", "D") and path.startswith("/") and "%" not in path
        if wanted and _resolve(tree, path) is None:
            with contextlib.suppress(UsageError):
                tree.add(path, Entry("dir", int(mode, 8) if _MODE.fullmatch(mode) else 0o755, users.get(user, 0),
                                     groups.get(group, 0)))


def _lines(tree: Tree, directory: str) -> Iterator[list[str]]:
    """The first six words of each line in the configuration files of ``directory``; "" for those that lack."""
    for path, entry in tree.sorted():
        content = entry.content if path.startswith(directory) and path.endswith(".conf") else None
        if content is None or content.size > _MAX_CONFIG:
            continue
        for line in content.read().decode("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                words = shlex.split(line, comments=True)
                yield [*words[:6], *[""] * (6 - len(words))]


def _add_accounts(tree: Tree, accounts: Sequence[Account]) -> None:
    """Append to /etc/passwd and /etc/group who is not in there, with the next free system ids."""
    users, groups = _Names(tree, "/etc/passwd"), _Names(tree, "/etc/group")
    for one in accounts:
        if one.group and one.group not in groups.ids and (not one.user or one.group == one.name):
            # A user's own group has the user's number, so that has to be free as well.
            taken = {*groups.ids.values(), *(users.ids.values() if one.user else ())}
            number = next((free for free in ([one.uid] if one.uid else _SYSTEM_IDS) if free not in taken), None)
            if number is None:
                continue
            groups.add(one.name, number, f"{one.name}:x:{number}:")
        if not one.user or one.name in users.ids:
            continue
        gid = groups.ids.get(one.group, int(one.group) if _ID.fullmatch(one.group) else _NOGROUP)
        free = (gid, *_SYSTEM_IDS) if one.group == one.name else _SYSTEM_IDS
        number = next((free for free in ([one.uid] if one.uid else free) if free not in users.ids.values()), None)
        if number is not None and ":" not in one.home + one.shell and "\n" not in one.home + one.shell:
            users.add(one.name, number, f"{one.name}:x:{number}:{gid}::{one.home}:{one.shell}")
    users.write()
    groups.write()


class _Names:
    """A passwd(5) or group(5) file: names with their numbers (third field of both)."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree, self._path, self._added = tree, path, ""
        there = _resolve(tree, path)
        entry = tree.entries[there] if there else None
        self._text = entry.content.read().decode("utf-8", "replace") if entry and entry.content else ""
        fields = (line.split(":") for line in self._text.splitlines())
        self.ids = {field[0]: int(field[2]) for field in fields if len(field) > 2 and _ID.fullmatch(field[2])}

    def add(self, name: str, number: int, line: str) -> None:
        self.ids[name] = number
        self._added += line + "\n"

    def write(self) -> None:
        if self._added:
            newline = "" if not self._text or self._text.endswith("\n") else "\n"
            self._tree.add(self._path, Entry("file", 0o644, content=Content.of_bytes(
                (self._text + newline + self._added).encode())))
