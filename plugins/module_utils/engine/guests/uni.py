# SPDX-License-Identifier: GPL-3.0-or-later
"""Uni's own kernel: docs/guest-interface.md, "Configuration"."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.guests.base import GuestSpec, GuestStart, Interface

MAX_CONFIG = 1 << 20  # bytes that the kernel takes
KERNELS = ">=0.1.0"   # the releases that understand the records below; a new record or command moves it


class Uni:
    """Everything but the console and the root disk travels in the configuration file, never in argv."""

    def start(self, spec: GuestSpec) -> GuestStart:
        """Command line and configuration records.

        :raises UsageError: code ``guest.nul`` or ``guest.config_size``
        """
        words = ["console=ttyS0"]
        if spec.root:
            words += ["root=/dev/vda", "ro" if spec.read_only else "rw"]
        words.append("quiet")
        if spec.extra:
            words.append(spec.extra)
        records = []
        for key, value in _records(spec):
            if "\0" in value:
                raise UsageError(f"{key}: a NUL byte cannot be passed to the guest", code="guest.nul")
            records.append(f"{key}={value}".encode("utf-8", "surrogateescape") + b"\0")
        config = b"".join(records)
        if len(config) > MAX_CONFIG:
            raise UsageError(f"the guest's configuration has {len(config)} bytes, {MAX_CONFIG} are possible",
                             code="guest.config_size", hint="pass large files in a volume")
        return GuestStart(" ".join(words), config, control=True)


def _records(spec: GuestSpec) -> Iterator[tuple[str, str]]:
    for key, value in (("init", spec.init), ("arg0", spec.arg0), ("cwd", spec.cwd), ("user", spec.user),
                       ("hostname", spec.hostname)):
        if value:
            yield key, value
    for argument in spec.args or ():
        yield "arg", argument
    for name, value in spec.env.items():
        yield "env", f"{name}={value}"
    for number, interface in enumerate(spec.interfaces):
        yield from _addresses(number, interface, spec.hostname)
    for server in spec.dns:
        yield "dns", server
    for domain in spec.search:
        yield "search", domain
    for name, address in spec.hosts.items():
        yield "host", f"{name}={address}"
    for mount in spec.mounts:
        yield "uni.mount", mount
    for file in spec.files:
        content = base64.b64encode(file.content).decode()
        yield "uni.file", f"{file.path}:{file.mode:o}:{file.uid}:{file.gid}:{content}"
    for limit in spec.rlimits:
        yield "uni.rlimit", limit
    yield "uni.tty", "1" if spec.tty else "0"
    if spec.trace:
        yield "uni.trace", "syscalls"


def _addresses(number: int, interface: Interface, hostname: str) -> Iterator[tuple[str, str]]:
    """``ip=`` records (Documentation/admin-guide/nfs/nfsroot.rst of Linux)."""
    device = f"eth{number}"
    if interface.dhcp:
        yield "ip", f":::::{device}:dhcp"
    elif interface.address:
        mask = ".".join(str((0xFFFFFFFF << (32 - interface.prefix) >> shift) & 255) for shift in (24, 16, 8, 0))
        yield "ip", f"{interface.address}::{interface.gateway}:{mask}:{hostname}:{device}:off:{interface.dns}"
    if interface.address6:
        gateway = f"[{interface.gateway6}]" if interface.gateway6 else ""
        yield "ip", f"[{interface.address6}]::{gateway}:/{interface.prefix6}:{hostname}:{device}:off"
