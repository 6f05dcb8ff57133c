# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's control port (docs/guest-interface.md), for what the tests want to know of it."""

from __future__ import annotations

import json
import socket
from pathlib import Path


class Control:
    """The port at a socket of QEMU's."""

    def __init__(self, path: Path) -> None:
        self.port = socket.socket(socket.AF_UNIX)
        self.port.settimeout(60)
        self.port.connect(str(path))
        self.lines = self.port.makefile("rwb")

    def stats(self) -> dict[str, int]:
        """The numbers of a ``stats`` record. ConnectionError where the guest has ended."""
        self.lines.write(b'{"cmd": "stats", "id": 1}\n')
        self.lines.flush()
        for line in self.lines:
            record = json.loads(line)
            if record.get("event") == "stats":
                return {key: value for key, value in record.items() if isinstance(value, int)}
        raise ConnectionError("the control port has ended")
