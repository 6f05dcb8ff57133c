# SPDX-License-Identifier: GPL-3.0-or-later
"""What `uni ps`, `top`, `status`, `events`, `attach` and `trace` make of records, readings and keys."""

from __future__ import annotations

import json
import threading

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli import console, tracing
from ansible_collections.uni.engine.plugins.module_utils.cli.main import main
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops, usage


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("UNI_ROOT", str(tmp_path))
    monkeypatch.setenv("UNI_ACCEL", "tcg")
    return Root(tmp_path)


@pytest.fixture
def uni(root, monkeypatch, capsys):
    def run(*argv):
        monkeypatch.setattr("sys.argv", ["uni", *argv])
        status = main(list(argv))
        out, err = capsys.readouterr()
        return status, out, err
    return run


def vm(root, number, name, **state):
    directory = root.vms / f"{number:012x}"
    directory.mkdir()
    record = {"id": directory.name, "name": name, "image": f"{name}:latest", "image_id": f"sha256:{number:064x}",
              "created": f"2026-01-0{number}T00:00:00Z", "memory": 32 << 20, "status": "exited",
              "exit": {"code": number - 1}, "labels": {"tier": name, "all": "yes"}, "ports": ["0.0.0.0:80:80/tcp"]}
    (directory / "vm.json").write_text(json.dumps({"name": record.get("name", "")}))
    (directory / "state.json").write_text(json.dumps({**record, **state}))


def test_ps_filters_and_formats(root, uni):
    vm(root, 1, "one")
    vm(root, 2, "two")
    vm(root, 3, "three", status="created", exit=None)

    def names(*filters):
        words = [word for item in filters for word in ("--filter", item)]
        return uni("ps", "-a", "--format", "{name}", *words)[1].split()

    assert names() == ["three", "two", "one"]
    assert names("name=one", "name=two") == ["two", "one"]          # one of the values of a key
    assert names("name=one", "status=created") == []                # and all keys
    assert names("label=all", "label=tier=two") == ["two"]          # of labels all
    assert names("exited=1") == ["two"] and names("exited=0") == ["one"]
    assert uni("ps", "-a", "--format", r"{{.Names}}\t{{ .Image }}", "--filter", "name=one")[1] == "one\tone:latest\n"
    lines = uni("ps", "-a", "--format", "json", "--filter", "name=one")[1].splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["one"]
    assert uni("logs", "one", "--tail", "-1")[0] == 2
    status, out, err = uni("ps", "-a", "--format", "{nothing}")
    assert (status, out) == (2, "") and "{nothing}" in err and "fields:" in err
    assert uni("ps", "-a", "--filter", "color=red")[0] == 2
    assert f"sha256:{3:064x}" in uni("ps", "-a", "--no-trunc")[1] and "sha256" not in uni("ps", "-a")[1]


def test_status_of_a_fresh_host(root, uni):
    status, out, _err = uni("status", "--output", "json")
    data = json.loads(out)
    assert status == 0 and data["vms"] == {"total": 0} and data["volumes"]["count"] == 0
    assert data["root"] == str(root.path) and data["daemon"] == "not running" and data["disk"]["free"] > 0
    vm(root, 1, "one")
    assert "1: 1 exited" in uni("status")[1]


def test_stats_without_a_vm_that_runs(root, uni):
    assert json.loads(uni("stats", "--output", "json")[1]) == []
    assert uni("top", "--once", "--interval", "100ms")[1].startswith("NAME")
    assert uni("stats", "nobody")[0] == 1


def reading(at, host=0, guest=0, pid=5, rx=0):
    return {"id": "a", "pid": pid, "at_us": at, "host": {"cpu_us": host, "rd_bytes": host, "wr_bytes": 0},
            "guest": None if guest is None else {"cpu_us": guest, "rx_bytes": rx}}


def test_rates():
    found = usage.rates([reading(0)], [reading(2_000_000, 500_000, 1_000_000, rx=3000)])[0]["rates"]
    assert found["host_cpu_percent"] == 25.0 and found["guest_cpu_percent"] == 50.0
    assert found["guest_rx_bytes"] == 1500 and found["host_rd_bytes"] == 250_000
    assert "guest_cpu_percent" not in usage.rates([reading(0)], [reading(10, guest=None)])[0]["rates"]
    assert usage.rates([reading(0, pid=4)], [reading(10)])[0]["rates"] == {}  # it was started again
    assert usage.rates([], [reading(10)])[0]["rates"] == {}


def write(root, name, *events):
    with (root.log / name).open("a") as file:
        file.write("".join(event if isinstance(event, str) else json.dumps(event) + "\n" for event in events))


def event(second, kind, name="web"):
    return {"time": f"2026-01-01T00:00:{second:02d}Z", "event": kind, "vm": "ab", "name": name}


def test_events_since_until_and_filters(root, uni):
    write(root, "events.jsonl.1", event(1, "start"))
    write(root, "events.jsonl", event(2, "exit"), '{"time": "2026', "\n", "[1]\n", event(3, "start", "db"))

    def kinds(**options):
        return [(item["event"], item["name"]) for item in ops.events(root, **options)]

    assert kinds() == [("start", "web"), ("exit", "web"), ("start", "db")]
    assert kinds(since="2026-01-01T00:00:02Z", until="2026-01-01T00:00:02Z") == [("exit", "web")]
    assert kinds(filters={"event": {"start"}, "name": {"db", "other"}}) == [("start", "db")]
    assert uni("events", "--filter", "event=exit", "--filter", "event=start")[1].count("web") == 2
    assert uni("events", "--filter", "color=red")[0] == 2


def test_events_are_followed_over_a_rotation(root):
    write(root, "events.jsonl", event(1, "first"))
    found = ops.events(root, follow=True)
    assert next(found)["event"] == "first"

    def later():
        write(root, "events.jsonl", event(2, "second"))
        (root.log / "events.jsonl").rename(root.log / "events.jsonl.1")
        write(root, "events.jsonl", event(3, "third"))

    thread = threading.Timer(0.05, later)
    thread.start()
    assert [next(found)["event"], next(found)["event"]] == ["second", "third"]
    thread.join()
    found.close()


def test_detach_keys():
    assert console.parse_keys("ctrl-]") == b"\x1d" and console.parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert console.parse_keys("ctrl-a,d") == b"\x01d"
    for bad in ("", "ctrl-", "ctrl-1", "meta-x", "ab"):
        with pytest.raises(UsageError):
            console.parse_keys(bad)
    keys = b"\x10\x11"
    assert console.split_leave(b"text", keys) == (b"text", b"", False)
    assert console.split_leave(b"te\x10", keys) == (b"te", b"\x10", False)       # kept until the next key decides
    assert console.split_leave(b"\x10x", keys) == (b"\x10x", b"", False)
    assert console.split_leave(b"te\x10\x11more", keys) == (b"te", b"", True)


def test_lines_of_a_trace():
    assert tracing.CALL.search(b'half a line[1] write(1, "x", 1) = 1')[1] == b"write"
    assert tracing.CALL.search(b"plain output (of a program)") is None
