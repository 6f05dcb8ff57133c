# SPDX-License-Identifier: GPL-3.0-or-later
"""uni dump, debug, suspend: what a VM's monitor can do."""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.commands.vm import done, each
from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops


def dump_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("file", type=Path, help="a new file")
    parser.add_argument("--physical", action="store_true",
                        help="with physical addresses only, as tools for kernels want it")


def dump(args: argparse.Namespace, ui: Ui) -> int:
    """Write the guest's memory as an ELF core."""
    where = ops.dump(ui.root, args.vm, args.file.absolute(), physical=args.physical)
    ui.line({"vm": args.vm, **where}, str(args.file))
    if not args.physical:
        ui.note(where["command"])
    return 0


def debug_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("--run", action="store_true", help="start gdb here, with the symbols of kernel and program")


def debug(args: argparse.Namespace, ui: Ui) -> int:
    """Offer QEMU's gdb stub and print how to connect."""
    where = ops.debug(ui.root, args.vm)
    if args.run:
        return _run_gdb(where["argv"])
    ui.emit(where, lambda: put(where["command"]))
    return 0


def suspend_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="+")


def suspend(args: argparse.Namespace, ui: Ui) -> int:
    """Write VMs to disk and end them; `uni start` goes on from there."""
    return each(args, ui, lambda name: done(ui, name, ops.save))


def _run_gdb(argv: list[str]) -> int:
    """gdb in the foreground; its exit status.

    What is typed first is a command to it: what it says until then fills no page, and it asks for no index of symbols.
    """
    import os
    import shutil
    import subprocess

    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

    if shutil.which("gdb") is None:
        raise HostError("gdb is not installed", code="host.tool",
                        hint="apt install gdb, or run the role uni.engine.host with host_debugger")
    words = [argv[0], "-q", "-iex", "set pagination off", *argv[1:], "-ex", "set pagination on"]
    environment = {name: value for name, value in os.environ.items() if name != "DEBUGINFOD_URLS"}
    return subprocess.run(words, check=False, env=environment).returncode
