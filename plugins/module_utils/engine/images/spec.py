# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user asks for when an image is built, and the plan that leads from what is there to that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import OWN, ImageInfo
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan, Tracker
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import Reference, parse_reference

# Raised when equal input starts to give another disk or other layers, so that images are built again.
FORMAT = "1"
_EXPOSED = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9+-]{1,11}|\d{1,2}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


@dataclass(frozen=True)
class BuildSpec:
    """An image to be built. At least one source is given; later ones are laid over earlier ones:
    ``image`` (a container image), ``packages`` (Debian), ``rootfs`` (a directory), ``program`` (an ELF file).

    ``program`` is put at ``program_path``, by default ``/bin/`` and its name, and becomes the entrypoint unless
    that is set. ``memory`` and ``size`` (of the disk) are in bytes. ``kernel`` is the ELF file of a kernel; by
    default the host's default release. An image that has a kernel keeps it until its contents change or
    ``update_kernel`` is set.
    """

    name: str
    program: Path | None = None
    rootfs: Path | None = None
    packages: tuple[str, ...] = ()
    image: str | None = None
    program_path: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None
    workdir: str | None = None
    user: str | None = None
    exposed_ports: tuple[str, ...] | None = None
    volumes: tuple[str, ...] | None = None
    stop_signal: str | None = None
    labels: Mapping[str, str] | None = None
    memory: int | None = None
    cpus: int | None = None
    size: int | None = None
    kernel: Path | None = None
    kernel_range: str | None = None
    update_kernel: bool = False


