# SPDX-License-Identifier: GPL-3.0-or-later
"""uni compose: stacks of services from one file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, show
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import api
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import StackSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration

DEFAULT_FILES = ("stack.yaml", "stack.yml", "compose.yaml", "compose.yml")


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help=f"the stack file (default: {', '.join(DEFAULT_FILES)})")
    parser.add_argument("--name", help="the stack's name (default: the file's `name:`, else that of its directory)")


def _services(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", action="append", default=[], metavar="NAME", help="only this service (repeats)")


def _changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--remove-orphans", action="store_true", help="remove VMs of services that the file lost")
    parser.add_argument("--recreate", choices=("auto", "always", "never"), default="auto",
                        help="when VMs are made anew (default: where nothing less will do)")
    parser.add_argument("--scale", action="append", default=[], metavar="SERVICE=N", help="instances of a service")


def _stack(args: argparse.Namespace) -> StackSpec:
    from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import load_stack

    return load_stack(_path(args), name=args.name, variables=os.environ)


def _path(args: argparse.Namespace) -> Path:
    if args.file is not None:
        return Path(args.file)
    for name in DEFAULT_FILES:
        if Path(name).exists():
            return Path(name)
    raise UsageError("there is no stack file here", code="stack.no_file",
                     hint=f"name one, or call it {DEFAULT_FILES[0]}")


def _name(args: argparse.Namespace) -> str:
    """The stack's name for commands that need no file: `uni compose down --name shop` works without one."""
    if args.name and args.file is None:
        return str(args.name)
    return _stack(args).name


def _scale(words: list[str]) -> dict[str, int]:
    result = {}
    for word in words:
        service, _equals, count = word.partition("=")
        if not service or not count.isdigit():
            raise UsageError(f"--scale {word!r} is not understood", code="cli.scale", hint="expected SERVICE=NUMBER")
        result[service] = int(count)
    return result


def compose_up_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _services(parser)
    _changes(parser)
    parser.add_argument("--timeout", metavar="TIME", help="how long a VM may take to boot, and to become healthy")


def compose_up(args: argparse.Namespace, ui: Ui) -> int:
    """Bring a stack up."""
    stack = _stack(args)
    timeout = None if args.timeout is None else parse_duration(args.timeout, what="--timeout")
    result = api.up(ui.root, stack, services=args.service, scale=_scale(args.scale), timeout=timeout,
                    remove_orphans=args.remove_orphans, recreate=args.recreate, progress=ui.note)
    _warn(ui, result.warnings)
    data = {"name": result.name, "changed": result.changed, "actions": result.plan.describe(),
            "services": result.services}
    if not result.changed:
        ui.note(f"{result.name} is up; nothing to do")
    ui.table(data, *_table(result.services))
    return 0


def _table(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    from ansible_collections.uni.engine.plugins.module_utils.cli.commands.ps import short_port

    return ("SERVICE", "VM", "STATUS", "HEALTH", "PORTS"), [
        (row["service"], row["name"], _status(row), row["health"] or "",
         ", ".join(short_port(port) for port in row["ports"])) for row in rows]


def _status(row: dict[str, Any]) -> str:
    if row["status"] != "exited":
        return str(row["status"])
    return f"exited ({(row['exit'] or {}).get('code', '?')})"


def compose_plan_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _services(parser)
    _changes(parser)


def compose_plan(args: argparse.Namespace, ui: Ui) -> int:
    """Say what `up` would do."""
    result = api.up(ui.root, _stack(args), check=True, services=args.service, scale=_scale(args.scale),
                    remove_orphans=args.remove_orphans, recreate=args.recreate)
    _warn(ui, result.warnings)
    data = {"name": result.name, "changed": result.changed, "actions": result.plan.describe()}
    ui.line(data, _plan_text(result.plan))
    return 0


def _plan_text(plan: Plan) -> str:
    """A line an action, and below it what differs."""
    lines = []
    for action in plan.actions:
        lines.append(f"{action.target}: {action.summary}")
        for key in action.after:
            before, after = action.before.get(key), action.after[key]
            if key != "status" and before != after:
                lines.append(f"    {key}: {'' if before is None else f'{before} -> '}{after}")
    count = len(plan.actions)
    lines.append(f"{count} action{'' if count == 1 else 's'}" if count else "nothing to do")
    return "\n".join(lines)


def compose_down_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("--volumes", action="store_true", help="remove the stack's volumes too, with their data")
    parser.add_argument("--time", metavar="TIME", help="grace before a program is killed (default: each VM's own)")


def compose_down(args: argparse.Namespace, ui: Ui) -> int:
    """Take a stack down."""
    grace = None if args.time is None else parse_duration(args.time, what="--time")
    result = api.down(ui.root, _name(args), volumes=args.volumes, timeout=grace, progress=ui.note)
    removed = [a.target for a in result.plan.actions if a.kind == "remove"]
    ui.line({"name": result.name, "changed": result.changed, "actions": result.plan.describe()},
            "\n".join(removed) if removed else f"{result.name} is down; nothing to do")
    return 0


def compose_ps_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)


