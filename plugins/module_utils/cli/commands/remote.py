# SPDX-License-Identifier: GPL-3.0-or-later
"""uni push, pull, login, logout, pkg: images in registries, packages of the distribution."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size, parse_duration

_MAX_PASSWORD = 4096


def _connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates of authorities to trust")
    parser.add_argument("--no-verify", action="store_true", help="accept any certificate")
    parser.add_argument("--timeout", metavar="TIME", default="60s", help="give up after this long without a byte")


def _connection(args: argparse.Namespace, url: str | None) -> api.Connection:
    return api.Connection(url=url, ca=args.ca, verify=not args.no_verify, timeout=parse_duration(args.timeout))


def _transfer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="NAME[:TAG], with its registry in front or given as URL")
    parser.add_argument("url", nargs="?", help="the registry, http[s]://HOST[:PORT]")
    _connection_arguments(parser)


push_arguments = pull_arguments = _transfer_arguments


def push(args: argparse.Namespace, ui: Ui) -> int:
    """Send an image to a registry."""
    return _report(ui, api.push(ui.root, args.image, connection=_connection(args, args.url), progress=_meter()), "sent")


def pull(args: argparse.Namespace, ui: Ui) -> int:
    """Bring an image from a registry into the store."""
    result = api.pull(ui.root, args.image, connection=_connection(args, args.url), progress=_meter())
    return _report(ui, result, "received")


def _meter() -> api.Tell | None:
    """Shows on a terminal how far a transfer is."""
    if not sys.stderr.isatty():
        return None

    def tell(done: int, total: int) -> None:
        sys.stderr.write(f"\r{format_size(done)} of {format_size(total)}\x1b[K" + ("\r\x1b[K" if done >= total else ""))
        sys.stderr.flush()
    return tell


def _report(ui: Ui, result: api.TransferResult, verb: str) -> int:
    if result.changed:
        ui.note(f"{format_size(result.bytes)} {verb} in {result.blobs} blobs, {result.present + result.mounted} were"
                " there")
    data = {"changed": result.changed, "reference": result.reference, "digest": result.digest, "bytes": result.bytes,
            "blobs": result.blobs, "present": result.present, "mounted": result.mounted}
    ui.line(data, f"{result.reference} {result.digest}")
    return 0


def login_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("registry", help="HOST[:PORT], or http[s]://HOST[:PORT]")
    parser.add_argument("-u", "--username", required=True, metavar="NAME")
    parser.add_argument("--password-stdin", action="store_true",
                        help="read the password from standard input (the default where that is no terminal)")
    _connection_arguments(parser)


def login(args: argparse.Namespace, ui: Ui) -> int:
    """Try a user and a password at a registry, and keep them."""
    if sys.stdin.isatty() and not args.password_stdin:
        import getpass

        password = getpass.getpass()
    else:
        password = sys.stdin.readline(_MAX_PASSWORD).rstrip("\r\n")
    if not password:
        raise UsageError("the password is empty", code="registry.password", hint="give it on standard input")
    plan = api.login(ui.root, args.registry, Credentials(args.username, password),
                     connection=_connection(args, None))
    ui.line({"changed": plan.changed, "registry": args.registry, "username": args.username},
            f"logged in to {args.registry} as {args.username}")
    return 0


def logout_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("registry", help="HOST[:PORT]")


def logout(args: argparse.Namespace, ui: Ui) -> int:
    """Forget the password for a registry."""
    plan = api.logout(ui.root, args.registry)
    ui.line({"changed": plan.changed, "registry": args.registry},
            f"logged out of {args.registry}" if plan.changed else f"nobody was logged in to {args.registry}")
    return 0


def pkg_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("term", help="part of a package's name or description")


def pkg_search(args: argparse.Namespace, ui: Ui) -> int:
    """Search the packages that `uni build --pkg` can take."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import debian

    found = debian.search(args.term)
    ui.table(found, ("NAME", "SUMMARY"), [(entry["name"], entry["summary"]) for entry in found])
    return 0


def pkg_list_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def pkg_list(args: argparse.Namespace, ui: Ui) -> int:
    """List the packages in the cache."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import debian

    del args
    found = debian.cached(ui.root)
    ui.table(found, ("NAME", "VERSION", "SIZE"),
             [(entry["name"], entry["version"], format_size(int(entry["size"]))) for entry in found])
    return 0


def pkg_get_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", nargs="+", help="NAME[=VERSION]")


def pkg_get(args: argparse.Namespace, ui: Ui) -> int:
    """Fetch packages and everything they depend on, for builds without a network."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import debian
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import scratch_directory

    with scratch_directory(ui.root) as scratch:
        found = [package for package, _path in debian.get(ui.root, args.package, scratch)]
    ui.table([{"name": package.name, "version": package.version} for package in found], ("NAME", "VERSION"),
             [(package.name, package.version) for package in found])
    return 0


def pkg_remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", nargs="+", help="NAME")


def pkg_remove(args: argparse.Namespace, ui: Ui) -> int:
    """Remove packages from the cache; images made of them stay."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import debian

    count = debian.forget(ui.root, args.package)
    ui.line({"removed": count}, "\n".join(args.package))
    return 0
