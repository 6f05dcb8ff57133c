# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import (
    PortForward,
    check_name,
    format_size,
    parse_duration,
    parse_env,
    parse_port,
    parse_size,
)


@pytest.mark.parametrize(("text", "unit", "size"), [
    ("1G", "", 1 << 30), ("1024M", "", 1 << 30), ("1GiB", "", 1 << 30), ("1gb", "", 1 << 30),
    ("1.5K", "", 1536), (4096, "", 4096), ("64", "M", 64 << 20), (64, "M", 64 << 20), ("64B", "M", 64),
    (" 2 T ", "", 2 << 40), ("0", "", 0),
])
def test_parse_size(text, unit, size):
    assert parse_size(text, unit=unit) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1X", "1 G B", "1..5G", True, "1e9", "0x10", None])
def test_parse_size_refuses(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text, what="memory")
    assert caught.value.code == "units.size"
    assert "memory" in caught.value.message


@pytest.mark.parametrize(("size", "text"), [
    (1 << 30, "1G"), (1536, "1.5K"), (512, "512B"), (0, "0B"), (128 << 20, "128M")])
def test_format_size(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(("text", "seconds"), [
    ("30s", 30), ("1m30s", 90), (5, 5), ("2.5", 2.5), ("500ms", 0.5), ("1h", 3600), ("1d", 86400)])
def test_parse_duration(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "1x", "1m 30s", "nan", "inf", "1e300", True, "30s junk"])
def test_parse_duration_refuses(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def test_equal_ports_in_different_spelling_are_equal():
    expected = (PortForward("0.0.0.0", 8080, 80, "tcp"),)
    assert parse_port("8080:80") == parse_port("0.0.0.0:8080:80/tcp") == expected
    assert parse_port("[0::1]:53:53/UDP") == (PortForward("::1", 53, 53, "udp"),)


def test_port_range():
    ports = parse_port("127.0.0.1:8000-8010:80-90")
    assert len(ports) == 11
    assert str(ports[-1]) == "127.0.0.1:8010:90/tcp"


@pytest.mark.parametrize("text", [
    "80", "80:", ":80", "a:80", "8080:80/sctp", "70000:80", "80:0", "8000-8001:80", "9-8:9-8", "0-1:80-81",
    "host:80:80", "1:2:3:4", "::1:80:80", "8080:80\n8081:81"])
def test_parse_port_refuses(text):
    with pytest.raises(UsageError) as caught:
        parse_port(text)
    assert caught.value.code == "units.port"


def test_parse_env():
    assert parse_env(["A=b=c", "B=", "A=d"]) == {"A": "d", "B": ""}
    assert parse_env({"A": 1, "B": True, "C": None}) == {"A": "1", "B": "true", "C": ""}
    assert parse_env(None) == {}


@pytest.mark.parametrize("value", [["A"], ["=b"], ["A B=c"], {"A=B": "c"}, ["A=b\0c"]])
def test_parse_env_refuses(value):
    with pytest.raises(UsageError) as caught:
        parse_env(value)
    assert caught.value.code == "units.env"


def test_env_errors_hide_values():
    with pytest.raises(UsageError) as caught:
        parse_env(["TOKEN=hunter2\0"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["web", "a", "0", "a.b_c-d", "x" * 63])
def test_check_name(name):
    assert check_name("VM", name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "A", "a/b", "a b", "x" * 64, "ä", "a\n", None, 5])
def test_check_name_refuses(name):
    with pytest.raises(UsageError) as caught:
        check_name("VM", name)
    assert caught.value.code == "units.name"
