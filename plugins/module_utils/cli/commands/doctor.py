# SPDX-License-Identifier: GPL-3.0-or-later
"""uni doctor."""

from __future__ import annotations

import argparse

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, clean, put
from ansible_collections.uni.engine.plugins.module_utils.engine import doctor as engine


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `uni doctor`."""
    parser.add_argument("--again", action="store_true",
                        help="forget what was remembered of QEMU and KVM, and probe again")


def doctor(args: argparse.Namespace, ui: Ui) -> int:
    """Print what this host can do. Exit status 1 when no VM can start here."""
    findings = engine.examine(ui.root, again=args.again)

    def human() -> None:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            put(f"{finding.state:8} {finding.name:{width}}  {clean(finding.detail)}")
            if finding.remedy:
                put(f"{'':8} {'':{width}}  -> {clean(finding.remedy)}")

    ui.emit([finding.to_dict() for finding in findings], human)
    return 1 if any(finding.state == engine.BROKEN for finding in findings) else 0
