# SPDX-License-Identifier: GPL-3.0-or-later
"""What each disk of a VM may move per second: QEMU's throttle groups, one a disk, set at its start and changed live.

Names and meaning of the limits: QEMU's QAPI schema, ThrottleLimits (qapi/block-core.json). A limit of the total
excludes limits of reading and writing alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import GuestError, StateError, UsageError

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm

OPTIONS: Mapping[str, str] = {
    "disk_bps": "bps-total", "disk_read_bps": "bps-read", "disk_write_bps": "bps-write",
    "disk_iops": "iops-total", "disk_read_iops": "iops-read", "disk_write_iops": "iops-write",
}


def limits(values: Mapping[str, Any]) -> dict[str, int]:
    """All limits by their names in QEMU; 0 is no limit.

    :raises UsageError: code ``vm.disk_limits``: a total together with reading or writing
    """
    result = {theirs: int(values.get(ours) or 0) for ours, theirs in OPTIONS.items()}
    for unit in ("bps", "iops"):
        if result[f"{unit}-total"] and (result[f"{unit}-read"] or result[f"{unit}-write"]):
            raise UsageError(f"disk_{unit} limits reading and writing together: it excludes disk_read_{unit} and"
                             f" disk_write_{unit}", code="vm.disk_limits", hint=f"set disk_{unit} or the others to 0")
    return result


def change(vm: Vm, disks: int) -> None:
    """Give the disks of a running VM the limits of its (changed) record.

    :raises StateError: code ``vm.disk_limits``: its QEMU was started without a place for them
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp

    wanted = limits(vm.values)
    with Qmp(vm.directory) as qmp:
        for number in range(disks):
            try:
                qmp.call("qom-set", path=f"/objects/throttle{number}", property="limits", value=wanted)
            except GuestError as error:
                if error.code != "qmp.error":
                    raise
                raise StateError(f"the disks of VM {vm.name} cannot be limited while it runs: {error.message}",
                                 code="vm.disk_limits", hint=f"stop it first: uni stop {vm.name}") from error
