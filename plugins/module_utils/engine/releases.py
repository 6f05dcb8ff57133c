# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel releases between hosts: published as signed artifacts, found, pulled, verified, tried, taken back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine import artifacts, kernels, signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    StateError,
    UniError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.kernels import KernelRelease
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import write_bytes
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

TYPE = "application/vnd.uni-engine.kernel.release.v1"
_MEDIA = {
    kernels.KERNEL: "application/vnd.uni-engine.kernel.v1+elf",
    kernels.SYMBOLS: "application/vnd.uni-engine.kernel.symbols.v1+elf",
    "VERSION": "text/plain",
    "SHA256SUMS": "text/plain",
}


@dataclass(frozen=True)
class Offer:
    """What a source offers to a host."""

    source: str
    current: str | None
    available: tuple[str, ...]

    @property
    def newest(self) -> str | None:
        """The newest release that is no pre-release."""
        return next((version for version in self.available if "-" not in version), None)

    @property
    def update(self) -> str | None:
        """The newest release, when it is newer than the host's default."""
        newest = self.newest
        if newest is None or self.current is None:
            return newest
        return newest if kernels.version_key(newest) > kernels.version_key(self.current) else None

    def to_dict(self) -> dict[str, object]:
        """The offer as plain data."""
        return {
            "source": self.source,
            "current": self.current,
            "available": list(self.available),
            "newest": self.newest,
            "update": self.update,
        }


def keys_directory(root: Root) -> Path:
    """Where the public keys are that this host trusts."""
    return root.directory("keys")


def trust(root: Root, public: Path) -> signing.PublicKey:
    """Trust the key in a file from now on."""
    key = signing.load_public(public)
    write_bytes(keys_directory(root) / f"{key.id[:16]}-{public.stem}.pub", key.pem, mode=0o644)
    return key


def trusted(root: Root) -> dict[str, signing.PublicKey]:
    """The trusted keys by id."""
    return signing.trusted(keys_directory(root))


def publish(root: Root, directory: Path, target: str, *, key: Path | None) -> tuple[str, str]:
    """Publish the build in ``directory``; (version, digest). ``root`` keeps the logins to registries.

    :raises UsageError: ``directory`` holds no kernel
    """
    with tempfile.TemporaryDirectory() as scratch:
        # Registering into a root of its own gives the files their final names and checksums.
        _plan, release = kernels.register(Root(Path(scratch)), directory)
        base = release.path.parent
        files = {name: (media, (base / name).read_bytes()) for name, media in _MEDIA.items() if (base / name).exists()}
    with artifacts.keeper(root, target, create=True) as place:
        return release.version, artifacts.publish(place, TYPE, release.version, files, key=key)


def offer(root: Root, source: str) -> Offer:
    """What ``source`` offers, the newest first."""
    try:
        current = kernels.default(root).version
    except NotFoundError:
        current = None
    return Offer(source, current, artifacts.versions(root, source))


def pull(
    root: Root,
    source: str,
    version: str,
    *,
    keys: Mapping[str, signing.PublicKey] | None = None,
    unsigned: bool = False,
) -> tuple[Plan, KernelRelease]:
    """Bring a release to this host: verified, not yet the default.

    :param keys: keys that are trusted; by default those of the host
    :raises VerifyError: its signature, a digest or a checksum is wrong; nothing is kept
    """
    kernels.version_key(version)
    known = trusted(root) if keys is None else keys
    with artifacts.keeper(root, source) as place:
        found = artifacts.fetch(place, version, TYPE, known, unsigned=unsigned)
    if found.version != version:
        raise VerifyError(f"{version} of {source} is release {found.version}", code="kernel.other_version")
    if set(found.files) - set(_MEDIA) or kernels.KERNEL not in found.files:
        raise VerifyError(
            f"{version} of {source} is not a kernel release: it holds {', '.join(found.files) or 'nothing'}",
            code="artifact.malformed",
        )
    with tempfile.TemporaryDirectory(dir=root.cache) as scratch:
        for name, data in found.files.items():
            (Path(scratch) / name).write_bytes(data)
        kernels.check_sums(Path(scratch), what=f"{version} of {source}")
        return kernels.register(root, Path(scratch), make_default=False)


