# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel releases on this host: many may be kept, one of them is the default.

A release is a directory ``<root>/kernels/<version>`` with ``uni.elf`` (what QEMU loads), ``uni.elf.debug``
(symbols, for backtraces and debuggers), ``VERSION`` and ``SHA256SUMS`` in the format of sha256sum(1).
``<root>/kernels/default`` holds the version that VMs boot unless they say otherwise.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    NotFoundError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    host_error,
    lock,
    sync_directory,
    write_bytes,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

KERNEL = "uni.elf"
SYMBOLS = "uni.elf.debug"
FILES = (KERNEL, SYMBOLS, "VERSION")
# What a build directory calls the two: `make -C kernel` names the symbols the other way round.
_SOURCES = {KERNEL: (KERNEL,), SYMBOLS: (SYMBOLS, "uni.debug.elf")}
_OLD = ".old-"
# Semantic Versioning 2.0.0, section 2 (numbers) and 9, 10 (pre-release and build identifiers).
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_ELF_MAGIC = b"\x7fELF"


@dataclass(frozen=True)
class KernelRelease:
    """One release on this host. ``sha256`` is of ``path``, the stripped kernel; ``size`` is in bytes."""

    version: str
    path: Path
    sha256: str
    size: int
    default: bool = False

    @property
    def symbols(self) -> Path | None:
        """The file with the symbols, where the release has one."""
        path = self.path.with_name(SYMBOLS)
        return path if path.exists() else None

    def to_dict(self) -> dict[str, object]:
        """The release as plain data."""
        symbols = self.symbols
        return {"version": self.version, "default": self.default, "size": self.size, "sha256": self.sha256,
                "path": str(self.path), "symbols": str(symbols) if symbols else None}


def version_key(version: str) -> tuple[object, ...]:
    """Sort key of a semantic version (precedence as in Semantic Versioning 2.0.0, section 11).

    :raises UsageError: code ``kernel.version``
    """
    match = _VERSION.fullmatch(version)
    if not match or len(version) > 64:
        raise UsageError(f"{version!r} is not a kernel version", code="kernel.version",
                         hint="versions look like 1.2.3 or 1.2.3-rc.1")
    major, minor, patch, pre = match.groups()
    words = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in pre.split(".")] if pre else []
    return (int(major), int(minor), int(patch), 0 if pre else 1, tuple(words))


def in_range(version: str, accepted: str) -> bool:
    """Whether ``version`` satisfies every part of ``accepted``, such as ``>=0.1.0,<2``. Missing numbers are 0.

    :raises UsageError: code ``kernel.range``
    """
    key = version_key(version)
    for part in filter(None, (word.strip() for word in accepted.split(","))):
        match = re.fullmatch(r"(>=|<=|>|<|==|=|)\s*(\d+(?:\.\d+){0,2})(-[0-9A-Za-z.-]+)?", part)
        if not match:
            raise UsageError(f"{accepted!r} is not a range of kernel versions", code="kernel.range",
                             hint="ranges look like >=0.1.0,<2")
        numbers = match[2] + ".0" * (2 - match[2].count("."))
        other = version_key(numbers + (match[3] or ""))
        fits = {">=": key >= other, "<=": key <= other, ">": key > other, "<": key < other}.get(match[1], key == other)
        if not fits:
            return False
    return True


