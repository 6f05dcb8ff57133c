# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes of every module of uni.engine."""

    DOCUMENTATION = r"""
options:
  root:
    description:
      - The directory that holds all state of this host.
      - When it is not set, the environment variable E(UNI_ROOT), else C(/var/lib/uni) for root and
        C(~/.local/share/uni) for anybody else.
    type: path
requirements:
  - Linux on x86-64
  - Python 3.9 or newer
author:
  - The Uni authors (@uni-engine)
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in check mode and return what it would change, without changing it.
    support: full
  diff_mode:
    description: Returns what changes, or would change, as a difference.
    support: full
"""

    INFO = r"""
attributes:
  check_mode:
    description: Reads only, so check mode makes no difference.
    support: full
  diff_mode:
    description: Reads only, so there is never a difference.
    support: none
"""
