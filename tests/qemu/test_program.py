# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program finds: the standard input of `uni run --attach -i` and `uni attach -i`, the directories of its image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api, record

from .conftest import TOP, Host

Uni = Callable[..., "subprocess.CompletedProcess[bytes]"]
BINARY = bytes(range(256)) * 64     # with what would be ^C, ^D and ^S at a terminal


@pytest.fixture
def uni(host: Host) -> Uni:
    """The command line on an image with busybox and the kernel of this tree."""
    def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([str(TOP / "bin" / "uni"), "--root", str(host.root.path), "--no-daemon", *words], input=given,
                              capture_output=True, timeout=120, check=False, env={**os.environ, "UNI_ACCEL": "tcg"})

    assert run("kernel", "add", "--default", str(TOP / "kernel" / "build")).returncode == 0
    assert run("build", "/bin/busybox", "--name", "box").returncode == 0
    return run


@pytest.mark.parametrize("data", [b"", b"x", b"no newline\nat the end", BINARY, b"0123456789abcde\n" * 4096],
                         ids=["nothing", "a byte", "text", "binary", "64 KiB"])
def test_every_byte_arrives_and_then_the_end(uni: Uni, data: bytes) -> None:
    done = uni("run", "box", "--attach", "-i", "--rm", "--memory", "32M", "--", "sha256sum", given=data)
    assert (done.returncode, done.stdout.split()[:1]) == (0, [sha256(data).hexdigest().encode()]), done.stderr


def test_without_i_the_standard_input_is_empty(uni: Uni) -> None:
    done = uni("run", "box", "--attach", "--rm", "--memory", "32M", "--", "cat", given=b"not for the program")
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_terminal_reads_its_end_behind_a_part_of_a_line(uni: Uni) -> None:
    done = uni("run", "box", "--attach", "-i", "-t", "--rm", "--memory", "32M", "--", "wc", "-c", given=b"one\ntwo")
    assert (done.returncode, done.stdout) == (0, b"one\r\ntwo7\r\n"), done    # its echo, then the count


READER = 'while read -r line; do echo "got $line"; done; echo end; '


@pytest.mark.parametrize(("words", "seen"), [(["-i"], ["got 1", "end"]), ([], ["end"]), (["-i", "-t"], ["1", "got 1", "end"])],
                         ids=["input that ends", "no input", "at a terminal"])
def test_each_run_of_a_restarted_program_finds_the_end(uni: Uni, host: Host, words: list[str], seen: list[str]) -> None:
    """The end that the first run was given counts for those that the restart policy starts, too."""
    done = uni("run", "box", "--name", "again", "--attach", *words, "--restart", "on-failure:1", "--memory", "32M", "--",
               "sh", "-c", f"{READER} exit 3", given=b"1\n")
    assert (done.returncode, done.stdout.decode().splitlines()) == (3, [*seen, "end"])
    assert api.info(api.resolve_vm(host.root, "again"))["restarts"] == 1


def test_the_end_of_the_input_is_known_to_the_next_keeper(uni: Uni, host: Host) -> None:
    program = ("sh", "-c", f"{READER} [ -e /once ] && exit 3; : > /once; exec sleep 1000")
    with subprocess.Popen([str(TOP / "bin" / "uni"), "--root", str(host.root.path), "--no-daemon", "run", "box", "--name", "kept",
                           "--attach", "--restart", "on-failure:1", "--memory", "32M", "--", *program],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, "UNI_ACCEL": "tcg"}) as client:
        assert client.stdout is not None and client.stdout.readline() == b"end\n"
        client.kill()       # it would tell the next keeper
    os.kill(record.read_state(api.resolve_vm(host.root, "kept").directory)["keeper"]["pid"], 9)
    assert uni("start", "kept").returncode == 0         # its QEMU runs on, under a keeper that has not seen the end
    assert uni("exec", "kept", "--signal", "USR1").returncode == 0
    while api.info(api.resolve_vm(host.root, "kept"))["status"] != "exited":
        uni("wait", "kept")                             # answers at the end of each run
    assert uni("wait", "kept").returncode == 3          # the second has read its end


def test_input_of_a_vm_that_runs_on(uni: Uni, host: Host) -> None:
    assert uni("run", "box", "--name", "later", "--memory", "32M", "--", "cat").returncode == 0
    # Who looks on and leaves ends nothing.
    with api.attach(host.root, "later") as stream:
        stream.sendall(b"first\n")
        assert stream.makefile("rb").readline() == b"first\n"
    # A keeper that was not there for the first bytes does not know how many they were.
    keeper = record.read_state(api.resolve_vm(host.root, "later").directory)["keeper"]["pid"]
    os.kill(keeper, 9)
    assert uni("start", "later").returncode == 0
    done = uni("attach", "-i", "later", given=b"second\n")
    assert (done.returncode, done.stdout) == (0, b"second\n"), done.stderr


def test_run_is_fresh_at_each_start_with_the_directories_of_the_image(uni: Uni, tmp_path: Path) -> None:
    for path, mode in (("run/mysqld", 0o2775), ("run/deep/er/est", 0o700), ("bin", 0o755)):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path).chmod(mode)
    (tmp_path / "run/deep/stale.pid").write_text("1")
    assert uni("build", "/bin/busybox", "--rootfs", str(tmp_path), "--name", "dirs").returncode == 0
    program = ("sh", "-c", "[ -e /run/mysqld/pid ] && echo again; echo 1 > /run/mysqld/pid; exec ls -lR /run")
    assert uni("run", "dirs", "--name", "twice", "--memory", "32M", "--", *program).returncode == 0
    for _start in range(2):
        assert uni("wait", "twice").returncode == 0
        done = uni("logs", "twice")
        assert uni("start", "twice").returncode == 0
        assert b"again" not in done.stdout
        listed = [line.split() for line in done.stdout.decode().splitlines()]
        kept = {line[-1]: line[0] for line in listed if len(line) > 5}
        assert kept.pop("pid", "")[:1] == "-"
        assert kept == {"mysqld": "drwxrwsr-x", "deep": "drwxr-xr-x", "er": "drwxr-xr-x", "est": "drwx------"}, done
