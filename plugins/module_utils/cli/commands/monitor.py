# SPDX-License-Identifier: GPL-3.0-or-later
"""uni dump, debug, suspend, events: what a VM's monitor can do, and what its keeper has seen."""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops


def dump_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("file", type=Path, help="a new file")


def dump(args: argparse.Namespace, ui: Ui) -> int:
    """Write the guest's memory as an ELF core."""
    size = ops.dump(ui.root, args.vm, args.file.absolute())
    ui.line({"vm": args.vm, "file": str(args.file), "size": size}, str(args.file))
    return 0


def debug_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")


def debug(args: argparse.Namespace, ui: Ui) -> int:
    """Offer QEMU's gdb stub and print how to connect."""
    where = ops.debug(ui.root, args.vm)
    ui.emit(where, lambda: put(where["command"]))
    return 0


def suspend_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="+")


def suspend(args: argparse.Namespace, ui: Ui) -> int:
    """Write VMs to disk and end them; `uni start` goes on from there."""
    for name in args.vm:
        ops.save(ui.root, name)
    ui.emit(args.vm, lambda: put("\n".join(args.vm)))
    return 0


def events_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="only what is newer: 10m, 1h30m or 2026-01-31T12:00:00Z")
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE",
                        help="only events whose vm, name or event is this (repeats)")


def events(args: argparse.Namespace, ui: Ui) -> int:
    """Print what happened to VMs, the oldest first."""
    wanted = [word.partition("=")[::2] for word in args.filter]
    found = [event for event in ops.events(ui.root, since=args.since)
             if all(str(event.get(key)) == value for key, value in wanted)]
    hidden = ("time", "event", "vm", "name")
    ui.table(found, ("TIME", "EVENT", "VM", "DETAILS"), [
        (event["time"], event["event"], event.get("name", ""),
         " ".join(f"{key}={value}" for key, value in event.items() if key not in hidden)) for event in found])
    return 0
