# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of the command line: find the command, run it, turn errors into an exit status. All in one place.

Exit status: 0 done; 1 it failed; 2 the input is wrong; 130 interrupted. `uni run --attach` and `uni wait`
give the guest's own status.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.cli.registry import (
    ALIASES,
    COMMANDS,
    GROUPS,
    PREFIXES,
    suggest,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError

_PACKAGE = "ansible_collections.uni.engine.plugins.module_utils.cli.commands"
_VALUED = ("--output", "--root", "--socket")  # options that may stand before the command and take a value
_INTERRUPTED = 130
HOST_SOCKET = "/var/lib/uni/run/unid.sock"


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


def main(argv: Sequence[str]) -> int:
    """Run one command line; return the exit status."""
    ui = Ui()
    try:
        return _dispatch(list(argv), ui)
    except UniError as error:
        ui.error(error)
        return error.exit_status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe went away (`uni ps | head -1`): no error. Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0
        from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error

        ui.error(host_error(error, error.filename or "a file", "use"))
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        if os.environ.get("UNI_DEBUG"):
            raise
        ui.error(UniError(f"this is a mistake in uni: {type(error).__name__}: {error}", code="internal",
                          hint="UNI_DEBUG=1 shows where; please report it"))
        return 70  # EX_SOFTWARE of sysexits.h


def _dispatch(argv: list[str], ui: Ui) -> int:
    leading, rest = _split(argv)
    if not rest:
        if "--version" in leading:
            rest = ["version"]
            leading.remove("--version")
        else:
            usage(sys.stdout if "--help" in leading or "-h" in leading else sys.stderr)
            return 0 if "--help" in leading or "-h" in leading else 2
    leading = _with_daemon(leading, rest)
    if "--socket" in leading:
        return _forward(leading, rest)
    if rest[0] == "__complete":
        from ansible_collections.uni.engine.plugins.module_utils.cli.commands.completion import complete

        return complete(rest[1:])
    if rest[0] == "help" and len(rest) > 1:
        rest = [*rest[1:], "--help"]
    elif rest[0] == "help":
        usage(sys.stdout)
        return 0
    name, words = find(rest)
    parser, function = load(name)
    if leading and "-h" not in leading and "--help" not in leading:
        words = [*leading, *words]
    args, after = _parse(parser, words)
    args.after = after
    ui.configure(args.output, args.root)
    return int(function(args, ui))


def _with_daemon(leading: list[str], rest: list[str]) -> list[str]:
    """Use the daemon where it is the way in: named by UNI_SOCKET, or the host's, for a user whom its group lets in.

    Its owner goes to the same state on disk without it, so nothing depends on its running.
    """
    if rest[0] in ("daemon", "help", "completion", "__complete") or "--socket" in leading or "--root" in leading:
        return leading
    named = os.environ.get("UNI_SOCKET", "")
    if named:
        return [*leading, "--socket", named]
    if os.geteuid() != 0 and not os.environ.get("UNI_ROOT") and os.access(HOST_SOCKET, os.W_OK):
        return [*leading, "--socket", HOST_SOCKET]
    return leading


def _forward(leading: list[str], rest: list[str]) -> int:
    """Let the daemon at `--socket` run the command; print what it prints and exit as it does."""
    import base64
    from pathlib import Path

    from ansible_collections.uni.engine.plugins.module_utils.daemon.client import Client

    at = leading.index("--socket")
    path, kept = Path(leading[at + 1]), leading[:at] + leading[at + 2:]
    if "--root" in kept:
        raise UsageError("--root and --socket exclude each other", code="cli.usage",
                         hint="a daemon serves the root directory that it was started with")
    with Client(path) as client:
        for item in client.stream("command.run", argv=[*kept, *rest], cwd=os.getcwd()):
            if "exit" in item:
                return int(item["exit"])
            stream = sys.stdout if item["stream"] == "stdout" else sys.stderr
            stream.buffer.write(base64.b64decode(item["data"]))
            stream.flush()
    return 1


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
    parser.add_argument("--output", choices=("table", "json", "yaml"), default="table",
                        help="how results are printed (default: table)")
    parser.add_argument("--root", metavar="DIR",
                        help="the root directory (default: UNI_ROOT, else the user's)")
    return parser, getattr(module, stem)


def usage(stream: Any, prefix: str = "") -> None:
    """Print the list of commands, or of those below `prefix`."""
    stream.write("Usage: uni [--output table|json|yaml] [--root DIR | --socket PATH] COMMAND ...\n\n"
                 "Build, run and orchestrate unikernels.\n")
    for heading, commands in GROUPS.items():
        shown = {name: text for name, (_module, text) in commands.items()
                 if not prefix or name.split()[0] == prefix}
        if shown:
            stream.write(f"\n{heading}:\n")
            stream.write("".join(f"  {name:20} {text}\n" for name, text in shown.items()))
    stream.write("\nuni COMMAND --help explains a command.\n")
