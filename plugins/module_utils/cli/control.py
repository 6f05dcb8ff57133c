# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread between a command that the daemon started and the `uni` that asked for it: one end of a socket pair each.

Command to client: ``s`` once it is ready, ``e`` and the exit status in digits when it ends. Client to command: a zero
byte, without which the command does nothing, then one byte for each signal that the client got. So neither needs the
daemon once the command runs: the daemon may be upgraded or killed meanwhile. A client that was killed closes its end,
and the command ends as it would have without the daemon.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

VARIABLE = "UNI_CONTROL"
READY, GO, ENDED = b"s", b"\0", b"e"
#: those that a terminal sends to every process of the foreground
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def run(function: Callable[[], int]) -> int:
    """Run a command's function; report to a client where the daemon started this process for one."""
    number = os.environ.pop(VARIABLE, "")
    if not number:
        return function()
    end = socket.socket(fileno=int(number))
    end.set_inheritable(False)
    _send(end, READY)
    if end.recv(1) != GO:       # the client has not waited: it does the work itself, or is gone
        return 1
    import threading

    threading.Thread(target=_listen, args=(end,), daemon=True).start()
    try:
        status = function()
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    # What was printed must be out before the client hears of the end and leaves.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    _send(end, ENDED + str(status).encode())
    return status


def _send(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data, socket.MSG_NOSIGNAL)
    except OSError:
        pass        # the client is gone: the listening thread ends this process


def _listen(end: socket.socket) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())     # they are the main thread's
    while True:
        data = end.recv(1)
        if not data:
            os.kill(os.getpid(), signal.SIGKILL)
        elif data[0] in _FROM_TERMINAL:
            os.killpg(os.getpgrp(), data[0])
        else:
            os.kill(os.getpid(), data[0])
