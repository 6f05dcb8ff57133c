# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of a VM: what a change of it does to a running VM, spelled two ways, and how it is compared."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import FIELDS
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Observed, Wanted, plan_vm
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.secrets import split
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec, damaged

LIVE, RESTART, RECREATE = ["update"], ["update", "restart"], ["recreate", "start"]

# field -> (a value, the same value written otherwise, another value, what the other value does to a running VM)
TABLE: dict[str, tuple[Any, Any, Any, list[str]]] = {
    "command": (["sh", "-c", "a b"], "sh -c 'a b'", ["sh"], RESTART),
    "args": (["1", "2"], "1 2", ["2"], RESTART),
    "env": ({"A": "1", "B": "x"}, ["B=x", "A=1"], {"A": "2"}, RESTART),
    "workdir": ("/srv", "/srv/", "/tmp", RESTART),
    "user": ("1000:7", "01000:07", "0", RESTART),
    "hostname": ("web", "WEB", "db", RESTART),
    "memory": ("1G", "1024M", "2G", RESTART),
    "cpus": (2, "2", 3, RESTART),
    "cpu_pin": ("0-2", "0,1,2", "1", RESTART),
    "ports": (["8080:80"], ["0.0.0.0:8080:80/tcp"], ["127.0.0.1:8080:80"], LIVE),
    "networks": (["user"], [{"name": "user"}], ["none"], RESTART),
    "dns": (["1.1.1.1"], "1.1.1.1", ["9.9.9.9"], RESTART),
    "dns_search": (["a.example"], "a.example", ["b.example"], RESTART),
    "extra_hosts": ({"db": "10.0.0.9"}, ["db:10.0.0.9"], {"db": "10.0.0.8"}, RESTART),
    "volumes": (["data:/srv"], ["data:/srv/:rw"], ["data:/srv:ro"], RESTART),
    "ulimits": (["nofile:9"], {"nofile": 9}, ["nofile:9:10"], RESTART),
    "tmpfs": (["/tmp:size=1M"], "/tmp:size=1048576", ["/tmp:size=2M"], RESTART),
    "secrets": ([{"name": "key", "content": "a"}], [{"path": "/run/secrets/key", "content": "a"}],
                [{"name": "key", "content": "b"}], RESTART),
    "read_only": (True, True, False, RESTART),
    "tty": (True, True, False, RESTART),
    "trace": (True, True, False, RESTART),
    "labels": ({"a": "1"}, ["a=1"], {"a": "2"}, LIVE),
    "restart_policy": ("on-failure:3", "on-failure:03", "always", LIVE),
    "health_check": ("tcp:80", {"test": "tcp:80"}, "tcp:81", LIVE),
    "stop_signal": ("SIGTERM", 15, "INT", LIVE),
    "stop_timeout": ("1m", 60, "30s", LIVE),
    "auto_remove": (True, True, False, LIVE),
    "limits": ({"memory": "1G"}, {"memory": 1 << 30}, {"memory": "2G"}, LIVE),
    "log_max_size": ("1M", 1 << 20, "2M", LIVE),
    "log_max_files": (2, "2", 4, LIVE),
    "disk_bps": ("1M", 1 << 20, "2M", LIVE),
    "disk_read_bps": ("1M", 1 << 20, "2M", LIVE),
    "disk_write_bps": ("1M", 1 << 20, "2M", LIVE),
    "disk_iops": (100, "100", 200, LIVE),
    "disk_read_iops": (100, "100", 200, LIVE),
    "disk_write_iops": (100, "100", 200, LIVE),
    "net_in_bps": ("1M", 1 << 20, "2M", LIVE),
    "net_out_bps": ("1M", 1 << 20, "2M", LIVE),
    "rng": (False, False, True, RESTART),
    "kernel": ("0.1.0", "0.1.0", "image", RESTART),
    "kernel_args": ("a", "a", "b", RESTART),
    "guest": ("uni", "uni", None, RECREATE),
    "monitor": ("qemu", "qemu", None, RESTART),
    "machine": ("q35", "q35", "microvm", RESTART),
    "accel": ("tcg", "tcg", "auto", RESTART),
    "hardening": ("required", "required", "default", RESTART),
    "debug": (True, True, False, RESTART),
}


