# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a VM under real QEMU."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    GuestError,
    NotFoundError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

from .conftest import Host


def text(host: Host, name: str) -> bytes:
    return b"".join(line.raw() for line in api.logs(host.root, name))


def test_runs_and_records_the_exit_status(host: Host) -> None:
    host.run("web", "hello")
    assert api.wait(host.root, "web", timeout=60)["code"] == 0
    host.run("bad", "fail")
    verdict = api.wait(host.root, "bad", timeout=60)
    assert (verdict["reason"], verdict["status"], verdict["code"]) == ("exit", 3, 3)
    assert text(host, "web") == b"hello\n"


def test_boot_time_is_measured(host: Host) -> None:
    host.run("web", "idle")
    api.wait_for(host.root, "web", "ready", timeout=60)
    vm = api.inspect(host.root, "web")
    assert 0 < vm["boot_seconds"] < 60
    began = vm["boot_seconds"]
    assert api.stop(host.root, "web", grace=0.3).vm["boot_seconds"] == began  # of the last start, also afterwards
    # Milliseconds: two starts in a row may take as many.
    assert any(api.restart(host.root, "web", grace=0.3)["boot_seconds"] != began for _start in range(6))


def test_crash_and_panic_are_told_apart(host: Host) -> None:
    host.run("crash", "crash")
    assert api.wait(host.root, "crash", timeout=60)["code"] == 139
    host.run("panic", "panic")
    verdict = api.wait(host.root, "panic", timeout=60)
    assert verdict["reason"] == "panic" and "out of luck" in verdict["message"] and verdict["code"] == 125


def test_stop_asks_first_and_kills_later(host: Host) -> None:
    host.run("polite", "polite")
    assert api.stop(host.root, "polite", grace=60).vm["exit"]["reason"] == "exit"
    assert text(host, "polite") == b"asked to end\n"
    host.run("deaf", "idle")
    result = api.stop(host.root, "deaf", grace=0.3)
    assert result.changed and result.vm["exit"]["reason"] == "killed" and result.vm["exit"]["code"] == 137
    assert not api.stop(host.root, "deaf").changed


@pytest.mark.parametrize("state", ["present", "started", "stopped", "restarted", "paused"])
def test_four_passes(host: Host, state: str) -> None:
    spec = host.spec("web", "idle")
    api.ensure(host.root, spec, "started" if state in ("stopped", "restarted") else "absent")
    check = api.ensure(host.root, spec, state, check=True)
    assert check.changed
    before = api.list_vms(host.root, everything=True)
    assert before == api.list_vms(host.root, everything=True)
    applied = api.ensure(host.root, spec, state)
    assert applied.changed and applied.plan.describe() == check.plan.describe()
    again = state == "restarted"
    assert api.ensure(host.root, spec, state, check=True).changed is again
    assert api.ensure(host.root, spec, state).changed is again
    assert api.ensure(host.root, spec, "absent", check=True).changed
    assert api.ensure(host.root, spec, "absent").changed
    assert not api.ensure(host.root, spec, "absent").changed


def test_named_volumes_are_made_with_their_vm(host: Host) -> None:
    spec = host.spec("web", "idle", volumes=["data:/data", "data2:/more:ro"])
    check = api.ensure(host.root, spec, check=True)
    assert [action.target for action in check.plan.actions if action.kind == "create"] == [
        "volume/data", "volume/data2", "vm/web"]
    assert volumes.find(host.root, "data") is None
    assert api.ensure(host.root, spec).plan.describe() == check.plan.describe()
    made = volumes.inspect(host.root, "data").created
    assert not api.ensure(host.root, spec).changed
    more = api.ensure(host.root, host.spec("web", "idle", volumes=["data:/data", "third:/data3"]))
    assert "volume/third" in [action.target for action in more.plan.actions]
    assert volumes.inspect(host.root, "data").created == made, "what was there is left alone"
    api.stop(host.root, "web", grace=0.3)
    shutil.rmtree(host.root.volumes / "third")
    with pytest.raises(NotFoundError, match="third"):  # its data are lost: no empty one takes its place in silence
        api.start(host.root, "web")


