# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line prints: results on stdout as a table, JSON or YAML; everything else on stderr."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing costs two milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
    from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root


class Ui:
    """The output of one command."""

    def __init__(self) -> None:
        # Set before arguments are parsed, so that a usage error comes in the wanted format too.
        self.format = "json" if _asked_for("json") else "yaml" if _asked_for("yaml") else "table"
        self._root: str | None = None

    def configure(self, output: str, root: str | None) -> None:
        """Take over the global options."""
        self.format = output
        self._root = root

    @property
    def root(self) -> Root:
        """The root directory that the command works on."""
        from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

        return Root.resolve(self._root)

    @property
    def root_path(self) -> str:
        """The same as text, for who needs no more."""
        from ansible_collections.uni.engine.plugins.module_utils.cli.options import root_path

        return root_path(self._root)

    def emit(self, data: Any, human: Callable[[], None]) -> None:
        """Print a result: `data` for programs, or what `human` prints."""
        if self.format == "json":
            import json

            sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")
        elif self.format == "yaml":
            import yaml

            yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True)
        else:
            human()

    def table(self, data: Any, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a result whose human form is a table."""
        self.emit(data, lambda: _table(columns, rows))

    def line(self, data: Any, text: str) -> None:
        """Print a result whose human form is one line."""
        self.emit(data, lambda: put(text))

    def note(self, text: str) -> None:
        """Tell the person something that is not the result."""
        sys.stderr.write(text + "\n")

    def each(self, names: Iterable[str], one: Callable[[str], Any]) -> tuple[dict[str, Any], int]:
        """Call for every name; one that fails is told and holds up no other: ({name: result}, exit status)."""
        from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

        results, status = {}, 0
        for name in names:
            try:
                results[name] = one(name)
            except UniError as error:
                self.error(error)
                status = error.exit_status
        return results, status

    def remove(self, names: Iterable[str], one: Callable[[str], Any]) -> int:
        """Remove every name and print those that are gone; the exit status."""
        removed, status = self.each(names, one)
        if removed or self.format != "table":
            self.line({"removed": list(removed)}, "\n".join(removed))
        return status

    def error(self, error: UniError) -> None:
        """Print an error: for programs on stderr too, so that stdout holds results only."""
        sys.stdout.flush()
        if self.format == "json":
            import json

            sys.stderr.write(json.dumps({"error": error.to_dict()}) + "\n")
            return
        sys.stderr.write(f"uni: {clean(error.message)}\n")
        if error.hint:
            sys.stderr.write(f"     {clean(error.hint)}\n")


def put(text: str) -> None:
    """One result (or several lines of it) on standard output."""
    sys.stdout.write(text + "\n")


def clean(text: str) -> str:
    """Text from elsewhere without control characters: it must not be able to steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def age(seconds: float) -> str:
    """A span of time as people say it."""
    for limit, divisor, unit in ((90, 1, "second"), (5400, 60, "minute"), (129600, 3600, "hour")):
        if seconds < limit:
            count = max(0, round(seconds / divisor))
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{round(seconds / 86400)} days"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = [list(columns)]
    lines += [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    put("\n".join("   ".join(map(str.ljust, line, widths)).rstrip() for line in lines))


def _asked_for(name: str) -> bool:
    argv = sys.argv[:sys.argv.index("--")] if "--" in sys.argv else sys.argv
    return f"--output={name}" in argv or any(pair == ("--output", name) for pair in zip(argv, argv[1:]))


def show(data: Any) -> None:
    """Print nested data for people: indented JSON, as `docker inspect` does."""
    import json

    put(json.dumps(data, indent=2, default=str))
