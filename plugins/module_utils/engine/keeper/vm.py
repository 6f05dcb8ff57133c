# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM under a keeper: its process, console, control port, state record and restart policy."""

from __future__ import annotations

import os
import select
import time
from _socket import socket as Socket

from .client import Client
from .control import Control
from .identity import boot_id, start_ticks
from .launch import Child, Directory, read_records
from .log import Log, utc
from .loop import Brake
from .stdin import Stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .loop import Loop, Timer

IN, OUT = select.EPOLLIN, select.EPOLLOUT
CHUNK = 65536
MAX_EVENT = 65536       # bytes of one event
MAX_EVENTS = 16 << 20   # bytes of the events log; one older file is kept
PARTIAL_DELAY = 0.02    # seconds a line without its end waits for the rest before it is logged
BACKOFF_FIRST = 0.1     # seconds before the first restart, doubled each time up to BACKOFF_MAX,
BACKOFF_MAX = 60.0
BACKOFF_RESET = 10.0    # and from the beginning when a VM ran that long
SIGKILL = 9


class Vm:
    """A VM. ``fields`` is the state record: name -> JSON text, so that writing it needs no JSON encoder."""

    def __init__(self, loop: Loop, path: str, notify: Callable[[str], None],
                 finished: Callable[[Vm], None]) -> None:
        self.loop, self.notify_caller, self.finished = loop, notify, finished
        self.directory = Directory(path)
        self.directory.hold()
        self.records = read_records(f"{path}/launch")
        self.id = self.one("id")
        self.fields: dict[str, str] = {}
        self.clients: set[Client] = set()
        self.waiters: list[tuple[Client, str]] = []
        self.log = Log(f"{path}/console.log", int(self.one("log_size", "10485760")),
                       int(self.one("log_files", "3")))
        self.control = Control(self)
        self.health: Any = None
        self.console: Socket | None = None
        self.pid = self.pidfd = -1
        self.child = False
        self.stdin = Stdin(self)
        self.stopping = self.down = False
        self.unsettled: list[Callable[[], None] | None] = []
        self.failures = 0
        self.launched = 0.0
        self.timers: dict[str, Timer] = {}
        self.brake = Brake(loop, self.rearm)
        self.server = self.directory.listen("keeper")
        loop.watch(self.server.fileno(), self._accept, IN)

    def one(self, key: str, default: str = "") -> str:
        """The last value of a launch record."""
        return self.records.get(key, [default])[-1]

    # -- starting ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start QEMU. A failure ends as state ``exited`` with the reason, like any other end."""
        self.launched = time.monotonic()
        self.control.reset()
        self.log.begin()
        self.fields.update(ready="false", booted="false", boot_seconds="null", health="null", exit="null")
        try:
            child = Child(self.records, self.directory)
        except (OSError, ValueError, KeyError) as error:
            self.over({"reason": "start", "message": str(error), "code": 125})
            return
        self.pid, self.child = child.pid, True
        self.record(status='"starting"', pid=str(child.pid), start=str(start_ticks(child.pid)),
                    boot=f'"{boot_id()}"', keeper=self._keeper(), started_at=f'"{utc(time.time())}"',
                    finished_at="null")
        self.settle()  # who we are about to become must be on disk before QEMU runs
        self._connect()
        self.stdin.begin()
        child.open_gate()
        self.loop.watch(child.report, lambda events: self._executed(child), IN)

    def _executed(self, child: Child) -> None:
        """QEMU runs, or could not be run."""
        self.loop.forget(child.report)
        error = child.outcome()
        if error:
            os.waitpid(child.pid, 0)
            self.pid = -1
            self.over({"reason": "start", "message": error, "code": 125})
            return
        self._watch_process()
        if not self.control.spoken or self.control.booted:  # from a saved state: it has booted long ago
            self.running()
        if self.stopping:
            self.kill()

    def has_ended(self) -> bool:
        """Whether a keeper has recorded the VM's end: what it wrote stands, nobody says "lost" over it."""
        return self._load_state().get("status") not in ("starting", "running", "paused", "stopping", "restarting")

    def leave(self) -> None:
        """Give up a VM that there is nothing to do for."""
        self.loop.forget(self.server.fileno())
        self.server.close()
        self.log.close()
        self.directory.release()

    def adopt(self) -> bool:
        """Take over a VM whose keeper died. False when its QEMU is not running any more."""
        state = self._load_state()
        self.stopping = state.get("status") == "stopping"
        if state.get("boot") != boot_id():
            return False
        try:
            self.pidfd = os.pidfd_open(state["pid"])
        except (OSError, TypeError):
            return False
        if start_ticks(state["pid"]) != state["start"]:
            os.close(self.pidfd)
            self.pidfd = -1
            return False
        self.pid = state["pid"]
        self.launched = time.monotonic()
        self.log.boot_offset = 0  # where this boot began in the log, its first keeper took along
        self.control.booted = bool(state.get("booted"))
        self._connect()
        self._watch_process()
        self.record(keeper=self._keeper())
        self.event("adopt")
        if self.control.spoken and not (self.control.booted and state.get("ready")):
            self._catch_up()
        elif not self.control.spoken and state.get("status") == "starting":
            self.running()  # a guest that cannot say so: its QEMU runs
        self.notify("adopted")
        if state.get("ready") or not self.control.spoken:
            self._start_health()
        return True

    def _catch_up(self) -> None:
        """What the guest said while no keeper listened is gone: its QEMU runs, so it counts as booted, and it is asked
        for anything, for a kernel that answers has begun its program.
        """
        if not self.control.booted:
            self.control.booted = True
            self.running()
        self.control.ask_whether_ready()

    def lost(self) -> None:
        """Nobody watched when QEMU ended: say so, then do what the restart policy says."""
        self.over({"reason": "lost", "code": 125, "message": "QEMU ended while no keeper watched it"})

    def _load_state(self) -> dict[str, Any]:
        """The state record, split into the launch facts and ``fields``."""
        import json

        with open(f"{self.directory.path}/state.json", encoding="utf-8") as file:
            state: dict[str, Any] = json.load(file)
        facts = json.loads(self.one("facts", "{}"))
        self.fields = {key: json.dumps(value) for key, value in state.items() if key not in facts}
        return state

    def reload(self) -> None:
        """Take changed launch records into use; what concerns QEMU's start counts from the next start."""
        before = self.one("health")
        self.records = read_records(f"{self.directory.path}/launch")
        self.log.limit = int(self.one("log_size", "10485760"))
        self.log.files = int(self.one("log_files", "3"))
        if self.one("health") != before:  # a check that is the same goes on: the VM stays as healthy as it was
            if self.health is not None:
                self.health.close()
                self.health = None
            self.fields["health"] = "null"
            if self.pid >= 0 and (self.fields.get("ready") == "true" or not self.control.spoken):
                self._start_health()
        self.record()

    @staticmethod
    def _keeper() -> str:
        return f'{{"pid":{os.getpid()},"start":{start_ticks(os.getpid())}}}'

    def _connect(self) -> None:
        self._disconnect()
        try:
            self.console = self.directory.connect("console")
            self.loop.watch(self.console.fileno(), self._console_ready, IN)
        except OSError:
            self.console = None
        self.control.connect()

    def _disconnect(self) -> None:
        """Close what a run left open: a file descriptor that is closed must not stay watched."""
        if self.console is not None:
            self.loop.forget(self.console.fileno())
            self.console.close()
            self.console = None
        self.stdin.reset()

    def _watch_process(self) -> None:
        if self.pidfd < 0:
            self.pidfd = os.pidfd_open(self.pid)
        self.loop.watch(self.pidfd, lambda events: self._exited(), IN)

    def running(self) -> None:
        """The guest has shown a sign of life (or cannot show one)."""
        self.record(status='"running"', booted="true")
        self.event("start")
        self.notify("running")
        self.answer("running", {"ok": True})
        self.stdin.send()
        if not self.control.spoken:
            self._start_health()

    def ready(self) -> None:
        """The program's first instruction is about to run."""
        if self.child:  # whoever adopted the VM does not know when it was started
            self.fields["boot_seconds"] = f"{time.monotonic() - self.launched:.3f}"
        self.record(ready="true")
        self.notify("ready")
        self.answer("ready", {"ok": True})
        self._start_health()

    def _start_health(self) -> None:
        if self.health is None and self.one("health"):
            from .health import Health

            self.health = Health(self, self.one("health"))

    # -- console -------------------------------------------------------------------------------------------

    def _console_ready(self, events: int) -> None:
        if self.console is None:
            return
        if events & OUT:
            self.stdin.send()
        if events & ~OUT:
            self._read_console()

    def _read_console(self) -> bool:
        """Read once. False when there is nothing (any more)."""
        if self.console is None:
            return False
        try:
            data = self.console.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return False
        if self.log.feed(data):
            self._once("partial", PARTIAL_DELAY, self.log.flush)
        for client in [client for client in self.clients if client.attached]:
            client.send(data)
        if self.health is not None:
            self.health.console(data)
        if self.brake.count():
            self.rearm()
        return True

    def rearm(self) -> None:
        """Watch the console for what is wanted of it now."""
        if self.console is not None:
            wanted = (0 if self.brake.on else IN) | (OUT if self.stdin.queue else 0)
            self.loop.watch(self.console.fileno(), self._console_ready, wanted)

    # -- the end -------------------------------------------------------------------------------------------

    def stop(self, signo: int, grace: float) -> None:
        """Ask the program to end, kill QEMU after ``grace`` seconds. Stopping means: no restart."""
        self.stopping = True
        if self.down or self.pid < 0:
            if not self.down:
                self.over(None)
            return
        if signo == SIGKILL or not grace:
            self.kill()
            return
        self.record(status='"stopping"')
        if self.control.spoken:
            self.control.command({"cmd": "signal", "signo": signo})
        self._once("grace", grace, self.kill)

    def kill(self) -> None:
        """SIGKILL for QEMU, by pidfd: never another process that got the number."""
        import signal

        self.control.killed = True
        try:
            signal.pidfd_send_signal(self.pidfd, SIGKILL)
        except (OSError, AttributeError):
            if start_ticks(self.pid) == int(self.fields.get("start", "0")):
                os.kill(self.pid, SIGKILL)

    def _exited(self) -> None:
        """QEMU is gone: read what it left in the sockets, then record the end."""
        self.loop.forget(self.pidfd)
        os.close(self.pidfd)
        monitor_status = None
        if self.child:
            _pid, raw = os.waitpid(self.pid, 0)
            monitor_status = -(raw & 0x7F) if raw & 0x7F else raw >> 8
        self.pid = self.pidfd = -1
        while self._read_console():
            pass
        self.control.drain()
        self.log.flush()
        self.over(self.control.verdict(monitor_status, f"{self.directory.path}/monitor.log"))

    def over(self, verdict: dict[str, Any] | None) -> None:
        """One run has ended (None: there was none). Restart, or be finally down."""
        import json

        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
        if self.health is not None:
            self.health.close()
            self.health = None
        if verdict is not None:
            self.fields["exit"] = json.dumps(verdict)
            self.fields["finished_at"] = f'"{utc(time.time())}"'
            self.event("exit", **verdict)
        delay = self._restart_delay(verdict)
        if delay is None:
            self._finally_down(verdict)
            return
        self.record(status='"restarting"', pid="null", restarts=str(int(self.fields.get("restarts", "0")) + 1))
        self.answer("exit", {"ok": True, "exit": verdict})
        self._once("restart", delay, self.start)

    def _restart_delay(self, verdict: dict[str, Any] | None) -> float | None:
        policy, _sep, most = self.one("restart", "no").partition(":")
        if self.stopping or verdict is None or policy == "no":
            return None
        never_ran = verdict.get("reason") in ("start", "monitor") and int(self.fields.get("restarts", "0")) == 0
        if never_ran or (policy == "on-failure" and verdict.get("code") == 0):
            return None
        if time.monotonic() - self.launched >= BACKOFF_RESET:
            self.failures = 0
        if policy == "on-failure" and most and int(self.fields.get("restarts", "0")) >= int(most):
            return None
        self.failures += 1
        return min(BACKOFF_FIRST * 2.0 ** min(self.failures - 1, 20), BACKOFF_MAX)

    def _finally_down(self, verdict: dict[str, Any] | None) -> None:
        import json

        from .cleanup import forget_names, remove_vm, run_commands

        self.down = True
        self.record(status='"exited"', pid="null", ready="false")
        self.settle(sync=True)
        run_commands(self.records.get("cleanup", []) + self.records.get("takedown", []))
        forget_names(self.records.get("gone", []), self.records.get("hangup", []))
        if self.one("remove") == "1":
            remove_vm(self.directory.path, self.records.get("unlink", []), self.records.get("rmdir", []))
        self.directory.release()  # whoever hears of the end may start the VM again
        self.notify("exited", self.fields.get("exit", "null"))
        for client in list(self.clients):
            if client.attached:
                client.finish()
        last = verdict if verdict is not None else json.loads(self.fields.get("exit", "null"))
        for kind in ("exit", "running", "ready", "healthy", "final"):
            self.answer(kind, {"ok": kind in ("exit", "final"), "exit": last,
                               "error": "" if kind in ("exit", "final") else "the VM has ended"})
        self.leave()
        for call in self.unsettled:  # what is on disk is final; --rm has removed it by now
            if call is not None:
                call()
        self.unsettled = []
        self.finished(self)

    # -- state, events, clients ----------------------------------------------------------------------------

    def record(self, **fields: str) -> None:
        """Update the state record; values are JSON texts. It is written once per round of the loop."""
        self.fields.update(fields)
        self.later(None)

    def later(self, call: Callable[[], None] | None) -> None:
        """Do something after the record is written: nobody hears of what is not on disk."""
        if not self.unsettled:
            self.loop.defer(self.settle)
        self.unsettled.append(call)

    def settle(self, *, sync: bool = False) -> None:
        """Write the state record, then tell who waits."""
        calls, self.unsettled = self.unsettled, []
        if calls or sync:
            self._write(sync)
        for call in calls:
            if call is not None:
                call()

    def _write(self, sync: bool) -> None:
        facts = self.one("facts", "{}")[1:-1]
        text = ",".join([facts] * bool(facts) + [f'"{key}":{value}' for key, value in self.fields.items()])
        try:
            self.directory.write("state.json", f"{{{text}}}\n".encode(), sync=sync)
        except OSError as error:
            os.write(2, f"uni keeper: {self.id}: cannot write the state record: {error}\n".encode())

    def event(self, kind: str, **details: Any) -> None:
        """Append to the events log: one JSON line, one write."""
        path = self.one("events")
        if not path:
            return
        import json

        line = {"time": utc(time.time()), "event": kind, "vm": self.id, "name": self.one("name"), **details}
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, json.dumps(line).encode()[:MAX_EVENT] + b"\n")
                if os.fstat(fd).st_size > MAX_EVENTS:
                    os.rename(path, f"{path}.1")
            finally:
                os.close(fd)
        except OSError:
            pass  # the log of events is a convenience: a full disk must not stop a VM

    def notify(self, kind: str, detail: str = "null") -> None:
        """Tell the command that started this keeper; ``detail`` is a JSON text."""
        line = f'{{"vm":"{self.id}","event":"{kind}","exit":{detail}}}\n'
        self.later(lambda: self.notify_caller(line))

    def answer(self, kind: str, reply: dict[str, Any]) -> None:
        """Answer everybody who waits for ``kind``."""
        waiting = [client for client, wanted in self.waiters if wanted == kind]
        self.waiters = [entry for entry in self.waiters if entry[1] != kind]
        for client in waiting:
            self.later(lambda client=client: client.reply(reply))  # type: ignore[misc]

    def _once(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """A named timer: a second one of the same name is not started."""
        if name not in self.timers:
            def fire() -> None:
                self.timers.pop(name, None)
                call()

            self.timers[name] = self.loop.after(delay, fire)

    def _accept(self, events: int) -> None:
        del events
        try:
            fd, _address = self.server._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = Socket(fileno=fd)
        sock.setblocking(False)
        self.clients.add(Client(self.loop, self, sock))

    def request(self, client: Client, line: bytes) -> None:
        """A request came in on keeper.sock."""
        from .requests import serve

        serve(self, client, line)