def list_releases(root: Root) -> list[KernelRelease]:
    """Every release on this host, the newest first."""
    default_version = _default_version(root)
    names = [path.name for path in root.kernels.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
    return [_load(root, name, default_version) for name in sorted(names, key=version_key, reverse=True)]


def get(root: Root, version: str) -> KernelRelease:
    """The release ``version``.

    :raises NotFoundError: code ``kernel.not_found``
    """
    version_key(version)
    if not (root.kernels / version).is_dir():
        known = ", ".join(release.version for release in list_releases(root)) or "none"
        raise NotFoundError(f"no kernel {version} on this host", code="kernel.not_found",
                            hint=f"here: {known}; see `uni kernel list`")
    return _load(root, version, _default_version(root))


def default(root: Root) -> KernelRelease:
    """The release that VMs boot unless they say otherwise.

    :raises NotFoundError: code ``kernel.no_default``
    """
    version = _default_version(root)
    if version is None:
        raise NotFoundError("this host has no kernel yet", code="kernel.no_default",
                            hint="build one with `make -C kernel`, then `uni kernel add kernel/build`")
    return get(root, version)


def verify(release: KernelRelease) -> None:
    """Read the release's files and compare them with its SHA256SUMS.

    :raises VerifyError: code ``kernel.damaged``, naming the file
    """
    check_sums(release.path.parent, what=f"kernel {release.version}")


def check_sums(directory: Path, *, what: str) -> None:
    """Compare the files in ``directory`` with its SHA256SUMS; the kernel must be among them.

    :raises VerifyError: code ``kernel.damaged``, naming the file
    """
    sums = _read_sums(directory)
    if KERNEL not in sums:
        raise VerifyError(f"{what} has no checksum of {KERNEL}", code="kernel.damaged", hint="add it again")
    for name, wanted in sums.items():
        try:
            found = _sha256(directory / name)
        except OSError:
            found = "missing"
        if found != wanted:
            raise VerifyError(f"{what}: {name} is damaged: its sha256 is {found}, not {wanted}",
                              code="kernel.damaged", hint="remove it and add it again")


def previous(root: Root) -> str | None:
    """The version that was the default before the current one, when it is still here."""
    return _pointer(root, "previous")


def plan_register(root: Root, directory: Path, *,
                  make_default: bool | None = None) -> tuple[Plan, KernelRelease]:
    """What registering the release in ``directory`` would do, and what the host would then have.

    :param make_default: True: becomes the default; None: only when the host has none
    :raises UsageError: ``directory`` holds no kernel (code ``kernel.not_a_release``)
    """
    source = _read_build(directory)
    old_default = _default_version(root)
    becomes = make_default is True or (make_default is None and old_default is None)
    actions = []
    present = root.kernels / source.version
    before = _load(root, source.version, old_default) if present.is_dir() else None
    if before is None or before.sha256 != source.sha256:
        actions.append(Action("update" if before else "create", f"kernel/{source.version}",
                              f"keep kernel {source.version} from {directory}",
                              {"sha256": before.sha256} if before else {}, {"sha256": source.sha256}))
    if becomes and old_default != source.version:
        actions.append(_default_action(old_default, source.version))
    stays = old_default == source.version or becomes
    after = KernelRelease(source.version, present / KERNEL, source.sha256, source.size, stays)
    return Plan(tuple(actions)), after


def register(root: Root, directory: Path, *, make_default: bool | None = None,
             check: bool = False) -> tuple[Plan, KernelRelease]:
    """Copy the release in ``directory`` to this host; see :func:`plan_register`.

    A release of the same version and other content is replaced whole. Running VMs keep what they loaded.
    """
    if check:
        return plan_register(root, directory, make_default=make_default)
    with _locked(root):
        plan, release = plan_register(root, directory, make_default=make_default)
        for action in plan.actions:
            if action.target.startswith("kernel/"):
                _install(root, directory, release.version)
            else:
                _set_default(root, release.version)
    return plan, release


def use(root: Root, version: str, *, check: bool = False) -> tuple[Plan, KernelRelease]:
    """Make ``version`` the default after verifying its files."""
    release = get(root, version)
    verify(release)
    old = _default_version(root)
    if old == version:
        return Plan(), release
    if not check:
        with _locked(root):
            _set_default(root, version)
    return Plan((_default_action(old, version),)), get(root, version)


def remove(root: Root, version: str, *, check: bool = False) -> Plan:
    """Remove a release; one that is not there is no error.

    :raises ConflictError: it is the default (code ``kernel.in_use``)
    """
    version_key(version)
    directory = root.kernels / version
    if not directory.is_dir():
        return Plan()
    if _default_version(root) == version:
        raise ConflictError(f"kernel {version} is this host's default", code="kernel.in_use",
                            hint="make another one the default first: uni kernel use VERSION")
    if not check:
        with _locked(root):
            trash = directory.with_name(f".gone-{version}")
            directory.rename(trash)  # one step: nobody sees half a release
            shutil.rmtree(trash)
    return Plan((Action("remove", f"kernel/{version}", f"remove kernel {version}"),))


def _default_action(old: str | None, new: str) -> Action:
    return Action("update", "kernel-default", f"boot kernel {new} by default",
                  {"version": old}, {"version": new})


def _default_version(root: Root) -> str | None:
    return _pointer(root, "default")


def _pointer(root: Root, name: str) -> str | None:
    try:
        version = (root.kernels / name).read_text().strip()
    except FileNotFoundError:
        return None
    return version if _VERSION.fullmatch(version) and (root.kernels / version).is_dir() else None


def _set_default(root: Root, version: str) -> None:
    old = _default_version(root)
    if old is not None and old != version:
        write_bytes(root.kernels / "previous", f"{old}\n".encode(), mode=0o644)
    write_bytes(root.kernels / "default", f"{version}\n".encode(), mode=0o644)


def _load(root: Root, version: str, default_version: str | None) -> KernelRelease:
    path = root.kernels / version / KERNEL
    try:
        size = path.stat().st_size
    except OSError as error:
        raise VerifyError(f"kernel {version} has no {KERNEL}: {error.strerror}", code="kernel.damaged",
                          hint=f"remove {path.parent} and add the kernel again") from error
    sha256 = _read_sums(path.parent).get(KERNEL, "")
    return KernelRelease(version, path, sha256, size, version == default_version)


def _read_build(directory: Path) -> KernelRelease:
    """The release that a build directory (or an unpacked artifact) holds."""
    kernel = directory / KERNEL
    try:
        with kernel.open("rb") as file:
            magic = file.read(4)
        if magic != _ELF_MAGIC:
            raise UsageError(f"{kernel} is not an ELF file", code="kernel.not_a_release")
        version = _find_version(directory)
        version_key(version)
        return KernelRelease(version, kernel, _sha256(kernel), kernel.stat().st_size)
    except OSError as error:
        raise UsageError(f"{directory} holds no kernel: {error.filename}: {error.strerror}",
                         code="kernel.not_a_release", hint="build one with `make -C kernel`") from error


def _find_version(directory: Path) -> str:
    """VERSION beside the kernel, or one level up as in the source tree (kernel/VERSION, kernel/build)."""
    beside = directory / "VERSION"
    return (beside if beside.exists() else directory.parent / "VERSION").read_text().strip()


def _install(root: Root, directory: Path, version: str) -> None:
    target = root.kernels / version
    fresh = root.kernels / f".new-{version}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(mode=0o755)
        for name, sources in _SOURCES.items():
            for source in sources:
                if (directory / source).exists():
                    write_bytes(fresh / name, (directory / source).read_bytes(), mode=0o644)
                    break
        write_bytes(fresh / "VERSION", f"{version}\n".encode(), mode=0o644)
        names = [name for name in FILES if (fresh / name).exists()]
        sums = "".join(f"{_sha256(fresh / name)}  {name}\n" for name in names)
        write_bytes(fresh / "SHA256SUMS", sums.encode(), mode=0o644)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise host_error(error, target) from error
    old = root.kernels / f"{_OLD}{version}"
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    sync_directory(root.kernels)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(root: Root) -> Iterator[None]:
    """Hold the lock of the releases, after finishing what a killed caller left half-done."""
    with lock(root.locks / "kernels", timeout=60.0):
        for left in root.kernels.glob(".*"):
            version = left.name[len(_OLD):] if left.name.startswith(_OLD) else ""
            if version and not (root.kernels / version).exists():
                left.rename(root.kernels / version)  # killed between the two renames of _install
            else:
                shutil.rmtree(left, ignore_errors=True)
        yield


def _read_sums(directory: Path) -> dict[str, str]:
    sums: dict[str, str] = {}
    try:
        for line in (directory / "SHA256SUMS").read_text().splitlines():
            digest, _blank, name = line.partition("  ")
            if name in FILES:
                sums[name] = digest
    except OSError:
        return {}
    return sums


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
