# SPDX-License-Identifier: GPL-3.0-or-later
"""A uni_vm task that changes nothing, against the smallest module that Ansible can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cli_start import install
from common import BUILD, COLLECTIONS, KERNEL, TOP, hello, measure, report, timed

TASKS = 20
MINIMAL = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={"name": {"type": "str"}}, supports_check_mode=True)
    module.exit_json(changed=False)


main()
"""


def playbook(directory: Path, name: str, task: str, count: int) -> Path:
    """A playbook of `count` equal tasks."""
    path = directory / f"{name}.yml"
    tasks = f"- {task}\n".replace("\n", "\n    ").rstrip() if count else ""
    body = "\n".join(f"    {tasks}" for _number in range(count)) if count else "    []"
    path.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n{body}\n")
    return path


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as text:
        directory = Path(text)
        install(directory)
        (directory / "library").mkdir()
        (directory / "library" / "minimal.py").write_text(MINIMAL)
        env = {**os.environ, "UNI_ROOT": f"{text}/root", "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
               "ANSIBLE_LIBRARY": f"{text}/library", "ANSIBLE_LOCALHOST_WARNING": "false",
               "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"}
        uni = directory / "bin" / "uni"
        for words in (["kernel", "add", KERNEL.parent], ["build", hello(), "--name", "hello"],
                      ["run", "hello", "--name", "noop", "-d"]):
            subprocess.run([uni, *words], check=True, env=env, stdout=subprocess.DEVNULL)
        ansible = shutil.which("ansible-playbook", path=f"{TOP}/.venv/bin") or "ansible-playbook"
        task = "uni.engine.uni_vm: {name: noop, image: hello, state: present, memory: 128M}"
        times = measure({
            "empty": timed([ansible, playbook(directory, "empty", "", 0)], env=env),
            "minimal": timed([ansible, playbook(directory, "minimal", "minimal: {name: noop}", TASKS)], env=env),
            "uni_vm": timed([ansible, playbook(directory, "uni_vm", task, TASKS)], env=env),
        }, rounds=3)
        subprocess.run([uni, "rm", "-f", "noop"], check=True, env=env, stdout=subprocess.DEVNULL)
    empty = sorted(times["empty"])[len(times["empty"]) // 2]
    per_task = {name: [(seconds - empty) / TASKS for seconds in values] for name, values in times.items()}
    report("No-op uni_vm task", per_task, "uni_vm", "minimal", "aim: at most 1.5")


if __name__ == "__main__":
    main()
