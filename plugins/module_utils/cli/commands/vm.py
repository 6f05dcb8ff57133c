# SPDX-License-Identifier: GPL-3.0-or-later
"""uni inspect, start, stop, kill, ...: VMs that exist."""

from __future__ import annotations

import argparse
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put, show
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api


def inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="+", help="a name, an id or an unambiguous start of one; images work too")


def inspect(args: argparse.Namespace, ui: Ui) -> int:
    """Print everything about VMs (or images)."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError

    data = []
    for name in args.vm:
        try:
            data.append(api.inspect(ui.root, name))
        except NotFoundError as error:
            from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images

            image = images.find(ui.root, name) if ":" not in name or "/" in name or name.count(":") == 1 else None
            if image is None:
                raise error from None
            data.append(image.to_dict())
    ui.emit(data, lambda: show(data))
    return 0


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", nargs="+", help="a name, an id or an unambiguous start of one")


def start_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)


def start(args: argparse.Namespace, ui: Ui) -> int:
    """Start VMs; one that runs is left alone."""
    return each(args, ui, lambda name: _vm(api.start(ui.root, name).vm))


def stop_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument("-t", "--time", metavar="DURATION", help="how long the program may take (default: 30s)")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask the program, end the VM at once")
    parser.add_argument("--signal", metavar="SIGNAL", help="what it is asked with (default: the image's, SIGTERM)")


def stop(args: argparse.Namespace, ui: Ui) -> int:
    """Ask programs to end, and end the VMs of those that do not."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import parse_signal

    grace = 0.0 if args.force else None if args.time is None else parse_duration(args.time, what="--time")
    signal = 9 if args.force else None if args.signal is None else parse_signal(args.signal)
    return each(args, ui, lambda name: _vm(api.stop(ui.root, name, grace=grace, signal=signal).vm))


def kill_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument(
        "-s",
        "--signal",
        default="KILL",
        metavar="SIGNAL",
        help="KILL ends the VM; any other goes to the program (default: KILL)",
    )


def kill(args: argparse.Namespace, ui: Ui) -> int:
    """Send a signal."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import parse_signal

    number = parse_signal(args.signal)

    def one(name: str) -> dict[str, Any]:
        vm = api.resolve_vm(ui.root, name)
        api.kill(ui.root, name, number)
        return {"id": vm.id, "name": vm.name, "signal": number}

    return each(args, ui, one)


def exec_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument("--signal", required=True, metavar="SIGNAL", help="the signal, such as HUP")


def exec(args: argparse.Namespace, ui: Ui) -> int:
    """Send a signal to the program; a unikernel has no second process to start."""
    return kill(args, ui)


def restart_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument("-t", "--time", metavar="DURATION", help="how long the program may take to end (default: 30s)")


def restart(args: argparse.Namespace, ui: Ui) -> int:
    """Stop and start."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration

    grace = None if args.time is None else parse_duration(args.time, what="--time")
    return each(args, ui, lambda name: api.restart(ui.root, name, grace=grace))


def pause_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)


def pause(args: argparse.Namespace, ui: Ui) -> int:
    """Hold the CPUs of VMs."""
    return each(args, ui, lambda name: done(ui, name, api.pause))


def unpause_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)


def unpause(args: argparse.Namespace, ui: Ui) -> int:
    """Let them go on."""
    return each(args, ui, lambda name: done(ui, name, api.unpause))


def rm_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument("-f", "--force", action="store_true", help="end a running VM first; remove a damaged one")


def rm(args: argparse.Namespace, ui: Ui) -> int:
    """Remove VMs; their volumes stay."""

    def one(name: str) -> dict[str, Any]:
        vm = api.remove(ui.root, name, force=args.force)
        return {"id": vm.id, "name": vm.name, "removed": True}

    return each(args, ui, one)


def rename_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("name", help="the new name")


def rename(args: argparse.Namespace, ui: Ui) -> int:
    """Give a VM another name."""
    ui.line(api.rename(ui.root, args.vm, args.name), args.name)
    return 0


def port_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")


def port(args: argparse.Namespace, ui: Ui) -> int:
    """Print which ports of the host lead into a VM."""
    ports = list(api.info(api.resolve_vm(ui.root, args.vm))["ports"])
    ui.emit(ports, lambda: put("\n".join(map(str, ports))) if ports else None)
    return 0


def trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("switch", nargs="?", choices=("on", "off"),
                        help="turn it on or off and leave; without it: on, print the calls, off again at Ctrl-C")
    parser.add_argument("-e", "--filter", metavar="NAMES", help="only these system calls, such as openat,read")
    parser.add_argument("-o", dest="into", metavar="FILE", help="write them to a file")
    parser.add_argument("--time", metavar="DURATION", help="end after this time")


def trace(args: argparse.Namespace, ui: Ui) -> int:
    """Trace the system calls of a running VM: live here, or on its console."""
    from ansible_collections.uni.engine.plugins.module_utils.cli import tracing

    vm = api.resolve_vm(ui.root, args.vm)
    if args.switch is None:
        return tracing.run(args, ui, vm.id)
    api.command(ui.root, vm.id, {"cmd": "trace", "on": args.switch == "on"})
    ui.line({"id": vm.id, "name": vm.name, "trace": args.switch == "on"}, vm.name)
    return 0


def _vm(vm: dict[str, Any] | None) -> dict[str, Any]:
    return vm or {}


def done(ui: Ui, name: str, function: Any) -> dict[str, Any]:
    """Do something to a VM and name it."""
    vm = api.resolve_vm(ui.root, name)
    function(ui.root, name)
    return {"id": vm.id, "name": vm.name}


def each(args: argparse.Namespace, ui: Ui, one: Any) -> int:
    """Call for every name and print what came of it."""
    found, status = ui.each(args.vm, one)
    results = list(found.values())
    ui.emit(results, lambda: put("\n".join(str(result.get("name", "")) for result in results)) if results else None)
    return status
