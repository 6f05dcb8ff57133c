# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what an apply would do, as data. Check mode, diff mode and ``uni compose plan`` all print a Plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A plan line shows this instead of a secret's value.
HIDDEN = "********"


@dataclass(frozen=True)
class Action:
    """One step of a plan.

    ``kind`` is a verb ("create", "update", "restart", "recreate", "start", "stop", "remove", "build", ...),
    ``target`` names the object ("vm/web"), ``before`` and ``after`` hold only what differs, and ``live`` says
    that a running guest does not notice.
    """

    kind: str
    target: str
    summary: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The action as plain data."""
        return {
            "kind": self.kind, "target": self.target, "summary": self.summary,
            "before": dict(self.before), "after": dict(self.after), "live": self.live,
        }


@dataclass(frozen=True)
class Plan:
    """What has to be done, in order; empty when the host is as it should be."""

    actions: tuple[Action, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether applying the plan would change anything."""
        return bool(self.actions)

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.actions + other.actions)

    def diff(self) -> dict[str, str]:
        """Before and after as YAML-like text, for Ansible's diff mode."""
        return {
            "before": "".join(_section(action.target, action.before) for action in self.actions),
            "after": "".join(_section(action.target, action.after) for action in self.actions),
        }

    def describe(self) -> list[dict[str, Any]]:
        """The actions as plain data."""
        return [action.to_dict() for action in self.actions]


class Tracker:
    """Compares desired fields with observed ones and remembers the differences.

    A desired value of None means "not set by the user" and is never compared.
    """

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def compare(self, name: str, desired: Any, observed: Any) -> bool:
        """Compare one field; both sides must be normalised. True when they differ."""
        if desired is None or desired == observed:
            return False
        self.before[name] = observed
        self.after[name] = desired
        return True

    def compare_secret(self, name: str, desired: Any, observed: Any) -> bool:
        """As :meth:`compare`, but the values are not kept."""
        if desired is None or desired == observed:
            return False
        self.before[name] = None if observed is None else HIDDEN
        self.after[name] = f"{HIDDEN} (new)"
        return True

    def compare_all(self, desired: Mapping[str, Any], observed: Mapping[str, Any]) -> bool:
        """Compare every field of ``desired``. True when one differs."""
        # A list, not a generator: every field is compared, also after the first difference.
        differs = [self.compare(name, value, observed.get(name)) for name, value in desired.items()]
        return any(differs)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that differ, in the order of comparison."""
        return tuple(self.after)

    def __bool__(self) -> bool:
        return bool(self.after)


def _section(target: str, values: Mapping[str, Any]) -> str:
    if not values:
        return f"{target}: {{}}\n"
    return f"{target}:\n" + "".join(_lines(values, 1))


def _lines(values: Mapping[str, Any], depth: int) -> Iterable[str]:
    pad = "  " * depth
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{pad}{key}:\n"
            yield from _lines(value, depth + 1)
        elif isinstance(value, (list, tuple)) and value:
            yield f"{pad}{key}:\n"
            yield from (f"{pad}- {_scalar(item)}\n" for item in value)
        else:
            yield f"{pad}{key}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    """One value on one line; a line break must not be able to forge another line of the diff."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    text = str(value)
    return text if text and text.isprintable() and text == text.strip() else repr(text)
