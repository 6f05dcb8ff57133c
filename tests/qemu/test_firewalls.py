# SPDX-License-Identifier: GPL-3.0-or-later
"""Managed networks beside Docker's, ufw's and firewalld's rules, and after somebody took ours away."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import doctor
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment, firewall
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import Host
from .netguest import Outside, ask, run_guest, start

# What dockerd writes at its start; a restart deletes the jumps and inserts them at the top again.
DOCKER = """*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
-I FORWARD -i docker0 -o docker0 -j ACCEPT
-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -j DOCKER-ISOLATION-STAGE-1
-I FORWARD -j DOCKER-USER
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""


def sh(text: str, **extra: str) -> str:
    """Run a shell script that must succeed; its output."""
    done = subprocess.run(["sh", "-ec", text], capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, **extra})
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def works(net: Host, disk: Path, outside: Outside) -> bool:
    """Whether the published port is reached from outside and the host, and guests get out and find each other."""
    return (outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2" and ask("127.0.0.1", 8080).startswith("hello")
            and run_guest(net, disk, "192.0.2.2", "80") == (0, "hello 192.0.2.1")
            and run_guest(net, disk, "web", "80")[0] == 0)


def begin(net: Host, disk: Path) -> None:
    """A network, and a VM that publishes a port."""
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    start(net, disk, "web", "front", ports=["8080:80"])


def put_back(net: Host) -> None:
    """What a task that changes nothing does."""
    assert not networks.ensure_present(net.root, NetworkSpec.parse("front")).changed


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_docker(monkeypatch: pytest.MonkeyPatch, net: Host, disk: Path, outside: Outside, backend: str) -> None:
    """Docker before us, and Docker's restart after us; FORWARD's policy is DROP."""
    def find(name: str) -> str | None:
        return find_program(name.replace("tables-", "tables-legacy-") if name.startswith("ip") else name)

    restore = "iptables-restore"
    if backend == "legacy":  # as where update-alternatives has iptables-legacy
        restore = "iptables-legacy-restore"
        sh("iptables -P FORWARD ACCEPT")
        monkeypatch.setattr(firewall, "find_program", find)
        monkeypatch.setattr(attachment, "find_program", find)
    before = DOCKER.replace("-I FORWARD", "-I FORWARD 1")
    subprocess.run([restore, "--noflush"], input=before, text=True, check=True)
    begin(net, disk)
    assert works(net, disk, outside)
    lines = [line for line in before.splitlines() if not line.startswith((":", "-A DOCKER"))]
    again = "\n".join(line.replace("-I FORWARD 1", "-D FORWARD").replace("-A P", "-D P").replace("-A O", "-D O")
                      for line in lines) + "\n"
    subprocess.run([restore, "--noflush"], input=again, text=True, check=True)
    subprocess.run([restore, "--noflush"], input="\n".join(lines) + "\n", text=True, check=True)
    assert works(net, disk, outside)
    api.remove(net.root, "web", force=True)
    networks.ensure_absent(net.root, "front")
    saved = sh(restore.replace("restore", "save"))
    assert "UNI" not in saved and saved.count("DOCKER-USER") == 3


def test_rules_that_were_flushed_come_back(net: Host, disk: Path, outside: Outside) -> None:
    begin(net, disk)
    assert not attachment.repair(net.root), "nothing is missing"
    prefix = attachment.prefix(net.root)
    for loss in ("iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X", "iptables -D FORWARD 1",
                 f"iptables -F {prefix}-IN", f"ebtables -F {prefix}-SPOOF", "nft flush ruleset; iptables -P FORWARD DROP",
                 "sysctl -q net.ipv4.ip_forward=0"):
        sh(loss)
        said = {finding.name: finding for finding in doctor.examine(net.root)}["networks"]
        assert said.state == doctor.LIMITED and "missing" in said.detail and "uni network create front" in said.remedy, loss
        assert attachment.repair(net.root), loss
        assert {finding.name: finding for finding in doctor.examine(net.root)}["networks"].state == doctor.OK, loss
        assert not attachment.repair(net.root), loss
        assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2", loss
    sh("iptables -F; iptables -t nat -F")
    put_back(net)
    assert works(net, disk, outside)


