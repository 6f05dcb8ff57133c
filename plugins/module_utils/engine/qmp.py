# SPDX-License-Identifier: GPL-3.0-or-later
"""A small synchronous QMP client: every call has a deadline, every failure closes the connection.

Protocol: QEMU Machine Protocol Specification (docs/interop/qmp-spec.txt).
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import DeadlineError, GuestError

MAX_MESSAGE = 1 << 20  # bytes; QEMU's own answers are far smaller


class Qmp:
    """A connection to ``qmp.sock``. QEMU serves one at a time, so a second caller waits until its deadline.

    :raises GuestError: code ``qmp.gone`` when nobody listens, ``qmp.error`` when QEMU refuses a command
    :raises DeadlineError: code ``qmp.deadline``
    """

    def __init__(self, directory: Path, *, timeout: float = 10.0) -> None:
        self.timeout = timeout
        self.buffer = b""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{fd}/qmp.sock")
        except OSError as error:
            self.sock.close()
            raise GuestError(f"QEMU's control socket of {directory.name} does not answer: {error.strerror}",
                             code="qmp.gone") from error
        finally:
            os.close(fd)
        try:
            deadline = time.monotonic() + timeout
            while "QMP" not in self._message(deadline):
                pass
            self.call("qmp_capabilities")
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.sock.close()

    def call(self, command: str, *, deadline: float | None = None, **arguments: Any) -> Any:
        """Run a command and return its result. Underscores in argument names stand for hyphens."""
        until = time.monotonic() + (self.timeout if deadline is None else deadline)
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            self.sock.settimeout(max(until - time.monotonic(), 0.001))
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            self.sock.close()
            raise GuestError(f"QEMU went away during {command}", code="qmp.gone") from error
        while True:
            answer = self._message(until)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                detail = answer["error"]
                raise GuestError(f"QEMU refused {command}: {detail.get('desc', detail)}", code="qmp.error")

    def pass_fd(self, name: str, fd: int) -> None:
        """Hand a descriptor to QEMU under a name (getfd): files that QEMU itself may not open."""
        message = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode() + b"\n"
        try:
            socket.send_fds(self.sock, [message], [fd])
        except OSError as error:
            raise GuestError("QEMU went away during getfd", code="qmp.gone") from error
        answer = self._message(time.monotonic() + self.timeout)
        while "return" not in answer and "error" not in answer:
            answer = self._message(time.monotonic() + self.timeout)
        if "error" in answer:
            raise GuestError(f"QEMU refused a descriptor: {answer['error'].get('desc')}", code="qmp.error")

    def human(self, line: str) -> str:
        """Run a command of the human monitor (hostfwd_add and the like exist only there)."""
        return str(self.call("human-monitor-command", command_line=line)).strip()

    def _message(self, deadline: float) -> dict[str, Any]:
        """The next message; events are passed over by the callers."""
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            try:
                self.sock.settimeout(max(left, 0.001))
                data = self.sock.recv(65536) if left > 0 else b"late"
            except socket.timeout:
                left, data = 0.0, b"late"
            except OSError:
                data = b""
            if left <= 0:
                self.sock.close()
                raise DeadlineError("QEMU did not answer on its control socket in time", code="qmp.deadline",
                                    hint="another command may hold it, or QEMU hangs: uni kill ends it")
            self.buffer += data
            if not data or len(self.buffer) > MAX_MESSAGE:
                self.sock.close()
                raise GuestError("QEMU closed its control socket", code="qmp.gone")
        line, _sep, self.buffer = self.buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.sock.close()
            raise GuestError("QEMU's control socket sent something that is not QMP", code="qmp.gone")
        return message
