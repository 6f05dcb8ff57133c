# SPDX-License-Identifier: GPL-3.0-or-later
"""What a script of operations (ops.c) makes of /scratch, after each operation, and what an fsync has promised of it.

A promise is about a path: from the fsync on it leads to what it led to then, or to what a later operation that has begun makes of
it. A file's bytes and attributes are promised by its own fsync or a sync, until something writes to it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ext2 import Node

KIND = {"w": "file", "m": "dir", "s": "link", "k": "fifo"}


def filled(seed: int, size: int) -> bytes:
    """What ops.c's fill() makes."""
    return bytes((seed * 37 + k * 7 + k // 256) & 255 for k in range(size))


@dataclass
class Inode:
    """A file, directory, link or FIFO with its history: the numbers of the operations that changed and that promised it."""

    kind: str
    content: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    attributes: dict[int, dict[str, bytes]] = field(default_factory=dict)
    synced: list[int] = field(default_factory=list)

    def at(self, when: int) -> tuple[bytes, dict[str, bytes]]:
        """Bytes and attributes after an operation."""
        contents = [number for number in self.contents if number <= when]
        attributes = [number for number in self.attributes if number <= when]
        return (self.contents[max(contents)] if contents else b"", self.attributes[max(attributes)] if attributes else {})


class Model:
    """Every state of /scratch: ``names[t]`` after t operations."""

    def __init__(self, script: Iterable[str]) -> None:
        self.script = list(script)
        self.names: list[dict[str, Inode]] = [{}]
        self.promised: dict[str, list[int]] = defaultdict(list)
        self._now: dict[str, Inode] = {}
        self._slots: dict[str, Inode] = {}
        for number, line in enumerate(self.script, 1):
            self._act(number, line.split())
            self.names.append(dict(self._now))
        self.paths = {path for names in self.names for path in names}
        for number, line in enumerate(self.script, 1):
            self._promise(number, line.split())

    # --- Doing -------------------------------------------------------------------------------------------------------

    def _write(self, number: int, node: Inode, content: bytes) -> None:
        node.content = content
        node.contents[number] = content

    def _pwrite(self, number: int, node: Inode, off: int, size: int, seed: int) -> None:
        old = node.content.ljust(off + size, b"\0")
        self._write(number, node, old[:off] + filled(seed, size) + old[off + size:])

    def _move(self, old: str, new: str) -> None:
        if self._now[old] is self._now.get(new):
            return                             # rename(2): two names of one file, nothing happens
        moved = {path: self._now.pop(path) for path in list(self._now) if path == old or path.startswith(old + "/")}
        self._now.update({new + path[len(old):]: node for path, node in moved.items()})

    def _act(self, number: int, words: list[str]) -> None:
        op, path = words[0], words[1] if len(words) > 1 else ""
        if op in "wtf":
            node = self._now.setdefault(path, Inode("file"))
            if op == "w":
                self._pwrite(number, node, *map(int, words[2:5]))
            elif op == "t":
                self._write(number, node, node.content[:int(words[2])].ljust(int(words[2]), b"\0"))
            else:
                self._fallocate(number, node, *map(int, words[2:5]))
        elif op in "mk":
            self._now[path] = Inode(KIND[op])
        elif op == "s":
            self._now[words[2]] = Inode("link", path.encode(), contents={number: path.encode()})
        elif op in "ru":
            del self._now[path]
        elif op == "l":
            self._now[words[2]] = self._now[path]
        elif op == "n":
            self._move(path, words[2])
        elif op == "x":
            self._move(path, "\0")
            self._move(words[2], path)
            self._move("\0", words[2])
        elif op in "XR":
            self._xattr(number, op, words)
        else:
            self._act_slot(number, words)

    def _fallocate(self, number: int, node: Inode, mode: int, off: int, size: int) -> None:
        content = node.content
        if mode & 2 or mode & 16:              # punch a hole, zero a range
            end = min(off + size, len(content))
            content = content[:off] + bytes(max(end - off, 0)) + content[end:] if off < len(content) else content
        if not mode & 1:
            content = content.ljust(off + size, b"\0")
        self._write(number, node, content)

    def _xattr(self, number: int, op: str, words: list[str]) -> None:
        node = self._now[words[1]]
        node.xattrs = {name: value for name, value in node.xattrs.items() if name != words[2]}
        if op == "X":
            node.xattrs[words[2]] = filled(int(words[4]), int(words[3]))
        node.attributes[number] = node.xattrs

    def _act_slot(self, number: int, words: list[str]) -> None:
        op, key = words[0], words[1] if len(words) > 1 else ""
        if op == "o":
            self._slots[key] = self._now[words[2]]
        elif op == "T":
            self._slots[key] = Inode("file")
        elif op == "W":
            self._pwrite(number, self._slots[key], *map(int, words[2:5]))
        elif op == "Y":
            self._slots[key].synced.append(number)
        elif op == "L":
            self._now[words[2]] = self._slots[key]

    # --- Promises ----------------------------------------------------------------------------------------------------

    def _promise(self, number: int, words: list[str]) -> None:
        names = self.names[number]
        if words[0] == "S":
            for path in self.paths:
                self.promised[path].append(number)
            for node in names.values():
                node.synced.append(number)
        elif words[0] == "y":
            node = names.get(words[1])
            if node is not None:
                node.synced.append(number)
            if node is None or node.kind == "dir":           # "." is the directory that all others are in
                prefix = "" if node is None else words[1] + "/"
                for path in self.paths:
                    if path.startswith(prefix) and "/" not in path[len(prefix):]:
                        self.promised[path].append(number)
            self._promise_names(number, node)
        elif words[0] == "Y":
            for node in set(map(id, names.values())):
                self._promise_names(number, next((n for n in names.values() if id(n) == node and number in n.synced), None))

    def _promise_names(self, number: int, node: Inode | None) -> None:
        for path, other in self.names[number].items():
            if other is node:
                self.promised[path].append(number)

    def broken(self, found: dict[str, Node], done: int, begun: int) -> list[str]:
        """What a disk holds (paths below /scratch) that it may not, when ``done`` operations were done and ``begun`` begun."""
        begun = min(begun, len(self.script))
        bad = [f"{path} is there, which nothing made" for path in found if path not in self.paths]
        for path, numbers in self.promised.items():
            kept = [number for number in numbers if number <= done]
            if not kept:
                continue
            candidates = [self.names[when].get(path) for when in range(kept[-1], begun + 1)]
            if not any(self._fits(found.get(path), node, done, begun) for node in candidates):
                here = found.get(path)
                bad.append(f"{path} is {here and (here.kind, len(here.content))}; promised by operation {kept[-1]}: {self.script[kept[-1] - 1]}")
        return bad

    @staticmethod
    def _fits(here: Node | None, node: Inode | None, done: int, begun: int) -> bool:
        if here is None or node is None:
            return here is None and node is None
        if here.kind != node.kind:
            return False
        synced = [number for number in node.synced if number <= done]
        if not synced:
            return True
        content, xattrs = node.at(synced[-1])
        changed = any(synced[-1] < number <= begun for number in node.contents)
        renamed = any(synced[-1] < number <= begun for number in node.attributes)
        return (changed or here.content == content) and (renamed or here.xattrs == xattrs)
