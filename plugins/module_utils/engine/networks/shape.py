# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a VM's network bandwidth: tc(8) on its TAP interface.

What the guest receives leaves the host through the TAP interface: a token bucket there (tc-tbf(8)). What it sends
comes in there, where a queue is not possible: it is redirected to an ``ifb`` device with a token bucket of its own, so
that TCP is slowed down and not torn (tc-mirred(8)). The buckets on the TAP interface go with it, and the keeper makes
them again with each start; the ``ifb`` device is removed when the VM has ended.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program

MIN_BURST = 64 << 10   # bytes: the longest packet that is cut only on its way out
LATENCY = "200ms"      # how long a packet may wait before it is dropped


def ifb_name(tap: str) -> str:
    """The device that what the guest sends goes through: the TAP interface's name with another beginning."""
    return "ui" + tap[2:]


def bucket(device: str, rate: int) -> str:
    """The tc command that limits what leaves through ``device`` to ``rate`` bytes per second. Pure."""
    return f"qdisc replace dev {device} root handle 1: tbf rate {rate}bps burst {max(MIN_BURST, rate // 100)}" \
           f" latency {LATENCY}"


def commands(tap: str, receive: int, send: int) -> Iterator[str]:
    """The tc commands for a guest that may receive and send so many bytes per second; 0 is no limit. Pure.

    They can be repeated, and belong to a TAP interface that was just made or is limited in the same directions.
    """
    if receive:
        yield bucket(tap, receive)
    if send:
        yield bucket(ifb_name(tap), send)
        yield f"qdisc replace dev {tap} ingress"
        yield f"filter replace dev {tap} parent ffff: protocol all prio 1 handle 800::800 u32 match u32 0 0" \
              f" action mirred egress redirect dev {ifb_name(tap)}"


def prepare(tap: str, send: int) -> None:
    """Make the device that a limit of what is sent needs; nothing when it is there or not needed."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import link

    name = ifb_name(tap)
    if send and not link.exists(name):
        _run("ip", [f"link add {name} type ifb", f"link set dev {name} up"])


def apply(tap: str, receive: int, send: int) -> None:
    """Limit a TAP interface that is there to ``receive`` and ``send`` bytes per second of the guest; 0: no limit.

    Replaces the limits before. The keeper of a VM does the same at each start: see attachment.attach.

    :raises HostError: code ``network.shape``
    """
    prepare(tap, send)
    _run("tc", list(commands(tap, receive, send)))
    present = _show(tap)
    if not receive and " tbf " in present:
        _run("tc", [f"qdisc del dev {tap} root"])
    if not send and " ingress " in present:
        _run("tc", [f"qdisc del dev {tap} ingress"])
    if not send:
        forget(tap)


def forget(tap: str) -> None:
    """Remove the device behind a TAP interface, where there is one."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import link

    if link.exists(ifb_name(tap)):
        _run("ip", [f"link delete {ifb_name(tap)}"])


def limits(tap: str) -> str:
    """What ``tc`` says about the TAP interface and the device behind it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import link

    return "".join(_show(name) for name in (tap, ifb_name(tap)) if link.exists(name))


def _show(device: str) -> str:
    done = subprocess.run([find_program("tc") or "tc", "qdisc", "show", "dev", device], capture_output=True, text=True,
                          timeout=30, check=False)
    return done.stdout


def _run(tool: str, lines: list[str]) -> None:
    """``tool -batch`` with these lines."""
    if not lines:
        return
    program = find_program(tool)
    if not program:
        raise HostError(f"{tool} is not installed", code="network.shape", hint="install it: apt install iproute2")
    done = subprocess.run([program, "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode:
        raise HostError(f"{tool} could not limit the network: {done.stderr.strip()[:300]}", code="network.shape",
                        hint="it needs the kernel's sch_tbf, sch_ingress, cls_u32, act_mirred and ifb")
