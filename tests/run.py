# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the test suites one after the other and close with one honest sum.

Every suite is a function that returns how many of its checks passed and failed. The last line of the
output is ``N passed, N failed in T s``; the exit status is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / ".build"
# engine and friends are imported as ansible_collections.uni.engine...; this tree makes a checkout importable.
COLLECTIONS = BUILD / "collections"
BIN = Path(sys.executable).parent
PACKAGE = "ansible_collections.uni.engine.plugins.module_utils"
SUMMARY = re.compile(r"(\d+) passed(?:, (\d+) failed)?")
EQUAL = re.compile(r"(\d+) of (\d+) equal")


@dataclass(frozen=True)
class Count:
    """How many checks of a suite passed and failed; `failures` names the failed ones."""

    passed: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.failures + other.failures)


def link_collection() -> None:
    """Make .build/collections/ansible_collections/uni/engine a link to the checkout."""
    link = COLLECTIONS / "ansible_collections" / "uni" / "engine"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(TOP)


def temporary() -> str:
    """A directory for temporary files that programs may be executed from: /tmp is mounted noexec on careful hosts."""
    for directory in (tempfile.gettempdir(), "/var/tmp"):
        if os.access(directory, os.W_OK) and not os.statvfs(directory).f_flag & os.ST_NOEXEC:
            return directory
    (BUILD / "tmp").mkdir(parents=True, exist_ok=True)
    return str(BUILD / "tmp")


def environment() -> dict[str, str]:
    """The environment of every suite: .venv first in the PATH, nothing of the user's own Ansible setup."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "UNI_"))}
    env.update(PATH=f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1", ANSIBLE_NOCOWS="1", NO_COLOR="1",
               PYTHONWARNINGS="ignore", TMPDIR=temporary())
    env.pop("PYTHONPATH", None)
    return env


def run(command: Sequence[str | Path], cwd: Path = TOP, **extra: str) -> tuple[int, str]:
    """Run and show a command; return its exit status and its output (both streams)."""
    print("$", " ".join(str(word) for word in command), flush=True)
    process = subprocess.Popen([str(word) for word in command], cwd=cwd, env=environment() | extra, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               errors="replace")
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        print("  " + line, end="", flush=True)
    return process.wait(), "".join(lines)


def check(name: str, command: Sequence[str | Path], cwd: Path = TOP, **extra: str) -> Count:
    """A command that is one check."""
    status, _output = run(command, cwd, **extra)
    return Count(passed=1) if status == 0 else Count(failed=1, failures=(name,))


def summed(name: str, command: Sequence[str | Path], cwd: Path = TOP) -> Count:
    """A command that closes with 'N passed, N failed'; failing without saying so counts as one failure."""
    status, output = run(command, cwd)
    found, equal = SUMMARY.findall(output), EQUAL.findall(output)
    if equal:  # the comparison with Linux
        passed, failed = int(equal[-1][0]), int(equal[-1][1]) - int(equal[-1][0])
    else:
        passed, failed = (int(found[-1][0]), int(found[-1][1] or 0)) if found else (int(status == 0), 0)
    if status != 0 and failed == 0:
        failed = 1
    return Count(passed, failed, (name,) if failed else ())


def junit(name: str, status: int, files: Sequence[Path]) -> Count:
    """Count the cases of JUnit files; a run that failed without a failing case counts as one failure."""
    passed = failed = 0
    failures: list[str] = []
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            reason = case.findtext("skipped", "")
            if reason == "No tests applicable.":  # ansible-test: the repository has no file of that kind
                continue
            if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")):
                failed += 1
                failures.append(f"{name}: {case.get('classname', '')} {case.get('name', '')}".strip())
            else:
                passed += 1
    if status != 0 and failed == 0:
        failed, failures = 1, [f"{name}: exit status {status}"]
    return Count(passed, failed, tuple(failures))


def tracked(pattern: str) -> list[str]:
    """The files that git knows, or could know, with such a name. The checkout may be another user's."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern]
    listed = subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE).stdout.decode()
    return [name for name in listed.split("\0") if name and (TOP / name).exists()]


