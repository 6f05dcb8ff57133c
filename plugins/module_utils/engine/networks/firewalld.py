# SPDX-License-Identifier: GPL-3.0-or-later
"""Living with firewalld: its nftables chains come after ours and reject what no zone allows.

A packet that one base chain accepts still meets the next one (nft(8), "verdicts"), so our ACCEPT does not count there.
A bridge of ours goes into the zone ``trusted`` at run time, as Docker's does into its own; what guests may ask of the
host is decided in our chains, before. A reload of firewalld forgets it, so every look at a network looks at this too.
"""

from __future__ import annotations

import subprocess

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program

ZONE = "trusted"


def admitted(bridge: str) -> bool:
    """Whether firewalld lets the bridge's packets pass; true where it does not run (with its nftables backend)."""
    nft = find_program("nft") if find_program("firewall-cmd") else None
    if not nft:
        return True
    done = subprocess.run([nft, "list", "table", "inet", "firewalld"], capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode != 0 or f'iifname "{bridge}" goto filter_FWD_{ZONE}' in done.stdout


def admit(bridge: str) -> None:
    """Put the bridge into the zone, where firewalld runs and does not have it there.

    :raises HostError: code ``network.firewalld``
    """
    if admitted(bridge):
        return
    done = _command("--add-interface", bridge)
    if done.returncode:
        raise HostError(f"firewalld does not take {bridge} into the zone {ZONE}: {done.stderr.strip()[:300]}",
                        code="network.firewalld", hint=f"try: firewall-cmd --zone={ZONE} --add-interface={bridge}")


def forget(bridge: str) -> None:
    """Take the bridge out of the zone again."""
    if find_program("firewall-cmd") and find_program("nft"):
        nft = subprocess.run([find_program("nft") or "nft", "list", "table", "inet", "firewalld"], capture_output=True,
                             text=True, timeout=60, check=False)
        if f'"{bridge}"' in nft.stdout:
            _command("--remove-interface", bridge)


def _command(option: str, bridge: str) -> subprocess.CompletedProcess[str]:
    program = find_program("firewall-cmd") or "firewall-cmd"
    return subprocess.run([program, f"--zone={ZONE}", f"{option}={bridge}"], capture_output=True, text=True, timeout=60,
                          check=False)
