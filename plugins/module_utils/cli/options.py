# SPDX-License-Identifier: GPL-3.0-or-later
"""Options as a table, for a command that must start fast: argparse reads it for help and errors, :func:`parse` without.

Both understand the same words, and ``parse`` leaves everything that is not plain to argparse.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing and argparse cost milliseconds
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from typing import Any

HOST_ROOT = "/var/lib/uni"
SOCKET = "run/unid.sock"


class Option:
    """One option: a flag, or with ``metavar`` one that takes a value (a list of them where it ``repeats``)."""

    def __init__(self, names: tuple[str, ...], metavar: str = "", *, repeats: bool = False,
                 choices: tuple[str, ...] = (), default: str | None = None, help: str = "") -> None:
        self.names, self.metavar, self.repeats, self.help = names, metavar, repeats, help
        self.choices, self.default = choices, default

    @property
    def attribute(self) -> str:
        """Where the parsed value stands."""
        return self.names[-1].lstrip("-").replace("-", "_")

    def initial(self) -> Any:
        """The value where the option is not given."""
        return (([] if self.repeats else self.default) if self.metavar or self.choices else False)


class Namespace:
    """Parsed options, as argparse.Namespace has them."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            """Any of the options."""


COMMON = (
    Option(("--output",), choices=("table", "json", "yaml"), default="table",
           help="how results are printed (default: table)"),
    Option(("--root",), "DIR", help="the root directory (default: UNI_ROOT, else the user's)"),
)


def add(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Declare the options to argparse."""
    for option in options:
        if not option.metavar and not option.choices:
            parser.add_argument(*option.names, action="store_true", help=option.help)
        elif option.repeats:
            parser.add_argument(*option.names, action="append", default=[], metavar=option.metavar, help=option.help)
        else:
            parser.add_argument(*option.names, metavar=option.metavar or None, choices=option.choices or None,
                                default=option.default, help=option.help)


def parse(options: Sequence[Option], words: Sequence[str]) -> Namespace | None:
    """The words as argparse would read them; None where only argparse can say (help, mistakes, clusters, ``--``)."""
    known = {name: option for option in options for name in option.names}
    values = {option.attribute: option.initial() for option in options}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        option = known.get(name)
        if option is None or (equals and not name.startswith("--")):
            return None
        if not option.metavar and not option.choices:
            if equals:
                return None
            values[option.attribute] = True
            continue
        text = value if equals else next(rest, "-")
        if (text.startswith("-") and not equals) or (option.choices and text not in option.choices):
            return None
        if option.repeats:
            values[option.attribute].append(text)
        else:
            values[option.attribute] = text
    return Namespace(**values)


def root_path(explicit: str | None) -> str:
    """The root directory, as Root.resolve finds it."""
    text = explicit or os.environ.get("UNI_ROOT", "")
    if not text:
        text = HOST_ROOT if os.geteuid() == 0 else "~/.local/share/uni"
    return os.path.abspath(os.path.expanduser(text))


def own(explicit: str | None) -> bool:
    """Whether this process reads the root directory's records itself (cli/forward.py has the whole rule)."""
    if os.geteuid() == 0:
        return True
    if not explicit and not os.environ.get("UNI_ROOT") and os.access(f"{HOST_ROOT}/{SOCKET}", os.W_OK):
        return False
    try:
        return os.stat(root_path(explicit)).st_uid == os.geteuid()
    except OSError:
        return True
