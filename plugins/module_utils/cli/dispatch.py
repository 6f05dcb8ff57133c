# SPDX-License-Identifier: GPL-3.0-or-later
"""From words to a command: find it, parse its options, run it here or through the daemon."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from ansible_collections.uni.engine.plugins.module_utils.cli import forward, options
from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.cli.registry import (
    ALIASES,
    COMMANDS,
    GROUPS,
    PREFIXES,
    suggest,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

_PACKAGE = "ansible_collections.uni.engine.plugins.module_utils.cli.commands"
_VALUED = ("--output", "--root", "--socket")  # options that may stand before the command and take a value


class _Formatter(argparse.HelpFormatter):
    """Fixed width: asking for the terminal's would import more than `uni ps` does otherwise."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are errors like all others, with a suggestion for a misspelt option."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(formatter_class=_Formatter, **keywords)

    def error(self, message: str) -> NoReturn:
        hint = f"see `{self.prog} --help`"
        if message.startswith("unrecognized arguments: -"):
            word = message.split()[2].split("=")[0]
            options = [option for action in self._actions for option in action.option_strings]
            hint = suggest(word, options) or hint
            message = f"no option {word} here"
        raise UsageError(f"{self.prog}: {message}", code="cli.usage", hint=hint)


def dispatch(argv: list[str], ui: Ui) -> int:
    """Run one command line; the exit status."""
    leading, rest = _split(argv)
    if not rest:
        if "--version" in leading:
            rest = ["version"]
            leading.remove("--version")
        else:
            usage(sys.stdout if "--help" in leading or "-h" in leading else sys.stderr)
            return 0 if "--help" in leading or "-h" in leading else 2
    choice, leading, rest = forward.take(leading, rest)
    if rest[0] == "__complete":
        from ansible_collections.uni.engine.plugins.module_utils.cli.commands.completion import complete

        return complete(rest[1:])
    if rest[0] == "help" and len(rest) > 1:
        rest = [*rest[1:], "--help"]
    elif rest[0] == "help":
        usage(sys.stdout)
        return 0
    name, words = find(rest)
    if not _wants_help([*leading, *words]) and not name.startswith("daemon "):
        daemon = forward.way(choice, name)
        if daemon is not None:
            status = forward.go(daemon, [*leading, *rest])
            if status is not None:
                return status
    parser, function = load(name)
    if leading and "-h" not in leading and "--help" not in leading:
        words = [*leading, *words]
    args, after = _parse(parser, words)
    args.after = after
    ui.configure(args.output, args.root)
    return int(function(args, ui))


def _wants_help(words: list[str]) -> bool:
    before = words[:words.index("--")] if "--" in words else words
    return "-h" in before or "--help" in before


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Options before the command, and the rest."""
    index = 0
    while index < len(argv) and argv[index].startswith("-") and argv[index] != "--":
        index += 2 if argv[index] in _VALUED else 1
    return argv[:index], argv[index:]


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse; what follows `--` is the guest's business and returned as it is."""
    after: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, after = words[:cut], words[cut + 1:]
    args = parser.parse_args(words)
    if after and not getattr(args, "takes_arguments", False):
        parser.error("nothing may follow `--` here")
    return args, after


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command that the words name, and the words behind it.

    :raises UsageError: code ``cli.unknown_command``
    """
    for count in (2, 1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if name in COMMANDS and len(words) >= count:
            return name, words[count:]
    first = words[0]
    if first in PREFIXES:
        known = [name for name in COMMANDS if name.startswith(f"{first} ")]
        second = next((word for word in words[1:] if not word.startswith("-")), None)
        if second is None:
            if "--help" in words or "-h" in words:
                usage(sys.stdout, first)
                raise SystemExit(0)
            raise UsageError(f"uni {first} needs a command", code="cli.unknown_command",
                             hint="one of " + ", ".join(name.split()[1] for name in known))
        hint = suggest(f"{first} {second}", known) or f"see `uni {first} --help`"
        raise UsageError(f"uni {first} has no command {second!r}", code="cli.unknown_command", hint=hint)
    known = [*COMMANDS, *ALIASES, *PREFIXES]
    raise UsageError(f"uni has no command {first!r}", code="cli.unknown_command",
                     hint=suggest(first, known) or "see `uni --help`")


def load(name: str) -> tuple[Parser, Any]:
    """Import a command; return its parser and its function."""
    module_name, text = COMMANDS[name]
    module = __import__(f"{_PACKAGE}.{module_name}", fromlist=["*"])
    stem = name.replace(" ", "_").replace("-", "_")
    parser = Parser(prog=f"uni {name}", description=f"{text}.", allow_abbrev=False)
    getattr(module, f"{stem}_arguments")(parser)
    options.add(parser, options.COMMON)
    if not name.startswith("daemon "):      # taken out of the words before they get here: listed for the help
        parser.add_argument("--socket", metavar="PATH", help="have the daemon there run it (default: UNI_SOCKET)")
        parser.add_argument("--no-daemon", action="store_true", help="do not go through the root directory's daemon")
    return parser, getattr(module, stem)


def usage(stream: Any, prefix: str = "") -> None:
    """Print the list of commands, or of those below `prefix`."""
    stream.write("Usage: uni [--output table|json|yaml] [--root DIR] [--socket PATH | --no-daemon] COMMAND ...\n\n"
                 "Build, run and orchestrate unikernels.\n")
    for heading, commands in GROUPS.items():
        shown = {name: text for name, (_module, text) in commands.items()
                 if not prefix or name.split()[0] == prefix}
        if shown:
            stream.write(f"\n{heading}:\n")
            stream.write("".join(f"  {name:20} {text}\n" for name, text in shown.items()))
    stream.write("\nuni COMMAND --help explains a command.\n")
