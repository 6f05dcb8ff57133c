# SPDX-License-Identifier: GPL-3.0-or-later
"""`uni ps` against the smallest thing that Python can do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from common import BUILD, TOP, measure, report, timed


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        prefix, env = Path(directory), {**os.environ, "UNI_ROOT": f"{directory}/root"}
        install(prefix)
        times = measure({
            "uni ps": timed([prefix / "bin" / "uni", "ps"], env=env),
            "python3 -c pass": timed(["/usr/bin/python3", "-c", "pass"], env=env),
        }, rounds=40)
    report("uni ps", times, "uni ps", "python3 -c pass", "aim: at most 3")


def install(prefix: Path) -> None:
    """Install the client of this checkout below `prefix`, as the role host does."""
    import sys

    from common import COLLECTIONS

    link = COLLECTIONS / "ansible_collections" / "uni" / "engine"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(TOP)
    sys.path.insert(0, str(COLLECTIONS))
    from ansible_collections.uni.engine.plugins.module_utils.engine import client

    client.install(prefix, *client.pack(TOP, "0.0.0"))


if __name__ == "__main__":
    main()
