# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into a running VM as a person does: gdb on the stub and on a dump, the terminal of attach, traces."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

from .conftest import TOP, Host

UNI = TOP / "bin" / "uni"
PATIENCE = 120.0
# step() is called for ever by somebody to be named in a backtrace; with an argument it spins in between.
PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
volatile int rounds, spin;
__attribute__((noinline)) void step(int number)
{
    rounds = number;
    if (number % 8 == 0 && (!spin || number < 100)) {    // who spins and writes waits for the console
        printf("round %d\n", number);
        fflush(stdout);
    }
}
__attribute__((noinline)) void caller(void)
{
    for (int number = 0;; number++) {
        step(number);
        if (!spin)
            usleep(20000);
    }
}
int main(int argc, char **argv)
{
    spin = argc > 1;
    caller();
    return argv != 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rounds")
    (home / "rounds.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-g", "-O1", "-static", "-no-pie", "-o", home / "rounds", home / "rounds.c"], check=True)
    return home / "rounds"


@pytest.fixture
def rounds(host: Host, program: Path) -> Iterator[Host]:
    """A host with the image `rounds`, whose kernel has its symbols beside it."""
    kernels.register(host.root, TOP / "kernel" / "build")
    images.ensure_present(host.root, BuildSpec("rounds", program=program))
    yield host


def run(host: Host, *args: str) -> None:
    api.run(host.root, VmSpec.parse("web", {"image": "rounds", "memory": "32M", "args": list(args), "stop_timeout": 1,
                                            "health_check": "log:^round 8"}))
    api.wait_for(host.root, "web", "healthy", timeout=PATIENCE)


