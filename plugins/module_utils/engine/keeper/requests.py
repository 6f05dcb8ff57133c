# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``keeper.sock`` understands: one JSON object per connection, key ``op``.

``attach`` (``replay``, ``typing``, ``position``): raw console stream until the VM is down or the client leaves. A
client that types and closes its sending side ends the program's standard input. With ``position`` it begins with a JSON
line: ``inode`` and ``size`` of the log at the moment from which the stream goes on.
``wait`` (``event``: exit, final, running, ready, healthy): answers when it happened.
``stop`` (``signo``, ``grace`` seconds): answers ``{"ok": true, "exit": {...}}`` when the VM is down.
``command`` (``cmd``: an object for the control port): the guest's answer.
``note`` (``status``: running or paused): the state that a monitor command has made. One that goes on is told the time.
``reload``: read the launch records again (restart policy, log, health, facts).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import Client
    from .vm import Vm

EVENTS = ("exit", "final", "running", "ready", "healthy")


def serve(vm: Vm, client: Client, line: bytes) -> None:
    """Carry out one request; a bad one gets an error and changes nothing."""
    import json

    try:
        request = json.loads(line)
        handler = HANDLERS[request["op"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        client.reply({"ok": False, "error": "not a request that this keeper knows"})
        return
    try:
        handler(vm, client, request)
    except (ValueError, KeyError, TypeError) as error:
        client.reply({"ok": False, "error": f"bad request: {error}"})


def _attach(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    client.attached, client.typing = True, bool(request.get("typing"))
    if request.get("position"):
        client.send(vm.log.position())
    if request.get("replay"):
        client.send(vm.log.replay())
    rest, client.input = client.input, b""
    if rest and client.typing:
        vm.stdin.type(client, rest)
    if client.sock.fileno() >= 0:
        client.rearm()


def _wait(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    event = request["event"]
    if event not in EVENTS:
        raise ValueError(event)
    already = (event == "running" and vm.fields.get("booted") == "true") \
        or (event == "ready" and vm.fields.get("ready") == "true") \
        or (event == "healthy" and vm.fields.get("health") == '"healthy"')
    if already:
        client.reply({"ok": True})
    else:
        vm.waiters.append((client, event))


def _stop(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    signo, grace = int(request.get("signo", 15)), float(request.get("grace", 30))
    vm.waiters.append((client, "final"))
    vm.stop(signo, grace)


def _command(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    vm.control.command(dict(request["cmd"]), client)


def _note(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    if request["status"] not in ("running", "paused"):
        raise ValueError(request["status"])
    status = f'"{request["status"]}"'
    if vm.fields.get("status") != status:
        vm.record(status=status)
        vm.event("pause" if request["status"] == "paused" else "unpause")
    if request["status"] == "running":
        vm.control.command({"cmd": "time", "ns": time.time_ns()})
    vm.later(lambda: client.reply({"ok": True}))


def _reload(vm: Vm, client: Client, request: dict[str, Any]) -> None:
    del request
    vm.reload()
    vm.later(lambda: client.reply({"ok": True}))


HANDLERS = {"attach": _attach, "wait": _wait, "stop": _stop, "command": _command, "note": _note, "reload": _reload}
