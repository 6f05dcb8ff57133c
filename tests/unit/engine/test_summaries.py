# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of VMs and its index: whatever lies in the index, a changed record is seen."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import boot_id, start_ticks
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import summaries

COUNT = 40
LONG_AGO = 1_700_000_000


def write(root: Path, number: int, *, old: bool = True, **fields: object) -> Path:
    """A record replaced as its keeper replaces it; with an mtime of long ago, as far as that can be had."""
    vm_id = f"{number:012x}"
    directory = root / "vms" / vm_id
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vm.json").write_text("{}")
    path, temp = directory / "state.json", directory / ".tmp-state.json"
    temp.write_text(json.dumps({"id": vm_id, "name": f"vm-{number}", "status": "exited", **fields}))
    if old:
        os.utime(temp, (LONG_AGO, LONG_AGO))
    temp.rename(path)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some records, in the index; the change time of a file cannot be set, so that a moment counts as settled."""
    monkeypatch.setattr(summaries, "SETTLED", 20_000_000)
    for number in range(COUNT):
        write(tmp_path, number)
    time.sleep(0.05)
    assert len(summaries.states(str(tmp_path))) == COUNT
    assert (tmp_path / "cache" / "states.index").stat().st_mode & 0o777 == 0o600
    return tmp_path


def names(root: Path) -> dict[str, str]:
    return {state["id"]: state["name"] for state in summaries.states(str(root))}


def test_the_index_spares_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_read", lambda path: pytest.fail(f"{path} was read"))
    assert len(names(root)) == COUNT


def test_every_change_is_seen(root: Path) -> None:
    write(root, 1, name="replaced")
    (root / "vms" / f"{2:012x}" / "state.json").unlink()
    write(root, COUNT, name="new")
    path = root / "vms" / f"{3:012x}" / "state.json"
    before = path.stat()
    text = path.read_text()
    path.write_text(text.replace("vm-3", "vm-X"))  # in place, the same size; and the time of modification put back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = names(root)
    assert found[f"{1:012x}"] == "replaced" and found[f"{COUNT:012x}"] == "new" and found[f"{3:012x}"] == "vm-X"
    assert f"{2:012x}" not in found and len(found) == COUNT


def test_changes_in_the_same_tick_are_seen(root: Path) -> None:
    for turn in range(200):
        for number in range(20):
            write(root, number, name=f"vm-{turn % 10}")
        found = names(root)
        assert {found[f"{number:012x}"] for number in range(20)} == {f"vm-{turn % 10}"}


def test_a_fresh_record_is_not_indexed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "SETTLED", 3_600_000_000_000)
    for number in range(COUNT):
        write(root, number, name="again")
    assert set(names(root).values()) == {"again"}
    assert summaries._load(str(root / "cache" / "states.index")) == {}


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, b"uni index 1 other\n00000000\n", None])
def test_a_damaged_index_is_none(root: Path, damage: bytes | None) -> None:
    path = root / "cache" / "states.index"
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert len(names(root)) == COUNT


def test_without_a_place_for_the_index(tmp_path: Path) -> None:
    for number in range(COUNT):
        write(tmp_path, number)
    (tmp_path / "cache").write_text("in the way")
    assert len(names(tmp_path)) == COUNT


def test_it_shrinks_with_the_records(root: Path) -> None:
    for number in range(COUNT - 5):
        (root / "vms" / f"{number:012x}" / "state.json").unlink()
    assert len(names(root)) == 5
    assert len(summaries._load(str(root / "cache" / "states.index"))) == 5


def test_damaged_records_harm_nobody(root: Path) -> None:
    for number, text in enumerate(("", "{", "[1]", '{"name":"without an id"}')):
        (root / "vms" / f"{number:012x}" / "state.json").write_text(text)
    assert len(names(root)) == COUNT


def test_what_runs_is_asked_each_time(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        who = {"pid": process.pid, "start": start_ticks(process.pid), "boot": boot_id()}
        write(tmp_path, 1, status="running", **who)
        write(tmp_path, 2, status="running", **{**who, "start": who["start"] - 1})
        write(tmp_path, 3, status="running", **{**who, "boot": "another"})
        write(tmp_path, 4, status="running", keeper={"pid": who["pid"], "start": who["start"]}, boot=who["boot"])
        seen = {state["name"]: state["status"] for state in summaries.listing(str(tmp_path), everything=True)}
        assert seen == {"vm-1": "running", "vm-2": "exited", "vm-3": "exited", "vm-4": "stopping"}
    finally:
        process.kill()
        process.wait()
    assert summaries.listing(str(tmp_path)) == []


def test_half_a_vm_is_none(root: Path) -> None:
    """A record of a state without the VM's own: its removal, or its creation, was killed."""
    (root / "vms" / f"{1:012x}" / "vm.json").unlink()
    (root / "vms" / f"{2:012x}" / "vm.json").write_text("")
    found = names(root)
    assert len(found) == COUNT - 2 and f"{1:012x}" not in found and f"{2:012x}" not in found


def test_no_root(tmp_path: Path) -> None:
    assert summaries.listing(str(tmp_path / "none")) == []


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "\0" * 400, '{"id":"another"}', "{\"id\":"])
def test_a_vm_whose_state_is_damaged_does_not_vanish(root: Path, text: str) -> None:
    """After a power failure a record may be cut off, or be zeros: the VM is there, so it is listed."""
    path = root / "vms" / f"{4:012x}"
    (path / "vm.json").write_text('{"name": "vm-4"}')
    (path / "state.json").write_text(text)
    assert names(root)[f"{4:012x}"] == "vm-4" and len(names(root)) == COUNT
    assert {state["status"] for state in summaries.listing(str(root), everything=True)} == {"exited", "created"}


def test_fields_of_a_wrong_type_count_as_not_there(root: Path) -> None:
    wrong = [True, 7, 1.5, "text", ["list"], {"a": 1}]
    for number, value in enumerate(wrong):
        write(root, number, **dict.fromkeys(("ports", "labels", "exit", "keeper"), value), status="running")
    listed = summaries.listing(str(root), everything=True, filters={"label": "a"})
    assert [state["name"] for state in listed] == [f"vm-{len(wrong) - 1}"]
    for state in summaries.states(str(root)):
        assert isinstance(state.get("ports", []), list) and isinstance(state.get("exit", {}), dict)
