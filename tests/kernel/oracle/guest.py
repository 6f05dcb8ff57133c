# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a case on Uni: QEMU by the line in docs/guest-interface.md, configuration by fw_cfg, exit status from the control port."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .build import sparse_copy
from .case import Case, Outcome
from .host import client_command, run_client
from .tether import tether

MICROVM = "microvm,acpi=off,rtc=on,pit=off,pic=off,isa-serial=on,auto-kernel-cmdline=on,x-option-roms=off"
#: What the kernel itself prints on the console: its lines and a crash's registers. Reported, never compared.
KERNEL_LINE = re.compile(rb"uni: [^\n]*\n|^(?:rip|r[a-ds][xip]|r[0-9]+) +[0-9a-f]{16}  [^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    """What to boot and on which machine. ``memory`` (QEMU's words; empty: as the case says) overrides every case's."""

    kernel: Path
    machine: str = "microvm"
    memory: str = ""
    append: str = "console=ttyS0 root=/dev/vda rw quiet"
    keep: bool = False
    cpu: str = "max"


def machine_arguments(machine: str) -> tuple[list[str], str]:
    """QEMU's words for a machine and the suffix of its virtio devices."""
    if machine == "microvm":
        return ["-M", MICROVM, "-global", "virtio-mmio.force-legacy=false"], "device"
    if machine == "q35-intx":
        lines = [word for kind in ("blk", "net", "rng") for word in ("-global", f"virtio-{kind}-pci.vectors=0")]
        return ["-M", "q35", *lines], "pci"
    return ["-M", machine], "pci"


def free_port() -> int:
    """A TCP port of the host that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def control_chardev(case: Case, scratch: Path) -> str:
    """The control port's chardev: a file, and for a server that is stopped by a signal a socket with the same file as its log."""
    if case.stop:
        return f"socket,id=control,path={scratch / 'c.sock'},server=on,wait=off,logfile={scratch / 'control'}"
    return f"file,id=control,path={scratch / 'control'}"


def qemu_line(machine: Machine, case: Case, disk: Path, scratch: Path, port: int = 0) -> list[str]:
    """The whole command line; ``port`` of the host reaches the case's own."""
    config, console, control = scratch / "config", scratch / "console", control_chardev(case, scratch)
    forward = f",hostfwd=tcp:127.0.0.1:{port}-:{case.port}" if port else ""
    words, bus = machine_arguments(machine.machine)
    return [
        "qemu-system-x86_64", *words, "-accel", "tcg", "-cpu", machine.cpu, "-m", machine.memory or f"{case.memory}M", "-smp", "1",
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-kernel", str(machine.kernel), "-append", machine.append,
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-chardev", control, "-device", "isa-serial,chardev=control,iobase=0x2f8,irq=3",
        "-device", "isa-debug-exit,iobase=0x501,iosize=2",
        "-fw_cfg", f"name=opt/uni/config,file={config}",
        "-drive", f"file={disk},format=raw,if=none,id=d0,cache=unsafe", "-device", f"virtio-blk-{bus},drive=d0",
        "-netdev", f"user,id=n0,restrict=on{forward}", "-device", f"virtio-net-{bus},netdev=n0",
        "-device", f"virtio-rng-{bus}",
    ]


def records(case: Case) -> bytes:
    """The fw_cfg file of a case."""
    pairs = [f"init={case.argv[0]}", *(f"arg={word}" for word in case.argv[1:])]
    pairs += [f"env={name}={value}" for name, value in case.env.items()]
    pairs += [f"cwd={case.cwd}", "hostname=uni", "uni.tty=0", *case.config]
    return b"".join(pair.encode() + b"\0" for pair in pairs)


def read_events(path: Path) -> list[dict[str, object]]:
    """The control port's lines; what does not parse is dropped, as the contract says."""
    events: list[dict[str, object]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def end_of(events: list[dict[str, object]], code: int | None, timeout: int) -> str:
    """``exit N`` or ``signal N`` from the events, else what went wrong."""
    for event in events:
        if event.get("event") == "panic":
            return f"kernel panic: {event.get('reason')} at {event.get('rip')} {event.get('symbol', '')}"
    for event in reversed(events):
        if event.get("event") == "exit":
            return f"signal {event['signal']}" if "signal" in event else f"exit {event.get('status')}"
    if code is None:
        return f"no end within {timeout} s"
    return f"no exit event, QEMU's exit code {code}"


def split_console(raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Part the program's bytes from the kernel's own lines, which may follow an unfinished line of the program."""
    kernel = [line.decode(errors="replace").rstrip() for line in KERNEL_LINE.findall(raw)]
    return KERNEL_LINE.sub(b"", raw), tuple(kernel)


def send_signal(path: Path, number: int) -> None:
    """Ask for a signal on the control port. A guest that is gone already does not mind."""
    with socket.socket(socket.AF_UNIX) as port:
        try:
            port.connect(str(path))
            port.sendall(json.dumps({"cmd": "signal", "id": 1, "signo": number}).encode() + b"\n")
            port.settimeout(10)
            port.recv(4096)
        except OSError:
            return


def run_qemu(line: list[str], case: Case, scratch: Path, port: int = 0) -> tuple[int | None, bytes]:
    """Run QEMU to its end, and a server's client meanwhile: the exit code (None for a time-out) and what the client said.

    QEMU's own complaints go to ``qemu.log``, its command line to ``command``.
    """
    (scratch / "command").write_text(shlex.join(line) + "\n")
    said = b""
    with (scratch / "qemu.log").open("wb") as sink:
        process = subprocess.Popen(tether(line), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
        try:
            if case.client:
                said = run_client(client_command(case, "127.0.0.1", port), case.timeout)
                if case.stop:
                    send_signal(scratch / "c.sock", signal.Signals[case.stop])
            return process.wait(timeout=case.timeout), said
        except subprocess.TimeoutExpired:
            return None, said
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def fsck(disk: Path) -> str:
    """A sentence where the disk is not consistent after the run, else nothing. ``e2fsck -fn`` changes nothing."""
    done = subprocess.run(["e2fsck", "-fn", str(disk)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    return "" if done.returncode == 0 else f"e2fsck -fn says {done.returncode}:\n{text}"


def run_on_uni(case: Case, disk: Path, scratch: Path, machine: Machine) -> Outcome:
    """Boot, run, read, check the disk, clean up."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = sparse_copy(disk, scratch / "uni.ext2")
    console, control = scratch / "console", scratch / "control"
    (scratch / "config").write_bytes(records(case))
    for stale in (console, control):
        stale.unlink(missing_ok=True)
    port = free_port() if case.client else 0
    code, said = run_qemu(qemu_line(machine, case, copy, scratch, port), case, scratch, port)
    events = read_events(control)
    output, notes = split_console(console.read_bytes() if console.exists() else b"")
    end = end_of(events, code, case.timeout)
    output += said
    complaint = (scratch / "qemu.log").read_text(errors="replace").strip()
    damage = fsck(copy) if case.fsck and code is not None else ""
    notes += tuple(text for text in (complaint, damage) if text)
    if not machine.keep:
        copy.unlink(missing_ok=True)
    return Outcome(output, f"{end}; {damage.splitlines()[0]}" if damage else end, notes)