def test_changes_live_or_by_restart(host: Host) -> None:
    first = api.ensure(host.root, host.spec("web", "idle")).vm
    live = api.ensure(host.root, host.spec("web", "idle", labels={"a": "b"}, restart_policy="always"))
    assert [action.kind for action in live.plan.actions] == ["update"] and live.vm["pid"] == first["pid"]
    assert api.list_vms(host.root, filters={"label": "a=b"})
    restart = api.ensure(host.root, host.spec("web", "idle", memory="24M"))
    assert [action.kind for action in restart.plan.actions] == ["update", "restart"]
    assert restart.vm["pid"] != first["pid"] and restart.vm["id"] == first["id"]
    assert b"24576k" in Path(f"/proc/{restart.vm['pid']}/cmdline").read_bytes()


def test_change_without_restart_is_pending(host: Host) -> None:
    host.run("web", "idle")
    result = api.ensure(host.root, host.spec("web", "idle", cpus=2), "present")
    assert result.vm["pending_restart"] == ["cpus"]
    started = api.ensure(host.root, host.spec("web", "idle"), "started")
    assert [action.kind for action in started.plan.actions] == ["restart"] and not started.vm["pending_restart"]


def test_name_is_taken_once(host: Host) -> None:
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(host.run("web", "idle"))
        except UniError as error:
            outcomes.append(error)

    host.guest("idle")
    threads = [threading.Thread(target=run) for _turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(item).__name__ for item in outcomes) == ["ConflictError"] * 3 + ["dict"]
    assert len(api.list_vms(host.root, everything=True)) == 1


