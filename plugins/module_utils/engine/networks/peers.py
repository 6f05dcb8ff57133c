# SPDX-License-Identifier: GPL-3.0-or-later
"""Names across the hosts of a VXLAN network.

Beside the name server that its guests ask, each host runs a responder that knows the names of its own VMs only and asks
nobody else. The guests' server asks those of the other hosts for names without a dot. Were there one server instead of
two, a name that nobody has would go round between the hosts for ever.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network
from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity
from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json, write_bytes, write_json

PORT = 10053
SIGTERM = 15


def wanted(network: Network) -> bool:
    """Whether the network's hosts tell each other names."""
    return bool(network.get("dns") and (network.get("vxlan") or {}).get("gateways"))


def questions(network: Network) -> list[str]:
    """What makes the guests' server ask the other hosts, and nobody else, for names without a dot (dnsmasq(8): a
    ``--server`` with the domain ``//``; ``--domain-needed``, which has them asked of nobody).
    """
    if not wanted(network):
        return ["--domain-needed"]
    return [f"--server=//{address}#{PORT}" for address in network.get("vxlan")["gateways"]]


def identity(home: Path) -> Identity | None:
    """Who that server is, as recorded."""
    return Identity.from_record(read_json(home / "peers.json"))


def running(home: Path) -> bool:
    """Whether it runs."""
    server = identity(home)
    return server is not None and server.alive()


def start(network: Network, home: Path, uid: int) -> None:
    """Start it, where it does not run, from a copy that outlives this process.

    :raises HostError: code ``network.names``
    """
    if running(home):
        return
    from ansible_collections.uni.engine.plugins.module_utils.engine.keepers import PYTHON
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import responder

    spec = responder.__spec__
    if spec is None or spec.origin is None or spec.loader is None:
        raise HostError("the responder's source is not where Python can read it", code="network.names")
    write_bytes(home / "responder.py", spec.loader.get_data(spec.origin), mode=0o644)  # type: ignore[attr-defined]
    words = [PYTHON, "-I", "-S", f"{home}/responder.py", network.gateway, str(PORT), f"{home}/hosts", str(uid)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, cwd="/")
    if done.returncode:
        raise HostError(f"names of network {network.name} cannot be told to other hosts: {done.stderr.strip()[-200:]}",
                        code="network.names", hint="leave gateways out of vxlan to do without")
    server = Identity.of(int(done.stdout))
    write_json(home / "peers.json", {"pid": server.pid, "start": server.start, "boot": server.boot})


def stop(home: Path) -> None:
    """End it."""
    server = identity(home)
    if server is not None and server.kill(SIGTERM):
        server.wait(10)
    (home / "peers.json").unlink(missing_ok=True)
