# SPDX-License-Identifier: GPL-3.0-or-later
"""The control port, host side: what the guest says is untrusted; lines are bounded, known events checked.

Protocol: docs/guest-interface.md, "Control port".
"""

from __future__ import annotations

import select

from .loop import Brake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

    from .client import Client
    from .vm import Vm

MAX_LINE = 4096
MAX_QUEUE = 65536        # bytes of commands kept for a guest that does not read
COMMAND_TIMEOUT = 10.0   # seconds a guest has for an answer
SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
           11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM"}
NOTED = {"oom": ("what", "program", "pages"), "panic": ("reason", "rip", "symbol"),
         "crash": ("signal", "rip", "addr"), "unsupported": ("call", "program")}
MAX_NOTES = 16           # events kept for the record of the end


def flat(text: bytes) -> dict[str, Any] | None:
    """One line as a flat JSON object; None for anything else.

    What cannot be printed is shown as ``?``: the texts come to terminals, and half a surrogate pair cannot be encoded.
    """
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if not all(isinstance(item, (str, int, bool)) for item in value.values()):
        return None
    return {key: printable(item) if isinstance(item, str) else item for key, item in value.items()}


def printable(text: str) -> str:
    """``text`` without control characters and the like."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _whole(value: Any) -> int:
    """A number as JSON has it, or -1 for anything else; True is an instance of int."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def code_of(verdict: dict[str, Any]) -> int:
    """The exit status a shell would show: the program's own, or 128 + signal (125: the VM failed, not the program)."""
    if verdict.get("signal"):
        return 128 + int(verdict["signal"])
    status = verdict.get("status")
    return status if isinstance(status, int) else 125


