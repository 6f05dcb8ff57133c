# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong: killed keepers and QEMUs, recycled pids, full disks, missing tools, hostile guests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import keepers
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    GuestError,
    HostError,
    StateError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity
from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api, apply, ops, views
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import status_of

from .conftest import Host, processes
from .dying import caller
from .dying import keeper as dying_keeper


def kill(identity: Identity | None) -> None:
    assert identity is not None and identity.kill(signal.SIGKILL) and identity.wait(30)


def test_keeper_killed_the_next_command_adopts(host: Host) -> None:
    host.run("web", "polite")
    vm = api.resolve_vm(host.root, "web")
    kill(vm.keeper())
    assert api.list_vms(host.root)[0]["status"] == "running"
    result = api.stop(host.root, "web", grace=60)
    assert result.vm["exit"]["reason"] == "exit" and result.vm["exit"]["status"] == 0
    assert b"asked to end\n" in b"".join(line.raw() for line in api.logs(host.root, "web"))


def test_keeper_killed_then_live_change_and_no_op(host: Host) -> None:
    first = api.ensure(host.root, host.spec("web", "idle")).vm
    kill(api.resolve_vm(host.root, "web").keeper())
    again = api.ensure(host.root, host.spec("web", "idle"))
    assert not again.changed and again.vm["pid"] == first["pid"]
    vm = api.resolve_vm(host.root, "web")
    assert vm.keeper().alive(), "even a no-op gives the VM a keeper back"
    kill(vm.keeper())
    assert api.ensure(host.root, host.spec("web", "idle", labels={"a": "1"})).vm["pid"] == first["pid"]


def test_an_adopted_vm_stays_healthy(host: Host) -> None:
    spec = host.spec("web", "idle", health_check="log:^idle$")
    api.ensure(host.root, spec, "healthy", timeout=60)
    kill(api.resolve_vm(host.root, "web").keeper())
    assert api.ensure(host.root, spec, "healthy", timeout=60).vm["health"] == "healthy"
    assert api.resolve_vm(host.root, "web").keeper().alive()


def test_an_end_that_was_recorded_meanwhile_is_not_called_lost(host: Host) -> None:
    """Whoever read the record while the VM ran, and looks at its processes when they are gone, is late, no more."""
    host.run("web", "polite")
    before = api.resolve_vm(host.root, "web")
    keeper, qemu = before.keeper(), before.qemu()
    assert api.stop(host.root, "web", grace=60).vm["exit"]["reason"] == "exit"
    assert keeper is not None and keeper.wait(30) and qemu is not None and qemu.wait(30)
    assert status_of(before.state) == "lost"
    assert views.info(before)["exit"]["reason"] == "exit"
    after = apply.repair(host.root, before)
    assert (status_of(after.state), after.state["exit"]["reason"]) == ("exited", "exit")
    # The keeper itself looks again, for the caller may have been late by more than that.
    with keepers.started(host.root, adopt=True) as other:
        other.add(before.directory)
        assert other.wait(("adopted",), 30)[before.id]["event"] == "taken"
    assert before.fresh().state["exit"]["reason"] == "exit"
    assert api.start(host.root, "web").vm["status"] == "running"


def test_both_killed_is_seen_and_repaired(host: Host) -> None:
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    kill(vm.keeper())
    kill(vm.qemu())
    assert api.list_vms(host.root) == []
    seen = api.list_vms(host.root, everything=True)[0]
    assert seen["status"] == "exited" and seen["lost"]
    result = api.ensure(host.root, host.spec("web", "idle"))
    assert [action.kind for action in result.plan.actions] == ["start"] and result.vm["status"] == "running"


def test_qemu_killed_is_recorded(host: Host) -> None:
    host.run("web", "idle")
    kill(api.resolve_vm(host.root, "web").qemu())
    verdict = api.wait(host.root, "web", timeout=60)
    assert verdict["reason"] == "lost" and "signal 9" in verdict["message"] and verdict["code"] == 125


