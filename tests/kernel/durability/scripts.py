# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts for ops.c: one for each kind of operation, and random ones.

    w PATH OFFSET SIZE SEED    write, and create      t PATH SIZE          truncate      f PATH MODE OFFSET SIZE   fallocate
    m r u                      mkdir, rmdir, unlink   n x l OLD NEW        rename, exchange, link    s TARGET PATH   symlink
    k PATH                     mkfifo                 X PATH NAME SIZE SEED, R PATH NAME             attributes
    y PATH  S                  fsync, sync            o SLOT PATH, T SLOT DIR, W SLOT OFFSET SIZE SEED, Y SLOT, L SLOT PATH, c SLOT
"""

from __future__ import annotations

import random

LONG = "n" * 120


def _wide(directory: str, count: int) -> list[str]:
    """A directory of more than one block."""
    return [f"m {directory}", *(f"k {directory}/{LONG}{number}" for number in range(count))]


NAMED: dict[str, list[str]] = {
    "create": ["w a 0 3000 1", "y a", "w b 0 100 2", "w c 0 100 3", "y c", "k p", "s x l", f"s {'t' * 200} ll", "S", "w d 0 9000 1", "y d"],
    "append": [line for n in range(12) for line in (f"w log {n * 700} 700 {n}", "y log")],
    "grow": ["w big 0 12000 1", "y big", "w big 12000 4000 2", "y big", "w big 270000 3000 3", "y big", "w big 20000 60000 4", "S",
             "t big 300000", "y big", "t big 15000", "y big", "t big 0", "S"],
    "truncate": ["w a 0 40000 1", "y a", "t a 20000", "y a", "w b 0 40000 2", "y b", "t a 100", "w b 0 500 3", "y b", "t b 0", "w c 0 30000 4",
                 "y c", "S"],
    "fallocate": ["w a 0 30000 1", "y a", "f a 3 4096 8192", "y a", "f a 0 0 60000", "y a", "f b 0 0 50000", "S", "f a 16 1000 20000", "y a"],
    "unlink": ["w a 0 20000 1", "w b 0 300 1", "l a c", "S", "u a", "y c", "u b", "w d 0 20000 2", "y d", "u c", "S", "w e 0 20000 3", "y e"],
    "link": ["w a 0 100 1", "y a", "l a b", "y a", "m d", "l b d/c", "y d/c", "u a", "y .", "u b", "S", "l d/c a", "y a"],
    "replace": [line for n in range(6) for line in (f"w new 0 {2000 + n * 1500} {n}", "y new", "n new config", "y .")],
    "replace-lazy": ["w config 0 900 1", "S", *(line for n in range(5) for line in (f"w new 0 1500 {n}", "n new config")), "S", "w z 0 10 1", "y z"],
    "replace-across": ["m a", "m b", "w b/t 0 700 1", "S", *(line for n in range(4) for line in (f"w a/s 0 900 {n}", "y a/s", "n a/s b/t", "y b"))],
    "rename-file": ["w a 0 500 1", "y a", "n a b", "y .", "m d", "n b d/b", "y d", "n d/b a", "S", "n a c", "w z 0 10 2", "y z"],
    "rename-wide": [*_wide("d", 14), *_wide("e", 14), "w f 0 500 1", "S", "n f d/f", "y d", "n d/f e/f", "y e", f"n d/{LONG}0 e/moved", "S",
                    f"n e/{LONG}3 e/other{LONG}", "S"],
    "mkdir": ["m a", "y .", "m a/b", "y a", "m a/b/c", "w a/b/c/f 0 10 1", "y a/b/c/f", "m d", "m d/e", "S"],
    "rmdir": ["m a", "m a/b", "m c", "S", "r a/b", "y a", "r a", "y .", "m d", "r c", "y d", "r d", "S", "m a", "S"],
    "rename-dir": ["m a", "m b", "m a/d", "w a/d/f 0 100 1", "S", "n a/d a/e", "y a", "n a/e b/e", "y b", "n b/e e", "y .", "n e a/d", "S",
                   "n a z", "S", "w q 0 10 1", "y q"],
    "rename-dir-over": ["m a", "m a/d", "m b", "m b/d", "w a/d/f 0 100 1", "S", "n a/d b/d", "y b", "m c", "y c", "n b/d c", "y .", "m e",
                        "S", "n e b", "S"],
    "rename-dir-wide": [*_wide("d", 14), *_wide("e", 14), "m d/x", "w d/x/f 0 50 1", "S", "n d/x e/x", "y e", "n e/x d/y", "S", f"n d/y d/y{LONG}", "S"],
    "rename-dir-lazy": ["m a", "m b", "S", "m a/d", "w a/d/f 0 100 1", "n a/d b/d", "m a/d", "n b/d b/e", "n a/d b/d", "w z 0 10 1", "y z",
                        "n b/e a/e", "r b/d", "w z 0 10 2", "y z", "S"],
    "exchange": ["w a 0 100 1", "w b 0 200 2", "m d", "m d/s", "w d/f 0 300 3", "S", "x a b", "y .", "x a d/f", "y d", "m e", "S", "x d/s e", "S",
                 "x d/s b", "S"],
    "symlink": ["s target a", "y .", f"s {'u' * 300} b", "y .", "s x c", "n c a", "y .", "u b", "S", f"s {'v' * 500} d", "S"],
    "xattr": ["w a 0 10 1", "X a user.one 100 1", "y a", "X a user.two 500 2", "y a", "X a user.one 20 3", "y a", "R a user.two", "S", "R a user.one",
              "y a", "w b 0 10 1", "X b user.one 400 4", "S", "u b", "S"],
    "tmpfile": ["T 0 .", "W 0 0 5000 1", "Y 0", "L 0 a", "y a", "c 0", "T 1 .", "W 1 0 30000 2", "Y 1", "c 1", "S", "T 2 .", "W 2 0 100 3", "L 2 b",
                "y .", "W 2 100 100 4", "Y 2", "c 2"],
    "orphan": ["w a 0 20000 1", "w b 0 500 2", "S", "o 0 a", "u a", "y .", "W 0 20000 5000 3", "Y 0", "c 0", "S", "o 1 b", "u b", "w c 0 100 4", "y c",
               "c 1", "w c 0 200 5", "y c"],
    "reuse": [line for n in range(8) for line in (f"w f{n} 0 {9000 + n * 300} {n}", f"y f{n}", *([f"u f{n - 1}"] if n else []))],
}


class _Random:
    """Random operations that succeed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.dirs = ["."]
        self.files: dict[str, str] = {}
        self.serial = 0

    def path(self) -> str:
        """A new name somewhere."""
        self.serial += 1
        parent = self.chance.choice(self.dirs)
        name = f"n{self.serial}" + (LONG if self.chance.random() < 0.2 else "")
        return name if parent == "." else f"{parent}/{name}"

    def movable(self) -> list[str]:
        """Directories other than the uppermost."""
        return [name for name in self.dirs if name != "."]

    def moved(self, old: str, new: str) -> None:
        """A directory moves with all that is in it."""
        def there(path: str) -> str:
            return new + path[len(old):] if path == old or path.startswith(old + "/") else path
        self.dirs = [there(path) for path in self.dirs]
        self.files = {there(path): kind for path, kind in self.files.items()}

    def on_files(self, kind: float) -> str:
        """An operation on a file that is there, or a new file."""
        regular = [path for path, kind_of in self.files.items() if kind_of == "w"]
        if kind < 0.3 or not regular:
            path = self.path()
            self.files[path] = "w"
            return f"w {path} 0 {self.chance.choice([10, 900, 5000, 20000])} {self.serial}"
        path = self.chance.choice(regular)
        if kind < 0.4:
            return f"w {path} {self.chance.randrange(40000)} {self.chance.randrange(1, 9000)} {self.serial}"
        if kind < 0.46:
            return f"t {path} {self.chance.randrange(30000)}"
        if kind < 0.56:
            return f"y {path}"
        if kind < 0.62:
            return f"X {path} user.a {self.chance.randrange(1, 700)} {self.serial}"
        if kind < 0.7:
            del self.files[path]
            return f"u {path}"
        if kind < 0.78:
            new = self.path()
            self.files[new] = "w"
            return f"l {path} {new}"
        new = self.path() if kind < 0.9 or len(regular) < 2 else self.chance.choice([other for other in regular if other != path])
        del self.files[path]
        self.files[new] = "w"
        return f"n {path} {new}"

    def on_dirs(self, kind: float) -> str:
        """An operation on directories."""
        movable = self.movable()
        if kind < 0.35 or not movable:
            path = self.path()
            self.dirs.append(path)
            return f"m {path}"
        path = self.chance.choice(movable)
        if kind < 0.55:
            return f"y {path}"
        empty = [name for name in movable if not any(other.startswith(name + "/") for other in (*self.dirs, *self.files))]
        if kind < 0.65 and empty:
            self.dirs.remove(empty[0])
            return f"r {empty[0]}"
        homes = [name for name in self.dirs if name != path and not name.startswith(path + "/")]
        home = self.chance.choice(homes)
        over = [name for name in empty if name != path and not name.startswith(path + "/")]
        if kind < 0.75 and over:
            self.dirs.remove(over[0])
            new = over[0]
        else:
            self.serial += 1
            new = f"n{self.serial}" if home == "." else f"{home}/n{self.serial}"
        self.moved(path, new)
        return f"n {path} {new}"


def random_script(seed: int, length: int) -> list[str]:
    """A script of some operations, the same for the same seed."""
    maker = _Random(seed)
    lines = []
    for _ in range(length):
        kind = maker.chance.random()
        if kind < 0.05:
            lines.append("S")
        elif kind < 0.35:
            lines.append(maker.on_dirs(maker.chance.random()))
        else:
            lines.append(maker.on_files(maker.chance.random()))
    return lines
