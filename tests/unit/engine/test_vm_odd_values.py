# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a playbook or a JSON-RPC client gives for an option: it is understood, or refused in a sentence."""

from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import FIELDS
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

ODD = (True, 0, -1, 7, 1e300, float("nan"), "", "x", "a b", "-", "lots", "1:2:3:4:5", "\0", "/", "ü", "x" * 70000, [], [None], [[]], [{}],
       [1], ["x", "x"], ["\0"], [":"], [{"name": "a", "x": 1}], {}, {"": ""}, {"a": None}, {"a": [1]}, {1: 2}, {"\n": "\n"})
KEYS = {
    "secrets": ("name", "path", "content", "content_b64", "src", "mode", "uid", "gid"),
    "limits": ("cpu", "cpu_weight", "memory", "pids", "io_read_bps", "io_write_iops"),
    "health_check": ("test", "kind", "port", "path", "host", "statuses", "status", "body", "pattern", "interval", "timeout", "retries",
                     "start_period", "on_failure"),
    "networks": ("name", "ip", "ip6", "mac", "aliases", "gateway", "dns"),
}
SOUND = {"secrets": {"name": "a", "content": "b"}, "health_check": {"test": "http:80:/"}, "networks": {"name": "front"}, "limits": {}}


@pytest.mark.parametrize("name", FIELDS)
def test_odd_values(name: str) -> None:
    for value in ODD:
        attempt(name, value)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in KEYS.items() for key in keys])
def test_odd_values_inside(name: str, key: str) -> None:
    for value in (*ODD, None):
        entry = {**SOUND[name], key: value}
        attempt(name, [entry] if name in ("secrets", "networks") else entry)


def attempt(name: str, value: object) -> None:
    try:
        VmSpec.parse("web", {"image": "a", name: value})
    except UniError as error:
        assert error.code and error.message


def test_a_secret_is_not_told_with_what_is_wrong_about_it() -> None:
    for wrong in ({"uid": [1]}, {"gid": "x"}, {"mode": "0999"}, {"path": 5}, {"content": None, "content_b64": "hunter2!"}):
        with pytest.raises(UniError) as caught:
            VmSpec.parse("web", {"secrets": [{"name": "a", "content": "hunter2!", **wrong}]})
        assert "hunter2" not in str(caught.value) and caught.value.code == "vm.secrets"


def test_what_is_wrong_is_named() -> None:
    for option, value, word in (("limits", {"cpu": "lots"}, "limits.cpu"), ("health_check", {"test": "http:80", "statuses": "ok"}, "'ok'"),
                                ("secrets", [{"name": "a", "content": "b", "mode": "zzz"}], "mode 'zzz'"),
                                ("health_check", {"test": "tcp:80", "retries": "many"}, "'retries': 'many'")):
        with pytest.raises(UniError) as caught:
            VmSpec.parse("web", {option: value})
        assert word in caught.value.message