def suite_lint() -> Count:
    """ruff, shellcheck, mypy --strict on the engine and the command line, ansible-lint's production profile."""
    paths = [name for name in ("engine", "cli", "daemon") if (TOP / "plugins/module_utils" / name).is_dir()]
    packages = [word for name in paths for word in ("-p", f"{PACKAGE}.{name}")]
    return (
        check("ruff", [BIN / "ruff", "check", "--no-cache", "."])
        + check("shellcheck", ["shellcheck", *(name for name in tracked("*.sh") if not name.startswith("tests/kernel/busybox/"))])
        + check("mypy", [BIN / "mypy", *packages], MYPYPATH=str(COLLECTIONS))
        + check("ansible-lint", [BIN / "ansible-lint", "--offline", "--profile", "production", "--strict"],
                cwd=copy_tree(), ANSIBLE_COLLECTIONS_PATH=str(BUILD / "tree"))
    )


def suite_unit() -> Count:
    """pytest over tests/unit: no root, no QEMU."""
    report = BUILD / "unit.xml"
    report.unlink(missing_ok=True)
    command = [BIN / "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/unit"]
    status, _output = run(command)
    return junit("unit", status, [report] if report.exists() else [])


def suite_qemu() -> Count:
    """pytest over tests/qemu: real QEMU with tiny guests, as the user that runs the tests."""
    report = BUILD / "qemu.xml"
    report.unlink(missing_ok=True)
    command = [BIN / "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/qemu"]
    status, _output = run(command)
    return junit("qemu", status, [report] if report.exists() else [])


def copy_tree() -> Path:
    """Copy the files that git knows to .build/tree/ansible_collections/uni/engine.

    ansible-test insists on such a path and takes the list of files from git: the copy is a repository.
    """
    tree = BUILD / "tree" / "ansible_collections" / "uni" / "engine"
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)
    for name in tracked("*"):
        # Not part of the collection that is shipped.
        if name.startswith(("tests/kernel/", "tests/bench/", "tests/net/", "tests/machine/", "kernel/test/")):
            continue
        source = TOP / name
        if source.is_symlink() or source.is_file():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tree, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
    return tree


def seed_get_pip() -> None:
    """Give ansible-test its pip bootstrap script from the package index, so that it fetches none elsewhere.

    ansible-test keeps it in ~/.ansible/test/cache/get_pip_X_Y_Z.py. The one written here installs with
    the wheel of the same pip version, which stands beside it; pip can run from its own wheel.
    """
    import inspect

    from ansible_test._internal import python_requirements

    found = re.search(r"pip='([\d.]+)'", inspect.getsource(python_requirements.get_venv_packages))
    version = found.group(1) if found else "24.2"
    cache = Path.home() / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--dest", cache, f"pip=={version}"])
    wheel = cache / f"pip-{version}-py3-none-any.whl"
    script.write_text("import runpy, sys\n"
                      f"sys.path.insert(0, {str(wheel)!r})\n"
                      "sys.argv = ['pip', 'install', '--upgrade', *sys.argv[1:]]\n"
                      "runpy.run_module('pip', run_name='__main__')\n")


def ansible_test(name: str, *words: str) -> Count:
    """Run ansible-test in the copied tree and count its JUnit report."""
    tree = copy_tree()
    status, output = run([BIN / "ansible-test", *words], cwd=tree)
    count = junit(name, status, sorted((tree / "tests" / "output" / "junit").glob("*.xml")))
    if name == "sanity" and status == 0 and count.passed == 0:
        # Without --junit a passed sanity test leaves no file; it is named on the console.
        count = Count(passed=len(re.findall(r"^Running sanity test", output, re.MULTILINE)))
    return count


