# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a command goes, without a daemon."""

from __future__ import annotations

import os

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli import forward
from ansible_collections.uni.engine.plugins.module_utils.cli.registry import COMMANDS
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("UNI_SOCKET", "UNI_ROOT"):
        monkeypatch.delenv(name, raising=False)


def test_every_direct_command_exists():
    assert set(COMMANDS) >= forward.DIRECT
    assert not {"run", "stop", "rm", "build", "compose up", "kernel use"} & forward.DIRECT


@pytest.mark.parametrize(("line", "choice", "left"), [
    (["--no-daemon", "ps"], forward.Choice(off=True), ["ps"]),
    (["ps", "--no-daemon", "-a"], forward.Choice(off=True), ["ps", "-a"]),
    (["--socket", "/s", "ps"], forward.Choice("/s"), ["ps"]),
    (["run", "x", "--socket=/s", "--root", "/r"], forward.Choice("/s", "/r"), ["run", "x", "--root", "/r"]),
    (["run", "x", "--", "--socket", "/s", "--no-daemon"], forward.Choice(), ["run", "x", "--", "--socket", "/s",
                                                                             "--no-daemon"]),
    (["daemon", "run", "--socket", "/s"], forward.Choice(), ["daemon", "run", "--socket", "/s"]),
])
def test_options_anywhere_before_the_guests_own(line, choice, left):
    cut = next(index for index, word in enumerate(line) if word in ("ps", "run", "daemon"))
    found, leading, rest = forward.take(line[:cut], line[cut:])
    assert (found, leading + rest) == (choice, left)


def test_ways(tmp_path, monkeypatch):
    root, choice = str(tmp_path), forward.Choice(root=str(tmp_path))
    assert forward.way(choice, "run") == forward.Way(f"{root}/run/unid.sock", False, root)
    assert forward.way(choice, "ps") is None                        # the owner reads from disk
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(root).st_uid + 1)
    assert forward.way(choice, "ps") == forward.Way(f"{root}/run/unid.sock", False, root)     # another user cannot
    assert forward.way(forward.Choice(root=f"{root}/missing"), "run") is None
    assert forward.way(forward.Choice(root=root, off=True), "run") is None
    monkeypatch.setenv("UNI_SOCKET", "/named")
    assert forward.way(forward.Choice(), "ps") == forward.Way("/named", True)
    assert forward.way(choice, "run") == forward.Way(f"{root}/run/unid.sock", False, root)    # --root is nearer
    monkeypatch.setenv("UNI_SOCKET", "none")
    assert forward.way(forward.Choice(), "run") is None
    with pytest.raises(UsageError, match="exclude each other"):
        forward.way(forward.Choice("/s", root), "run")


def test_nobody_listens(tmp_path):
    (tmp_path / "run").mkdir()
    here = f"{tmp_path}/run/unid.sock"
    assert forward.go(forward.Way(here, False, str(tmp_path)), ["ps"]) is None
    (tmp_path / "run/unid.sock").touch()
    assert forward.go(forward.Way(here, False, str(tmp_path)), ["ps"]) is None
    with pytest.raises(HostError, match="no daemon answers"):
        forward.go(forward.Way(here, True), ["ps"])
