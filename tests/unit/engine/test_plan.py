# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan, Tracker


def test_tracker_ignores_what_the_user_did_not_set():
    tracker = Tracker()
    assert not tracker.compare("memory", None, 128)
    assert not tracker.compare("cpus", 1, 1)
    assert tracker.compare("image", "b", "a")
    assert tracker.compare_secret("password", "new", "old")
    assert tracker.names == ("image", "password")
    assert tracker.before["image"] == "a"
    assert "old" not in str(tracker.before)
    assert "new" not in tracker.after["image"]


def test_compare_all_collects_every_difference():
    tracker = Tracker()
    assert tracker.compare_all({"a": 1, "b": 2, "c": None}, {"a": 0, "b": 0, "c": 0})
    assert tracker.after == {"a": 1, "b": 2}


def test_plan_diff_reads_like_yaml():
    plan = Plan((Action("update", "vm/web", "change memory", {"memory": 1, "env": {}},
                        {"memory": 2, "env": {"A": "x\ny"}, "args": ["-v", ""]}),))
    assert plan.changed
    assert plan.diff()["before"] == "vm/web:\n  memory: 1\n  env: {}\n"
    assert plan.diff()["after"] == "vm/web:\n  memory: 2\n  env:\n    A: 'x\\ny'\n  args:\n  - -v\n  - ''\n"
    assert not Plan().changed
    assert (plan + plan).describe()[1]["kind"] == "update"


def test_errors_as_data():
    error = UsageError("x is wrong", hint="use y")
    assert error.to_dict() == {"code": "usage", "message": "x is wrong", "hint": "use y"}
    assert error.exit_status == 2
    assert UniError("x").exit_status == 1
    assert str(error) == "x is wrong (use y)"
