#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uni on a machine that has never seen it: a bare Debian with systemd and cgroup v2 in QEMU's emulation.

The roles host, kernel and daemon are run over ssh; then the daemon is restarted, killed and renewed, the machine rebooted,
limits set, and a plain user runs quickstart.sh. Takes 40 to 60 minutes on two cores, so it is no part of test.sh: a minute or
two to install and to boot, 15 for the roles (twice), 15 for quickstart.sh, the rest for the others. What is committed is what runs: a
clone, so that the checkout may change meanwhile. As root, with debootstrap, QEMU, e2fsprogs and the .venv of test.sh;
everything is kept below .build/machine.

    tests/machine/run.py [--keep] [--suite bookworm] [STEP...]       steps: roles daemon limits kvm reboot quickstart
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
WORK = TOP / ".build" / "machine"
PACKAGES = ("systemd-sysv", "dbus", "udev", "kmod", "openssh-server", "python3", "sudo", "linux-image-cloud-amd64",
            "initramfs-tools", "iproute2", "netbase", "zstd", "ca-certificates")
BOOT_SECONDS, STEP_SECONDS = 600, 3600


def run(*words: str | Path, **options: object) -> str:
    """Run a command; what it printed. :raises CalledProcessError: it failed"""
    done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    return str(done.stdout)