def suite_sanity() -> Count:
    """ansible-test sanity: documentation against argument specs, imports, style, ..."""
    seed_get_pip()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return ansible_test("sanity", "sanity", "--junit", "--color", "no", "--python", version)


def suite_kernel() -> Count:
    """The kernel: build, host units under the sanitizers, guest programs compared with Linux."""
    return (
        check("kernel build", ["make", "-C", "kernel"])
        + summed("kernel host units", ["make", "-C", "kernel", "host-test"])
        + summed("kernel guest programs", [sys.executable, "tests/kernel/run.py"])
        + summed("kernel guest programs on PCI without MSI-X, on an old processor",
                 [sys.executable, "tests/kernel/run.py", "--machine", "q35-intx", "--cpu", "qemu64", "=files", "=threads", "=signals", "=mmap",
                  "=tcp", "=faults", "=cpu", "real/sqlite", "real/redis"])
        + summed("kernel in bad weather", [sys.executable, "tests/net/run.py"])
        + summed("kernel and IPv6", [sys.executable, "tests/net/six.py"])
        + summed("kernel and segments cut by the device", [sys.executable, "tests/net/offload.py"])
        + summed("kernel through a day", [sys.executable, "tests/net/day.py"])
        + summed("kernel under real servers", [sys.executable, "tests/net/servers.py", "--connections", "500", "epoll", "nginx", "redis", "rust", "postgres"])
        + summed("kernel under hostile frames", [sys.executable, "tests/net/hostile.py"])
        + check("kernel killed at every write, a sample", [sys.executable, "tests/kernel/durability/crash.py", "--sample", "0.15", "--boot", "0.02"])
        + check("kernel on a failing disk", [sys.executable, "tests/kernel/durability/faults.py"])
        + check("kernel fuzzers, short form", [sys.executable, "tests/kernel/fuzz.py"])
    )


def suite_integration() -> Count:
    """The modules and the command line on real QEMU, through ansible-test."""
    seed_get_pip()
    targets = sorted(path.name for path in (TOP / "tests/integration/targets").iterdir()
                     if path.joinpath("aliases").exists())
    tree = copy_tree()
    # Variables of every target: where the kernel of this checkout is.
    (tree / "tests" / "integration" / "integration_config.yml").write_text(
        f"---\nkernel_build: {TOP / 'kernel' / 'build'}\nuni_command: {TOP / 'bin' / 'uni'}\n")
    count = Count()
    for target in targets:
        command = [BIN / "ansible-test", "integration", "--local", "--allow-root", "--allow-destructive",
                   "--color", "no", target]
        status, _output = run(command, cwd=tree)
        count += Count(passed=1) if status == 0 else Count(failed=1, failures=(f"integration: {target}",))
    return count


SUITES: dict[str, Callable[[], Count]] = {
    "lint": suite_lint,
    "unit": suite_unit,
    "qemu": suite_qemu,
    "sanity": suite_sanity,
    "kernel": suite_kernel,
    "integration": suite_integration,
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the test suites of Uni.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all)")
    parser.add_argument("--list", action="store_true", help="list the suites and leave")
    options = parser.parse_args(argv)
    if options.list:
        for name, function in SUITES.items():
            print(f"{name:12} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"no suite {unknown[0]!r}: choose from {', '.join(SUITES)}")
    BUILD.mkdir(exist_ok=True)
    link_collection()
    started = time.monotonic()
    total = Count()
    rows = []
    for name in options.suites or list(SUITES):
        print(f"\n===== {name}: {(SUITES[name].__doc__ or '').splitlines()[0]}", flush=True)
        begun = time.monotonic()
        count = SUITES[name]()
        seconds = time.monotonic() - begun
        rows.append(f"{name:12} {count.passed:5} passed {count.failed:4} failed {seconds:6.0f} s")
        total += count
    print("\n" + "\n".join(rows))
    for failure in total.failures:
        print(f"FAILED {failure}")
    print(f"{total.passed} passed, {total.failed} failed in {time.monotonic() - started:.0f} s")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
