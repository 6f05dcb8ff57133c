# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside fresh namespaces on the host: mount the disk and what Uni mounts, chroot, and become the program.

Started by host.py as ``unshare ... python3 enter.py JSON``. A process of its own, because mounting, chroot and exec must not
happen to the runner.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "console": (5, 1)}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
INFINITE = resource.RLIM_INFINITY
#: What Linux gives its first process (include/asm-generic/resource.h), and so what Uni gives its only one.
LIMITS = {
    resource.RLIMIT_NOFILE: (1024, 4096),
    resource.RLIMIT_STACK: (8 << 20, INFINITE),
    resource.RLIMIT_CORE: (0, INFINITE),
    resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20),
    resource.RLIMIT_NICE: (0, 0),
    resource.RLIMIT_RTPRIO: (0, 0),
}


def mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True, stdout=sys.stderr)


def make_devices(dev: str) -> None:
    """A /dev with the nodes that Uni has."""
    mount("-t", "tmpfs", "-o", "mode=755", "dev", dev)
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"{dev}/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)
    for name, target in LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    mount("-t", "tmpfs", "-o", "mode=1777", "shm", f"{dev}/shm")


def main() -> None:
    want = json.loads(sys.argv[1])
    root = want["root"]
    os.setpriority(os.PRIO_PROCESS, 0, 0)      # the runner may be a nice one
    mount("-o", "loop", want["disk"], root)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    make_devices(f"{root}/dev")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmp", f"{root}/tmp")
    mount("-t", "tmpfs", "-o", "mode=755", "run", f"{root}/run")
    for record in want["config"]:
        if record.startswith("uni.mount=tmpfs:"):
            path, _, size = record.removeprefix("uni.mount=tmpfs:").partition(":")
            mount("-t", "tmpfs", "-o", size or "size=50%", "small", root + path)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with open(f"{root}/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as forwarding:     # on where the host has VMs of the engine
        forwarding.write("0\n")
    subprocess.run(["hostname", "uni"], check=True)
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, value)
    os.chroot(root)
    os.chdir(want["cwd"])
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execve(want["argv"][0], want["argv"], want["env"])


main()