def uni(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as its user calls it."""
    return subprocess.run([UNI, "--root", host.root.path, *words], capture_output=True, text=True, timeout=PATIENCE,
                          check=False)


def gdb(argv: list[str], *commands: str) -> str:
    """What gdb says when it is started as `uni` tells, with these commands typed."""
    assert shutil.which("gdb"), "this needs gdb: apt install gdb"
    assert argv[0] == "gdb"
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run([*argv, "-nx", "-batch", *words], capture_output=True, text=True, timeout=PATIENCE,
                          check=False, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def test_breakpoints_and_backtraces(rounds: Host) -> None:
    """In the program, in the kernel, twice, and the guest goes on afterwards."""
    run(rounds)
    where = json.loads(uni(rounds, "debug", "web", "--output", "json").stdout)
    assert shlex.split(uni(rounds, "debug", "web").stdout) == where["argv"]
    text = gdb(where["argv"], "hbreak step", "continue", "backtrace", "print number >= 8", "delete", "detach")
    assert re.search(r"#0 +step \(number=.*\n#1 .* caller \(\).*\n#2 .* main \(", text), text
    assert "$1 = 1" in text
    text = gdb(where["argv"], "break sys_write", "continue", "backtrace", "delete", "detach")
    assert re.search(r"#0 +sys_write \(.*\n#1 .* syscall_dispatch \(", text), text
    last = shown(rounds)
    deadline = time.monotonic() + PATIENCE
    while shown(rounds) < last + 8:
        assert time.monotonic() < deadline, "the guest stands still"
        time.sleep(0.05)


def shown(host: Host) -> int:
    """The last round on the console."""
    return int(re.findall(rb"round (\d+)", b"".join(line.raw() for line in api.logs(host.root, "web", tail=500)))[-1])


def test_a_dump_in_gdb(rounds: Host, tmp_path: Path) -> None:
    run(rounds, "spin")
    done = uni(rounds, "dump", "web", str(tmp_path / "core"), "--output", "json")
    where = json.loads(done.stdout)
    assert where["file"] == str(tmp_path / "core") and where["size"] == (tmp_path / "core").stat().st_size
    text = gdb(where["argv"], "print rounds > 8", "print spin", "print 'sched/sched.c'::sched_idle_loop")
    assert "$1 = 1" in text and "$2 = 1" in text and "sched_idle_loop" in text, text
    # It spins, so that most dumps find it in the program; others in the kernel on its behalf.
    for attempt in range(20):
        path = tmp_path / f"core{attempt}"
        where = json.loads(uni(rounds, "dump", "web", str(path), "--output", "json").stdout)
        text = gdb(where["argv"], "backtrace")
        path.unlink()
        if re.search(r"caller \(\).*\n#\d .* main \(", text):
            return
    pytest.fail(f"no backtrace reaches the program:\n{text}")


def test_physical_memory(rounds: Host, tmp_path: Path) -> None:
    run(rounds)
    assert uni(rounds, "dump", "--physical", "web", str(tmp_path / "core")).stdout.strip() == str(tmp_path / "core")
    headers = subprocess.run(["readelf", "-lW", tmp_path / "core"], capture_output=True, text=True, check=True).stdout
    assert headers.count("LOAD") < 5, headers
    again = uni(rounds, "dump", "web", str(tmp_path / "core"))
    assert again.returncode == 1 and "exists" in again.stderr


def test_trace_of_a_running_vm(rounds: Host, tmp_path: Path) -> None:
    run(rounds)
    lines = uni(rounds, "trace", "web", "--filter", "write", "--time", "3s").stdout.splitlines()
    assert lines and all(re.match(r"\[\d+\] write\(1, .*\) = \d+$", line) for line in lines), lines
    assert uni(rounds, "trace", "web", "-o", str(tmp_path / "calls"), "--time", "2s").stdout == ""
    assert "nanosleep(" in (tmp_path / "calls").read_text() and (tmp_path / "calls").stat().st_mode & 0o777 == 0o600
    tracer = subprocess.Popen([UNI, "--root", rounds.root.path, "trace", "web"], stdout=subprocess.PIPE, text=True)
    assert tracer.stdout is not None and tracer.stdout.readline().startswith("[")
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=PATIENCE)
    assert tracer.returncode == 0
    mark = shown(rounds)
    while shown(rounds) < mark + 16:
        time.sleep(0.05)
    assert b"nanosleep(" not in b"".join(line.raw() for line in api.logs(rounds.root, "web", tail=2)), "off again"
    misspelt = uni(rounds, "trace", "web", "-e", "nanosleeep", "--time", "2s")
    assert misspelt.stdout == "" and "others were: " in misspelt.stderr and "nanosleep" in misspelt.stderr, misspelt


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: object, rows: int = 24) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
            os.execv(sys.executable, [sys.executable, *map(str, words)])
        self.seen = b""

    def until(self, text: bytes) -> None:
        """Read until it shows ``text``."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            assert data, self.seen
            self.seen += data

    def raw(self) -> None:
        """Wait until the command has taken the terminal over: before, its line discipline holds keys back."""
        deadline = time.monotonic() + PATIENCE
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def end(self) -> int:
        """Its exit status, once it has ended by itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:
                    continue


def test_attach_and_detach_keys(host: Host) -> None:
    """The guest echoes what is typed; the keys that leave do not reach it, and it runs on."""
    host.run("web", "echo")
    terminal = Terminal(UNI, "--root", host.root.path, "attach", "-i", "-t", "--detach-keys", "ctrl-p,ctrl-q", "web")
    terminal.raw()
    terminal.type(b"xyz\x10!")  # the first key of two, and another one: both are the guest's
    terminal.until(b"xyz\x10!")
    terminal.type(b"\x03")      # Ctrl-C too
    terminal.until(b"\x03")
    terminal.type(b"\x10\x11")
    assert terminal.end() == 0
    assert not terminal.seen.endswith(b"\x11") and api.list_vms(host.root)[0]["status"] == "running"


def test_gdb_in_a_terminal_asks_nothing(rounds: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed first is a command, not the answer to a question; also where the terminal is small."""
    run(rounds)
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:9")
    terminal = Terminal(UNI, "--root", rounds.root.path, "debug", "--run", "web", rows=4)
    terminal.type(b"print 6 * 7\n")
    terminal.until(b"$1 = 42")
    terminal.type(b"set confirm off\nset pagination off\nquit\n")
    assert terminal.end() == 0
    assert b"(y or " not in terminal.seen and b"without paging" not in terminal.seen and b"program.elf" in terminal.seen, terminal.seen


@pytest.mark.parametrize("options", [("-i", "-t"), ("-t",)])
def test_the_usual_key_leaves(host: Host, options: tuple[str, ...]) -> None:
    host.run("web", "echo")
    terminal = Terminal(UNI, "--root", host.root.path, "attach", *options, "web")
    terminal.raw()
    terminal.type(b"a")
    terminal.until(b"a")
    terminal.type(b"\x1d")
    assert terminal.end() == 0 and api.list_vms(host.root)[0]["status"] == "running"
