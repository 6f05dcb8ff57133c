# SPDX-License-Identifier: GPL-3.0-or-later
"""uni cp, save, load: files to and from VMs, images to and from archives."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError


def cp_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="VM:/path, a path of this host, or - for a tar archive on standard input")
    parser.add_argument("target", help="VM:/path, a path of this host, or - for a tar archive on standard output")
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners too (out of a VM: as root)")


def cp(args: argparse.Namespace, ui: Ui) -> int:
    """Copy files from a VM, or into one that does not run. Modes and times are kept; a tar archive has owners too."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import vmfiles

    source, target = vmfiles.split(args.source), vmfiles.split(args.target)
    if (source is None) == (target is None):
        raise UsageError(
            "one side of the copy must be a VM, and only one", code="cp.path", hint="uni cp VM:/path LOCAL, or back"
        )
    if source is not None:
        if args.target == "-":
            vmfiles.tar_from(ui.root, *source, sys.stdout.buffer)
            return 0
        count = vmfiles.copy_from(ui.root, *source, Path(args.target), archive=args.archive)
    else:
        if target is None:
            raise AssertionError("target is set here")
        if args.source == "-":
            count = _from_stdin(ui, target)
        else:
            count = vmfiles.copy_to(ui.root, args.source, *target, archive=args.archive)
    ui.emit({"copied": count, "source": args.source, "target": args.target}, lambda: None)
    return 0


def _from_stdin(ui: Ui, target: tuple[str, str]) -> int:
    from ansible_collections.uni.engine.plugins.module_utils.engine import vmfiles
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import spool

    with tempfile.NamedTemporaryFile(dir=ui.root.cache, prefix="cp-") as file:
        return vmfiles.tar_to(ui.root, spool(sys.stdin.buffer, Path(file.name)), *target)


def save_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="+", help="a name with an optional tag, an id or a digest")
    parser.add_argument("-o", "--file", metavar="FILE", help="where to (default: standard output)")


def save(args: argparse.Namespace, ui: Ui) -> int:
    """Write images to an OCI archive."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import share

    if args.file is None:
        if sys.stdout.isatty():
            raise UsageError("an archive does not belong on a terminal", code="save.terminal", hint="give --file FILE")
        share.save_stream(ui.root, args.image, sys.stdout.buffer)
        return 0
    images = share.save(ui.root, args.image, Path(args.file))
    ui.line({"file": args.file, "images": [image.digest for image in images]}, args.file)
    return 0


def load_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="an OCI archive, or - for standard input")


def load(args: argparse.Namespace, ui: Ui) -> int:
    """Bring the images of an OCI archive into the store."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import share
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import spool

    if args.file == "-":
        with tempfile.NamedTemporaryFile(dir=ui.root.cache, prefix="load-") as file:
            loaded = share.load(ui.root, spool(sys.stdin.buffer, Path(file.name)))
    else:
        loaded = share.load(ui.root, Path(args.file))
    names = loaded.references or tuple(image.digest for image in loaded.images)
    data = {"changed": loaded.changed, "images": [image.to_dict() for image in loaded.images], "loaded": list(names)}
    ui.line(data, "\n".join(names))
    return 0
