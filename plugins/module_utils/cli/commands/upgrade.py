# SPDX-License-Identifier: GPL-3.0-or-later
"""uni upgrade: the command line and the daemon themselves."""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.engine import artifacts, client, upgrades
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError

_TREE = Path(__file__).resolve().parents[4]  # .../ansible_collections/uni/engine


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", metavar="SOURCE",
                        help="a directory of releases (/DIR, ./DIR) or HOST[:PORT]/REPOSITORY (default: the last one)")


def _prefix(args: argparse.Namespace) -> Path:
    """Where the running client is installed, unless another prefix is named."""
    if args.prefix:
        return Path(args.prefix).absolute()
    base = _TREE.parents[2].parent
    if base.name != "uni" or base.parent.name != "lib":
        raise UsageError("this uni runs from a checkout, not from an installation", code="client.not_installed",
                         hint="name the installation with --prefix, such as /usr/local")
    return base.parents[1]


def _chosen(args: argparse.Namespace, ui: Ui) -> str:
    return artifacts.chosen_source(ui.root.path / "client-source", args.source, "client")


def upgrade_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="?", help="this version (default: the newest, when it is newer)")
    _common(parser)
    parser.add_argument("--prefix", metavar="DIR", help="the installation (default: the one of this command)")
    parser.add_argument("--unsigned", action="store_true", help="take a release without a signature")


def upgrade(args: argparse.Namespace, ui: Ui) -> int:
    """Pull a release of uni, verify it, switch to it."""
    source, prefix = _chosen(args, ui), _prefix(args)
    current = next((found.version for found in client.list_clients(prefix) if found.current), None)
    wanted = args.version or upgrades.offer(ui.root, source, current).update
    if wanted is None:
        ui.line({"version": current, "changed": False}, f"{current} is the newest")
        return 0
    before = next((found.name for found in client.list_clients(prefix) if found.current), None)
    plan = upgrades.upgrade(ui.root, prefix, source, wanted, unsigned=args.unsigned)
    daemon = _renewed(ui, prefix, before)
    ui.line({"version": wanted, "before": current, "changed": plan.changed, "daemon": daemon}, str(wanted))
    return 0


def _renewed(ui: Ui, prefix: Path, before: str | None) -> str | None:
    """Have the daemon of the root directory go on as the client that was just installed; the version that it runs.

    :raises UniError: it cannot; the client ``before`` is the current one again
    """
    from ansible_collections.uni.engine.plugins.module_utils.daemon import client as daemons

    socket = ui.root.path / "run" / "unid.sock"
    status = daemons.status(socket)
    if status is None:
        return None
    if "outdated" not in status:        # of a release that could not renew itself
        ui.note(f"The daemon goes on as {status['version']} until it is restarted: systemctl restart unid")
    elif status["outdated"]:
        try:
            status = daemons.renew(socket)
        except UniError:
            if before is not None:
                client.switch(prefix, before)
            raise
        ui.note(f"The daemon runs {status['version']} now; no VM was touched.")
    return str(status["version"])


def upgrade_check_arguments(parser: argparse.ArgumentParser) -> None:
    _common(parser)


def upgrade_check(args: argparse.Namespace, ui: Ui) -> int:
    """Say whether a source has a newer uni."""
    from ansible_collections.uni.engine.plugins.module_utils.daemon import client as daemons

    found = upgrades.offer(ui.root, _chosen(args, ui), client.own_version())
    status = daemons.status(ui.root.path / "run" / "unid.sock")
    daemon = None if status is None else str(status["version"])
    text = (f"{found.update} is available (here: {found.current}); uni upgrade" if found.update
            else f"{found.current} is the newest")
    ui.line({**found.to_dict(), "daemon": daemon},
            text + ("\nno daemon runs" if daemon is None else f"\nthe daemon runs {daemon}"))
    return 0


def upgrade_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", metavar="DIR", help="the installation (default: the one of this command)")


def upgrade_list(args: argparse.Namespace, ui: Ui) -> int:
    """Print the versions that are installed."""
    found = client.list_clients(_prefix(args))
    rows = [{"name": item.name, "version": item.version, "current": item.current} for item in found]
    ui.table(rows, ("VERSION", "CURRENT", "NAME"),
             [(row["version"], "*" if row["current"] else "", row["name"]) for row in rows])
    return 0


def upgrade_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", metavar="DIR", help="the installation (default: the one of this command)")


def upgrade_rollback(args: argparse.Namespace, ui: Ui) -> int:
    """Go back to the version before."""
    prefix = _prefix(args)
    before = next((found.name for found in client.list_clients(prefix) if found.current), None)
    name = upgrades.rollback(prefix)
    daemon = _renewed(ui, prefix, before)
    ui.emit({"name": name, "daemon": daemon}, lambda: put(name))
    return 0


def upgrade_publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", help="/DIR, ./DIR or HOST[:PORT]/REPOSITORY")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the private key to sign with")
    parser.add_argument("--collection", type=Path, metavar="DIR", help="a checkout or installed collection")
    parser.add_argument("--version", dest="release", metavar="VERSION", help="its version (default: the collection's)")


def upgrade_publish(args: argparse.Namespace, ui: Ui) -> int:
    """Make a client a release that hosts can upgrade to."""
    collection = args.collection.absolute() if args.collection else _TREE
    version = args.release or client.own_version()
    name, digest = upgrades.publish(ui.root, collection, version, args.target, key=args.key)
    ui.line({"name": name, "version": version, "digest": digest, "signed": args.key is not None}, name)
    return 0
