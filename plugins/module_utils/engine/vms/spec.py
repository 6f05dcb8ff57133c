# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wants a VM to be: parsed, normalised, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import DEFAULTS, FIELDS

STATES = ("present", "started", "healthy", "stopped", "restarted", "paused", "saved", "absent")


@dataclass(frozen=True)
class VmSpec:
    """A VM by name and the fields that the user set, normalised (see :mod:`.fields`). Unset fields are absent."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str, options: Mapping[str, Any] | None = None) -> VmSpec:
        """From options as a user writes them; None means "not set".

        :raises UsageError: an unknown option or a value that cannot be understood
        """
        check_name("VM", name)
        values: dict[str, Any] = {}
        for key, value in (options or {}).items():
            if value is None:
                continue
            known = FIELDS.get(key)
            if known is None:
                raise UsageError(f"{key!r} is not an option of a VM", code="vm.option",
                                 hint=f"options: {', '.join(FIELDS)}")
            try:
                values[key] = known.normalise(value)
            except (TypeError, AttributeError, ValueError, OverflowError):
                said = "what it says" if known.secret else repr(value)
                raise UsageError(f"{key}: {said} is not understood", code=f"vm.{key}", hint=known.help) from None
        return cls(name, values)

    def over(self, old: Mapping[str, Any]) -> dict[str, Any]:
        """The fields after an update: what is set here, else what was there."""
        return {**old, **self.values}


def damaged(values: Mapping[str, Any]) -> str:
    """The first field of a record that cannot be what :meth:`VmSpec.parse` left; empty when there is none. Pure.

    Secrets are not looked at, for their contents are elsewhere, nor fields that only a newer release knows. An older
    release may have written less in an object, so only its kind is compared.
    """
    for key, value in values.items():
        known = FIELDS.get(key)
        if known is not None and not known.secret:
            try:
                if not isinstance(value, known.normalise(value).__class__):
                    return key
            except (UsageError, TypeError, AttributeError, ValueError, OverflowError):
                return key
    return ""


def effective(values: Mapping[str, Any], key: str) -> Any:
    """A field's value, or its default."""
    return values[key] if key in values else DEFAULTS.get(key)
