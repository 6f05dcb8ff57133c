# SPDX-License-Identifier: GPL-3.0-or-later
"""uni volume: disks that outlive VMs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, show
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size, parse_env
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api


def volume_create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--size", metavar="SIZE", help="such as 512M (default: 1G); a larger one grows the volume")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="a label (repeats)")


def volume_create(args: argparse.Namespace, ui: Ui) -> int:
    """Create a volume, or grow it."""
    labels = None if args.label is None else parse_env(args.label, what="label")
    result = api.ensure_present(ui.root, api.VolumeSpec.parse(args.name, args.size, labels))
    volume = result.volume or api.inspect(ui.root, args.name)
    ui.line({**volume.to_dict(), "changed": result.changed}, volume.name)
    return 0


def volume_ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="only volumes with this label (repeats)")


def volume_ls(args: argparse.Namespace, ui: Ui) -> int:
    """Print the volumes."""
    rows = [v.to_dict() for v in api.list_volumes(ui.root, parse_env(args.label, what="label"))]
    ui.table(rows, ("NAME", "SIZE", "USED", "CREATED"),
             [(row["name"], format_size(row["size"]), format_size(row["used"]), row["created"]) for row in rows])
    return 0


def volume_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="+")


def volume_inspect(args: argparse.Namespace, ui: Ui) -> int:
    """Print everything about volumes."""
    data = [api.inspect(ui.root, name).to_dict() for name in args.name]
    ui.emit(data, lambda: show(data))
    return 0


def volume_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="+")


def volume_rm(args: argparse.Namespace, ui: Ui) -> int:
    """Remove volumes with their data."""
    def remove(name: str) -> None:
        api.inspect(ui.root, name)
        api.ensure_absent(ui.root, name)

    return ui.remove(args.name, remove)


def volume_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("file", nargs="?", default="-", help="a new tar archive, or - for standard output (default)")
    parser.add_argument("-o", dest="into", metavar="FILE", help="the same, as an option")


def volume_export(args: argparse.Namespace, ui: Ui) -> int:
    """Write the files of a volume to a tar archive, with owners, modes and times."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import transfer

    target = args.into or args.file
    if target == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive does not belong on a terminal", code="volume.terminal", hint="name a file")
        transfer.export(ui.root, args.name, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return 0
    plan = transfer.backup(ui.root, args.name, Path(target).absolute())
    ui.line({"volume": args.name, "file": target, "changed": plan.changed}, target)
    return 0


def volume_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="it is created when it is not there")
    parser.add_argument("file", help="a tar archive (gzip is fine), or - for standard input")
    parser.add_argument("--size", metavar="SIZE", help="of a new volume (default: 1G, or what the archive needs)")
    parser.add_argument("--replace", action="store_true", help="the files that the volume has may be lost")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="a label of a new volume (repeats)")


def volume_import(args: argparse.Namespace, ui: Ui) -> int:
    """Fill a volume from a tar archive; it arrives as a whole or not at all."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import transfer

    labels = None if args.label is None else parse_env(args.label, what="label")
    spec = api.VolumeSpec.parse(args.name, args.size, labels)
    if args.file != "-" and not Path(args.file).is_file():
        raise NotFoundError(f"there is no archive {args.file}", code="file.not_found", hint="check the path")
    source = sys.stdin.buffer if args.file == "-" else Path(args.file)
    result = transfer.restore(ui.root, spec, source, replace=args.replace)
    volume = result.volume or api.inspect(ui.root, args.name)
    ui.line({**volume.to_dict(), "changed": result.changed}, volume.name)
    return 0
