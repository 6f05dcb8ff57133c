# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on a running VM through its monitor: statistics, memory image, debugger, saving to disk."""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.uni.engine.plugins.module_utils.engine import keepers
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    GuestError,
    StateError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import RUNNING, Vm, status_of
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.saved import save

DUMP_SECONDS = 300.0
_ADD = "with confirm off -- add-symbol-file"  # which in a terminal asks whether one means it
FOLLOW_POLL = 0.1          # seconds between looks at the events log


def running(root: Root, reference: str) -> Vm:
    """The VM, which must have a QEMU.

    :raises StateError: code ``vm.not_running``
    """
    vm = apply.repair(root, records.find(root, reference))
    if status_of(vm.state) not in RUNNING:
        raise StateError(f"VM {vm.name} is not running", code="vm.not_running", hint=f"start it: uni start {vm.name}")
    return vm


def stats(root: Root, reference: str, *, guest: bool = True) -> dict[str, Any]:
    """What a VM uses: on the host (proc(5)), its disks (QMP), and in the guest (control port) where it answers.

    Times in microseconds, sizes in bytes, counted since the VM's start.
    """
    vm = running(root, reference)
    result: dict[str, Any] = {"id": vm.id, "name": vm.name, "host": host_stats(int(vm.state["pid"]))}
    with Qmp(vm.directory) as qmp:
        result["disks"] = [_disk_stats(item) for item in qmp.call("query-blockstats") if item.get("qdev")]
    if guest:
        answer = keepers.ask(vm.directory, {"op": "command", "cmd": {"cmd": "stats"}}, timeout=30)
        inside = answer.get("answer") if answer.get("ok") else None
        result["guest"] = {key: value for key, value in (inside or {}).items() if key not in ("event", "id")}
    return result


def host_stats(pid: int) -> dict[str, int]:
    """CPU time and memory of QEMU, as the host's kernel counts them; zeros when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return {"cpu_us": 0, "threads": 0, "rss": 0, "shared": 0}
    tick = 1_000_000 // os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    return {"cpu_us": (int(fields[11]) + int(fields[12])) * tick, "threads": int(fields[17]),
            "rss": int(pages[1]) * page, "shared": int(pages[2]) * page}


def _disk_stats(item: dict[str, Any]) -> dict[str, Any]:
    counts = item.get("stats", {})
    return {"device": str(item.get("qdev", "")), "rd_bytes": counts.get("rd_bytes", 0),
            "wr_bytes": counts.get("wr_bytes", 0), "rd_operations": counts.get("rd_operations", 0),
            "wr_operations": counts.get("wr_operations", 0), "failed": counts.get("failed_rd_operations", 0)
            + counts.get("failed_wr_operations", 0)}


def dump(root: Root, reference: str, path: Path, *, physical: bool = False) -> dict[str, Any]:
    """Write the guest's memory to ``path`` as an ELF core (QMP dump-guest-memory), and how to open it in gdb.

    The file is created by this process and handed over as a descriptor: QEMU needs no right to write there.

    :param physical: with physical addresses only, as tools for kernels want it
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine import coredump

    vm = running(root, reference)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise host_error(error, path) from error
    try:
        with Qmp(vm.directory) as qmp:
            qmp.pass_fd("dump", fd)
            qmp.call("dump-guest-memory", paging=False, protocol="fd:dump", deadline=DUMP_SECONDS)
        if not physical:
            coredump.add_virtual(path)
        size = os.fstat(fd).st_size
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    symbols, program = _symbols(root, vm)
    argv = ["gdb", str(symbols), str(path)]
    argv += ["-ex", f"{_ADD} {program}"] if program is not None else []
    return {"file": str(path), "size": size, "argv": argv, "command": shlex.join(argv)}


