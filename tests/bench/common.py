# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: interleaved measurements, medians, ratios.

An absolute time says more about the machine than about Uni, so every benchmark runs its subject and a yardstick
side by side, alternating, and prints the ratio of the medians. Nothing here passes or fails.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["BUILD", "COLLECTIONS", "KERNEL", "TOP", "disk", "first_output", "hello", "measure", "qemu", "report", "tether", "timed", "uni_options"]
TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / ".build" / "bench"
KERNEL = TOP / "kernel" / "build" / "uni.elf"
COLLECTIONS = TOP / ".build" / "collections"


def measure(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every subject `rounds` times, in turn, so that a noisy moment hits all of them; seconds per call.

    One round before is not counted: it warms the page cache and the bytecode.
    """
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, function in subjects.items():
            seconds = function()
            if number:
                times[name].append(seconds)
    return times


def timed(command: Sequence[str | Path], **keywords: object) -> Callable[[], float]:
    """A subject that runs a command to its end."""
    words = [str(word) for word in command]

    def run() -> float:
        begun = time.perf_counter()
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=600,
                       **keywords)  # type: ignore[call-overload]
        return time.perf_counter() - begun
    return run


def report(title: str, times: Mapping[str, Sequence[float]], subject: str, yardstick: str, aim: str) -> float:
    """Print both medians and their ratio; return the ratio."""
    first, second = statistics.median(times[subject]), statistics.median(times[yardstick])
    ratio = first / second
    print(f"{title}: {ratio:.2f} ({aim})")
    for name in (subject, yardstick):
        values = sorted(times[name])
        print(f"    {name}: median {statistics.median(values) * 1000:.1f} ms, "
              f"{values[0] * 1000:.1f} to {values[-1] * 1000:.1f}, {len(values)} runs")
    sys.stdout.flush()
    return ratio


def compile_c(name: str, text: str, *flags: str) -> Path:
    """Compile a C program statically into .build/bench."""
    BUILD.mkdir(parents=True, exist_ok=True)
    source = BUILD / f"{name}.c"
    source.write_text(text)
    subprocess.run(["gcc", "-O2", "-static", *flags, "-o", BUILD / name, source], check=True)
    return BUILD / name


def hello() -> Path:
    """A static program that writes one line."""
    return compile_c("hello", '#include <unistd.h>\nint main(void) { return write(1, "hello\\n", 6) != 6; }\n')


TETHER = """
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    return argc < 3 || prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != atoi(argv[1]) || execvp(argv[2], argv + 2);
}
"""


@functools.cache
def _tether() -> str:
    return str(compile_c("tether", TETHER))


def tether(words: Sequence[str | Path]) -> list[str]:
    """The command, killed by the kernel when the benchmark ends: what tests/kernel/oracle/tether.py does with setpriv(1) and a
    shell, which take a twentieth of the time that bare QEMU needs: a ratio would look better than it is.
    """
    return [_tether(), str(os.getpid()), *map(str, words)]


def disk(program: Path) -> Path:
    """An ext2 disk with `program` at /bin/app."""
    image = BUILD / f"{program.name}.ext2"
    with tempfile.TemporaryDirectory(dir=BUILD) as tree:
        (Path(tree) / "bin").mkdir()
        (Path(tree) / "bin" / "app").write_bytes(program.read_bytes())
        (Path(tree) / "bin" / "app").chmod(0o755)
        image.unlink(missing_ok=True)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext2", "-d", tree, image, "4M"], check=True)
    return image


def qemu(kernel: Path, *options: str, memory: str = "64M") -> list[str]:
    """QEMU's command line as docs/guest-interface.md has it, console on standard output."""
    return ["qemu-system-x86_64", "-M", "microvm,acpi=off,rtc=on,pit=off,pic=off,isa-serial=on,"
            "auto-kernel-cmdline=on,x-option-roms=off", "-global", "virtio-mmio.force-legacy=false",
            "-accel", "tcg", "-cpu", "max", "-m", memory, "-smp", "1", "-nodefaults", "-no-user-config",
            "-no-reboot", "-display", "none", "-serial", "stdio",
            "-device", "isa-debug-exit,iobase=0x501,iosize=2", "-kernel", str(kernel), *options]


def uni_options(image: Path) -> tuple[str, ...]:
    """The options that boot /bin/app from a disk."""
    return ("-append", "console=ttyS0 root=/dev/vda ro quiet init=/bin/app",
            "-drive", f"if=none,id=root,format=raw,readonly=on,file={image}", "-device", "virtio-blk-device,drive=root")


def first_output(command: Sequence[str]) -> float:
    """Seconds from starting a command to the first byte that it prints."""
    begun = time.perf_counter()
    process = subprocess.Popen(tether(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        if not process.stdout.read(1):
            raise RuntimeError(f"no output: {' '.join(command)}")
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
