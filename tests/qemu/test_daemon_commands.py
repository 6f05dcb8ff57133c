# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line with a daemon and without one: the same words, the same answers; and a daemon that renews itself."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.daemon.client import Client
from ansible_collections.uni.engine.plugins.module_utils.engine import client as clients

TOP = Path(__file__).resolve().parents[2]


def until(condition, what, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)


class Place:
    """A root directory with an installed uni of its own, and perhaps a daemon."""

    def __init__(self, root, prefix: Path) -> None:
        self.root = root
        self.prefix = prefix
        self.uni = prefix / "bin" / "uni"
        self.daemon: subprocess.Popen | None = None
        self.env = {**{name: value for name, value in os.environ.items() if not name.startswith("UNI_")},
                    "UNI_ACCEL": "tcg", "UNI_ROOT": str(root.path)}
        clients.install(prefix, *clients.pack(TOP, "1.0.0"))

    def start(self, *arguments) -> None:
        """Start the daemon and wait until it answers."""
        with open(self.root.run / "unid.log", "ab") as log:
            self.daemon = subprocess.Popen([self.uni, "daemon", "run", *arguments], env=self.env, stderr=log,
                                           stdin=subprocess.DEVNULL)
        until(lambda: self.ask("daemon", "status").returncode == 0, "unid")

    def stop(self, number=signal.SIGTERM) -> None:
        """End it."""
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(30)
            self.daemon = None

    def ask(self, *words, env=None, **options):
        """Run a command to its end."""
        return subprocess.run([self.uni, *map(str, words)], env={**self.env, **(env or {})}, capture_output=True,
                              check=False, timeout=120, **options)

    def status(self):
        return json.loads(self.ask("daemon", "status", "--output", "json").stdout)

    def spawn(self, *words, **options):
        """Start a command."""
        return subprocess.Popen([self.uni, *map(str, words)], env=self.env, **options)


@pytest.fixture
def place(host):
    place = Place(host.root, host.path / "prefix")
    yield place
    place.stop(signal.SIGKILL)


def scene(place, host, directory: Path):
    """A table of commands, one after the other: (words, standard input, status, output, errors)."""
    directory.mkdir()
    (directory / "a.txt").write_text("alpha\n")
    os.utime(directory / "a.txt", (0, 0))
    fixed = ["--memory", "16M", "--kernel", host.guest("hello"), "--stop-timeout", "200ms"]
    idle = ["--memory", "16M", "--kernel", host.guest("idle"), "--stop-timeout", "200ms"]
    tar = subprocess.run(["tar", "-c", "a.txt"], cwd=directory, capture_output=True, check=True).stdout
    table = [
        (["build", "/bin/busybox", "--name", "box"], None),
        (["images", "--output", "json"], None),
        (["tag", "box", "other:1"], None),
        (["save", "box", "-o", "box.tar"], None),
        (["save", "box"], None),
        (["load", "box.tar", "--output", "json"], None),
        (["load", "-"], "box.tar"),
        (["rmi", "other:1"], None),
        (["rmi", "nothing"], None),
        (["run", "box", "--attach", "--name", "one", *fixed], None),
        (["ps", "-a", "--output", "json", "--filter", "name=one"], None),
        (["logs", "one"], None),
        (["wait", "one"], None),
        (["cp", "-", "one:/etc"], tar),
        (["cp", "one:/etc/a.txt", "b.txt"], None),
        (["cp", "one:/etc/a.txt", "-"], None),
        (["cp", "missing.txt", "one:/etc"], None),
        (["run", "box", "--name", "two", "-e", "FROM_SHELL", "--label", "a=b", *idle], None),
        (["run", "box", "--name", "two", *idle], None),
        (["inspect", "two"], None),
        (["kill", "two", "--signal", "KILL"], None),
        (["stop", "nothing", "--output", "json"], None),
        (["rename", "two", "three"], None),
        (["rm", "-f", "one", "three"], None),
        (["volume", "create", "data", "--size", "4M"], None),
        (["volume", "ls", "--output", "yaml"], None),
        (["volume", "rm", "data"], None),
        (["kernel", "use", "9.9.9"], None),
        (["compose", "up", "no-such.yaml"], None),
        (["run"], None),
        (["run", "box", "--memroy", "1G"], None),
        (["stop", "--help"], None),
        (["nonsense"], None),
    ]
    results = []
    for words, given in table:
        data = (directory / given).read_bytes() if isinstance(given, str) else given
        done = place.ask(*words, cwd=directory, env={"FROM_SHELL": "seen"}, input=data if data is not None else b"")
        results.append((words, done.returncode, plain(done.stdout), plain(done.stderr)))
    assert (directory / "b.txt").read_text() == "alpha\n"
    results.append((directory / "b.txt").stat().st_mode)
    return results


