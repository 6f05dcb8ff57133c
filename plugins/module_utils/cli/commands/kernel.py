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
    def remove(version: str) -> None:
        kernels.get(ui.root, version)
        kernels.remove(ui.root, version)

    return ui.remove(args.version, remove)


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", metavar="SOURCE",
                        help="a directory of releases (/DIR, ./DIR) or HOST[:PORT]/REPOSITORY (default: the last one)")


def _chosen(args: argparse.Namespace, ui: Ui) -> str:
    """The source that was named, else the one that was used last on this host."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import artifacts

    return artifacts.chosen_source(ui.root.kernels / "source", args.source, "kernel")


def kernel_check_arguments(parser: argparse.ArgumentParser) -> None:
    _source(parser)


def kernel_check(args: argparse.Namespace, ui: Ui) -> int:
    """Say what a source offers, and whether it is newer."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    found = releases.offer(ui.root, _chosen(args, ui))
    text = f"{found.update} is available (here: {found.current or 'none'}); uni kernel update" if found.update \
        else f"{found.current or 'no kernel'} is the newest"
    ui.line(found.to_dict(), text)
    return 0


def kernel_pull_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version")
    _source(parser)
    parser.add_argument("--unsigned", action="store_true", help="take a release without a signature")


def kernel_pull(args: argparse.Namespace, ui: Ui) -> int:
    """Bring a release to this host and verify it; the default stays."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    plan, release = releases.pull(ui.root, _chosen(args, ui), args.version, unsigned=args.unsigned)
    ui.line({**release.to_dict(), "changed": plan.changed}, release.version)
    return 0


def kernel_update_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="?", help="this version (default: the newest, when it is newer)")
    _source(parser)
    parser.add_argument("--unsigned", action="store_true", help="take a release without a signature")
    parser.add_argument("--no-smoke", action="store_true", help="do not boot it once before it becomes the default")


def kernel_update(args: argparse.Namespace, ui: Ui) -> int:
    """Pull, verify, boot once, make default."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    plan, release = releases.update(ui.root, _chosen(args, ui), args.version, smoke=not args.no_smoke,
                                    unsigned=args.unsigned)
    current = release or kernels.default(ui.root)
    ui.line({**current.to_dict(), "changed": plan.changed}, current.version)
    if plan.changed:
        ui.note("Running VMs keep their kernel until they are restarted.")
    return 0


def kernel_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def kernel_rollback(args: argparse.Namespace, ui: Ui) -> int:
    """Go back to the default before."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    plan, release = releases.rollback(ui.root)
    ui.line({**release.to_dict(), "changed": plan.changed}, release.version)
    return 0


def kernel_publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="holds uni.elf and VERSION, such as kernel/build")
    parser.add_argument("target", help="/DIR, ./DIR or HOST[:PORT]/REPOSITORY")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the private key to sign with")


def kernel_publish(args: argparse.Namespace, ui: Ui) -> int:
    """Make a build a release that other hosts can pull."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    version, digest = releases.publish(ui.root, args.directory.absolute(), args.target, key=args.key)
    ui.line({"version": version, "digest": digest, "target": args.target, "signed": args.key is not None}, version)
    if args.key is None:
        ui.note("It is not signed: hosts take it only with --unsigned.")
    return 0


def kernel_keygen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the private key; the public one is FILE.pub")


def kernel_keygen(args: argparse.Namespace, ui: Ui) -> int:
    """Make a key pair to sign releases with."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import signing

    key = signing.generate(args.file)
    ui.line({"id": key.id, "private": str(args.file), "public": f"{args.file}.pub"}, f"{args.file}.pub")
    return 0


def kernel_trust_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a public key (PEM)")


def kernel_trust(args: argparse.Namespace, ui: Ui) -> int:
    """Accept releases that are signed with a key."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import releases

    key = releases.trust(ui.root, args.file)
    ui.line({"id": key.id, "name": key.name}, key.id[:16])
    return 0
