# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot a case's disk on Debian's cloud kernel, on q35: a second Linux to ask, and the one the benchmarks are measured against.

The kernel's virtio drivers are modules, so a small initramfs (cpio, "newc": kernel's Documentation/driver-api/early-userspace/
buffer-format.rst) loads them; its /init is linux_guest/init.c.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from .build import BUILD, BuildError, compile_c, newer, sparse_copy
from .build import run as run_tool
from .case import HERE, Case, Outcome
from .guest import Machine, end_of, free_port, qemu_line, read_events, records, run_qemu

PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    "drivers/virtio/virtio_ring.ko", "drivers/virtio/virtio.ko", "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko", "drivers/virtio/virtio_pci.ko", "drivers/block/virtio_blk.ko",
    "net/core/failover.ko", "drivers/net/net_failover.ko", "drivers/net/virtio_net.ko", "drivers/firmware/qemu_fw_cfg.ko",
)
INITRAMFS = BUILD / "linux-guest.cpio"
#: quiet, and no printk at all on the console that is compared
APPEND = "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init mitigations=off"


def unpack_package() -> Path:
    """The root of an unpacked kernel package: the machine's own where it is installed, else Debian's, downloaded."""
    if list(Path("/boot").glob("vmlinuz-*-cloud-amd64")):
        return Path("/")
    root = BUILD / "linux-package"
    if list(root.glob("boot/vmlinuz-*")):
        return root
    root.mkdir(parents=True, exist_ok=True)
    show = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=False).stdout
    names = [line.split()[-1] for line in show.splitlines() if "linux-image-" in line and "Depends" in line]
    if not names:
        raise BuildError(f"package {PACKAGE} is not known here; run apt-get update, or leave out --linux-guest")
    run_tool(["apt-get", "download", names[0]], cwd=root)
    for package in root.glob("*.deb"):
        run_tool(["dpkg", "-x", str(package), str(root)])
        package.unlink()
    return root


def kernel_image() -> Path:
    """The newest cloud kernel."""
    return sorted((unpack_package() / "boot").glob("vmlinuz-*-cloud-amd64"))[-1]


def cpio_entry(name: str, data: bytes, mode: int, number: int) -> bytes:
    """One member of a newc archive."""
    raw = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + raw
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def prepare() -> Path:
    """Make the initramfs."""
    init = compile_c(HERE / "linux_guest" / "init.c", BUILD / "linux-init", "musl")
    kernel = kernel_image()
    if newer(INITRAMFS, init, kernel, Path(__file__)):
        return INITRAMFS
    modules = kernel.parent.parent / "lib/modules" / kernel.name.removeprefix("vmlinuz-") / "kernel"
    members: list[tuple[str, bytes, int]] = [("init", init.read_bytes(), 0o100755), ("dev", b"", 0o040755)]
    members += [(f"{path.rsplit('/')[-1]}", (modules / path).read_bytes(), 0o100644) for path in MODULES]
    members.append(("modules", "".join(f"/{path.rsplit('/')[-1]}\n" for path in MODULES).encode(), 0o100644))
    members.append(("TRAILER!!!", b"", 0))
    archive = b"".join(cpio_entry(*member, number) for number, member in enumerate(members, 1))
    scratch = INITRAMFS.with_suffix(".new")
    scratch.write_bytes(archive)
    scratch.replace(INITRAMFS)
    return INITRAMFS


def linux_line(case: Case, disk: Path, scratch: Path, machine: Machine, port: int = 0) -> list[str]:
    """QEMU's line for this kernel. At least 192 MiB: unlike Uni, it does not start in much less than 96."""
    linux = replace(machine, kernel=kernel_image(), machine="q35", append=APPEND,
                    memory=machine.memory or f"{max(case.memory, 192)}M")
    return [*qemu_line(linux, case, disk, scratch, port), "-initrd", str(prepare())]


def run(case: Case, disk: Path, scratch: Path, machine: Machine) -> Outcome:
    """Run a case on the Linux guest."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = sparse_copy(disk, scratch / "linux.ext2")
    (scratch / "config").write_bytes(records(case))
    for stale in (scratch / "console", scratch / "control"):
        stale.unlink(missing_ok=True)
    port = free_port() if case.client else 0
    code, said = run_qemu(linux_line(case, copy, scratch, machine, port), case, scratch, port)
    console = scratch / "console"
    # The firmware of q35 clears the screen on the first serial port before the kernel runs.
    output = console.read_bytes().split(b"\x1b[2J")[-1] if console.exists() else b""
    output += said
    if not machine.keep:
        copy.unlink(missing_ok=True)
    return Outcome(output, end_of(read_events(scratch / "control"), code, case.timeout))
