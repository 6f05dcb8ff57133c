# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon over real VMs: it serves, it can be killed, and no VM notices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.daemon.client import Client
from ansible_collections.uni.engine.plugins.module_utils.daemon.supervisor import comes_back
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records

TOP = Path(__file__).resolve().parents[2]
RUN = """
import sys
sys.path[:0] = sys.argv[1:2]
import argparse
from ansible_collections.uni.engine.plugins.module_utils.daemon import main
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
parser = argparse.ArgumentParser()
main.add_arguments(parser)
main.run(main.options_of(parser.parse_args(sys.argv[3:]), Root.resolve(sys.argv[2])))
"""


class Daemon:
    """unid as a process of its own."""

    def __init__(self, root, *arguments):
        self.socket = root.run / "unid.sock"
        self.log = root.path / "unid.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/python3", "-c", RUN, str(TOP / ".build/collections"), str(root.path), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.answers() or self.process.poll() is not None, "the daemon to answer")

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def call(self, method, **params):
        with Client(self.socket, timeout=60) as client:
            return client.call(method, **params)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)


def until(condition, what, seconds=20):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def daemons(host):
    running = []

    def start(*arguments):
        running.append(Daemon(host.root, *arguments))
        return running[-1]

    yield start
    for daemon in running:
        daemon.process.kill()
        daemon.process.wait(10)


def options(host, guest, **more):
    return {"kernel": host.guest(guest), "rng": False, "memory": "16M", "stop_timeout": "200ms", **more}


def test_a_vm_over_the_socket(host, daemons):
    daemon = daemons()
    made = daemon.call("vm.ensure", name="echo", options=options(host, "echo"))
    assert made["changed"] and made["vm"]["status"] == "running"
    assert not daemon.call("vm.ensure", name="echo", options=options(host, "echo"))["changed"]
    assert [vm["name"] for vm in daemon.call("vm.list")] == ["echo"]
    assert daemon.call("daemon.status")["root"] == str(host.root.path)
    with Client(daemon.socket, timeout=20) as client:
        line = next(client.stream("vm.logs", vm="echo", follow=True))
    assert line["line"] == "echo"
    with pytest.raises(UniError, match="no VM 'nothing'") as caught:
        daemon.call("vm.inspect", vm="nothing")
    assert caught.value.code == "vm.not_found"
    daemon.call("vm.remove", vm="echo", force=True)
    assert daemon.call("vm.list", everything=True) == []


def test_killed_under_running_vms(host, daemons):
    daemon = daemons()
    pid = daemon.call("vm.run", name="idle", options=options(host, "idle"))["pid"]
    daemon.end(signal.SIGKILL)
    assert api.inspect(host.root, "idle")["pid"] == pid      # without a daemon, the same truth
    again = daemons()                                        # over the socket that the killed one left
    assert again.call("vm.inspect", vm="idle")["pid"] == pid
    until(lambda: again.call("daemon.status")["keepers"] == 1, "the keeper to be watched")
    assert again.end() == 0
    assert not again.socket.exists()
    assert api.inspect(host.root, "idle")["status"] == "running"
    with pytest.raises(HostError, match="no daemon answers"):
        again.call("vm.list")


def test_a_killed_keeper_is_replaced(host, daemons):
    daemon = daemons()
    daemon.call("vm.run", name="idle", options=options(host, "idle"))
    until(lambda: daemon.call("daemon.status")["keepers"] == 1, "the keeper to be watched")
    vm = records.find(host.root, "idle")
    first = vm.keeper()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: (records.find(host.root, "idle").keeper() or first).pid != first.pid, "a new keeper")
    assert records.find(host.root, "idle").qemu() == vm.qemu()
    until(lambda: daemon.call("daemon.status")["keepers"] == 1, "the new keeper to be watched")


def test_events_as_they_come(host, daemons):
    daemon = daemons()
    with Client(daemon.socket, timeout=20) as client:
        stream = client.stream("events.subscribe")
        client.call("daemon.status")        # the subscription is in place once a later call is answered
        host.run("hello", "hello")
        names = []
        for event in stream:
            names.append(event["event"])
            if event["event"] in ("die", "exit", "exited", "end"):
                break
        assert event["name"] == "hello"


def test_back_after_a_reboot(host, daemons):
    host.run("always", "idle", restart_policy="always")
    host.run("never", "idle")
    for name in ("always", "never"):
        vm = records.find(host.root, name)
        for identity in (vm.keeper(), vm.qemu()):
            identity.kill(signal.SIGKILL)
            identity.wait(10)
        records.save_state(vm.directory, {**vm.state, "boot": "another-boot"})
    daemon = daemons()
    until(lambda: [vm["name"] for vm in daemon.call("vm.list")] == ["always"], "the VM to come back")


@pytest.mark.parametrize(("policy", "status", "boot", "expected"), [
    ("no", "running", "old", False), ("always", "running", "old", True), ("unless-stopped", "running", "old", True),
    ("on-failure:3", "running", "old", True), ("always", "running", "now", False), ("always", "exited", "old", True),
    ("unless-stopped", "exited", "old", False), ("always", "created", "", False),
])
def test_the_rule_of_coming_back(policy, status, boot, expected):
    assert comes_back(policy, {"status": status, "boot": boot}, "now") is expected


def test_the_command_line_over_the_socket(host):
    uni = TOP / "bin" / "uni"
    socket_path = host.root.run / "unid.sock"
    daemon = subprocess.Popen([uni, "--root", host.root.path, "daemon", "run"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        until(lambda: socket_path.exists() and not subprocess.run(
            [uni, "--root", host.root.path, "daemon", "status"], capture_output=True, check=False).returncode, "unid")

        def ask(*words):
            return subprocess.run([uni, "--socket", socket_path, *words], capture_output=True, text=True, check=False)

        host.run("idle", "idle")
        assert '"name": "idle"' in ask("ps", "--output", "json").stdout
        direct = subprocess.run([uni, "--root", host.root.path, "ps", "-q"], capture_output=True, text=True, check=True)
        assert ask("ps", "-q").stdout == direct.stdout
        by_name = subprocess.run([uni, "ps", "-q"], capture_output=True, text=True, check=True,
                                 env={**os.environ, "UNI_SOCKET": str(socket_path)})
        assert by_name.stdout == direct.stdout
        refused = ask("inspect", "nothing")
        assert refused.returncode == 1 and "no VM 'nothing'" in refused.stderr
        assert ask("daemon", "run").returncode != 0
        assert ask("rm", "-f", "idle").returncode == 0
        assert ask("ps", "-a", "-q").stdout == ""
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0
    assert subprocess.run([uni, "--socket", socket_path, "ps"], capture_output=True, check=False).returncode == 1


def test_two_daemons_on_one_root(host, daemons):
    daemons()
    second = daemons()
    assert second.process.wait(20) != 0
    assert "already listens" in second.log.read_text()


def test_an_open_registry_is_refused(host, daemons):
    daemon = daemons("--registry", "0.0.0.0:5000")
    assert daemon.process.wait(20) != 0
    assert "needs users and TLS" in daemon.log.read_text()
