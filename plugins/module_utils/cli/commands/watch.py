# SPDX-License-Identifier: GPL-3.0-or-later
"""uni stats, top, status, events: what VMs use, what the host has, what happens."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, age, clean, put
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size, parse_duration
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops, usage

_HOME = "\x1b[H\x1b[J"  # cursor to the corner, clear to the end (ECMA-48, CUP and ED)


def stats_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="*", help="these VMs (default: all that run)")


def stats(args: argparse.Namespace, ui: Ui) -> int:
    """Print what VMs have used since their start, as the host and as the guests count it."""
    rows = usage.readings(ui.root, args.vm)
    ui.table(rows, ("NAME", "STATUS", "UP", "HOST CPU", "HOST MEM", "HOST DISK", "GUEST CPU", "GUEST MEM", "THREADS",
                    "NET IN/OUT", "DISK IN/OUT"), [_total(row) for row in rows])
    return 0


def _total(row: dict[str, Any]) -> tuple[object, ...]:
    host, guest = row["host"], row["guest"] or {}
    return (row["name"], row["status"], age(guest["uptime_ms"] / 1000) if "uptime_ms" in guest else "",
            f"{host['cpu_us'] / 1e6:.1f} s", format_size(host["rss"]), _pair(host, "rd_bytes", "wr_bytes"),
            f"{guest['cpu_us'] / 1e6:.1f} s" if "cpu_us" in guest else "", _memory(guest), guest.get("threads", ""),
            _pair(guest, "rx_bytes", "tx_bytes"), _pair(guest, "rd_bytes", "wr_bytes"))


def _pair(numbers: dict[str, Any], first: str, second: str) -> str:
    known = isinstance(numbers.get(first), int) and isinstance(numbers.get(second), int)
    return f"{format_size(numbers[first])} / {format_size(numbers[second])}" if known else ""


def _memory(guest: dict[str, Any]) -> str:
    if not isinstance(guest.get("mem_total"), int) or not isinstance(guest.get("mem_free"), int):
        return ""
    used = guest["mem_total"] - guest["mem_free"] - int(guest.get("mem_cache", 0))
    return f"{format_size(max(used, 0))} / {format_size(guest['mem_total'])}"


def top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="*", help="these VMs (default: all that run)")
    parser.add_argument("-n", "--count", type=int, metavar="N", help="end after N readings (default: at Ctrl-C)")
    parser.add_argument("--once", action="store_true", help="one reading; JSON and YAML are one reading too")
    parser.add_argument("--interval", default="1s", metavar="DURATION", help="time between readings (default: 1s)")


def top(args: argparse.Namespace, ui: Ui) -> int:
    """Show what VMs use now, on the host and inside, again every second; the busiest first."""
    interval = max(parse_duration(args.interval, what="--interval"), 0.1)
    count = 1 if args.once or ui.format != "table" else args.count
    terminal = sys.stdout.isatty() and count != 1
    try:
        for number, rows in enumerate(usage.follow(ui.root, args.vm, interval=interval), 1):
            rows.sort(key=lambda row: -float(row["rates"].get("host_cpu_percent", 0)))
            if terminal:
                sys.stdout.write(_HOME)
            ui.table(rows, ("NAME", "STATUS", "HOST CPU", "HOST MEM", "HOST DISK/S", "GUEST CPU", "GUEST MEM",
                            "THREADS", "NET IN/OUT/S", "DISK IN/OUT/S"), [_now(row) for row in rows])
            sys.stdout.flush()
            if count is not None and number >= count:
                break
    except KeyboardInterrupt:
        pass  # this is how one leaves it
    return 0


def _now(row: dict[str, Any]) -> tuple[object, ...]:
    rates, guest = row["rates"], row["guest"] or {}

    def percent(name: str) -> str:
        return f"{rates[name]:.1f}%" if name in rates else ""

    return (row["name"], row["status"], percent("host_cpu_percent"), format_size(row["host"]["rss"]),
            _pair(rates, "host_rd_bytes", "host_wr_bytes"), percent("guest_cpu_percent"), _memory(guest),
            guest.get("threads", ""), _pair(rates, "guest_rx_bytes", "guest_tx_bytes"),
            _pair(rates, "guest_rd_bytes", "guest_wr_bytes"))


def status_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def status(args: argparse.Namespace, ui: Ui) -> int:
    """Show the host: root directory, QEMU and accelerator, kernels, VMs, networks, volumes, daemon, disk."""
    del args
    data = usage.overview(ui.root)
    ui.emit(data, lambda: _print_status(data))
    return 0


def _print_status(data: dict[str, Any]) -> None:
    monitor, vms, disk = data["monitor"], dict(data["vms"]), data["disk"]
    total = vms.pop("total")
    counts = ", ".join(f"{number} {name}" for name, number in vms.items())
    used = ", ".join(f"{name} {format_size(size)}" for name, size in disk["used"].items() if size)
    others = [version for version in data["kernels"]["versions"] if version != data["kernels"]["default"]]
    for name, text in (
        ("root", f"{data['root']} (user {data['user']})"),
        ("QEMU", monitor.get("error") or f"{monitor['version']} ({monitor['program']})"),
        ("accelerator", monitor.get("accel", "")),
        ("kernel", f"{data['kernels']['default'] or 'no default'}"
                   + (f" (also: {', '.join(others)})" if others else "")),
        ("VMs", f"{total}" + (f": {counts}" if counts else "")),
        ("networks", data["networks"]),
        ("volumes", f"{data['volumes']['count']} ({format_size(data['volumes']['size'])})"),
        ("daemon", data["daemon"]),
        ("limits", f"cgroup v2 at {data['cgroup']}" if data["cgroup"] else "no cgroup v2 on this host"),
        ("disk", f"{format_size(sum(disk['used'].values()))} used ({used}), {format_size(disk['free'])} free"),
    ):
        put(f"{name + ':':13}{clean(str(text))}")


def events_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what still happens, until Ctrl-C")
    parser.add_argument("--since", metavar="TIME", help="only what is newer: 10m, 1h30m or 2026-01-31T12:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="only what is older, written likewise")
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE",
                        help="only events whose vm, name or event is this (repeats: one of the values of each key)")


def events(args: argparse.Namespace, ui: Ui) -> int:
    """Print what happened to VMs, the oldest first; with -f and --output json one object a line."""
    found = ops.events(ui.root, since=args.since, until=args.until, follow=args.follow, filters=_filters(args.filter))
    if not args.follow:
        rows = list(found)
        ui.table(rows, ("TIME", "EVENT", "VM", "DETAILS"), [
            (event["time"], event["event"], event.get("name", ""), _details(event)) for event in rows])
        return 0
    try:
        for event in found:
            if ui.format == "table":
                line = f"{event['time']}   {event['event']:10} {event.get('name', '')}   {_details(event)}"
                put(clean(line).rstrip())
            else:
                import json

                put(json.dumps(event))
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass  # this is how one leaves it
    return 0


def _filters(words: list[str]) -> dict[str, set[str]]:
    filters: dict[str, set[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in ("vm", "name", "event"):
            from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

            raise UsageError(f"--filter {word!r} is not understood", code="cli.filter",
                             hint="expected vm=, name= or event=, and a value")
        filters.setdefault(key, set()).add(value)
    return filters


def _details(event: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in event.items() if key not in ("time", "event", "vm", "name"))