@dataclass(frozen=True)
class Settings:
    """How an image runs: the part of the OCI config that a user sets. Everything is normalized."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpus: int | None = None
    size: int | None = None
    kernel_range: str | None = None

    def fields(self) -> dict[str, Any]:
        """What is compared with an image that is there."""
        return {
            "entrypoint": list(self.entrypoint), "cmd": list(self.cmd), "env": dict(sorted(self.env.items())),
            "workdir": self.workdir, "user": self.user, "exposed_ports": list(self.exposed_ports),
            "volumes": list(self.volumes), "stop_signal": self.stop_signal,
            "labels": dict(sorted(self.labels.items())), "memory": self.memory or 0, "cpus": self.cpus or 0,
            "size": self.size or 0, "kernel_range": self.kernel_range or "",
        }


def check_spec(spec: BuildSpec) -> Reference:
    """The reference that the image will have.

    :raises UsageError: ``build.no_source``, ``build.setting``, ``kernel.range``, or the reference's own errors
    """
    reference = parse_reference(spec.name)
    if reference.digest:
        raise UsageError(f"{spec.name!r} has a digest, which only a finished image has", code="build.setting",
                         hint="give NAME[:TAG]")
    if not (spec.program or spec.rootfs or spec.packages or spec.image):
        raise UsageError(f"nothing to build {spec.name} from", code="build.no_source",
                         hint="give a program, a root directory, packages or a container image")
    for name, value, pattern, wanted in (
            ("user", spec.user, _USER, "UID[:GID] or names"),
            ("stop_signal", spec.stop_signal, _SIGNAL, "a signal such as SIGTERM or 15")):
        if value and not pattern.fullmatch(value):
            raise UsageError(f"{name}: {value!r} is not understood", code="build.setting", hint=f"expected {wanted}")
    for name, path in (("workdir", spec.workdir), ("program_path", spec.program_path),
                       *(("volumes", volume) for volume in spec.volumes or ())):
        if path and (not path.startswith("/") or ".." in path.split("/") or "\0" in path):
            raise UsageError(f"{name}: {path!r} is not an absolute path", code="build.setting",
                             hint="write it as /path, without '..'")
    if spec.kernel_range:
        from ansible_collections.uni.engine.plugins.module_utils.engine.kernels import in_range

        # One by one: in_range stops at the first part that does not fit.
        for part in spec.kernel_range.split(","):
            in_range("0.0.0", part)
    for name, number, least in (("memory", spec.memory, 1 << 20), ("cpus", spec.cpus, 1),
                                ("size", spec.size, 1 << 16)):
        if number is not None and number < least:
            raise UsageError(f"{name}: {number} is too small", code="build.setting", hint=f"at least {least}")
    return reference


def merge(base: Settings, spec: BuildSpec) -> Settings:
    """``base`` (what a container image says) with everything that the user set laid over it."""
    def pick(value: Any, default: Any) -> Any:
        return default if value is None else value

    # As in a Dockerfile: a new entrypoint takes the old command with it.
    command = spec.cmd if spec.cmd is not None else () if spec.entrypoint is not None else base.cmd
    ports = base.exposed_ports if spec.exposed_ports is None else tuple(map(exposed_port, spec.exposed_ports))
    signal = pick(spec.stop_signal, base.stop_signal)
    return Settings(
        entrypoint=tuple(pick(spec.entrypoint, base.entrypoint)), cmd=tuple(command),
        env={**base.env, **(spec.env or {})}, workdir=pick(spec.workdir, base.workdir) or "/",
        user=pick(spec.user, base.user), exposed_ports=tuple(sorted(set(ports))),
        volumes=tuple(sorted(set(pick(spec.volumes, base.volumes)))),
        stop_signal=f"SIG{signal}" if signal and not signal.startswith("SIG") and not signal.isdigit() else signal,
        labels={**base.labels, **(spec.labels or {})}, memory=spec.memory, cpus=spec.cpus, size=spec.size,
        kernel_range=spec.kernel_range)


def exposed_port(text: str) -> str:
    """``80`` or ``80/tcp`` as ``80/tcp``.

    :raises UsageError: code ``build.setting``
    """
    match = _EXPOSED.fullmatch(str(text))
    if not match or not 0 < int(match[1]) < 65536:
        raise UsageError(f"exposed_ports: {text!r} is not understood", code="build.setting",
                         hint="expected PORT[/tcp|/udp]")
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def observed_fields(image: ImageInfo) -> dict[str, Any]:
    """The fields of :meth:`Settings.fields` as an existing image has them."""
    labels = {key: value for key, value in image.labels.items() if not key.startswith("com.urunc.")}
    size = image.annotations.get(OWN + "disk.size", "")
    return {
        "entrypoint": list(image.entrypoint), "cmd": list(image.cmd), "env": dict(sorted(image.env.items())),
        "workdir": image.workdir, "user": image.user, "exposed_ports": list(image.exposed_ports),
        "volumes": list(image.volumes), "stop_signal": image.stop_signal, "labels": dict(sorted(labels.items())),
        "memory": image.memory or 0, "cpus": image.cpus or 0, "size": int(size) if size.isdigit() else 0,
        "kernel_range": image.kernel_range or "",
    }


def plan_build(reference: Reference, settings: Settings, content: str, kernel: str | None,
               observed: ImageInfo | None, *, update_kernel: bool = False) -> Plan:
    """What has to be done so that ``reference`` names an image of this content. Pure.

    :param content: digest of the file tree
    :param kernel: digest of the kernel that a new build would carry; None: it would carry none
    """
    target = f"image/{reference}"
    desired = {"content": content, **settings.fields(), "format": FORMAT}
    if observed is None:
        shown = {key: value for key, value in desired.items() if value not in ("", 0, [], {}) and key != "format"}
        return Plan((Action("build", target, f"build {reference}", {}, {**shown, "kernel": kernel}),))
    tracker = Tracker()
    tracker.compare_all(desired, {
        **observed_fields(observed), "content": observed.annotations.get(OWN + "content", ""),
        "format": observed.annotations.get(OWN + "format", "")})
    old_kernel = observed.annotations.get(OWN + "kernel.digest")
    if kernel and (update_kernel or not old_kernel):
        tracker.compare("kernel", kernel, old_kernel)
    if not tracker:
        return Plan()
    changed = ", ".join(tracker.names)
    return Plan((Action("build", target, f"rebuild {reference}: {changed} changed", tracker.before, tracker.after),))