def test_restart_policy_survives_qemu_and_keeper(host: Host) -> None:
    host.run("web", "idle", restart_policy="always")
    vm = api.resolve_vm(host.root, "web")
    kill(vm.keeper())
    kill(vm.qemu())
    apply.repair(host.root, api.resolve_vm(host.root, "web"))
    api.wait_for(host.root, "web", "running", timeout=60)
    after = api.resolve_vm(host.root, "web")
    assert after.state["restarts"] == 1 and after.qemu() != vm.qemu()


def test_stale_pid_of_somebody_else_is_left_alone(host: Host) -> None:
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    kill(vm.keeper())
    kill(vm.qemu())
    other = subprocess.Popen(["sleep", "600"])
    try:
        records.save_state(vm.directory, {**vm.state, "pid": other.pid})
        assert api.list_vms(host.root) == []
        api.stop(host.root, "web")
        api.remove(host.root, "web", force=True)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_recycled_boot_means_lost(host: Host) -> None:
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    assert status_of({**vm.state, "boot": "an earlier boot"}) == "lost"


def test_creator_killed_at_every_step(host: Host) -> None:
    """However far it got: the next call makes exactly one running VM, and removing it leaves nothing."""
    steps, step, reached = 0, 1, False
    while not reached:
        reached = caller(host, "api.ensure(root, spec)", step, within="/engine/vms/")
        result = api.ensure(host.root, host.spec("web", "idle"))
        assert result.vm["status"] == "running", step
        names = [name for name in os.listdir(host.root.vms) if not name.startswith(".")]
        with records.locked(host.root.vms / str(result.vm["id"])) as held:
            apply.remove(host.root, held, force=True)
        for name in names:
            if name != result.vm["id"]:  # a directory whose creator died before it took the name
                assert not (host.root.vms / name / "vm.json").exists(), step
        api.sweep(host.root)
        assert [name for name in os.listdir(host.root.vms) if not name.startswith(".")] == [], step
        steps += 1
        step += 7
    assert steps > 5


def test_qemu_missing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import qemu

    monkeypatch.setattr(qemu, "PROGRAM", "qemu-system-nothing")
    with pytest.raises(HostError) as caught:
        host.run("web", "idle")
    assert caught.value.code == "qemu.missing" and "apt install" in caught.value.hint
    assert api.list_vms(host.root, everything=True) == []


