# SPDX-License-Identifier: GPL-3.0-or-later
"""What `uni doctor` finds on hosts that lack something."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup, doctor
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("UNI_ACCEL", "tcg")
    return Root(tmp_path / "not" / "there yet")


def found(root: Root) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(root)}


def test_a_host_without_kernel_cannot_start_vms(root: Root) -> None:
    findings = found(root)
    assert findings["kernel"].state == doctor.BROKEN and "uni kernel add" in findings["kernel"].remedy
    assert findings["root directory"].state == doctor.OK and findings["vms"].detail == "0"
    assert findings["acceleration"].state == doctor.LIMITED


def test_whatever_is_not_ok_says_what_to_do(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "find_program", lambda name: "")
    monkeypatch.setattr(doctor, "LIBRARIES", {"no_such_module": ("python3-none", "nothing")})
    monkeypatch.setattr(cgroup, "mount", lambda: None)
    findings = doctor.examine(root)
    lacking = {finding.name for finding in findings if finding.state == doctor.LIMITED}
    assert {"setpriv", "e2fsck", "debugfs", "python3 no_such_module", "limits"} <= lacking
    assert all(finding.remedy for finding in findings if finding.state != doctor.OK)


@pytest.mark.parametrize(("controllers", "state"), [("cpu memory pids io rdma", "ok"), ("cpu pids", "limited")])
def test_controllers(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, controllers: str, state: str) -> None:
    (tmp_path / "cgroup.controllers").write_text(controllers)
    monkeypatch.setattr(cgroup, "mount", lambda: tmp_path)
    finding = found(root)["limits"]
    assert finding.state == state and (state == "ok" or "memory, io" in finding.remedy)


def test_a_full_disk_and_a_root_that_is_a_file(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "ROOM", 1 << 60)
    assert found(root)["root directory"].state == doctor.LIMITED
    (tmp_path / "file").write_text("")
    checks = list(doctor._directory(Root(tmp_path / "file")))
    assert checks[0].state == doctor.BROKEN and "not a directory" in checks[0].detail


def test_command(tmp_path: Path) -> None:
    done = subprocess.run(["/usr/bin/python3", str(TOP / "bin" / "uni"), "--output", "json", "--root", str(tmp_path), "doctor",
                           "--again"], capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin", "UNI_ACCEL": "tcg"})
    assert done.returncode == 1, done.stderr
    states = {item["name"]: item["state"] for item in json.loads(done.stdout)}
    assert states["kernel"] == "broken" and states["machine"] == "ok"
