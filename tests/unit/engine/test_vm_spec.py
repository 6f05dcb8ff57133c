# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of a VM: equal meanings are equal values, and what cannot be understood is refused."""

from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import DEFAULTS, FIELDS, LIVE, parse_signal
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec


def value(key: str, text: object) -> object:
    return VmSpec.parse("web", {key: text}).values[key]


@pytest.mark.parametrize(("key", "left", "right"), [
    ("memory", "1G", "1024M"), ("memory", 67108864, "64M"), ("memory", "64MiB", "64M"),
    ("ports", ["8080:80"], ["0.0.0.0:8080:80/tcp"]), ("ports", "8000-8001:80-81", ["8001:81", "8000:80"]),
    ("ports", ["80:80", "80:80"], ["80:80"]), ("env", ["B=2", "A=1"], {"A": 1, "B": "2"}),
    ("networks", "none", []), ("networks", "user", [{"name": "user"}]),
    ("networks", [{"name": "n", "ip": "10.0.0.5", "mac": "52-54-00-AA-BB-CC"}],
     [{"name": "n", "ip": "10.0.0.5", "mac": "52:54:00:aa:bb:cc"}]),
    ("volumes", "data:/var//lib/", ["data:/var/lib"]), ("volumes", "data:/d:rw", ["data:/d"]),
    ("tmpfs", "/tmp:size=1M", ["/tmp:size=1048576"]),
    ("ulimits", ["nofile=1:2", "core:-1"], ["core:unlimited:unlimited", "nofile:1:2"]), ("ulimits", "cpu:1:-1", ["cpu:1:unlimited"]),
    ("restart_policy", "on-failure:03", "on-failure:3"),
    ("user", "0010:7", "10:7"), ("cpu_pin", "0-2,1", "0,1,2"), ("stop_signal", "sigterm", 15),
    ("stop_timeout", "1m", 60), ("command", "echo 'a b'", ["echo", "a b"]), ("dns", "1.1.1.1", ["1.1.1.1"]),
    ("extra_hosts", ["db:10.0.0.9"], {"db": "10.0.0.9"}), ("extra_hosts", ["v6=[::1]"], {"v6": "::1"}),
    ("health_check", "tcp:80", {"test": "tcp:80", "interval": "10s"}), ("health_check", "none", {}),
    ("health_check", "http:80", {"kind": "http", "port": "80", "path": "/", "status": "200-399"}),
])
def test_same_meaning_same_value(key: str, left: object, right: object) -> None:
    assert value(key, left) == value(key, right)


@pytest.mark.parametrize(("key", "bad"), [
    ("memory", "12"), ("memory", "lots"), ("memory", True), ("cpus", 0), ("cpus", "two"), ("cpus", 1.5),
    ("ports", ["80"]), ("ports", ["1.2.3:80:80"]), ("ports", ["80:80", "80:81"]), ("env", ["novalue"]),
    ("networks", ["a", "a"]), ("networks", ["none", "user"]), ("networks", [{"name": "n", "ip": "10.0.0.300"}]),
    ("networks", [{"name": "n", "mac": "01:00:00:00:00:00"}]), ("networks", [{"nam": "n"}]),
    ("volumes", "data"), ("volumes", "data:relative"), ("volumes", "../etc:/x"), ("volumes", ["a:/x", "b:/x"]),
    ("ulimits", "files:1"), ("ulimits", "nofile"), ("ulimits", "nofile:2:1"), ("ulimits", "nofile:1:2:3"), ("ulimits", "nofile:-2"),
    ("ulimits", f"cpu:{1 << 64}"), ("volumes", "a:/x:rx"), ("tmpfs", "tmp"), ("tmpfs", "/tmp:mode=7"), ("restart_policy", "sometimes"),
    ("restart_policy", "always:3"), ("restart_policy", "on-failure:0"), ("user", "root"), ("cpu_pin", "a"),
    ("stop_signal", "SIGNOTHING"), ("stop_timeout", "-1"), ("command", "'open"), ("args", 5), ("dns", "example.org"),
    ("extra_hosts", ["db"]), ("health_check", "tcp:99999"), ("health_check", "ping"),
    ("health_check", "http:80:nopath"), ("health_check", {"test": "http:80:/x\r\nEvil: 1"}),
    ("health_check", {"test": "log:("}), ("health_check", {"test": "tcp:80", "retries": 0}),
    ("health_check", {"test": "tcp:80", "colour": "red"}), ("limits", {"cpu": 0}), ("limits", {"disk": 1}),
    ("accel", "hvf"), ("machine", "raspi"), ("read_only", "yes"), ("secrets", [{"name": "k"}]),
    ("secrets", ["text"]), ("secrets", [{"path": "relative", "content": "x"}]), ("hostname", "bad host"),
    ("image", ""), ("workdir", "relative"), ("labels", 7), ("unknown_option", 1),
])
def test_bad_values_are_refused(key: str, bad: object) -> None:
    with pytest.raises(UniError):
        VmSpec.parse("web", {key: bad})


def test_errors_never_hold_secrets() -> None:
    for bad in ([{"name": "k", "content": "hunter2", "oops": 1}], [{"path": "x", "content": "hunter2"}]):
        with pytest.raises(UsageError) as caught:
            VmSpec.parse("web", {"secrets": bad})
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Web", "-web", "a b", "a/b", "x" * 64, ".names", "..", "web\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError):
        VmSpec.parse(name, {})


def test_none_is_not_set_and_the_table_is_complete() -> None:
    assert VmSpec.parse("web", {"memory": None}).values == {}
    assert set(DEFAULTS) <= set(FIELDS)
    for name, default in DEFAULTS.items():
        if name not in ("secrets",):
            assert FIELDS[name].normalise(default) == default, name
    live = {name for name, field in FIELDS.items() if field.change == LIVE}
    assert live >= {"ports", "labels", "restart_policy", "limits", "health_check"}


def test_signals() -> None:
    assert parse_signal("HUP") == parse_signal("SIGHUP") == parse_signal(1) == 1
    with pytest.raises(UsageError):
        parse_signal(0)
