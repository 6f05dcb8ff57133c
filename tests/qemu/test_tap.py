# SPDX-License-Identifier: GPL-3.0-or-later
"""TAP interfaces of the user's own: the far side is the user's, made with ip(8), as root and as a plain user."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import TOP, Host
from .netguest import ask, server

PLAIN = 65534  # nobody


def make(name: str, *owner: str) -> None:
    """An interface with an address, as its user would make it."""
    for command in (f"tuntap add dev {name} mode tap {' '.join(owner)}", f"address add 10.77.0.1/24 dev {name}",
                    f"link set {name} up"):
        subprocess.run(["ip", *command.split()], check=True)


def test_own_interface(net: Host, disk: Path) -> None:
    make("mine0")
    try:
        options = {"name": "tap:mine0", "ip": "10.77.0.2/24", "gateway": "10.77.0.1"}
        api.run(net.root, server(disk, "web", networks=[options], health_check={"test": "log:listening"}))
        api.wait_for(net.root, "web", "healthy", timeout=60)
        assert ask("10.77.0.2", 80) == "hello 10.77.0.1"
        for interface, why in (("mine0", "is in use"), ("lo", "is not a TAP")):
            with pytest.raises(UniError, match=f"interface {interface} {why}"):
                api.run(net.root, server(disk, "other", networks=[{"name": f"tap:{interface}", "ip": "10.77.0.3/24"}]))
            api.remove(net.root, "other")
        api.remove(net.root, "web", force=True)
        assert "mine0" in subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
        for network, code in (({"name": "tap:mine1", "ip": "10.77.0.2/24"}, "network.tap"),
                              ({"name": "tap:mine0", "ip": "10.77.0.2"}, "vm.networks")):
            with pytest.raises(UniError) as caught:
                api.run(net.root, server(disk, "web", networks=[network]))
            assert (caught.value.code == code and caught.value.hint) or code == "vm.networks"
    finally:
        subprocess.run(["ip", "link", "del", "mine0"], check=True)


SCRIPT = """
import sys
sys.path.insert(0, {collections!r})
from pathlib import Path
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
root = Root(Path({root!r}))
if sys.argv[1] == "start":
    api.run(root, VmSpec("web", {values!r}))
    api.wait_for(root, "web", "healthy", timeout=60)
    try:
        networks.ensure_present(root, NetworkSpec.parse("front"))
    except UniError as error:
        print(error.code, error.hint)
else:
    api.remove(root, "web", force=True)
"""


def test_own_interface_of_a_plain_user(net: Host, disk: Path) -> None:
    """A user without rights, who owns the interface; a bridge is refused, and it is said what to do."""
    make("mine0", "user", str(PLAIN))
    home = net.path / "plain"
    shutil.copytree(TOP / "plugins", home / "ansible_collections/uni/engine/plugins",
                    ignore=shutil.ignore_patterns("__pycache__"))
    for source in (disk, TOP / "kernel/build/uni.elf"):
        shutil.copy(source, home / source.name)
    values = dict(server(home / disk.name, "web", networks=[{"name": "tap:mine0", "ip": "10.77.0.2/24"}],
                         kernel=str(home / "uni.elf"), health_check={"test": "log:listening"}).values)
    (home / "script.py").write_text(SCRIPT.format(collections=str(home), root=str(home / "root"), values=values))
    for path in (home, *home.rglob("*")):
        os.chown(path, PLAIN, PLAIN)
    run = ["setpriv", f"--reuid={PLAIN}", f"--regid={PLAIN}", "--clear-groups", "/usr/bin/python3", str(home / "script.py")]
    env = {"PATH": os.environ["PATH"], "UNI_ACCEL": "tcg", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run([*run, "start"], capture_output=True, text=True, timeout=120, check=False, env=env)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("network.permission") and "sudo" in done.stdout
        assert ask("10.77.0.2", 80) == "hello 10.77.0.1"
    finally:
        subprocess.run([*run, "remove"], timeout=60, check=True, env=env)
        subprocess.run(["ip", "link", "del", "mine0"], check=True)
