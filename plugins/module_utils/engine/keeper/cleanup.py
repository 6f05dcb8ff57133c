# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands from a VM's record, run before it starts or when it is finally down, and removal for ``--rm``."""

from __future__ import annotations

import fcntl
import os


def run_commands(entries: list[str]) -> int:
    """Run each command and wait for it.

    JSON: ``argv``, ``stdin`` a path, ``lock`` a file to hold meanwhile, ``fine`` an exit status that is no failure.

    A failure is said in the keeper's log and does not stop the rest; the number of failures.
    """
    import json

    failed = 0

    for entry in entries:
        command = json.loads(entry)
        argv = command["argv"]
        holder = os.open(command["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if command.get("lock") else -1
        if holder >= 0:
            fcntl.flock(holder, fcntl.LOCK_EX)
        stdin = [(os.POSIX_SPAWN_OPEN, 0, command.get("stdin", "/dev/null"), os.O_RDONLY, 0)]
        try:
            pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=stdin)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except OSError:
            status = 127
        if holder >= 0:
            os.close(holder)
        if status not in (0, command.get("fine", 0)):
            failed += 1
            os.write(2, f"uni keeper: {argv[0]} ended with status {status}\n".encode())
    return failed


def forget_names(paths: list[str], servers: list[str]) -> None:
    """Remove the files that name the VM, and let the name servers (``PID:START``) read theirs again."""
    import contextlib

    from .identity import start_ticks

    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
    for server in servers:
        pid, _sep, start = server.partition(":")
        if start_ticks(int(pid)) == int(start):
            with contextlib.suppress(OSError):
                os.kill(int(pid), 1)


def remove_vm(path: str, links: list[str], directories: list[str]) -> None:
    """Remove a VM's directory, the names that point to it, and its (by now empty) cgroup."""
    import contextlib
    import shutil

    for link in links:
        with contextlib.suppress(OSError):
            os.unlink(link)
    for directory in directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    shutil.rmtree(path, ignore_errors=True)
