# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks: bringing up 20 services against starting 20 bare QEMU processes; a task on 50 services that changes nothing
against the smallest module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import BUILD, COLLECTIONS, KERNEL, TOP, measure, report, timed
from noop_task import MINIMAL, playbook
from start_many import BOOT, bare

sys.path.insert(0, str(COLLECTIONS))
os.environ.setdefault("UNI_ACCEL", "tcg")

from ansible_collections.uni.engine.plugins.module_utils.engine import kernels, probe_guest
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import api
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import StackSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import parse_stack

IDLE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
SERVICES, NOOP_SERVICES, TASKS = 20, 50, 5


def text(count: int, memory: str) -> str:
    """A stack of `count` services that wait."""
    lines = [f"  s{number}: {{image: idle, memory: {memory}, stop_grace_period: 1s}}" for number in range(count)]
    return "services:\n" + "\n".join(lines) + "\n"


def furnish(root: Root, home: Path) -> None:
    """A kernel and an image whose program waits."""
    kernels.register(root, KERNEL.parent)
    (home / "idle.c").write_text(IDLE)
    subprocess.run(["gcc", "-static", "-O2", "-o", home / "idle", home / "idle.c"], check=True)
    images.ensure_present(root, images.BuildSpec(name="idle", program=home / "idle"))


def up(root: Root, stack: StackSpec) -> float:
    """Seconds until all services have started."""
    begun = time.perf_counter()
    api.up(root, stack)
    seconds = time.perf_counter() - begun
    api.down(root, stack.name)
    return seconds


def starts(root: Root, home: Path) -> None:
    stack = parse_stack(text(SERVICES, "16M"), file="bench", name="bench")
    kernel = home / "probe.elf"
    kernel.write_bytes(probe_guest.elf(
        probe_guest.out(probe_guest.COM2, BOOT) + probe_guest.out(probe_guest.COM1, b"idle\n") + probe_guest.halt()))
    times = measure({"stack": lambda: up(root, stack), "bare QEMU": lambda: bare(kernel, SERVICES)}, rounds=7)
    report(f"Bring up {SERVICES} services", times, "stack", "bare QEMU", "aim: at most 1.4")


def noop(root: Root, home: Path) -> None:
    (home / "library").mkdir()
    (home / "library" / "minimal.py").write_text(MINIMAL)
    source = home / "stack.yaml"
    source.write_text(text(NOOP_SERVICES, "16M"))
    stack = parse_stack(source.read_text(), file=str(source), name="noop")
    api.up(root, stack)
    env = {**os.environ, "UNI_ROOT": str(root.path), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
           "ANSIBLE_LIBRARY": f"{home}/library", "ANSIBLE_LOCALHOST_WARNING": "false",
           "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"}
    ansible = shutil.which("ansible-playbook", path=f"{TOP}/.venv/bin") or "ansible-playbook"
    task = f"uni.engine.uni_stack: {{name: noop, src: {source}}}"
    try:
        times = measure({
            "empty": timed([ansible, playbook(home, "empty", "", 0)], env=env),
            "minimal": timed([ansible, playbook(home, "minimal", "minimal: {name: noop}", TASKS)], env=env),
            "uni_stack": timed([ansible, playbook(home, "uni_stack", task, TASKS)], env=env),
        }, rounds=3)
    finally:
        api.down(root, "noop")
    empty = sorted(times["empty"])[len(times["empty"]) // 2]
    per_task = {name: [(seconds - empty) / TASKS for seconds in values] for name, values in times.items()}
    report(f"No-op uni_stack of {NOOP_SERVICES} services", per_task, "uni_stack", "minimal", "aim: at most 3")


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="uni-bench-") as name:
        home = Path(name)
        home.chmod(0o755)
        root = Root(home / "root")
        furnish(root, home)
        starts(root, home)
        noop(root, home)


if __name__ == "__main__":
    main()
