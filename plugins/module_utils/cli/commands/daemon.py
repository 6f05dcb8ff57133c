# SPDX-License-Identifier: GPL-3.0-or-later
"""uni daemon: serve the engine to others."""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, show


def daemon_run_arguments(parser: argparse.ArgumentParser) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.daemon.main import add_arguments

    add_arguments(parser)


def daemon_run(args: argparse.Namespace, ui: Ui) -> int:
    """Serve until told to stop."""
    from ansible_collections.uni.engine.plugins.module_utils.daemon import main

    main.run(main.options_of(args, ui.root))
    return 0


daemon_check_arguments = daemon_run_arguments


def daemon_check(args: argparse.Namespace, ui: Ui) -> int:
    """Say whether `daemon run` could serve with these words; an old daemon asks its successor so."""
    from ansible_collections.uni.engine.plugins.module_utils.daemon import main
    from ansible_collections.uni.engine.plugins.module_utils.engine.client import own_version

    options = main.options_of(args, ui.root)
    ui.line({"version": own_version(), "socket": str(options.socket)}, f"{own_version()} can serve {ui.root.path}")
    return 0


def daemon_renew_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, help="where it listens (default: ROOT/run/unid.sock)")
    parser.add_argument("--outdated", action="store_true", help="only where another uni is installed than it runs")


def daemon_renew(args: argparse.Namespace, ui: Ui) -> int:
    """Have the daemon go on as the uni that is installed now."""
    from ansible_collections.uni.engine.plugins.module_utils.daemon import client

    data = client.renew(args.socket or ui.root.run / "unid.sock", outdated=args.outdated)
    ui.line(data, f"the daemon runs {data['version']}")
    return 0


def daemon_status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, help="where it listens (default: ROOT/run/unid.sock)")


def daemon_status(args: argparse.Namespace, ui: Ui) -> int:
    """Ask the daemon how it is."""
    from ansible_collections.uni.engine.plugins.module_utils.daemon.client import Client

    with Client(args.socket or ui.root.run / "unid.sock", timeout=10) as client:
        data = client.call("daemon.status")
    ui.emit(data, lambda: show(data))
    return 0