class Control:
    """The connection to the guest's second serial port and what came over it in this run."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.spoken = vm.one("control") == "1"
        self.sock: Socket | None = None
        self.next_id = 1
        self.brake = Brake(vm.loop, self._rearm)
        self.reset()

    def reset(self) -> None:
        """A new run of the guest begins."""
        self.booted = self.vm.one("booted") == "1"
        self.killed = False
        self.end: dict[str, Any] | None = None
        self.notes: list[dict[str, Any]] = []
        self.input, self.output = b"", b""
        self.skipping = False
        self.pending: dict[int, Client] = {}
        self.asked: int | None = None

    def connect(self) -> None:
        """Connect to control.sock."""
        self._disconnect()
        if not self.spoken:
            return
        try:
            self.sock = self.vm.directory.connect("control")
            self.vm.loop.watch(self.sock.fileno(), self._ready, select.EPOLLIN)
        except OSError:
            self.sock = None

    def _disconnect(self) -> None:
        if self.sock is not None:
            self.vm.loop.forget(self.sock.fileno())
            self.sock.close()
            self.sock = None

    def drain(self) -> None:
        """Read until the end; QEMU is gone."""
        while self._read():
            pass
        for client in self.pending.values():
            client.reply({"ok": False, "error": "the VM has ended"})
        self.pending.clear()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT and self._read() and self.brake.count():
            self._rearm()

    def _read(self) -> bool:
        if self.sock is None:
            return False
        try:
            data = self.sock.recv(MAX_LINE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return False
        self.input += data
        while b"\n" in self.input:
            line, _sep, self.input = self.input.partition(b"\n")
            if not self.skipping and len(line) <= MAX_LINE:
                self._event(flat(line))
            self.skipping = False
        if len(self.input) > MAX_LINE:
            self.input, self.skipping = b"", True
        return True

    def _event(self, event: dict[str, Any] | None) -> None:
        if event is None:
            return
        kind = event.get("event")
        if kind == "boot" and not self.booted:
            self.booted = True
            self.vm.running()
            self._flush()
        elif kind == "ready":
            self.asked = None
            if self.vm.fields.get("ready") != "true":  # once a run: each writes the record
                self.vm.ready()
        elif kind == "exit":
            self._exit(event)
        elif kind in ("ok", "error", "stats"):
            if self.asked is not None and event.get("id") == self.asked:
                self.asked = None
                self.vm.ready()
            client = self.pending.pop(event["id"], None) if isinstance(event.get("id"), int) else None
            if client is not None:
                client.reply({"ok": kind != "error", "error": str(event.get("message", ""))[:200], "answer": event})
        elif isinstance(kind, str) and kind in NOTED and len(self.notes) < MAX_NOTES:
            note = {key: event[key] for key in NOTED[kind] if key in event}
            self.notes.append({"event": kind, **note})
            self.vm.event(kind, **note)

    def _exit(self, event: dict[str, Any]) -> None:
        status, signo = _whole(event.get("status")), _whole(event.get("signal"))
        if 0 < signo < 65:
            name = event.get("name")
            known = name if isinstance(name, str) and len(name) < 16 else f"SIG{SIGNALS.get(signo, signo)}"
            self.end = {"signal": signo, "signal_name": known}
        elif 0 <= status < 256:
            self.end = {"status": status}

    def command(self, command: dict[str, Any], client: Client | None = None) -> None:
        """Send a command; it waits until the guest's kernel listens. ``client`` gets the answer."""
        import json

        number, self.next_id = self.next_id, self.next_id + 1
        line = json.dumps({**command, "id": number}).encode() + b"\n"
        if not self.spoken or len(line) > MAX_LINE or len(self.output) + len(line) > MAX_QUEUE:
            if client is not None:
                client.reply({"ok": False, "error": "the guest does not take commands"})
            return
        if client is not None:
            self.pending[number] = client
            self.vm.loop.after(COMMAND_TIMEOUT, lambda: self._late(number))
        self.output += line
        self._flush()

    def ask_whether_ready(self) -> None:
        """After an adoption: the number of a command whose answer says that the guest's program has begun."""
        self.asked = self.next_id
        self.command({"cmd": "stats"})

    def _late(self, number: int) -> None:
        client = self.pending.pop(number, None)
        if client is not None:
            client.reply({"ok": False, "error": f"no answer from the guest within {COMMAND_TIMEOUT:.0f} s"})

    def _flush(self) -> None:
        if self.sock is None or not self.booted:
            return
        try:
            while self.output:
                self.output = self.output[self.sock.send(self.output):]
        except OSError:
            pass  # EAGAIN: the guest is slow; anything else: it is about to be reaped
        self._rearm()

    def _rearm(self) -> None:
        if self.sock is not None:
            wanted = (0 if self.brake.on else select.EPOLLIN) | (select.EPOLLOUT if self.output and self.booted else 0)
            self.vm.loop.watch(self.sock.fileno(), self._ready, wanted)

    def verdict(self, monitor_status: int | None, monitor_log: str) -> dict[str, Any]:
        """How the run ended. ``monitor_status``: QEMU's own exit status, -N for signal N, None when unknown.

        ``reason``: exit, signal, oom, panic, killed (by us), monitor (QEMU failed), lost (QEMU was killed by
        somebody else), boot (the guest's kernel never spoke), poweroff (a guest without a control port).
        """
        verdict: dict[str, Any] = {"monitor_status": monitor_status, **(self.end or {})}
        kinds = [note["event"] for note in self.notes]
        if self.notes:
            verdict["notes"] = self.notes
        message = self._monitor_message(monitor_log)
        if "panic" in kinds:
            verdict["reason"] = "panic"
            verdict["message"] = str(next(n for n in self.notes if n["event"] == "panic").get("reason", ""))[:400]
        elif self.end is not None:
            verdict["reason"] = "oom" if "oom" in kinds else "signal" if "signal" in self.end else "exit"
        elif self.killed:
            verdict.update(reason="killed", signal=9, signal_name="SIGKILL")
        elif monitor_status is not None and monitor_status < 0:
            verdict.update(reason="lost", message=f"QEMU was ended by signal {-monitor_status}")
        elif monitor_status is None:
            verdict.update(reason="lost", message="QEMU ended while no keeper watched it")
        elif self.spoken and self.booted:
            verdict.update(reason="lost", message=message or "the guest ended without reporting its exit status")
        elif monitor_status == 1 and message:
            verdict.update(reason="monitor", message=message)
        elif self.spoken:
            verdict.update(reason="boot", message=message or "the guest's kernel ended before it could report")
        else:
            verdict.update(reason="poweroff", status=0 if monitor_status in (0, 1) else monitor_status >> 1)
        verdict["code"] = code_of(verdict)
        return verdict

    @staticmethod
    def _monitor_message(path: str) -> str:
        """The last lines that QEMU wrote to its standard error."""
        try:
            with open(path, "rb") as file:
                lines = file.read(16384).decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        told = [line for line in lines if ": warning: " not in line and ": info: " not in line]
        return "; ".join(told[-4:])[:1000]