def plan_update(root: Root, source: str, version: str | None) -> tuple[Plan, str | None]:
    """What :func:`update` would do, and to which version; (empty, None) where nothing newer is offered."""
    offered = offer(root, source)
    wanted = version or offered.update
    if wanted is None or wanted == offered.current:
        return Plan(), None
    if wanted not in offered.available:
        raise NotFoundError(
            f"{source} has no kernel {wanted}",
            code="kernel.not_found",
            hint="it has " + (", ".join(offered.available) or "none"),
        )
    return Plan(
        (
            Action(
                "update",
                "kernel-default",
                f"pull kernel {wanted} from {source}, try it, boot it by default",
                {"version": offered.current},
                {"version": wanted},
            ),
        )
    ), wanted


def update(
    root: Root,
    source: str,
    version: str | None = None,
    *,
    check: bool = False,
    smoke: bool = True,
    keys: Mapping[str, signing.PublicKey] | None = None,
    unsigned: bool = False,
) -> tuple[Plan, KernelRelease | None]:
    """Pull, verify, boot once, make default. A release that does not boot is removed and the default stays.

    Running VMs keep their kernel until they are restarted.
    """
    plan, wanted = plan_update(root, source, version)
    if wanted is None:
        return plan, None
    if check:
        return plan, None
    _plan, release = pull(root, source, wanted, keys=keys, unsigned=unsigned)
    if smoke:
        try:
            smoke_boot(release)
        except UniError:
            kernels.remove(root, wanted)
            raise
    _plan, release = kernels.use(root, wanted)
    return plan, release


def rollback(root: Root, *, check: bool = False) -> tuple[Plan, KernelRelease]:
    """Make the release the default that was it before.

    :raises StateError: code ``kernel.no_previous``
    """
    previous = kernels.previous(root)
    if previous is None:
        raise StateError(
            "there is no kernel to go back to",
            code="kernel.no_previous",
            hint="choose one with `uni kernel use VERSION`; see `uni kernel list`",
        )
    return kernels.use(root, previous, check=check)


# The smallest program there is: write(1, "uni: smoke test passed\n", 23), exit_group(0), assembled by hand as an
# ELF64 executable with one segment (System V ABI, "ELF Header" and "Program Header").
_MESSAGE = b"uni: smoke test passed\n"


def smoke_program() -> bytes:
    """A static executable that prints one line and ends with status 0."""
    import struct

    base, headers = 0x400000, 64 + 56
    code = (
        b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00"  # mov $1, %eax (write); mov $1, %edi
        b"\x48\x8d\x35\x13\x00\x00\x00"  # lea message(%rip), %rsi
        b"\xba"
        + struct.pack("<I", len(_MESSAGE))  # mov $length, %edx
        + b"\x0f\x05"  # syscall
        b"\xb8\xe7\x00\x00\x00\x31\xff\x0f\x05\x0f\x0b"
    )  # mov $231, %eax (exit_group); xor %edi, %edi; syscall; ud2
    # lea is relative to the instruction after it, at offset 17 of the code.
    code = code[:13] + struct.pack("<i", len(code) - 17) + code[17:]
    size = headers + len(code) + len(_MESSAGE)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code + _MESSAGE


def smoke_boot(release: KernelRelease, *, timeout: float = 60.0) -> None:
    """Boot the release once with a tiny program, in a root directory of its own.

    :raises VerifyError: code ``kernel.smoke``: it did not boot, or the program did not run
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

    with tempfile.TemporaryDirectory(prefix="uni-smoke-") as scratch:
        Path(scratch).chmod(0o755)  # QEMU enters under a uid of its own
        root = Root(Path(scratch) / "root")
        program = Path(scratch) / "smoke"
        program.write_bytes(smoke_program())
        program.chmod(0o755)
        kernels.register(root, release.path.parent)
        images.ensure_present(root, images.BuildSpec(name="smoke", program=program))
        try:
            vms.run(
                root, VmSpec.parse("smoke", {"image": "smoke", "memory": "32M", "networks": ["none"]}), timeout=timeout
            )
            verdict = vms.wait(root, "smoke", timeout=timeout)
            console = b"".join(line.raw() for line in vms.logs(root, "smoke"))
        except UniError as error:
            raise VerifyError(
                f"kernel {release.version} does not boot: {error.message}",
                code="kernel.smoke",
                hint="the default is unchanged",
            ) from error
        finally:
            for vm in vms.list_vms(root, everything=True):
                vms.remove(root, str(vm["id"]), force=True)
    if verdict.get("code") != 0 or _MESSAGE not in console:
        raise VerifyError(
            f"kernel {release.version} boots, and its test program ended with {verdict.get('code')}",
            code="kernel.smoke",
            hint="the default is unchanged",
        )