def test_qemu_refuses(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import qemu

    monkeypatch.setitem(qemu.MACHINES, "microvm", "microvm,no-such-option=on")
    with pytest.raises(GuestError) as caught:
        host.run("web", "idle")
    assert caught.value.code == "vm.start_monitor" and "no-such-option" in caught.value.message


def test_disk_full_while_creating(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    small = host.path / "small"
    small.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", small], check=True)
    try:
        from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

        root = Root(small)
        assert root.vms.is_dir()
        (small / "filler").write_bytes(b"x" * (40 << 10))
        spec = host.spec("web", "idle", env={"A": "x" * 60000})
        if os.geteuid() == 0:
            with pytest.raises(HostError) as caught:
                api.ensure(root, spec)
            assert caught.value.code == "host.disk_full"
            (small / "filler").unlink()
            assert [name for name in os.listdir(root.vms) if not name.startswith(".")] == []
            assert os.listdir(root.vms / ".names") == []
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", small], check=True)


def test_console_flood_is_bounded(host: Host) -> None:
    vm = host.run("web", "flood", log_max_size="64K", log_max_files=2)
    directory = Path(str(vm["directory"]))
    with api.attach(host.root, "web") as stream:
        stream.settimeout(60)
        seen = 0
        while seen < 300_000:
            seen += len(stream.recv(65536))
    sizes = [path.stat().st_size for path in directory.glob("console.log*") if path.suffix != ".fresh"]
    assert len(sizes) == 2 and max(sizes) <= (64 << 10) + (66 << 10)  # a line without end is cut at 64 KiB


def texts(value: object) -> Iterator[str]:
    """Every text in nested data, the keys too."""
    if isinstance(value, dict):
        for pair in value.items():
            yield from texts(list(pair))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_what_a_hostile_guest_says_steers_no_terminal(host: Host) -> None:
    host.run("web", "foul")
    verdict = api.wait(host.root, "web", timeout=60)
    assert (verdict["reason"], verdict["signal"], verdict["code"]) == ("oom", 11, 139)
    assert [note["event"] for note in verdict["notes"]] == ["oom", "crash", "unsupported"]
    shown = [verdict, api.inspect(host.root, "web"), api.list_vms(host.root, everything=True), list(ops.events(host.root, until=0))]
    assert all(text.isprintable() for text in texts(shown))
    assert b"".join(line.raw() for line in api.logs(host.root, "web")).endswith(b"stdout F fake\n"), "the console is what it is"


def test_a_flood_on_the_control_port_is_bounded(host: Host) -> None:
    """A guest that says for ever that it is ready: the record is written once, and requests are answered."""
    host.run("web", "chatter")
    api.wait_for(host.root, "web", "ready", timeout=60)
    state = api.resolve_vm(host.root, "web").directory / "state.json"
    before = state.stat().st_ino, state.stat().st_mtime_ns
    for _round in range(20):
        with pytest.raises(GuestError):  # what it says is no answer, and there is one within the deadline
            api.command(host.root, "web", {"cmd": "x" * 5000})
    assert (state.stat().st_ino, state.stat().st_mtime_ns) == before
    assert api.stop(host.root, "web", grace=0).vm["exit"]["reason"] == "killed"


def test_a_client_that_does_not_read_harms_nobody(host: Host) -> None:
    host.run("web", "flood")
    with api.attach(host.root, "web"), api.attach(host.root, "web") as reader:
        reader.settimeout(60)
        seen = 0
        while seen < 500_000:
            seen += len(reader.recv(65536))


@pytest.mark.parametrize("request_", [b"", b"not json\n", b"[]\n", b'{"op":"nothing"}\n',
                                      b'{"op":"wait","event":"x"}\n', b'{"op":"stop","grace":"soon"}\n',
                                      b'{"op":["attach"]}\n', b"x" * 200_000],
                         ids=["empty", "text", "list", "unknown", "event", "grace", "type", "long"])
def test_hostile_requests_to_the_keeper(host: Host, request_: bytes) -> None:
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    sock = keepers.connect(vm.directory)
    assert sock is not None
    with sock:
        sock.settimeout(30)
        try:
            sock.sendall(request_)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert not answer or json.loads(answer)["ok"] is False
    assert api.list_vms(host.root)[0]["status"] == "running" and vm.fresh().keeper().alive()


def test_qmp_that_hangs_has_a_deadline(host: Host) -> None:
    vm = host.run("web", "idle")
    directory = Path(str(vm["directory"]))
    with Qmp(directory), pytest.raises(DeadlineError) as caught:  # QEMU serves one client: the second one waits
        Qmp(directory, timeout=0.3)
    assert caught.value.code == "qmp.deadline"
    with Qmp(directory) as qmp:
        with pytest.raises(GuestError):
            qmp.call("no-such-command")
        assert qmp.call("query-status")["running"]
    with pytest.raises(GuestError):
        Qmp(host.path)


def test_not_running_is_said(host: Host) -> None:
    host.run("web", "hello")
    api.wait(host.root, "web", timeout=60)
    for call in (lambda: api.kill(host.root, "web"), lambda: api.pause(host.root, "web"),
                 lambda: api.attach(host.root, "web"), lambda: api.command(host.root, "web", {"cmd": "stats"})):
        with pytest.raises(StateError):
            call()
    for call in (lambda: api.stop(host.root, "nobody"), lambda: api.inspect(host.root, "../etc")):
        with pytest.raises(UniError):
            call()


def test_damaged_state_record(host: Host) -> None:
    host.run("web", "hello")
    api.wait(host.root, "web", timeout=60)
    vm = api.resolve_vm(host.root, "web")
    (vm.directory / "state.json").write_text("{")
    assert api.ensure(host.root, host.spec("web", "hello")).changed
    api.wait(host.root, "web", timeout=60)


WRONG = ("{", "[]", '"x"', "{}", '{"name": 5}', '{"image": "x"}', '{"image": {"id": 7}}', '{"image": {"env": [1]}}', '{"values": []}',
         '{"uid": "a"}')


@pytest.mark.parametrize("text", WRONG)
def test_damaged_record(host: Host, text: str) -> None:
    """Every command says which record it is and what to do; what it says can be done, while the VM runs too."""
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    damage = json.loads(text) if text.startswith('{"') else None
    whole = json.dumps({**vm.record, **damage}) if isinstance(damage, dict) else text
    (vm.directory / "vm.json").write_text(whole)
    for call in (lambda: api.start(host.root, vm.id), lambda: api.stop(host.root, "web"), lambda: api.remove(host.root, "web"),
                 lambda: api.inspect(host.root, "web"), lambda: api.ensure(host.root, host.spec("web", "idle"))):
        with pytest.raises(UniError) as caught:
            call()
        assert caught.value.code == "record.corrupt" and str(vm.directory) in str(caught.value)
        assert caught.value.hint.endswith(f"uni rm -f {vm.id}")
    assert [entry["name"] for entry in api.list_vms(host.root, everything=True)] == ["web"]
    qemu = vm.qemu()
    assert api.remove(host.root, "web", force=True).name == "web"
    assert qemu is not None and not qemu.alive() and not vm.directory.exists()
    assert api.ensure(host.root, host.spec("web", "idle")).changed, "its name is free"


def test_a_damaged_vm_whose_keeper_was_killed_is_removed(host: Host) -> None:
    host.run("web", "idle")
    vm = api.resolve_vm(host.root, "web")
    kill(vm.keeper())
    (vm.directory / "vm.json").write_text("[]")
    qemu = vm.qemu()
    api.remove(host.root, vm.id[:5], force=True)
    assert qemu is not None and not qemu.alive() and not vm.directory.exists()


def test_a_qemu_that_hangs_is_told_and_can_be_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("web", "idle")
    pid = api.resolve_vm(host.root, "web").qemu().pid
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setitem(Qmp.__init__.__kwdefaults__, "timeout", 0.3)
    with pytest.raises(DeadlineError) as caught:
        api.pause(host.root, "web")
    assert caught.value.code == "qmp.deadline" and "uni kill" in caught.value.hint
    assert api.list_vms(host.root)[0]["status"] == "running", "what was not done is not recorded"
    result = api.stop(host.root, "web", grace=0.2)
    assert result.vm["status"] == "exited" and result.vm["exit"]["reason"] == "killed"


def test_keeper_killed_at_every_step_of_a_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far it got: the next call finds or makes exactly one QEMU, and its keeper."""
    spec = host.spec("web", "idle")
    died = 0
    for step in (1, 4, 9, 16, 25, 36, 49, 64, 81, *range(90, 112, 3), 121):
        with monkeypatch.context() as patch:
            patch.setattr(keepers, "_START", dying_keeper(step))
            try:
                api.ensure(host.root, spec, timeout=20)
            except UniError:
                died += 1
        result = api.ensure(host.root, spec, timeout=60)
        assert result.vm["status"] == "running", step
        vm = api.resolve_vm(host.root, "web")
        assert vm.keeper().alive() and vm.qemu().alive(), step
        assert [pid for pid in processes("qemu-system") if uses(pid, vm.directory)] == [vm.qemu().pid], step
        api.remove(host.root, "web", force=True)
    assert died >= 3


def uses(pid: int, directory: Path) -> bool:
    """Whether a process has a log or socket of this VM open."""
    try:
        names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(name.startswith(f"{directory}/") for name in names)


def test_disk_full_while_a_vm_runs(host: Host) -> None:
    """The end of the VM is recorded, it can be removed, and its program has noticed nothing."""
    if os.geteuid() != 0:
        return  # it mounts a small file system
    small = host.path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M,mode=755", "none", small], check=True)
    try:
        from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

        root = Root(small)
        api.run(root, host.spec("web", "polite"))
        with pytest.raises(OSError), (small / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert api.list_vms(root)[0]["status"] == "running"
        result = api.stop(root, "web", grace=60)
        assert result.vm["status"] == "exited" and result.vm["exit"]["reason"] == "exit"
        with pytest.raises(HostError) as caught:
            api.ensure(root, host.spec("web", "polite", env={"A": "x" * 60000}))
        assert caught.value.code == "host.disk_full"
        api.remove(root, "web", force=True)
        assert [name for name in os.listdir(root.vms) if not name.startswith(".")] == []
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)  # its keeper may not have left yet
