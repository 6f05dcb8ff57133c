# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

from ansible_collections.uni.engine.plugins.module_utils.engine import accel
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.base import LaunchSpec


def test_probe_asks_for_the_cpu_that_vms_get(monkeypatch):
    """A KVM that runs QEMU's default CPU and aborts on "max" must not be chosen."""
    seen = []

    def run(argv, **_keywords):
        seen.extend(argv)
        return subprocess.CompletedProcess(argv, 134, b"", b"kvm_buf_set_msrs: Assertion failed\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert "Assertion failed" in accel.probe("/usr/bin/qemu-system-x86_64", "kvm")
    assert seen[seen.index("-cpu") + 1] == LaunchSpec.__dataclass_fields__["cpu"].default
