# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest frameworks: what each wants on its command line and in its configuration. One file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

NAMES = ("uni",)


@dataclass(frozen=True)
class Interface:
    """A guest interface as it must configure itself; addresses as text, ``prefix`` in bits.

    ``address`` empty and ``dhcp`` false leave it unconfigured.
    """

    address: str = ""
    prefix: int = 24
    gateway: str = ""
    dns: str = ""
    dhcp: bool = False
    address6: str = ""
    prefix6: int = 64
    gateway6: str = ""


@dataclass(frozen=True)
class File:
    """A file that the guest sees before its program starts; content is secret."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class GuestSpec:
    """What the program in the guest is to see."""

    init: str = ""
    arg0: str = ""
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    user: str = ""
    hostname: str = ""
    root: bool = True
    read_only: bool = False
    interfaces: tuple[Interface, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    rlimits: tuple[str, ...] = ()
    tty: bool = False
    trace: bool = False
    extra: str = ""


@dataclass(frozen=True)
class GuestStart:
    """The kernel command line, and the configuration file (None: the framework has none)."""

    append: str
    config: bytes | None = field(repr=False, default=None)
    control: bool = False


class Guest(Protocol):
    """What a framework module offers."""

    def start(self, spec: GuestSpec) -> GuestStart:
        """How to start a guest that sees ``spec``."""


def get(name: str) -> Guest:
    """The framework called ``name``.

    :raises UsageError: code ``guest.unknown``
    """
    if name == "uni":
        from ansible_collections.uni.engine.plugins.module_utils.engine.guests import uni

        return uni.Uni()
    raise UsageError(f"{name!r} is not a guest framework", code="guest.unknown", hint=f"use {' or '.join(NAMES)}")
