# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of the command line: run a command, turn errors into an exit status. All in one place.

Exit status: 0 done; 1 it failed; 2 the input is wrong; 130 interrupted. `uni run --attach` and `uni wait`
give the guest's own status.
"""

from __future__ import annotations

import os

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

TYPE_CHECKING = False  # typing costs two milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Run one command line; return the exit status."""
    if "UNI_CONTROL" in os.environ:
        from ansible_collections.uni.engine.plugins.module_utils.cli import control

        return control.run(lambda: _run(argv))
    return _run(argv)


def _run(argv: Sequence[str]) -> int:
    ui = Ui()
    try:
        status = quick(argv, ui)
        if status is None:
            from ansible_collections.uni.engine.plugins.module_utils.cli.dispatch import dispatch

            status = dispatch(list(argv), ui)
        return status
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


def quick(argv: Sequence[str], ui: Ui) -> int | None:
    """`uni ps` without what the other commands need; None: it is another command, or one that needs more.

    Scripts call it in loops, and argparse alone takes as long as reading 500 records.
    """
    if argv[:1] != ["ps"] or "UNI_SOCKET" in os.environ:
        return None
    from ansible_collections.uni.engine.plugins.module_utils.cli import options
    from ansible_collections.uni.engine.plugins.module_utils.cli.commands import ps

    args = options.parse([*ps.OPTIONS, *options.COMMON], argv[1:])
    if args is None or not options.own(args.root):
        return None
    ui.configure(args.output, args.root)
    return ps.ps(args, ui)
