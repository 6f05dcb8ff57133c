# SPDX-License-Identifier: GPL-3.0-or-later
"""Languages' own tests of their network libraries, on this machine's Linux and on Uni: does each test end the same way?

    tests/net/suites.py python [test.test_socket ...]     CPython's; needs libpython3-testsuite
    tests/net/suites.py go [net/http ...]                 Go's; needs golang-go and its source

A test that passes on Linux must pass on Uni, except where it starts a second process, which Uni has not: those are counted apart.
Needs what tests/kernel/run.py needs, and its root.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "tests/kernel"))

from oracle.build import make_disk, skeleton
from oracle.case import Case
from oracle.elfdeps import gather
from oracle.guest import Machine, run_on_uni
from oracle.host import run_on_host

KERNEL = TOP / "kernel" / "build" / "uni.elf"
BUILD = TOP / ".build" / "net-suites"
PYTHON = ("socket", "ssl", "selectors", "select", "poll", "epoll", "asyncore", "asynchat", "asyncio", "socketserver", "httplib",
          "httpservers", "http_cookiejar", "urllib", "urllib2", "urllib2_localnet", "urllib_response", "ftplib", "smtplib", "smtpd",
          "poplib", "imaplib", "nntplib", "telnetlib", "xmlrpc", "docxmlrpc", "wsgiref", "ipaddress", "robotparser")
GO = ("net", "net/http", "net/http/httptest", "net/http/httputil", "net/rpc", "net/rpc/jsonrpc", "net/smtp", "net/textproto",
      "net/netip", "net/url", "net/mail", "crypto/tls", "crypto/x509", "net/http/cookiejar", "net/http/fcgi", "net/http/cgi",
      "internal/poll")
#: What a test says that wanted a second process.
PROCESS = re.compile(r"fork|Function not implemented|function not implemented|BlockingIOError: \[Errno 38\]|subprocess|os/exec|forkExec")


@dataclass(frozen=True)
class Ending:
    """How a test ended, and what it said."""

    status: str
    text: str


def python_disk() -> Path:
    """Debian's Python with its library and its tests."""
    program = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib") / program.name
    disk, tree = BUILD / "python.ext2", BUILD / "python"
    if not (library / "test/test_socket.py").exists():
        raise SystemExit("CPython's tests are not on this machine; install Debian's package libpython3-testsuite")
    skeleton(tree)
    shutil.copytree(library, tree / str(library).lstrip("/"), symlinks=True,
                    ignore=shutil.ignore_patterns("idlelib", "tkinter", "lib2to3", "config-*", "dist-packages"))
    gather(program, tree, tuple(sorted((library / "lib-dynload").glob("*.so"))))
    (tree / "usr/bin/python3").symlink_to(program.name)
    for name in ("services", "protocols", "mime.types"):
        shutil.copy2(f"/etc/{name}", tree / "etc" / name)
    shutil.copytree("/etc/ssl", tree / "etc/ssl", symlinks=True, ignore=shutil.ignore_patterns("private"))
    shutil.copy2(HERE / "suites/python_suite.py", tree / "suite.py")
    return make_disk(tree, disk, free=64)


