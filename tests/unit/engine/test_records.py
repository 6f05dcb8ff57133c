# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import records
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    HostError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root


def test_round_trip(tmp_path):
    path = tmp_path / "record.json"
    assert records.read_json(path) is None
    records.write_json(path, {"b": 1, "a": ["x"]})
    assert records.read_json(path) == {"a": ["x"], "b": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_corrupt_record_is_named(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"a": ')
    with pytest.raises(UniError) as caught:
        records.read_json(path)
    assert caught.value.code == "record.corrupt"
    assert str(path) in caught.value.message


def test_disk_full_keeps_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    records.write_json(path, 1)

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError) as caught:
        records.write_json(path, 2)
    assert caught.value.code == "host.disk_full"
    assert records.read_json(path) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_lock_names_its_holder(tmp_path):
    path = tmp_path / "lock"
    with records.lock(path):
        with pytest.raises(DeadlineError) as caught, records.lock(path, timeout=0):
            pass
        assert str(os.getpid()) in caught.value.message
    with records.lock(path, timeout=0):
        pass


def test_shared_locks_share(tmp_path):
    path = tmp_path / "lock"
    with records.lock(path, shared=True), records.lock(path, shared=True, timeout=0), \
            pytest.raises(DeadlineError), records.lock(path, timeout=0.01):
        pass


def test_a_killed_holder_frees_its_lock(tmp_path):
    path = tmp_path / "lock"
    script = ("import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX);"
              "print('held', flush=True); sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DeadlineError), records.lock(path, timeout=0):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with records.lock(path, timeout=0):
        pass


def test_root_resolution(tmp_path, monkeypatch):
    monkeypatch.setenv("UNI_ROOT", str(tmp_path / "env"))
    assert Root.resolve().path == tmp_path / "env"
    assert Root.resolve(str(tmp_path / "given")).path == tmp_path / "given"
    monkeypatch.delenv("UNI_ROOT")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert str(Root.resolve().path) == "/var/lib/uni"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/eve")
    assert str(Root.resolve().path) == "/home/eve/.local/share/uni"


def test_root_creates_lazily_whatever_the_umask(tmp_path):
    root = Root(tmp_path / "a" / "b")
    assert not root.path.exists()
    old = os.umask(0o077)
    try:
        disks, locks = root.disks, root.locks
    finally:
        os.umask(old)
    assert stat.S_IMODE(disks.stat().st_mode) == 0o755
    assert stat.S_IMODE(locks.stat().st_mode) == 0o700


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HostError):
            str(Root(path).images)


def test_temporary_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.records import sweep_temporary

    mine, theirs = tmp_path / f".tmp-a.json.{os.getpid()}.1f", tmp_path / ".tmp-a.json.99999999.1f"
    for path in (mine, theirs, tmp_path / "a.json"):
        path.write_text("x")
    sweep_temporary(tmp_path)
    sweep_temporary(tmp_path / "missing")
    assert mine.exists() and not theirs.exists() and (tmp_path / "a.json").exists()