def test_a_bridge_that_was_deleted_comes_back(net: Host, disk: Path, outside: Outside) -> None:
    """With the VMs that run, their names, and the link address that they know their gateway by."""
    begin(net, disk)
    bridge = networks.inspect(net.root, "front")["bridge"]
    for _time in range(2):
        address = sh(f"ip -o link show {bridge}").split("link/ether ")[1].split()[0]
        sh(f"ip link del {bridge}")
        assert attachment.repair(net.root) and not attachment.repair(net.root)
        assert sh(f"ip -o link show {bridge}").split("link/ether ")[1].split()[0] == address
        assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2"
        assert run_guest(net, disk, "web", "80")[0] == 0


def test_the_next_start_puts_rules_back(net: Host, disk: Path, outside: Outside) -> None:
    begin(net, disk)
    sh("iptables -F; iptables -t nat -F")
    assert run_guest(net, disk, "192.0.2.2", "80") == (0, "hello 192.0.2.1")
    assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2"


UFW = """
mkdir -p {home}/etc {home}/run
cp -r /etc/ufw/. {home}/etc/
mount --bind {home}/etc /etc/ufw
mount --bind {home}/run /run
cp /etc/default/ufw {home}/default && mount --bind {home}/default /etc/default/ufw
{command}
umount /run; umount /etc/default/ufw
"""


def ufw(net: Host, command: str) -> None:
    """Run ufw with files of its own."""
    script = UFW.format(home=net.path / "ufw", command=command)
    sh(f"unshare --mount sh -ec '{script}'")


def test_ufw(net: Host, disk: Path, outside: Outside) -> None:
    """ufw with its defaults (incoming and routed traffic denied), a reload, and its end."""
    sh("iptables -P FORWARD ACCEPT")
    ufw(net, "ufw --force enable")
    assert "ufw-before-forward" in sh("iptables-save") and ":FORWARD DROP" in sh("iptables-save")
    begin(net, disk)
    assert works(net, disk, outside)
    ufw(net, "ufw reload")
    put_back(net)
    assert works(net, disk, outside)
    ufw(net, "ufw disable")
    put_back(net)
    assert works(net, disk, outside)


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


@pytest.fixture
def firewalld(net: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """firewalld with a bus and a configuration of its own, in the namespace."""
    home = net.path / "firewalld"
    shutil.copytree("/etc/firewalld", home)
    (home / "bus.conf").write_text(BUS.format(path=home / "bus"))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={home / 'bus'}")
    bus = subprocess.Popen(["dbus-daemon", f"--config-file={home / 'bus.conf'}", "--nofork"])
    server = None
    try:
        while not (home / "bus").exists():
            time.sleep(0.05)
        server = subprocess.Popen(["firewalld", "--nofork", "--nopid", "--system-config", home])
        for _attempt in range(100):
            if subprocess.run(["firewall-cmd", "--state"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        yield
    finally:
        for process in (server, bus):
            if process is not None:
                process.terminate()
                process.wait(30)
        subprocess.run(["nft", "delete", "table", "inet", "firewalld"], check=False)


def test_firewalld(net: Host, disk: Path, outside: Outside, firewalld: None) -> None:
    """firewalld rejects what no zone allows, after our rules; its reload forgets our bridge."""
    del firewalld
    begin(net, disk)
    bridge = networks.inspect(net.root, "front")["bridge"]
    assert works(net, disk, outside)
    sh("firewall-cmd --reload")
    assert bridge not in sh("nft list table inet firewalld")
    put_back(net)
    assert bridge in sh("nft list table inet firewalld") and works(net, disk, outside)
    api.remove(net.root, "web", force=True)
    networks.ensure_absent(net.root, "front")
    assert bridge not in sh("nft list table inet firewalld")