def plain(text: bytes) -> bytes:
    """Without what differs from run to run: ids, pids, moments, times."""
    text = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", b"TIME", text)
    text = re.sub(rb"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{12}\b|\b\d{12}\b", b"ID", text)
    text = re.sub(rb'"(pid|uid|start|[a-z_]*seconds|[a-z_]+_us|duration|cid|restarts)": [\d.]+', b"NUMBER", text)
    return re.sub(rb"scene-[a-z]+|uid \d+|uids [\d ]+|\d+ of \d+ threads|/uids/\d+", b"X", text)


def test_the_same_with_and_without_a_daemon(place, host):
    without = scene(place, host, host.path / "scene-one")
    place.start()
    served = scene(place, host, host.path / "scene-two")
    assert place.status()["pid"] == place.daemon.pid
    for one, other in zip(without, served):
        assert one == other


def test_which_commands_go_through_it(place, host):
    """A daemon that is stopped (SIGSTOP) shows who asks it: reading does not, and nobody waits for it for ever."""
    place.start()
    host.run("idle", "idle")
    os.kill(place.daemon.pid, signal.SIGSTOP)
    try:
        assert place.ask("ps", "-q").stdout.strip()
        assert place.ask("--no-daemon", "rmi", "nothing").returncode == 1
        assert place.ask("rmi", "nothing", env={"UNI_SOCKET": "none"}).returncode == 1
        # The streams are on their way to the daemon: a pipe's reader would wait for that one.
        with open(host.path / "said", "wb") as said:
            assert place.spawn("rmi", "nothing", stdin=subprocess.DEVNULL, stdout=said, stderr=said).wait(60) == 1
        assert "no image 'nothing'" in (host.path / "said").read_text()
    finally:
        os.kill(place.daemon.pid, signal.SIGCONT)
    commands = [place.ask("pause", "idle"), place.ask("unpause", "idle")]
    assert [done.returncode for done in commands] == [0, 0]
    place.stop(signal.SIGKILL)          # its socket stays
    assert (host.root.run / "unid.sock").exists()
    assert place.ask("pause", "idle").returncode == 0
    named = place.ask("--socket", host.root.run / "unid.sock", "unpause", "idle")
    assert named.returncode == 1 and b"no daemon answers" in named.stderr


def test_another_network_namespace_goes_without(place):
    place.start()
    before = place.status()
    done = subprocess.run(["unshare", "--net", place.uni, "volume", "create", "here", "--size", "4M"], env=place.env,
                          capture_output=True, check=True)
    assert b"here" in done.stdout
    assert place.status()["pid"] == before["pid"]
    place.ask("volume", "rm", "here")