def go_disk(packages: list[str]) -> Path:
    """The test programs of Go's packages, each in a folder with the package's test data."""
    root = Path(subprocess.run(["go", "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip())
    disk, tree = BUILD / "go.ext2", BUILD / "go"
    skeleton(tree)
    for package in packages:
        here = tree / "go/src" / package
        shutil.copytree((root / "src" / package).resolve(), here, dirs_exist_ok=True)
        subprocess.run(["go", "test", "-c", "-o", here / "suite.test", package], check=True, cwd="/",
                       env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"})
    for name in ("services", "protocols", "mime.types", "nsswitch.conf"):
        if Path("/etc", name).exists():
            shutil.copy2(f"/etc/{name}", tree / "etc" / name)
    shutil.copytree("/etc/ssl", tree / "etc/ssl", symlinks=True, ignore=shutil.ignore_patterns("private"))
    return make_disk(tree, disk, free=64)


def python_endings(text: str) -> dict[str, Ending]:
    """The lines of python_suite.py: what began and has no end counts as FAIL, what failed in a part failed."""
    found: dict[str, Ending] = {}
    for piece in re.split(r"^@@ ", text, flags=re.MULTILINE)[1:]:
        head, _, body = piece.partition("\n")
        status, _, name = head.strip().partition(" ")
        if status == "module":
            continue
        if status == "start":
            found[name] = Ending("FAIL", "no end; " + body)
        elif not (name in found and found[name].status == "FAIL" and status == "ok" and "no end" not in found[name].text):
            found[name] = Ending(status, body)
    return found


def go_endings(text: str) -> dict[str, Ending]:
    """Go's ``-test.v`` lines. A test with parts fails when one of them does, for the same reason."""
    status: dict[str, str] = {}
    said: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        end = re.match(r"\s*--- (PASS|FAIL|SKIP): (\S+)", line)
        now = re.match(r"=== (?:RUN|CONT|NAME)\s+(\S+)", line)
        if now:
            current = now[1]
            status.setdefault(current, "FAIL")
        elif end:
            current = end[2]
            status[current] = {"PASS": "ok", "FAIL": "FAIL", "SKIP": "skip"}[end[1]]
        else:
            said[current] = (said.get(current, "") + line + "\n")[-4000:]
    parts = {name: [said.get(other, "") for other in status if other == name or other.startswith(name + "/")] for name in status}
    return {name: Ending(status[name], "".join(parts[name])) for name in status}


def compare(name: str, linux: dict[str, Ending], uni: dict[str, Ending]) -> int:
    """Say what ends otherwise on Uni; the number of tests that only Uni fails and that need no second process."""
    same = processes = 0
    worse: list[str] = []
    for test, expected in linux.items():
        got = uni.get(test, Ending("missing", ""))
        if got.status == expected.status or expected.status == "FAIL" or (expected.status == "skip" and got.status == "ok"):
            same += 1
        elif PROCESS.search(got.text):
            processes += 1
        else:
            worse.append(test)
            print(f"  {expected.status} -> {got.status} {test}\n    " + got.text.strip()[-1200:].replace("\n", "\n    "), flush=True)
    print(f"{'FAIL' if worse else 'ok  '} {name}: {same} of {len(linux)} as on Linux, {processes} want a second process", flush=True)
    return len(worse)


def case_of(language: str, name: str, timeout: int, words: tuple[str, ...]) -> Case:
    if language == "python":
        module = name if "." in name else f"test.test_{name}"
        return Case(name, "python", ("/usr/bin/python3", "/suite.py", module), memory=512, timeout=timeout, fsck=False)
    argv = (f"/go/src/{name}/suite.test", "-test.v", "-test.short", "-test.timeout", f"{timeout}s", *words)
    return Case(name, "go", argv, cwd=f"/go/src/{name}", memory=512, timeout=timeout, fsck=False, env={"GOROOT": "/go"})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("language", choices=("python", "go"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--timeout", type=int, default=900)
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35", "pc"))
    parser.add_argument("--word", action="append", default=[], help="a further argument of Go's test programs, such as -test.run=Dial")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    names = options.names or list(PYTHON if options.language == "python" else GO)
    disk = python_disk() if options.language == "python" else go_disk(names)
    parse = python_endings if options.language == "python" else go_endings
    machine = Machine(KERNEL, options.machine)
    failed = 0
    for name in names:
        case = case_of(options.language, name, options.timeout, tuple(options.word))
        with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
            outcomes = [run_on_host(case, disk, Path(scratch) / "host"), run_on_uni(case, disk, Path(scratch) / "uni", machine)]
        found = []
        for where, outcome in zip(("linux", "uni"), outcomes, strict=True):
            (BUILD / f"{name.replace('/', '_')}.{where}").write_bytes(outcome.output + "\n".join(outcome.notes).encode())
            found.append(parse(outcome.output.decode(errors="replace").replace("\r", "")))
        if not found[0] or not outcomes[1].end.startswith("exit"):
            print(f"FAIL {name}: Linux ends with {outcomes[0].end}, Uni with {outcomes[1].end}", flush=True)
            failed += 1
        failed += compare(name, *found)
    print(f"{len(names)} suites, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
