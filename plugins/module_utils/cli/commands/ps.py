# SPDX-License-Identifier: GPL-3.0-or-later
"""uni ps. Apart from the other commands and with few imports: a person waits for it, and scripts call it in loops."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, age, put
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import views


def ps_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also VMs that do not run")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only VMs whose name, status, image, label, health or id is this (repeats)",
    )


def ps(args: argparse.Namespace, ui: Ui) -> int:
    """Print the VMs, the newest first."""
    vms = views.list_vms(ui.root, everything=args.all, filters=_filters(args.filter))
    if args.quiet:
        ui.emit([vm["id"] for vm in vms], lambda: put("\n".join(vm["id"] for vm in vms)) if vms else None)
        return 0
    now = time.time()
    ui.table(
        vms,
        ("ID", "NAME", "IMAGE", "STATUS", "MEMORY", "PORTS"),
        [
            (
                vm["id"],
                vm["name"],
                vm.get("image", ""),
                status_text(vm, now),
                _megabytes(vm.get("memory")),
                ", ".join(short_port(port) for port in vm.get("ports") or ()),
            )
            for vm in vms
        ],
    )
    return 0


def _filters(words: list[str]) -> dict[str, str]:
    filters = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in ("name", "status", "image", "label", "health", "id"):
            from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

            raise UsageError(
                f"--filter {word!r} is not understood",
                code="cli.filter",
                hint="expected name=, status=, image=, label=, health= or id=, and a value",
            )
        filters[key] = value
    return filters


def _megabytes(size: object) -> str:
    return f"{size >> 20}M" if isinstance(size, int) else ""


def short_port(text: str) -> str:
    """A port forward as people write it: 0.0.0.0:8080:80/tcp is 8080->80."""
    plain, _slash, proto = str(text).partition("/")
    bind, _colon, rest = plain.rpartition(":")
    bind, _colon, host = bind.rpartition(":")
    shown = f"{host}->{rest}" if bind in ("0.0.0.0", "") else f"{bind}:{host}->{rest}"
    return shown + (f"/{proto}" if proto not in ("tcp", "") else "")


def status_text(vm: dict[str, Any], now: float) -> str:
    """'running 2 minutes', 'exited (1) 3 hours ago'."""
    status = str(vm.get("status"))
    if status in ("running", "paused", "starting", "stopping"):
        text = f"{status} {_since(vm.get('started_at'), now)}".rstrip()
        health = vm.get("health")
        return f"{text} ({health})" if health else text
    if status == "exited":
        verdict = vm.get("exit") or {}
        code = verdict.get("code", "lost" if vm.get("lost") else "?")
        moment = _since(vm.get("finished_at"), now)
        return f"exited ({code}) {moment + ' ago' if moment else ''}".rstrip()
    return status


def _since(stamp: object, now: float) -> str:
    if not isinstance(stamp, str):
        return ""
    try:
        numbers = [int(stamp[at:at + width]) for at, width in ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))]
        # time.strptime and calendar.timegm would import half a dozen modules.
        return age(now - (time.mktime((*numbers, 0, 0, 0)) - time.timezone))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return ""