def test_a_terminal_signals_and_the_end_of_the_daemon(place, host):
    """The command keeps the client's terminal, gets its signals, and outlives the daemon that started it."""
    place.start()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    words = ["run", "box", "--attach", "-i", "--name", "echo", "--memory", "16M", "--kernel", host.guest("echo"),
             "--stop-timeout", "200ms"]
    assert place.ask("build", "/bin/busybox", "--name", "box").returncode == 0
    command = place.spawn(*words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    assert read_until(master, b"echo")
    until(lambda: place.status()["commands"] == 1, "the command")
    served = children(place.daemon.pid)
    size = fcntl.ioctl(os.open(f"/proc/{served[0]}/fd/1", os.O_RDWR | os.O_NOCTTY), termios.TIOCGWINSZ, b"\0" * 8)
    assert struct.unpack("4H", size)[:2] == (33, 77)
    place.stop(signal.SIGKILL)
    os.write(master, b"still here\n")
    assert read_until(master, b"still here\r\nstill here")     # the terminal's echo, and the guest's
    for number in (signal.SIGINT, signal.SIGINT):               # the second one ends the VM
        command.send_signal(number)
        time.sleep(0.5)
    assert command.wait(60) != 0
    os.close(master)
    assert place.ask("rm", "-f", "echo").returncode == 0


def test_a_killed_client_ends_its_command(place, host):
    place.start()
    assert place.ask("build", "/bin/busybox", "--name", "box").returncode == 0
    command = place.spawn("run", "box", "--attach", "--name", "idle", "--memory", "16M", "--kernel",
                          host.guest("idle"), "--stop-timeout", "200ms", stdout=subprocess.DEVNULL)
    until(lambda: place.ask("ps", "-q").stdout != b"", "the VM")
    command.kill()
    command.wait(10)
    until(lambda: place.status()["commands"] == 0, "the command to end")
    assert place.ask("ps", "-q").stdout.strip()                # the VM is not its command's
    assert place.ask("rm", "-f", "idle").returncode == 0


def test_the_daemon_renews_itself(place, host):
    """An upgrade under a running daemon: nobody is refused, nothing that waits is lost, no VM is touched."""
    place.start("--registry", f"127.0.0.1:{free_port()}")
    host.run("idle", "idle")
    key, releases = host.path / "key", host.path / "releases"
    assert place.ask("kernel", "keygen", key).returncode == 0
    assert place.ask("kernel", "trust", f"{key}.pub").returncode == 0
    published = place.ask("upgrade", "publish", releases, "--key", key, "--collection", TOP, "--version", "1.1.0")
    assert published.returncode == 0, published.stderr
    checked = json.loads(place.ask("upgrade", "check", "--from", releases, "--output", "json").stdout)
    assert (checked["update"], checked["daemon"]) == ("1.1.0", "1.0.0")
    before, vm = place.status(), json.loads(place.ask("inspect", "idle").stdout)
    answers = []
    with Client(host.root.run / "unid.sock", timeout=120) as events, \
            Client(host.root.run / "unid.sock", timeout=120) as waiting, Impatient(host.root.run / "unid.sock") as asked:
        stream = events.stream("events.subscribe")
        thread = threading.Thread(target=lambda: answers.append(waiting.call("vm.wait", vm="idle")))
        thread.start()
        events.call("daemon.status")
        done = place.ask("upgrade", "--output", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["daemon"] == "1.1.0"
        after = place.status()
        assert (after["pid"], after["version"]) == (before["pid"], "1.1.0") and not after["outdated"]
        now = json.loads(place.ask("inspect", "idle").stdout)
        until(lambda: place.status()["keepers"] == 1, "the keeper to be watched")
        assert place.ask("kill", "idle").returncode == 0
        assert next(event["name"] for event in stream) == "idle"
        thread.join(60)
    one, two = (state[0] if isinstance(state, list) else state for state in (vm, now))
    assert one["pid"] == two["pid"] and answers
    assert asked.count > 0 and asked.failures == []
    assert place.ask("upgrade", "rollback").returncode == 0
    assert place.status()["version"] == "1.0.0"


def test_a_broken_upgrade_is_undone(place, host):
    """A release whose daemon does not start: the old one goes on, and the client is the old one again."""
    place.start()
    broken = host.path / "collection"
    for part in ("bin", "plugins/module_utils"):
        shutil.copytree(TOP / part, broken / part, ignore=shutil.ignore_patterns("__pycache__"))
    (broken / "plugins/module_utils/daemon/main.py").write_text("raise RuntimeError('not today')\n")
    words = ["upgrade", "publish", host.path / "releases", "--collection", broken, "--version", "1.2.0"]
    assert place.ask(*words).returncode == 0
    done = place.ask("upgrade", "--from", host.path / "releases", "--unsigned")
    assert done.returncode == 1 and b"not today" in done.stderr
    assert place.ask("version", "--output", "json").stdout.startswith(b'{\n  "uni": "1.0.0"')
    assert place.status()["version"] == "1.0.0"


class Impatient(threading.Thread):
    """Somebody who connects again and again, and notes who was not answered."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.count, self.failures = path, 0, []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            try:
                with Client(self.path, timeout=120) as client:
                    client.call("vm.list")
                    self.count += 1
            except Exception as error:
                self.failures.append(repr(error))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.ended.set()
        self.join(120)


def read_until(handle: int, what: bytes) -> bool:
    """Read a terminal until it has shown ``what``."""
    said = b""
    while what not in said:
        try:
            said += os.read(handle, 4096)
        except OSError:
            return False
    return True


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started."""
    return [int(number) for thread in Path(f"/proc/{pid}/task").iterdir()
            for number in (thread / "children").read_text().split()]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