def write(path: Path, text: str) -> None:
    """Write a file of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def clone() -> Path:
    """What is committed, in a directory of its own, where Ansible finds the collection."""
    path = WORK / "collections/ansible_collections/uni/engine"
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    run("git", "clone", "-q", TOP, path)
    return path


class Machine:
    """One virtual machine with a disk of its own."""

    def __init__(self, suite: str) -> None:
        self.base, self.disk, self.key = WORK / f"rootfs-{suite}", WORK / "disk.ext4", WORK / "key"
        self.suite = suite
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def install(self) -> None:
        """Make the disk: what debootstrap calls minbase, a kernel, sshd, and a user who may use sudo."""
        if not (self.base / ".complete").exists():
            shutil.rmtree(self.base, ignore_errors=True)
            run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", self.suite, self.base,
                os.environ.get("MIRROR", "http://deb.debian.org/debian"))
            run("chroot", self.base, "useradd", "--create-home", "--shell", "/bin/bash", "dev")
            (self.base / ".complete").touch()
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        write(self.base / "root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text())
        write(self.base / "etc/hostname", "fresh\n")
        write(self.base / "etc/hosts", "127.0.0.1 localhost fresh\n")
        write(self.base / "etc/fstab", "/dev/vda / ext4 defaults,noatime 0 1\n")
        write(self.base / "etc/systemd/network/10-dhcp.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
        write(self.base / "etc/sudoers.d/dev", "dev ALL=(ALL) NOPASSWD: ALL\n")
        (self.base / "etc/resolv.conf").unlink(missing_ok=True)
        write(self.base / "etc/resolv.conf", "nameserver 10.0.2.3\n")       # QEMU's own
        if os.environ.get("PIP_CERT"):                                      # how this machine reaches its package index
            shutil.copy(os.environ["PIP_CERT"], self.base / "etc/authorities.pem")
            write(self.base / "etc/pip.conf", "[global]\ncert = /etc/authorities.pem\n")
        run("chroot", self.base, "systemctl", "--quiet", "enable", "systemd-networkd")
        run("chroot", self.base, "systemctl", "--quiet", "mask", "apt-daily.timer", "apt-daily-upgrade.timer")
        self.disk.unlink(missing_ok=True)
        run("mke2fs", "-q", "-t", "ext4", "-d", self.base, self.disk, "16G")

    def start(self) -> None:
        """Boot, and wait for sshd."""
        kernel, initrd = (sorted((self.base / "boot").glob(pattern))[-1] for pattern in ("vmlinuz-*", "initrd.img-*"))
        with open(WORK / "console.log", "wb") as log:
            self.process = subprocess.Popen(
                ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4G",
                 "-nographic", "-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw console=ttyS0",
                 "-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe",
                 "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                 "-device", "virtio-rng-pci"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()

    def wait(self, before: str = "") -> None:
        """Wait until the machine answers, in another boot than ``before``."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.boot() != before:
                    return
            except subprocess.CalledProcessError:
                pass
            time.sleep(3)
        raise SystemExit(f"the machine does not answer; its console: {WORK}/console.log")

    def boot(self) -> str:
        """The random name of this boot."""
        return self.ssh("cat /proc/sys/kernel/random/boot_id", stderr=subprocess.DEVNULL).strip()

    def options(self) -> list[str]:
        """ssh's options."""
        return ["-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                "LogLevel=ERROR", "-o", "ConnectTimeout=30"]

    def ssh(self, command: str, **options: object) -> str:
        """Run a shell command there."""
        return run("ssh", *self.options(), "-p", str(self.port), "root@127.0.0.1", command, timeout=STEP_SECONDS, **options)

    def put(self, source: Path, target: str) -> None:
        """Copy a file there."""
        run("scp", "-q", *self.options(), "-P", str(self.port), source, f"root@127.0.0.1:{target}")

    def play(self, name: str) -> str:
        """Run a playbook of this directory against the machine."""
        inventory = WORK / "inventory.yml"
        inventory.write_text(json.dumps({"all": {"hosts": {"fresh": {
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key), "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(self.options()[2:])}}}}))
        env = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_COLLECTIONS_PATH": str(WORK / "collections"),
               "ANSIBLE_PIPELINING": "1", "ANSIBLE_TIMEOUT": "120"}
        return run(TOP / ".venv/bin/ansible-playbook", "-i", inventory, HERE / name, "-e",
                   f"kernel_build_dir={WORK / 'kernel-build'}", env=env, timeout=STEP_SECONDS)

    def vms(self) -> dict[str, dict[str, object]]:
        """Every VM by its name."""
        return {vm["name"]: vm for vm in json.loads(self.ssh("uni ps -a --output json"))}

    def pid(self, name: str) -> int:
        """The pid of a VM's QEMU."""
        return int(json.loads(self.ssh(f"uni inspect {name}"))[0]["pid"])


def main_pid(machine: Machine) -> str:
    """The daemon's."""
    return machine.ssh("systemctl show -p MainPID --value unid").strip()


def answers(machine: Machine, port: int) -> bool:
    """Whether the web server answers there."""
    return "Hello from a unikernel" in machine.ssh(
        f"for i in $(seq 60); do python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:{port}/\")"
        ".read().decode())' 2>/dev/null && break; sleep 2; done")


def step_roles(machine: Machine) -> None:
    """The three roles; a second time they change nothing."""
    machine.play("roles.yml")
    again = machine.play("roles.yml")
    assert "changed=0" in again, f"the second run changed something:\n{again}"
    assert machine.ssh("systemctl is-active unid").strip() == "active"


def step_daemon(machine: Machine) -> None:
    """Under systemd: restarted, killed and renewed, while a VM serves."""
    program = WORK / "web"
    run("gcc", "-O2", "-static", "-o", program, TOP / "examples/web/web.c")
    machine.put(program, "/root/web")
    machine.ssh("UNI_ACCEL=tcg uni run ./web --name web -p 8080:80 --memory 32M --restart always")
    assert answers(machine, 8080)
    vm, first = machine.pid("web"), main_pid(machine)
    assert "/unid.service" in machine.ssh(f"cat /proc/{vm}/cgroup"), "the daemon did not start it"
    machine.ssh(f"kill -9 {first}; sleep 5; while ! uni daemon status >/dev/null; do sleep 1; done")
    second = main_pid(machine)
    machine.ssh("systemctl restart unid")
    third = main_pid(machine)
    machine.ssh("uni daemon renew")
    assert len({first, second, third}) == 3 and main_pid(machine) == third
    assert machine.pid("web") == vm and answers(machine, 8080)


def step_limits(machine: Machine) -> None:
    """cgroup v2: in force, shown, changed, lifted, gone."""
    machine.play("limits.yml")


def step_kvm(machine: Machine) -> None:
    """A VM on (nested) KVM, where the processor has it: its timer ends a sleep."""
    if machine.ssh("test -e /dev/kvm && echo yes || echo no").strip() == "yes":
        code = "int main(void) { sleep(1); return 7; }"
        (WORK / "sleeper.c").write_text(f"#include <unistd.h>\n{code}\n")
        run("gcc", "-O2", "-static", "-o", WORK / "sleeper", WORK / "sleeper.c")
        machine.put(WORK / "sleeper", "/root/sleeper")
        said = machine.ssh("timeout 120 uni run ./sleeper --attach --rm --memory 32M --accel kvm; echo status $?")
        assert said.split()[-1] == "7", said


def step_reboot(machine: Machine) -> None:
    """VMs come back as their policies say."""
    machine.ssh("uni run web --name onfail --memory 32M --restart on-failure; uni run web --name never --memory 32M;"
                " uni run web --name stopped --memory 32M --restart unless-stopped; uni stop --force stopped")
    before = machine.boot()
    machine.ssh("sync; systemd-run --on-active=1 systemctl reboot")
    machine.wait(before)
    assert answers(machine, 8080)
    machine.ssh("sleep 20")
    status = {name: vm["status"] for name, vm in machine.vms().items()}
    assert (status["web"], status["onfail"]) == ("running", "running"), status
    assert status["never"] != "running" and status["stopped"] != "running", status


def step_quickstart(machine: Machine) -> None:
    """A plain user with sudo, and nothing prepared for him."""
    source = WORK / "collections/ansible_collections/uni/engine"
    run("git", "archive", "--format=tar", "-o", WORK / "uni.tar", "HEAD", cwd=source)
    machine.put(WORK / "uni.tar", "/tmp/uni.tar")
    machine.ssh("chmod 644 /tmp/uni.tar; su - dev -c 'rm -rf uni && mkdir uni && tar -C uni -xf /tmp/uni.tar && cd uni"
                " && UNI_ACCEL=tcg ./quickstart.sh -e quickstart_port=8081'")
    assert answers(machine, 8081)


STEPS: dict[str, Callable[[Machine], None]] = {
    "roles": step_roles, "daemon": step_daemon, "limits": step_limits, "kvm": step_kvm, "reboot": step_reboot,
    "quickstart": step_quickstart,
}


def main() -> int:
    """Install, boot, run the steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], help="only these; what they need must be there")
    parser.add_argument("--keep", action="store_true", help="go on with the disk of the last run")
    parser.add_argument("--suite", default="bookworm", help="Debian's release")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    machine = Machine(options.suite)
    source = clone()
    print(f"commit {run('git', '-C', source, 'rev-parse', '--short', 'HEAD').strip()}", flush=True)
    first = time.monotonic()
    if not (options.keep and machine.disk.exists()):
        machine.install()
    passed, failed = 0, 0
    try:
        machine.start()
        print(f"ok   installed and booted ({time.monotonic() - first:.0f} s)", flush=True)
        for name in options.steps or STEPS:
            begun = time.monotonic()
            try:
                STEPS[name](machine)
                passed += 1
                print(f"ok   {name} ({time.monotonic() - begun:.0f} s)", flush=True)
            except (AssertionError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAIL {name}: {error}\n{getattr(error, 'stdout', None) or ''}", flush=True)
    finally:
        if machine.process is not None:
            machine.process.kill()
            machine.process.wait()
    print(f"{passed} passed, {failed} failed in {time.monotonic() - first:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
