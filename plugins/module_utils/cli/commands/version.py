# SPDX-License-Identifier: GPL-3.0-or-later
"""uni version."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

_COLLECTION = Path(__file__).resolve().parents[4]


def version_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def version(args: argparse.Namespace, ui: Ui) -> int:
    """Print what runs here."""
    data = {"uni": own_version(), "kernel": _kernel(ui), "qemu": _qemu(), "root": str(ui.root.path)}
    ui.emit(data, lambda: put("\n".join(f"{name:8}{value or 'none'}" for name, value in data.items())))
    return 0


def own_version() -> str:
    """The version of the installed client, or of the checkout."""
    beside = _COLLECTION / "VERSION"
    if beside.is_file():
        return beside.read_text().strip()
    galaxy = _COLLECTION / "galaxy.yml"
    lines = galaxy.read_text().splitlines() if galaxy.is_file() else []
    return next((line.split()[1] for line in lines if line.startswith("version:")), "unknown")


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