def running(name: str, value: Any) -> Observed:
    """A running VM whose record has this value, as it is stored."""
    values, _hidden = split(VmSpec.parse("web", {"image": "app", name: value}).values, "0a")
    return Observed("0a", "running", values, "sha256:1")


def kinds(name: str, value: Any, observed: Observed, **comparisons: str) -> list[str]:
    wanted = Wanted("started", "sha256:1", comparisons=comparisons)
    return [action.kind for action in plan_vm(VmSpec.parse("web", {"image": "app", name: value}), observed,
                                              wanted).actions]


def test_the_table_has_every_field() -> None:
    assert {"image", *TABLE} == set(FIELDS)


@pytest.mark.parametrize("name", TABLE)
def test_a_field(name: str) -> None:
    value, again, other, expected = TABLE[name]
    observed = running(name, value)
    assert kinds(name, value, observed) == [] and kinds(name, again, observed) == []
    if other is not None:  # a field with one value only cannot change
        assert kinds(name, other, observed) == expected
        assert kinds(name, other, observed, **{name: "ignore"}) == kinds(name, other, observed, **{"*": "ignore"}) == []
    assert FIELDS[name].change == {1: "live", 2: "restart"}.get(len(expected), "recreate") or expected is RECREATE


@pytest.mark.parametrize("name", TABLE)
def test_what_is_on_record_is_as_it_was_understood(name: str) -> None:
    for value in TABLE[name][:3]:
        if value is not None:
            record = json.loads(json.dumps(VmSpec.parse("web", {name: value}).values))
            assert damaged(record) == ""
            secret = FIELDS[name].secret
            for wrong in (None, {"": []}, -7.5, "\0"):
                assert damaged({"cpus": 1, name: wrong}) == ("" if secret else name), wrong
    assert damaged({"of a newer release": 7}) == ""


def test_another_image_is_another_vm() -> None:
    observed = Observed("0a", "running", {"image": "app"}, "sha256:1")
    plan = plan_vm(VmSpec.parse("web", {"image": "app"}), observed, Wanted("started", "sha256:2"))
    assert [action.kind for action in plan.actions] == RECREATE
    digest = VmSpec.parse("web", {"image": "app@sha256:" + "1" * 64})
    assert not plan_vm(digest, observed, Wanted("started", "sha256:1")).changed  # the same, by digest


@pytest.mark.parametrize(("name", "there", "less", "more"), [
    ("env", {"A": "1", "B": "2"}, {"A": "1"}, {"C": "3"}),
    ("labels", {"a": "1", "b": "2"}, {"b": "2"}, {"b": "3"}),
    ("ports", ["80:80", "81:81"], ["81:81"], ["82:82"]),
    ("volumes", ["a:/a", "b:/b"], ["a:/a"], ["c:/c"]),
    ("dns", ["1.1.1.1", "9.9.9.9"], ["9.9.9.9"], ["8.8.8.8"]),
])
@pytest.mark.parametrize("how", ["allow_more", "allow_more_present"])
def test_allow_more(name: str, there: Any, less: Any, more: Any, how: str) -> None:
    observed = running(name, there)
    assert kinds(name, less, observed) != [] and kinds(name, less, observed, **{name: how}) == []
    assert kinds(name, more, observed, **{name: how}) != []
    assert kinds(name, less, observed, **{"*": how}) == [] and kinds(name, less, observed, **{"*": how, name: "strict"})


@pytest.mark.parametrize("comparisons", [{"memroy": "ignore"}, {"env": "loosely"}, {"*": "nearly"}])
def test_comparisons_that_mean_nothing_are_refused(comparisons: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        plan_vm(VmSpec.parse("web", {"image": "app"}), running("cpus", 1), Wanted(comparisons=comparisons))
    assert caught.value.code == "vm.comparisons"
