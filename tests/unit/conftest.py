# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as ansible_collections.uni.engine, however pytest was started."""

from __future__ import annotations

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
COLLECTIONS = TOP / ".build" / "collections"
LINK = COLLECTIONS / "ansible_collections" / "uni" / "engine"

if not LINK.exists():
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to(TOP)
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))
