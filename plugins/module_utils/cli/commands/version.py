# SPDX-License-Identifier: GPL-3.0-or-later
"""uni version."""

from __future__ import annotations

import argparse
import shutil
import subprocess

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.engine import client, kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError


def version_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def version(args: argparse.Namespace, ui: Ui) -> int:
    """Print what runs here."""
    data = {"uni": client.own_version(), "kernel": _kernel(ui), "qemu": _qemu(), "root": str(ui.root.path)}
    ui.emit(data, lambda: put("\n".join(f"{name:8}{value or 'none'}" for name, value in data.items())))
    return 0


def _kernel(ui: Ui) -> str | None:
    try:
        return kernels.default(ui.root).version
    except UniError:
        return None


def _qemu() -> str | None:
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        return None
    text = subprocess.run([program, "--version"], check=False, stdout=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL).stdout
    words = text.split()
    return words[3].split("(")[0] if len(words) > 3 else None
