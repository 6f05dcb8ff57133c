# SPDX-License-Identifier: Apache-2.0
"""Damage to an ext2 image that keeps its form: fields that lie, not random bytes. Offsets: Linux, fs/ext2/ext2.h."""
from __future__ import annotations

import random
import struct

SUPER = 1024


class Image:
    """An image whose fields can be found and changed."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.block = 1024 << self.u32(SUPER + 24)
        self.inodes, self.blocks = self.u32(SUPER), self.u32(SUPER + 4)
        self.per_group, self.inode_size = self.u32(SUPER + 40), self.u16(SUPER + 88)
        self.groups = -(-self.inodes // self.per_group)
        self.table = (self.u32(SUPER + 20) + 1) * self.block
        self.tables = [self.u32(self.table + 32 * group + 8) for group in range(self.groups)]

    def u16(self, at: int) -> int:
        return int(struct.unpack_from("<H", self.data, at)[0])

    def u32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.data, at)[0])

    def put(self, at: int, value: int, size: int) -> None:
        if 0 <= at <= len(self.data) - size:
            self.data[at:at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def inode(self, number: int) -> int:
        """Where an inode lies."""
        group, index = divmod(number - 1, self.per_group)
        return self.tables[group] * self.block + index * self.inode_size

    def used(self, kind: int = 0) -> list[int]:
        """The inodes in use, of a kind (the upper four bits of the mode)."""
        found = [number for number in range(1, self.inodes + 1) if self.u16(self.inode(number) + 26)]
        return [number for number in found if not kind or self.u16(self.inode(number)) >> 12 == kind]

    def entries(self, number: int) -> list[int]:
        """Where the entries of a directory's first blocks lie."""
        found = []
        for index in range(12):
            block = self.u32(self.inode(number) + 40 + 4 * index)
            at = end = block * self.block
            end += self.block
            while block and block < self.blocks and at + 8 <= end and self.u16(at + 4) >= 8:
                found.append(at)
                at += self.u16(at + 4)
        return found


def odd(rng: random.Random, image: Image, size: int) -> int:
    """A value at some edge, or the number of something that lies elsewhere."""
    return rng.choice((0, 1, 2, 3, 7, 11, 12, -1, -2, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1, 4096, image.block, image.block - 1, image.blocks,
                       image.blocks - 1, image.inodes, image.inodes + 1, rng.choice(image.tables), rng.randrange(image.blocks), rng.randrange(1 << 8 * size)))


def superblock(rng: random.Random, image: Image) -> None:
    """A field of the superblock."""
    at, size = rng.choice([(4 * n, 4) for n in range(14)] + [(84, 4), (88, 2), (92, 4), (96, 4), (100, 4), (224, 4), (228, 4), (232, 4), (254, 2), (260, 4)])
    image.put(SUPER + at, odd(rng, image, size), size)


def descriptor(rng: random.Random, image: Image) -> None:
    """Bitmaps and inode table of a group point elsewhere, its counts lie."""
    at = image.table + 32 * rng.randrange(image.groups)
    field, size = rng.choice(((0, 4), (4, 4), (8, 4), (12, 2), (14, 2), (16, 2)))
    image.put(at + field, odd(rng, image, size), size)


def inode(rng: random.Random, image: Image) -> None:
    """A field of an inode in use: mode, size, times, links, sectors, flags, pointers, attributes."""
    at = image.inode(rng.choice(image.used()))
    field, size = rng.choice([(0, 2), (4, 4), (20, 4), (26, 2), (28, 4), (32, 4), (104, 4), (108, 4)] + [(40 + 4 * n, 4) for n in range(15)])
    image.put(at + field, odd(rng, image, size), size)


def pointer(rng: random.Random, image: Image) -> None:
    """A block that belongs to something else: metadata, another file, or the indirect block itself."""
    number = rng.choice(image.used(8) + image.used(4))
    at, index = image.inode(number), rng.choice((0, 1, 11, 12, 12, 13, 13, 14))
    there = image.u32(at + 40 + 4 * index)
    wanted = rng.choice([*image.tables, 1, 2, image.u32(image.table), image.u32(image.inode(2) + 40), there])
    if index >= 12 and there and there < image.blocks:
        image.put(there * image.block + 4 * rng.choice((0, 1, 5, image.block // 4 - 1)), rng.choice((there, wanted, -1)), 4)
    else:
        image.put(at + 40 + 4 * index, wanted, 4)


def entry(rng: random.Random, image: Image) -> None:
    """A directory entry: inode, length, length of the name, type, a cycle, a slash or NUL in the name."""
    places = image.entries(rng.choice(image.used(4)))
    if not places:
        return
    at = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        image.put(at, rng.choice((odd(rng, image, 4), 2, rng.choice(image.used(4)), rng.choice(image.used()))), 4)
    elif kind < 3:
        image.put(at + 4, rng.choice((0, 1, 4, 7, 8, 9, 12, image.block, image.block - 4, 65535, 65532, image.u16(at + 4) + 4, image.u16(at + 4) - 4)), 2)
    elif kind == 3:
        image.put(at + 6, rng.choice((0, 1, 255, rng.randrange(256))), 1)
    elif kind == 4:
        image.put(at + 7, rng.randrange(256), 1)
    elif kind == 5:
        image.put(at + 8, rng.choice((0, ord("/"), ord("."))), 1)
    else:
        image.put(at + 8, rng.randrange(1 << 32), 4)


def bitmap(rng: random.Random, image: Image) -> None:
    """Bits that call free what is in use, or all of it used."""
    at = image.u32(image.table + 32 * rng.randrange(image.groups) + rng.choice((0, 4))) * image.block
    start = rng.randrange(image.block)
    for offset in range(start, min(image.block, start + rng.choice((1, 8, 1024)))):
        image.put(at + offset, rng.choice((0, 255)), 1)


KINDS = (superblock, descriptor, inode, inode, pointer, pointer, entry, entry, entry, bitmap)


def structural(rng: random.Random, data: bytes) -> bytes:
    """``data`` with one to four lies in it. The superblock's come last: the others are found by it."""
    image = Image(data)
    for kind in sorted((rng.choice(KINDS) for _ in range(rng.randint(1, 4))), key=lambda kind: kind is superblock):
        kind(rng, image)
    return bytes(image.data)
