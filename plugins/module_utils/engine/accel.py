# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceleration is proved, not assumed: /dev/kvm may exist and still hang every guest."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import boot_id
from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json, write_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

CHOICES = ("auto", "kvm", "tcg")
PROBE_SECONDS = 5.0      # a guest of 30 instructions; a working KVM needs less than a tenth of a second
DEVICE = "/dev/kvm"


@dataclass(frozen=True)
class Accel:
    """The accelerator to use and why."""

    name: str
    reason: str


def choose(root: Root, wanted: str, program: str, version: str) -> Accel:
    """The accelerator for ``wanted``: auto, kvm or tcg. ``UNI_ACCEL`` replaces ``auto``.

    :param program: QEMU's path
    :param version: QEMU's version; the proof counts for one boot of the host and one version
    :raises HostError: code ``accel.kvm`` when KVM is demanded and does not work
    """
    if wanted == "auto":
        wanted = os.environ.get("UNI_ACCEL", "") or "auto"
    if wanted not in CHOICES:
        raise UsageError(f"{wanted!r} is not an accelerator", code="accel.unknown", hint=f"use {', '.join(CHOICES)}")
    if wanted == "tcg":
        return Accel("tcg", "asked for")
    reason = _kvm_problem(root, program, version)
    if not reason:
        return Accel("kvm", "a probe guest ran on it")
    if wanted == "kvm":
        raise HostError(f"KVM does not work on this host: {reason}", code="accel.kvm",
                        hint="use accel: auto or tcg, or repair /dev/kvm and probe it again: uni doctor --again")
    return Accel("tcg", reason)


def _kvm_problem(root: Root, program: str, version: str) -> str:
    """Why KVM cannot be used; "" when it can. A proof is remembered, also a failed one."""
    if not os.access(DEVICE, os.F_OK):
        return f"{DEVICE} does not exist"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"no permission to use {DEVICE}"
    key = [boot_id(), program, version, os.geteuid()]
    known = read_json(root.cache / "accel.json")
    if isinstance(known, dict) and known.get("key") == key and isinstance(known.get("problem"), str):
        return str(known["problem"])
    problem = probe(program, "kvm")
    write_json(root.cache / "accel.json", {"key": key, "problem": problem})
    return problem


def probe(program: str, accel: str, *, timeout: float = PROBE_SECONDS) -> str:
    """Boot the probe guest; "" when it ran to its end, else what went wrong."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import MACHINES
    from ansible_collections.uni.engine.plugins.module_utils.engine.probe_guest import probe as probe_image

    with tempfile.NamedTemporaryFile(prefix="uni-probe-") as image:
        image.write(probe_image())
        image.flush()
        # The same machine and CPU as a VM's: KVM may run a plain CPU and abort on the features of "max".
        argv = [program, "-M", MACHINES["microvm"], "-accel", accel, "-cpu", "max", "-m", "8M", "-nodefaults",
                "-no-user-config", "-no-reboot", "-display", "none", "-kernel", image.name, "-serial", "stdio",
                "-device", "isa-debug-exit,iobase=0x501,iosize=2"]
        try:
            result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return f"a guest on it did not run within {timeout:g} s"
        except OSError as error:
            return f"{program} does not start: {error.strerror}"
    if result.returncode == 1 and result.stdout.startswith(b"U"):
        return ""
    detail = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return detail[-1][:200] if detail else f"the probe guest ended with status {result.returncode}"