def debug(root: Root, reference: str) -> dict[str, Any]:
    """Offer QEMU's gdb stub on ``gdb.sock`` in the VM's directory; how to connect to it. Others go on undisturbed.

    The guest is not stopped until a debugger connects.
    """
    vm = running(root, reference)
    path = vm.directory / "gdb.sock"
    if not path.exists():
        fd = os.open(vm.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, Qmp(vm.directory) as qmp:
                before = os.umask(0o177)
                try:
                    server.bind(f"/proc/self/fd/{fd}/gdb.sock")
                finally:
                    os.umask(before)
                server.listen(1)
                qmp.pass_fd("gdb", server.fileno())
                address = {"type": "fd", "data": {"str": "gdb"}}
                backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
                qmp.call("chardev-add", id="gdb", backend=backend)
                answer = qmp.human("gdbserver chardev:gdb")
                if "rror" in answer or "ould not" in answer:
                    raise GuestError(f"QEMU offers no debugger: {answer}", code="vm.debug")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
    symbols, program = _symbols(root, vm)
    argv = ["gdb", str(symbols), "-ex", f"target remote {path}"]
    argv += ["-ex", f"{_ADD} {program}"] if program is not None else []
    return {"socket": str(path), "symbols": str(symbols), "program": str(program or ""), "argv": argv,
            "command": shlex.join(argv)}


def _symbols(root: Root, vm: Vm) -> tuple[Path, Path | None]:
    """The files with the symbols of the VM's kernel, and of its program."""
    kernel = Path(str((vm.runtime.get("boot") or {}).get("kernel", "")))
    symbols = next((item for item in (kernel.with_name("uni.elf.debug"), kernel.with_name("uni.debug.elf"), kernel)
                    if item.is_file()), kernel)
    return symbols, _program(root, vm)


def _program(root: Root, vm: Vm) -> Path | None:
    """The VM's program as a file beside its record, for its symbols; None when there is no root disk to take it from.

    Symbols fit where the program was linked: one that is position-independent is loaded elsewhere each time.
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles
    from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import DiskRef
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images, launch

    image = vm.record.get("image") or {}
    name = launch.command_line(vm)[0]
    if not image.get("disk") or not name.startswith("/"):
        return None
    target = vm.directory / "program.elf"
    try:
        diskfiles.copy_out(DiskRef(Path(images.unpack(root, image)["disk"])), name, target)
    except UniError:
        return None
    return target


def events(root: Root, *, since: str | float | None = None, until: str | float | None = None, follow: bool = False,
           filters: Mapping[str, Collection[str]] | None = None) -> Iterator[dict[str, Any]]:
    """What happened to the VMs of this host, the oldest first: start, ready, exit, oom, panic, health, ...

    :param since: a duration back from now, or a time stamp; ``until`` likewise
    :param follow: go on with what still happens (until ``until``, or for ever)
    :param filters: for each key the values that are wanted
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.console import parse_since, parse_stamp

    begin = parse_since(since)
    end = parse_since(until) if until is not None else float("inf")
    for line in _event_lines(root.log, follow, end):
        try:
            event = json.loads(line)
            moment = parse_stamp(str(event["time"]))
        except (ValueError, KeyError, TypeError):
            continue  # a line that a full disk cut off
        if moment > end:
            return
        if moment >= begin and all(str(event.get(key)) in wanted for key, wanted in (filters or {}).items()):
            yield event


def _event_lines(directory: Path, follow: bool, end: float) -> Iterator[bytes]:
    """The lines of the log and of the older one; with ``follow`` those that are still to come, over a rotation too."""
    try:
        with (directory / "events.jsonl.1").open("rb") as older:
            yield from older
    except FileNotFoundError:
        pass
    path = directory / "events.jsonl"
    file: BinaryIO | None = None
    rest = b""
    try:
        while True:
            if file is None and path.exists():
                file = path.open("rb")
            rotated = file is not None and _is_another(path, file.fileno())
            data = file.read() if file is not None else b""  # after the look: what was written before it is here
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
            if rotated and file is not None:
                file.close()
                file = None
            elif not follow or time.time() > end:
                return
            else:
                time.sleep(FOLLOW_POLL)
    finally:
        if file is not None:
            file.close()


def _is_another(path: Path, fd: int) -> bool:
    """Whether ``path`` is not the open file any more."""
    try:
        return path.stat().st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return True


def recover(root: Root) -> list[dict[str, str]]:
    """After a reboot of the host, or a crash: adopt, finish or restart every VM as its record says.

    :return: what each VM that needed it has become: id, name, before, after
    """
    result = []
    for vm in records.load_all(root):
        before = status_of(vm.state)
        if before == "lost" or records.orphaned(vm):
            after = apply.repair(root, vm)
            result.append({"id": vm.id, "name": vm.name, "before": before, "after": status_of(after.state)})
    return result


__all__ = ["debug", "dump", "events", "host_stats", "recover", "running", "save", "stats"]
