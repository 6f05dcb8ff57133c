# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack is, once parsed. Frozen and free of I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.source import Place

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"
CONDITIONS = (STARTED, HEALTHY, COMPLETED)


@dataclass(frozen=True)
class Dependency:
    """This service starts when ``service`` has reached ``condition``."""

    service: str
    condition: str = STARTED


@dataclass(frozen=True)
class ServiceSpec:
    """One service: ``scale`` VMs made from ``options``, which are in uni_vm's vocabulary."""

    name: str
    options: Mapping[str, Any]
    depends_on: tuple[Dependency, ...] = ()
    scale: int = 1
    has_health: bool = False
    place: Place = field(default_factory=lambda: Place("", 0), compare=False)


@dataclass(frozen=True)
class StackSpec:
    """A whole stack. ``volumes`` and ``networks`` map the names used in the file to their options."""

    name: str
    services: Mapping[str, ServiceSpec]
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def instance_name(self, service: str, number: int) -> str:
        """The name of a service's VM; ``number`` counts from 1."""
        return f"{self.name}-{service}-{number}"

    def object_name(self, key: str, options: Mapping[str, Any]) -> str:
        """The name on the host of a volume or network that the file calls ``key``."""
        if options.get("name"):
            return str(options["name"])
        return key if options.get("external") else f"{self.name}-{key}"
