# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the port forwards of a running VM."""

from __future__ import annotations

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import GuestError
from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward, parse_port
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import launch
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import effective


def change(root: Root, old: Vm, new: Vm) -> None:
    """From the forwards of ``old`` to those of ``new``, whose record gets the real ports. All or nothing.

    :raises ConflictError: code ``port.in_use``
    """
    number = launch.first_user(old)
    if number < 0:
        new.runtime["ports"] = launch.choose_ports(root, Vm(new.directory, new.record, new.state, dict(old.runtime)))
        if new.runtime.get("addresses"):
            launch.publish(root, new)
        return
    before = set(launch.resolved_ports(old))
    known = {(port.bind, port.guest, port.proto): port.host for port in before}
    after = []
    for text in effective(new.values, "ports"):
        for port in parse_port(text):
            host = port.host or known.get((port.bind, port.guest, port.proto), 0)
            kept = PortForward(port.bind, host, port.guest, port.proto)
            if kept not in before:
                kept = PortForward(port.bind, launch.check_port(root, new, port, host), port.guest, port.proto)
            after.append(kept)
    _apply(root, new, f"net{number}", sorted(before - set(after)), sorted(set(after) - before))
    new.runtime["ports"] = [str(port) for port in after]


def _apply(root: Root, vm: Vm, netdev: str, gone: list[PortForward], added: list[PortForward]) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import hostfwd

    with Qmp(vm.directory) as qmp:
        done: list[PortForward] = []
        for port in added:
            answer = qmp.human(f"hostfwd_add {netdev} {hostfwd(port)}")
            if answer:
                for undo in done:
                    qmp.human(f"hostfwd_remove {netdev} {undo.proto}:{undo.bind}:{undo.host}")
                if "Could not set up" in answer:
                    raise launch.port_in_use(root, vm, port)
                raise GuestError(f"QEMU refused the port forward {port}: {answer}", code="port.refused")
            done.append(port)
        for port in gone:
            qmp.human(f"hostfwd_remove {netdev} {port.proto}:{port.bind}:{port.host}")
