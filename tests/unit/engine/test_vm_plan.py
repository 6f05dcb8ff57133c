# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a VM: pure, so every transition can be listed."""

from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Observed, Wanted, plan_vm
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.secrets import split
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec


def kinds(status: str | None, state: str, options: dict[str, object] | None = None,
          values: dict[str, object] | None = None, **wanted: object) -> list[str]:
    base: dict[str, object] = {"image": "app"}
    spec = VmSpec.parse("web", {**base, **(options or {})})
    before = VmSpec.parse("web", {**base, **(values or {})}).values
    observed = None if status is None else Observed("0a", status, before, "sha256:1")
    return [action.kind for action in plan_vm(spec, observed, Wanted(state, "sha256:1", **wanted)).actions]


@pytest.mark.parametrize(("status", "state", "expected"), [
    (None, "absent", []), (None, "present", ["create"]), (None, "started", ["create", "start"]),
    (None, "stopped", ["create"]), (None, "paused", ["create", "start", "pause"]),
    (None, "healthy", ["create", "start"]),
    (None, "restarted", ["create", "start"]),
    ("created", "started", ["start"]), ("created", "stopped", []), ("created", "absent", ["remove"]),
    ("created", "paused", ["start", "pause"]), ("running", "started", []), ("running", "healthy", []),
    ("running", "present", []), ("running", "stopped", ["stop"]), ("running", "restarted", ["restart"]),
    ("running", "paused", ["pause"]), ("running", "absent", ["stop", "remove"]), ("paused", "started", ["unpause"]),
    ("paused", "paused", []), ("paused", "stopped", ["stop"]), ("exited", "started", ["start"]),
    ("exited", "stopped", []), ("exited", "restarted", ["start"]), ("exited", "absent", ["remove"]),
    ("lost", "stopped", ["stop"]), ("lost", "started", ["start"]), ("restarting", "started", []),
    ("restarting", "stopped", ["stop"]), ("stopping", "started", ["stop", "start"]),
])
def test_transitions(status: str | None, state: str, expected: list[str]) -> None:
    assert kinds(status, state) == expected


@pytest.mark.parametrize(("change", "expected"), [
    ({"labels": {"a": "b"}}, ["update"]), ({"ports": ["80:80"]}, ["update"]),
    ({"restart_policy": "always"}, ["update"]),
    ({"memory": "1G"}, ["update", "restart"]), ({"env": {"A": "1"}}, ["update", "restart"]),
    ({"memory": "128M"}, []), ({"ports": []}, []), ({"networks": "user"}, []), ({"cpus": 1}, []),
    ({"guest": "uni"}, []),
])
def test_a_changed_field_does_what_its_table_says(change: dict[str, object], expected: list[str]) -> None:
    assert kinds("running", "started", change) == expected


def test_a_change_of_a_stopped_vm_needs_no_restart() -> None:
    assert kinds("exited", "stopped", {"memory": "1G"}) == ["update"]
    assert kinds("exited", "started", {"memory": "1G"}) == ["update", "start"]
    assert kinds("running", "present", {"memory": "1G"}) == ["update"]


def test_unset_fields_are_not_compared() -> None:
    assert kinds("running", "started", {}, {"memory": "1G", "ports": ["80:80"], "env": {"A": "1"}}) == []


def test_image_is_compared_by_identity() -> None:
    spec = VmSpec.parse("web", {"image": "app:latest"})
    observed = Observed("0a", "running", {"image": "app@sha256:1"}, "sha256:1")
    assert not plan_vm(spec, observed, Wanted("started", "sha256:1")).changed
    plan = plan_vm(spec, observed, Wanted("started", "sha256:2"))
    assert [action.kind for action in plan.actions] == ["recreate", "start"]
    assert "image" in plan.actions[0].summary
    with pytest.raises(ConflictError):
        plan_vm(spec, observed, Wanted("started", "sha256:2", recreate="never"))
    assert kinds("running", "started", recreate="always") == ["recreate", "start"]


def test_comparisons() -> None:
    before = {"env": {"A": "1", "B": "2"}, "labels": {"x": "1"}}
    assert kinds("running", "started", {"env": {"A": "1"}}, before) == ["update", "restart"]
    assert kinds("running", "started", {"env": {"A": "1"}}, before, comparisons={"env": "allow_more"}) == []
    assert kinds("running", "started", {"env": {"A": "9"}}, before, comparisons={"*": "ignore"}) == []
    with pytest.raises(UsageError):
        kinds("running", "started", {"env": {"A": "9"}}, before, comparisons={"env": "loosely"})


def test_secrets_compare_by_digest_and_never_show() -> None:
    spec = VmSpec.parse("web", {"secrets": [{"name": "k", "content": "hunter2"}]})
    stored, hidden = split(spec.values, "0a")
    assert "hunter2" not in str(stored) and hidden is not None
    observed = Observed("0a", "running", {"image": "app", **stored}, "sha256:1")
    assert not plan_vm(spec, observed, Wanted("started")).changed
    other = VmSpec.parse("web", {"secrets": [{"name": "k", "content": "hunter3"}]})
    plan = plan_vm(other, observed, Wanted("started"))
    assert plan.changed and "hunter" not in str(plan.describe()) + str(plan.diff())
    assert "aHVudGVy" not in str(plan.describe()) + str(plan.diff())
    new = VmSpec.parse("web", {"image": "a", "secrets": [{"name": "k", "content": "hunter2"}]})
    fresh = plan_vm(new, None, Wanted())
    assert "hunter" not in str(fresh.describe()) and "aHVudGVy" not in str(fresh.describe())


def test_pending_restart_is_remembered() -> None:
    observed = Observed("0a", "running", {"image": "app"}, "sha256:1", pending=("memory",))
    spec = VmSpec.parse("web", {})
    assert [action.kind for action in plan_vm(spec, observed, Wanted("started")).actions] == ["restart"]
    assert not plan_vm(spec, observed, Wanted("present")).changed


def test_bad_wishes() -> None:
    for wanted in (Wanted("running"), Wanted("started", recreate="maybe")):
        with pytest.raises(UsageError):
            plan_vm(VmSpec.parse("web", {"image": "a"}), None, wanted)
    with pytest.raises(UsageError):
        plan_vm(VmSpec.parse("web", {}), None, Wanted())


def test_a_restart_names_the_field_that_forces_it() -> None:
    spec = VmSpec.parse("web", {"memory": "1G"})
    plan = plan_vm(spec, Observed("0a", "running", {"image": "a"}), Wanted("started"))
    assert "memory" in plan.actions[0].summary and "memory" in plan.actions[1].summary
    assert "memory: 134217728" in plan.diff()["before"] and "memory: 1073741824" in plan.diff()["after"]
    assert "restart: memory cannot change while it runs" in plan.diff()["after"]
    live = plan_vm(VmSpec.parse("web", {"labels": {"a": "b"}}), Observed("0a", "running", {"image": "a"}), Wanted("started"))
    assert "cannot change" not in live.diff()["after"]
    saved = plan_vm(spec, Observed("0a", "saved", {"image": "a"}), Wanted("present"))
    assert "saved memory: given up for memory" in saved.diff()["after"]
    image = plan_vm(VmSpec.parse("web", {"image": "b"}), Observed("0a", "running", {"image": "a"}), Wanted("started"))
    assert "re-creation: image cannot change otherwise" in image.diff()["after"]
