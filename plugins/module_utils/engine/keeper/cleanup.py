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