def compose_ps(args: argparse.Namespace, ui: Ui) -> int:
    """Print a stack's VMs."""
    rows = api.ps(ui.root, _name(args))
    ui.table(rows, *_table(rows))
    return 0


def compose_ls_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def compose_ls(args: argparse.Namespace, ui: Ui) -> int:
    """Print the stacks of this host."""
    rows = api.stacks(ui.root)
    ui.table(rows, ("NAME", "RUNNING", "VMS"), [(row["name"], row["running"], row["vms"]) for row in rows])
    return 0


def compose_logs_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _services(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until every VM has ended")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines of each")


def compose_logs(args: argparse.Namespace, ui: Ui) -> int:
    """Print consoles, each line behind its VM's name."""
    from concurrent.futures import ThreadPoolExecutor

    names = api.names(ui.root, _name(args), args.service)
    width = max(len(name) for name in names)
    if not args.follow:
        for name in names:
            _print_log(ui, name, width, follow=False, tail=args.tail)
        return 0
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: _print_log(ui, name, width, follow=True, tail=args.tail), names))
    return 0


def _print_log(ui: Ui, name: str, width: int, *, follow: bool, tail: int | None) -> None:
    """One VM's console; each line is written in one piece, so that several VMs' lines do not mix."""
    import json

    from ansible_collections.uni.engine.plugins.module_utils.cli.output import clean
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms

    for line in vms.logs(ui.root, name, follow=follow, tail=tail):
        text = line.text.decode("utf-8", "replace")
        if ui.format == "json":
            sys.stdout.write(json.dumps({"vm": name, "time": line.stamp, "line": text}) + "\n")
        else:
            sys.stdout.write(f"{name:{width}} | {clean(text)}\n")
        sys.stdout.flush()


def compose_config_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)


def compose_config(args: argparse.Namespace, ui: Ui) -> int:
    """Print the stack as it was understood."""
    data = api.config(_stack(args))
    ui.emit(data, lambda: show(data))
    return 0


def compose_scale_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scale", nargs="+", metavar="SERVICE=N")
    parser.add_argument("--file", type=Path, help=f"the stack file (default: {', '.join(DEFAULT_FILES)})")
    parser.add_argument("--name", help="the stack's name")


def compose_scale(args: argparse.Namespace, ui: Ui) -> int:
    """Run so many instances of services; leave the others alone."""
    wanted = _scale(args.scale)
    result = api.up(ui.root, _stack(args), services=list(wanted), scale=wanted, progress=ui.note)
    ui.table(result.services, *_table(result.services))
    return 0


def compose_restart_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _services(parser)


def compose_restart(args: argparse.Namespace, ui: Ui) -> int:
    """Restart VMs, dependencies first."""
    done = api.restart(ui.root, _name(args), args.service)
    ui.line({"restarted": done}, "\n".join(done))
    return 0


def _warn(ui: Ui, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        ui.note(f"warning: {warning}")
