# SPDX-License-Identifier: GPL-3.0-or-later
"""uni kernel: the kernel releases of this host."""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size


def kernel_list_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def kernel_list(args: argparse.Namespace, ui: Ui) -> int:
    """Print the releases, the newest first."""
    releases = kernels.list_releases(ui.root)
    ui.table([release.to_dict() for release in releases], ("VERSION", "DEFAULT", "SIZE", "SHA256"), [
        (release.version, "*" if release.default else "", format_size(release.size), release.sha256[:12])
        for release in releases])
    return 0


def kernel_add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="holds uni.elf and VERSION, such as kernel/build")
    parser.add_argument("--default", action="store_true", dest="make_default",
                        help="make it the default (the first release becomes it by itself)")


def kernel_add(args: argparse.Namespace, ui: Ui) -> int:
    """Register a build."""
    plan, release = kernels.register(ui.root, args.directory.absolute(),
                                     make_default=args.make_default or None)
    ui.line({**release.to_dict(), "changed": plan.changed}, release.version)
    return 0


def kernel_use_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version")


def kernel_use(args: argparse.Namespace, ui: Ui) -> int:
    """Change the default."""
    plan, release = kernels.use(ui.root, args.version)
    ui.line({**release.to_dict(), "changed": plan.changed}, release.version)
    if plan.changed:
        ui.note("Running VMs keep their kernel until they are restarted.")
    return 0


def kernel_verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="?", help="only this one (default: all)")


def kernel_verify(args: argparse.Namespace, ui: Ui) -> int:
    """Read the files and compare them with their checksums."""
    releases = [kernels.get(ui.root, args.version)] if args.version else kernels.list_releases(ui.root)
    for release in releases:
        kernels.verify(release)
    ui.table([{**release.to_dict(), "verified": True} for release in releases], ("VERSION", "FILES"),
             [(release.version, "verified") for release in releases])
    return 0


def kernel_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="+")


def kernel_rm(args: argparse.Namespace, ui: Ui) -> int:
    """Remove releases."""
    for version in args.version:
        kernels.get(ui.root, version)
        kernels.remove(ui.root, version)
    ui.line({"removed": args.version}, "\n".join(args.version))
    return 0
