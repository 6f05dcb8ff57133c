# SPDX-License-Identifier: GPL-3.0-or-later
"""uni ps. Apart from the other commands and with few imports: a person waits for it, and scripts call it in loops."""

from __future__ import annotations

import time

from ansible_collections.uni.engine.plugins.module_utils.cli.options import Namespace, Option, add
from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, age, clean, put
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import summaries

TYPE_CHECKING = False  # typing and argparse cost milliseconds
if TYPE_CHECKING:
    import argparse
    from typing import Any

OPTIONS = (
    Option(("-a", "--all"), help="also VMs that do not run"),
    Option(("-q", "--quiet"), help="ids only"),
    Option(("--filter",), "KEY=VALUE", repeats=True,
           help="only VMs whose name, status, image, label, health, exited or id is this (repeats)"),
    Option(("--format",), "TEXT", help="one line a VM, such as '{name} {status}' or '{{.Name}}'; or json"),
    Option(("--no-trunc",), help="with the image's whole digest and when it was made"),
)


def ps_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, OPTIONS)


def ps(args: Namespace, ui: Ui) -> int:
    """Print the VMs, the newest first."""
    vms = summaries.listing(ui.root_path, everything=args.all, filters=_filters(args.filter))
    if args.quiet:
        ui.emit([vm["id"] for vm in vms], lambda: put("\n".join(vm["id"] for vm in vms)) if vms else None)
        return 0
    now = time.time()
    if args.format == "json":  # as docker has it: one object a line
        import json

        ui.emit(vms, lambda: put("\n".join(json.dumps(vm) for vm in vms)) if vms else None)
        return 0
    if args.format is not None:
        lines = [_formatted(args.format, vm, now) for vm in vms]
        ui.emit(vms, lambda: put("\n".join(lines)) if lines else None)
        return 0
    more = ("IMAGE ID", "CREATED") if args.no_trunc else ()
    ui.table(
        vms,
        ("ID", "NAME", "IMAGE", "STATUS", "MEMORY", "PORTS", *more),
        [
            (
                vm["id"],
                vm["name"],
                vm.get("image", ""),
                status_text(vm, now),
                _megabytes(vm.get("memory")),
                ", ".join(short_port(port) for port in vm.get("ports") or ()),
                *((vm.get("image_id", ""), vm.get("created", "")) if more else ()),
            )
            for vm in vms
        ],
    )
    return 0


def _filters(words: list[str]) -> dict[str, list[str]]:
    """Each key with its values: a VM fits that has one of them for every key; of labels it must have all."""
    filters: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in ("name", "status", "image", "label", "health", "exited", "id"):
            from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

            raise UsageError(
                f"--filter {word!r} is not understood",
                code="cli.filter",
                hint="expected name=, status=, image=, label=, health=, exited= or id=, and a value",
            )
        filters.setdefault(key, []).append(value)
    return filters


def _formatted(template: str, vm: dict[str, Any], now: float) -> str:
    """One VM by a template: ``{field}``, or ``{{.Field}}`` as docker has it.

    :raises UsageError: code ``cli.format``
    """
    import re

    fields = {
        "id": vm["id"], "name": vm["name"], "names": vm["name"], "image": vm.get("image", ""),
        "imageid": vm.get("image_id", ""), "image_id": vm.get("image_id", ""), "created": vm.get("created", ""),
        "createdat": vm.get("created", ""), "status": status_text(vm, now), "state": vm.get("status", ""),
        "memory": _megabytes(vm.get("memory")), "cpus": vm.get("cpus", ""), "health": vm.get("health") or "",
        "ports": ", ".join(short_port(port) for port in vm.get("ports") or ()),
        "labels": ",".join(f"{key}={value}" for key, value in (vm.get("labels") or {}).items()),
    }

    def fill(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).lower()
        if name not in fields:
            from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

            raise UsageError(f"--format: there is no field {match[0]}", code="cli.format",
                             hint=f"fields: {', '.join(sorted(fields))}")
        return clean(str(fields[name]))

    text = template.replace("\\t", "\t").replace("\\n", "\n")
    return re.sub(r"\{\{\s*\.(\w+)\s*\}\}|\{(\w+)\}", fill, text)


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