def test_ensure_twice_at_once_makes_one(host: Host) -> None:
    results: list[api.VmResult] = []
    spec = host.spec("web", "idle")
    threads = [threading.Thread(target=lambda: results.append(api.ensure(host.root, spec))) for _turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and len({result.vm["id"] for result in results}) == 1
    assert len({result.vm["pid"] for result in results}) == 1


def test_pause_and_unpause(host: Host) -> None:
    host.run("web", "flood")
    api.pause(host.root, "web")
    assert api.list_vms(host.root)[0]["status"] == "paused"
    api.unpause(host.root, "web")
    assert api.list_vms(host.root)[0]["status"] == "running"


def test_rename_while_running(host: Host) -> None:
    host.run("old", "idle")
    host.run("other", "idle")
    with pytest.raises(ConflictError):
        api.rename(host.root, "old", "other")
    assert api.rename(host.root, "old", "new")["name"] == "new"
    assert {vm["name"] for vm in api.list_vms(host.root)} == {"new", "other"}
    api.stop(host.root, "new", grace=0)
    assert {vm["name"] for vm in api.list_vms(host.root, everything=True)} == {"new", "other"}


def test_remove_needs_force_while_running(host: Host) -> None:
    host.run("web", "idle")
    with pytest.raises(ConflictError):
        api.remove(host.root, "web")
    api.remove(host.root, "web", force=True)
    assert api.list_vms(host.root, everything=True) == []


def test_auto_remove_leaves_nothing(host: Host) -> None:
    vm = host.run("web", "polite", auto_remove=True)
    api.stop(host.root, "web", grace=60)
    assert not os.path.exists(str(vm["directory"])) and api.list_vms(host.root, everything=True) == []


def test_attach_replays_and_types(host: Host) -> None:
    host.run("web", "echo")
    with api.attach(host.root, "web", replay=True) as console:
        console.settimeout(60)
        seen = b""
        while b"echo\n" not in seen:
            seen += console.recv(4096)
        console.sendall(b"typed")
        while b"typed" not in seen:
            seen += console.recv(4096)


def test_hardening_is_in_force(host: Host) -> None:
    host.run("web", "idle")
    report = {item["name"]: item["in_force"] for item in api.inspect(host.root, "web")["hardening"]}
    for name in ("no_capabilities", "no_new_privs", "seccomp", "no_core_dumps", "descriptor_limit"):
        assert report[name], name
    assert report["own_uid"] is (os.geteuid() == 0)


def test_secrets_are_not_in_argv_record_or_diff(host: Host) -> None:
    secret = "correct-horse-battery"
    spec = host.spec("web", "idle", secrets=[{"name": "key", "content": secret}], env={"A": "b"})
    vm = api.ensure(host.root, spec).vm
    changed = host.spec("web", "idle", secrets=[{"name": "key", "content": secret + "2"}])
    plan = api.ensure(host.root, changed, check=True).plan
    assert plan.changed and secret not in str(plan.diff()) + str(plan.describe()) + str(vm)
    assert secret.encode() not in Path(f"/proc/{vm['pid']}/cmdline").read_bytes()
    for name in ("vm.json", "state.json", "launch", "console.log"):
        assert secret.encode() not in (Path(str(vm["directory"])) / name).read_bytes()
    assert not api.ensure(host.root, spec).changed


def test_batch_is_one_keeper(host: Host) -> None:
    specs = [host.spec(f"vm{n}", "idle") for n in range(5)]
    results = api.ensure_many(host.root, specs)
    assert all(result.vm["status"] == "running" for result in results)
    keepers = {api.resolve_vm(host.root, spec.name).keeper() for spec in specs}
    assert len(keepers) == 1
    assert not any(result.changed for result in api.ensure_many(host.root, specs))


def test_ends_at_once_and_never_speaks(host: Host) -> None:
    with pytest.raises(GuestError) as caught:
        host.run("gone", "gone")
    assert caught.value.code == "vm.start_boot" and "memory" in caught.value.hint
    with pytest.raises(UniError) as late:
        api.run(host.root, host.spec("mute", "mute"), timeout=1.0)
    assert late.value.code == "vm.boot_timeout"
    assert {vm["status"] for vm in api.list_vms(host.root, everything=True)} == {"exited"}


def test_hostile_control_port(host: Host) -> None:
    host.run("liar", "liar")
    verdict = api.wait(host.root, "liar", timeout=60)
    assert verdict.get("status") == 5, verdict


def test_port_in_use_names_the_owner(host: Host) -> None:
    first = host.run("a", "idle", ports=["127.0.0.1:0:80"])
    port = str(first["ports"][0]).split(":")[1]
    with pytest.raises(ConflictError) as caught:
        host.run("b", "idle", ports=[f"127.0.0.1:{port}:80"])
    assert caught.value.code == "port.in_use" and "VM a" in caught.value.message


def test_ports_change_live(host: Host) -> None:
    first = api.ensure(host.root, host.spec("a", "idle", ports=["127.0.0.1:0:80"])).vm
    second = api.ensure(host.root, host.spec("a", "idle", ports=["127.0.0.1:0:80", "127.0.0.1:0:81"])).vm
    assert second["pid"] == first["pid"] and first["ports"][0] in second["ports"] and len(second["ports"]) == 2
    third = api.ensure(host.root, host.spec("a", "idle", ports=[])).vm
    assert third["pid"] == first["pid"] and third["ports"] == []


def test_restart_policy_backs_off_and_stops(host: Host) -> None:
    host.run("web", "fail", restart_policy="on-failure:2")
    vm = api.resolve_vm(host.root, "web")
    while api.list_vms(host.root):
        api.wait(host.root, "web", timeout=60)
    assert api.info(api.resolve_vm(host.root, "web"))["restarts"] == 2
    assert text(host, "web").count(b"failing") == 3 and vm.id


def test_unknown_kernel_and_small_memory(host: Host) -> None:
    with pytest.raises(UniError) as caught:
        api.run(host.root, VmSpec.parse("web", {"kernel": "/nowhere/uni.elf"}))
    assert caught.value.code == "kernel.not_found"
    with pytest.raises(UniError) as small:
        api.run(host.root, host.spec("small", "idle", memory="1M"))
    assert small.value.code == "vm.memory"


def test_following_loses_and_repeats_nothing(host: Host) -> None:
    host.run("web", "count")
    text = b"".join(line.raw() for line in api.logs(host.root, "web", follow=True))
    assert text == b"".join(b"%d\n" % number for number in range(300))
    assert b"".join(line.raw() for line in api.logs(host.root, "web")) == text
