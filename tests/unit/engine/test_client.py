# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import client
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError, VerifyError

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def packed():
    return client.pack(TOP, "1.2.3")


def test_pack_is_reproducible(packed):
    assert client.pack(TOP, "1.2.3") == packed
    assert client.pack(TOP, "1.2.4")[0] != packed[0]


def test_installed_command_runs(packed, tmp_path):
    assert [action.kind for action in client.install(tmp_path, *packed).actions] == ["create", "update"]
    command = tmp_path / "bin" / "uni"
    done = subprocess.run([command, "version"], check=True, text=True, stdout=subprocess.PIPE,
                          env={"PATH": "/usr/bin:/bin", "UNI_ROOT": str(tmp_path / "root")})
    assert done.stdout.splitlines()[0].split() == ["uni", "1.2.3"]
    assert not client.install(tmp_path, *packed).changed


def test_start_compiles_nothing(packed, tmp_path):
    client.install(tmp_path, *packed)
    before = set(tmp_path.rglob("*.pyc"))
    assert before
    subprocess.run([tmp_path / "bin" / "uni", "--help"], check=True, stdout=subprocess.DEVNULL,
                   env={"PATH": "/usr/bin"})
    assert set(tmp_path.rglob("*.pyc")) == before


def test_newer_client_keeps_the_older_ones(packed, tmp_path):
    names = []
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        name, data = client.pack(TOP, version)
        names.append(name)
        client.install(tmp_path, name, data)
        os.utime(tmp_path / "lib" / "uni" / name, (len(names), len(names)))
    kept = client.list_clients(tmp_path)
    assert [found.current for found in kept] == [True, False, False]
    assert [found.version for found in kept] == ["1.3.0", "1.2.0", "1.1.0"]
    client.switch(tmp_path, names[1])
    assert next(found.version for found in client.list_clients(tmp_path) if found.current) == "1.1.0"


def test_damaged_archive(packed, tmp_path):
    name, data = packed
    with pytest.raises(VerifyError):
        client.install(tmp_path, name, data[:-1] + b"x")
    assert not (tmp_path / "bin" / "uni").exists()
    assert [path.name for path in (tmp_path / "lib" / "uni").iterdir()] == [".lock"]


def test_root_installs_for_everybody(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = os.umask(0o077)
    try:
        client.install(tmp_path / "prefix", *packed)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    hidden = [path for path in (tmp_path / "prefix").rglob("*") if path.name != ".lock" and not path.is_symlink()
              and not path.stat().st_mode & 0o004]
    assert hidden == []


def test_two_install_at_once(packed, tmp_path):
    code = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n" \
           f"from {client.__name__} import install\n" \
           "install(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]).read_bytes())"
    archive = tmp_path / "archive"
    archive.write_bytes(packed[1])
    tree = TOP / ".build" / "collections"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tree), str(tmp_path / "prefix"), packed[0], str(archive)])
            for _number in range(4)]
    assert [one.wait() for one in both] == [0, 0, 0, 0]
    assert [found.name for found in client.list_clients(tmp_path / "prefix")] == [packed[0]]


def test_remove(packed, tmp_path):
    client.install(tmp_path, *packed)
    assert client.remove(tmp_path).changed
    assert not client.remove(tmp_path).changed
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_pack_needs_a_launcher(tmp_path):
    with pytest.raises(UsageError):
        client.pack(tmp_path, "1.0.0")
