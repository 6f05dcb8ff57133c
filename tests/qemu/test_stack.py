# SPDX-License-Identifier: GPL-3.0-or-later
"""A three-service stack on the real kernel: up, checked, edited, broken, repaired, down."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import api
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import parse_stack
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

TOP = Path(__file__).resolve().parents[2]
STACK = """
name: shop
services:
  front: {image: busybox, command: [sleep, '1000'], stop_grace_period: 5s,
          depends_on: {web: {condition: service_healthy}}}
  web:
    image: web
    ports: ['127.0.0.1:%PORT%:80']
    health_check: http:80:/
    depends_on: {job: {condition: service_completed_successfully}}
  job:
    image: busybox
    command: [sh, -c, 'echo $$WORD > /data/word']
    environment: {WORD: hello}
    volumes: ['data:/data']
volumes: {data: {size: 4M}}
"""


NETWORKED = """
name: shop
services:
  web: {image: web, networks: [inside], ports: ['127.0.0.1:8080:80'], health_check: http:80:/}
  ask:
    image: busybox
    command: [wget, -q, -O, '-', 'http://web/']
    networks: {inside: {aliases: [asker]}}
    depends_on: {web: {condition: service_healthy}}
networks: {inside: {subnet: 10.77.0.0/24}}
"""


@pytest.fixture
def stack_host(host):
    """A host with our kernel, busybox and a small web server."""
    yield from furnished(host)


@pytest.fixture
def stack_net(net):
    """The same in a network namespace."""
    yield from furnished(net)


def furnished(host):
    kernels.register(host.root, TOP / "kernel" / "build")
    images.ensure_present(host.root, images.BuildSpec(name="busybox", program=Path("/bin/busybox")))
    program = host.path / "web"
    source = TOP / "examples" / "web" / "web.c"
    subprocess.run(["gcc", "-static", "-O2", "-o", program, source], check=True)
    images.ensure_present(host.root, images.BuildSpec(name="web", program=program))
    host.text = STACK.replace("%PORT%", str(free_port()))
    yield host
    api.down(host.root, "shop", volumes=True)
    assert volumes.list_volumes(host.root) == []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def stack(text):
    return parse_stack(text, file="stack.yaml")


def status(host):
    return {row["service"]: row["status"] for row in api.ps(host.root, "shop")}


def page(host):
    (port,) = (p for row in api.ps(host.root, "shop") for p in row["ports"])
    number = port.split(":")[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{number}/", timeout=10) as answer:
        return answer.read().decode()


def test_the_life_of_a_stack(stack_host):
    host, shop = stack_host, stack(stack_host.text)
    planned = api.up(host.root, shop, check=True)
    assert planned.changed and api.stacks(host.root) == []
    api.up(host.root, shop)
    assert status(host) == {"front": "running", "web": "running", "job": "exited"}
    assert "unikernel" in page(host)
    assert not api.up(host.root, shop).changed
    assert not api.up(host.root, shop, check=True).changed

    ids = {row["service"]: row["id"] for row in api.ps(host.root, "shop")}
    edited = stack(host.text.replace("'1000'", "'2000'"))
    result = api.up(host.root, edited)
    assert {a.target for a in result.plan.actions} == {"vm/shop-front-1"}
    assert {row["service"]: row["id"] for row in api.ps(host.root, "shop")} == ids      # nobody was made anew

    vms.kill(host.root, "shop-web-1")                                                  # broken
    vms.wait(host.root, "shop-web-1", timeout=20)
    assert [a.target for a in api.up(host.root, edited, check=True).plan.actions] == ["vm/shop-web-1"]
    api.up(host.root, edited)                                                          # repaired
    assert "unikernel" in page(host)

    api.down(host.root, "shop")
    assert api.stacks(host.root) == []
    assert [v.name for v in volumes.list_volumes(host.root)] == ["shop-data"]
    assert not api.down(host.root, "shop").changed


def test_a_failed_up_says_what_was_not_started_and_can_be_continued(stack_host):
    host = stack_host
    with pytest.raises(UniError) as caught:
        api.up(host.root, stack(host.text.replace("echo $$WORD", "exit 3; echo $$WORD")))
    assert "shop-job-1 ended with status 3" in caught.value.message
    assert "not started because of that: front, web" in caught.value.message.replace("web, front", "front, web")
    assert status(host) == {"job": "exited"}
    api.up(host.root, stack(host.text))
    assert status(host)["front"] == "running"


def test_two_ups_at_once(stack_host):
    host = stack_host
    command = up_command(host)
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _index in range(2)]
    for process in both:
        assert process.wait(120) == 0, process.stderr.read()
        process.stderr.close()
    assert status(host) == {"front": "running", "web": "running", "job": "exited"}


def test_killed_while_bringing_up(stack_host):
    host = stack_host
    for delay in (0.1, 0.2, 0.3, 0.5):
        process = subprocess.Popen(up_command(host), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    claim = host.root.run / "uids" / "1"
    claim.parent.mkdir(exist_ok=True)
    claim.symlink_to("0123456789ab")  # as a caller leaves it that is killed between two steps of taking a VM back
    api.up(host.root, stack(host.text))
    assert not claim.is_symlink()
    vms.wait_for(host.root, "shop-front-1", "running", timeout=60)  # a killed caller began it; nothing depends on it
    assert status(host) == {"front": "running", "web": "running", "job": "exited"}
    assert not api.up(host.root, stack(host.text)).changed


def up_command(host):
    path = host.path / "stack.yaml"
    path.write_text(host.text)
    return [TOP / "bin" / "uni", "--root", host.root.path, "compose", "up", path]


def test_services_find_each_other_by_name(stack_net):
    host, shop = stack_net, stack(NETWORKED)
    kinds = [a.target for a in api.up(host.root, shop, check=True).plan.actions if a.kind == "create"]
    assert kinds == ["network/shop-inside", "vm/shop-web-1", "vm/shop-ask-1"]
    api.up(host.root, shop)
    assert vms.wait(host.root, "shop-ask-1", timeout=60)["code"] == 0
    assert "unikernel" in b"".join(line.raw() for line in vms.logs(host.root, "shop-ask-1")).decode()
    assert "unikernel" in page(host)
    assert [a.target for a in api.up(host.root, shop, check=True).plan.actions] == ["vm/shop-ask-1"]
    removed = [a.target for a in api.down(host.root, "shop").plan.actions if a.kind == "remove"]
    assert "network/shop-inside" in removed
