# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the packages that the quickstart's roles and playbook want, one a line: what quickstart.sh needs root for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parent.parent


def wanted() -> Iterator[str]:
    """The packages of the roles' defaults, then the playbook's own."""
    for role in ("host", "kernel"):
        yield from yaml.safe_load((TOP / "roles" / role / "defaults/main.yml").read_text())[f"{role}_packages"]
    for play in yaml.safe_load((TOP / "playbooks/quickstart.yml").read_text()):
        for task in play.get("tasks", ()):
            yield from task.get("vars", {}).get("host_wanted", ())


if __name__ == "__main__":
    print("\n".join(wanted()))
