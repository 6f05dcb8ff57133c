# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done when a VM is finally down: commands from its record, and removal for ``--rm``."""

from __future__ import annotations

import os


def run_commands(entries: list[str]) -> None:
    """Run each JSON argv and wait for it; a failure is said in the keeper's log and does not stop the rest."""
    import json

    for entry in entries:
        argv = json.loads(entry)
        try:
            pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            _pid, status = os.waitpid(pid, 0)
        except OSError as error:
            status = error.errno or 1
        if status:
            os.write(2, f"uni keeper: {argv[0]} ended with status {status}\n".encode())


def remove_vm(path: str, others: list[str]) -> None:
    """Remove a VM's directory and the names that point to it."""
    import shutil

    for other in others:
        try:
            os.unlink(other)
        except FileNotFoundError:
            pass
    shutil.rmtree(path, ignore_errors=True)
