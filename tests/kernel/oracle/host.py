# SPDX-License-Identifier: GPL-3.0-or-later
"""The oracle: run a case on the host's Linux, in fresh namespaces, chrooted into a copy of the very disk that Uni gets."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .build import sparse_copy
from .case import ENVIRONMENT, HERE, Case, Outcome

ENTER = HERE / "oracle" / "enter.py"


def describe(returncode: int) -> str:
    """``exit N`` or ``signal N`` from Python's convention (negative for signals)."""
    return f"signal {-returncode}" if returncode < 0 else f"exit {returncode}"


def talk(case: Case, process: subprocess.Popen[bytes]) -> bytes:
    """Run a server's client in the server's network namespace, then stop the server where the client cannot."""
    own, namespace = os.stat("/proc/self/ns/net").st_ino, f"/proc/{process.pid}/ns/net"
    deadline = time.monotonic() + case.timeout
    with contextlib.suppress(FileNotFoundError):        # it may end between the two looks
        while process.poll() is None and os.stat(namespace).st_ino == own and time.monotonic() < deadline:
            time.sleep(0.01)
    command = ["nsenter", f"--net={namespace}", *client_command(case, "127.0.0.1", case.port)]
    said = run_client(command, case.timeout)
    if case.stop and process.poll() is None:
        process.send_signal(signal.Signals[case.stop])
    return said


def client_command(case: Case, address: str, port: int) -> list[str]:
    """The command of a server's client."""
    return [sys.executable, "-I", str(HERE / "real" / case.client), address, str(port)]


def run_client(command: list[str], timeout: int) -> bytes:
    """What a client prints, headed by a line of its own. A client that hangs is killed, and says so."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        return b"--- client\n" + (error.stdout or b"") + b"no end\n"
    return b"--- client\n" + done.stdout


def run_on_host(case: Case, disk: Path, scratch: Path) -> Outcome:
    """Run a case to its end. Standard input stays open and silent, as Uni's console is.

    Needs root (or a user namespace with the same rights) for the mounts. A time-out is an outcome, not an exception.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    root = scratch / "root"
    root.mkdir(exist_ok=True)
    copy = sparse_copy(disk, scratch / "host.ext2")
    want = {
        "root": str(root), "disk": str(copy), "cwd": case.cwd, "argv": list(case.argv),
        "env": {**ENVIRONMENT, **case.env}, "config": list(case.config),
    }
    silent, keep_open = os.pipe()
    command = ["unshare", "--mount", "--net", "--uts", "--ipc", "--propagation", "private",
               sys.executable, "-I", str(ENTER), json.dumps(want)]
    try:
        process = subprocess.Popen(command, stdin=silent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True, env={"PATH": ENVIRONMENT["PATH"]})
        try:
            said = talk(case, process) if case.client else b""
            output, _ = process.communicate(timeout=case.timeout)
            output += said
            end = describe(process.returncode)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            end = f"no end within {case.timeout} s"
    finally:
        os.close(silent)
        os.close(keep_open)
    copy.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    return Outcome(output, end)
