# SPDX-License-Identifier: GPL-3.0-or-later
"""uni run, attach, logs, wait: VMs and their consoles."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, StateError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

# What may be said about a health check: the keys of the module's health_check, as options.
HEALTH = {
    "interval": ("DURATION", "how often the health check is made (default: 10s)"),
    "timeout": ("DURATION", "how long its answer may take (default: 5s)"),
    "retries": ("N", "failures in a row that make the VM unhealthy (default: 3)"),
    "start-period": ("DURATION", "failures that do not count after a start (default: 30s)"),
    "status": ("CODES", "of http: the answers that are good, such as 200-299,404"),
    "body": ("TEXT", "of http: what the answer must hold"),
    "on-failure": ("ACTION", "what happens to an unhealthy VM: none, restart or kill"),
}
_ADJECTIVES = (
    "amber",
    "brave",
    "calm",
    "clever",
    "eager",
    "fleet",
    "gentle",
    "keen",
    "lively",
    "lucid",
    "merry",
    "nimble",
    "quick",
    "quiet",
    "sharp",
    "silent",
    "steady",
    "sunny",
    "swift",
    "tidy",
    "vivid",
    "wise",
)
_NOUNS = (
    "badger",
    "crane",
    "falcon",
    "finch",
    "fox",
    "gull",
    "hare",
    "heron",
    "ibex",
    "kite",
    "lark",
    "lynx",
    "marten",
    "orca",
    "otter",
    "owl",
    "raven",
    "robin",
    "seal",
    "stoat",
    "swan",
    "tern",
    "wren",
)


def run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(takes_arguments=True)
    parser.add_argument("image", help="an image, or the path of an ELF executable")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--attach", action="store_true", help="stream the console and exit with the guest's status")
    mode.add_argument("-d", "--detach", action="store_true", help="print the id (default)")
    parser.add_argument(
        "-i", "--interactive", action="store_true",
        help="with --attach: the program reads this standard input (without: an empty one)"
    )
    parser.add_argument(
        "-t", "--tty", action="store_true", default=None, help="the program's standard streams are a terminal"
    )
    parser.add_argument("--rm", action="store_true", help="remove the VM when it ends")
    parser.add_argument("--name", help="the VM's name (default: one is made up)")
    parser.add_argument(
        "--memory", "-m", metavar="SIZE", help="its memory, such as 64M (default: the image's, else 128M)"
    )
    parser.add_argument("--cpus", type=int, metavar="N", help="its CPUs (default: the image's, else 1)")
    parser.add_argument("-p", "--publish", action="append", metavar="[BIND:]HOST:GUEST[/udp]", help="a port (repeats)")
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable; without a value that of this shell (repeats)",
    )
    parser.add_argument(
        "--env-file", action="append", default=[], type=Path, metavar="FILE", help="lines NAME=VALUE (repeats)"
    )
    parser.add_argument("-v", "--volume", action="append", metavar="VOLUME:/path[:ro]", help="a volume (repeats)")
    parser.add_argument("--tmpfs", action="append", metavar="/path[:size=64M]", help="a memory file system (repeats)")
    parser.add_argument("--ulimit", action="append", metavar="NAME=SOFT[:HARD]",
                        help="a limit of the program, such as nofile=4096 (repeats)")
    parser.add_argument(
        "--network", action="append", metavar="NET", help="none, user, a network or tap:IFACE (repeats)"
    )
    parser.add_argument("--ip", metavar="ADDRESS", help="its address in the (one) network")
    parser.add_argument("--ip6", metavar="ADDRESS", help="its IPv6 address in the (one) network")
    parser.add_argument("--mac", metavar="ADDRESS", help="its MAC address in the (one) network")
    parser.add_argument("--network-alias", action="append", metavar="NAME",
                        help="another name of it in the (one) network (repeats)")
    parser.add_argument("--dns", action="append", metavar="ADDRESS", help="a name server (repeats)")
    parser.add_argument("--dns-search", action="append", metavar="DOMAIN", help="a search domain (repeats)")
    parser.add_argument("--add-host", action="append", metavar="NAME:ADDRESS", help="a line of /etc/hosts (repeats)")
    parser.add_argument("--secret", action="append", metavar="NAME=FILE",
                        help="a file that the program finds as /run/secrets/NAME (repeats)")
    parser.add_argument("--hostname", help="its host name")
    parser.add_argument("--workdir", "-w", metavar="DIR", help="its working directory")
    parser.add_argument("--user", "-u", metavar="UID[:GID]", help="who the program runs as")
    parser.add_argument(
        "--entrypoint", metavar="WORDS", help="the program and its first arguments, as the shell splits them"
    )
    parser.add_argument("--health-check", metavar="CHECK", help="tcp:PORT, http:PORT:/path, log:PATTERN or ready")
    for name, (metavar, text) in HEALTH.items():
        parser.add_argument(f"--health-{name}", metavar=metavar, help=text)
    parser.add_argument("--restart", metavar="POLICY[:N]", help="no, on-failure[:N], always or unless-stopped")
    parser.add_argument("--stop-timeout", metavar="DURATION", help="how long it may take to end (default: 30s)")
    parser.add_argument("--stop-signal", metavar="SIGNAL", help="what asks it to end (default: the image's, else TERM)")
    parser.add_argument("--label", "-l", action="append", metavar="NAME=VALUE", help="a label (repeats)")
    parser.add_argument("--pull", choices=("missing", "always", "never"), default="missing",
                        help="ask the image's registry (default: missing, where the name says which)")
    parser.add_argument("--kernel-args", metavar="WORDS", help="more words for the kernel's command line")
    parser.add_argument("--kernel", metavar="KERNEL", help="default, image, a version or a path")
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), help="the accelerator (default: auto)")
    parser.add_argument("--machine", choices=("microvm", "q35", "pc"), help="the machine type (default: microvm)")
    parser.add_argument("--trace", action="store_true", default=None, help="print every system call on the console")
    parser.add_argument("--read-only", action="store_true", default=None, help="mount the root file system read-only")
    parser.add_argument("--hardening", choices=("default", "required"), help="required: refuse to run with less")
    _limit_arguments(parser)


def _limit_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument("--limit", action="append", metavar="NAME=VALUE",
                       help="what it may use of the host: cpu, cpu_weight, memory, pids, io_* (repeats)")
    group.add_argument("--cpu-pin", metavar="CPUS", help="CPUs of the host that it may use, such as 0-2,5")
    for way, verb in (("", "move"), ("read-", "read"), ("write-", "write")):
        group.add_argument(f"--disk-{way}bps", metavar="SIZE", help=f"what each of its disks may {verb} a second")
        group.add_argument(f"--disk-{way}iops", type=int, metavar="N", help=f"how often each may {verb} a second")
    group.add_argument("--net-in-bps", metavar="SIZE", help="what it may receive a second (managed networks)")
    group.add_argument("--net-out-bps", metavar="SIZE", help="what it may send a second (managed networks)")
    group.add_argument("--log-max-size", metavar="SIZE", help="size at which its console log is rotated")
    group.add_argument("--log-max-files", type=int, metavar="N", help="console logs that are kept")


def run(args: argparse.Namespace, ui: Ui) -> int:
    """Create a VM and start it."""
    if args.interactive and not args.attach:
        raise UsageError("-i needs --attach", code="cli.usage", hint="a detached VM has nobody to read from")
    root = ui.root
    options = _options(args)
    options["image"] = _image(args, root, ui)
    # With --attach this command removes the VM itself, after it has asked for the exit status.
    options["auto_remove"] = True if args.rm and not args.attach else None
    vm = _create(root, args.name, options, args.pull)
    if not args.attach:
        ui.line(vm, vm["id"])
        return 0
    try:
        return _stream(root, vm["id"], typing=args.interactive, raw=bool(args.tty) and args.interactive, replay=True,
                       no_input=not args.interactive and not args.tty)
    finally:
        if args.rm:
            api.remove(root, vm["id"], force=True)


def _create(root: Root, name: str | None, options: dict[str, Any], pull: str) -> dict[str, Any]:
    if name is not None:
        return _pull_and_run(root, VmSpec.parse(name, options), pull)
    import secrets

    taken = {vm["name"] for vm in api.list_vms(root, everything=True)}
    for _try in range(100):
        made_up = f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}"
        if made_up not in taken:
            break
    else:
        made_up = f"vm-{secrets.token_hex(4)}"
    return _pull_and_run(root, VmSpec.parse(made_up, options), pull)


def _pull_and_run(root: Root, spec: VmSpec, policy: str) -> dict[str, Any]:
    """Run it; what pulling needs is only imported where something may have to be pulled."""
    try:
        if policy != "always":
            return api.run(root, spec)
    except NotFoundError as error:
        if policy == "never" or error.code != "image.not_found":
            raise
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms.pulling import names_registry

        if not names_registry(str(spec.values["image"])):
            raise
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.pulling import fetch

    fetch(root, str(spec.values["image"]))
    return api.run(root, spec)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The VM's fields that the command line sets; None is not set."""
    import shlex

    options = {
        name: getattr(args, name)
        for name in (
            "memory",
            "cpus",
            "tmpfs",
            "hostname",
            "workdir",
            "user",
            "stop_timeout",
            "kernel",
            "accel",
            "machine",
            "trace",
            "read_only",
            "hardening",
            "tty",
            "dns",
            "dns_search",
            "stop_signal",
            "kernel_args",
            "cpu_pin",
            "disk_bps",
            "disk_read_bps",
            "disk_write_bps",
            "disk_iops",
            "disk_read_iops",
            "disk_write_iops",
            "net_in_bps",
            "net_out_bps",
            "log_max_size",
            "log_max_files",
        )
    }
    options.update(
        ports=args.publish,
        volumes=args.volume,
        networks=_networks(args),
        health_check=_health(args),
        extra_hosts=args.add_host,
        ulimits=args.ulimit,
        secrets=_secrets(args.secret),
        limits=None if args.limit is None else dict(_pair("--limit", word) for word in args.limit),
        restart_policy=args.restart,
        labels=args.label,
        env=_environment(args) or None,
        args=args.after or None,
        command=None if args.entrypoint is None else shlex.split(args.entrypoint),
    )
    return options


def _networks(args: argparse.Namespace) -> list[Any] | None:
    """The networks; what is said about its interface belongs to the only one."""
    details = {"ip": args.ip, "ip6": args.ip6, "mac": args.mac, "aliases": args.network_alias}
    given = {key: value for key, value in details.items() if value is not None}
    networks: list[Any] | None = args.network
    if given and len(networks or ()) != 1:
        option = "network-alias" if "aliases" in given else next(iter(given))
        raise UsageError(f"--{option} needs exactly one --network", code="cli.usage")
    return [{"name": (networks or [""])[0], **given}] if given else networks


def _health(args: argparse.Namespace) -> Any:
    """The health check, with what is said about it."""
    details = {name: getattr(args, f"health_{name}".replace("-", "_")) for name in HEALTH}
    given = {name.replace("-", "_"): value for name, value in details.items() if value is not None}
    if given and args.health_check is None:
        raise UsageError(f"--health-{next(iter(given)).replace('_', '-')} needs --health-check", code="cli.usage")
    if "status" in given:
        given["status"] = given["status"].split(",")
    return {"test": args.health_check, **given} if given else args.health_check


def _pair(option: str, word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise UsageError(f"{option} {word!r} is not NAME=VALUE", code="cli.usage")
    return key, value


def _secrets(words: list[str] | None) -> list[dict[str, str]] | None:
    if words is None:
        return None
    return [{"name": name, "src": os.path.abspath(path)} for name, path in (_pair("--secret", word) for word in words)]


def _environment(args: argparse.Namespace) -> dict[str, str]:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.environment import passed_on, read_files

    return passed_on([*read_files(args.env_file), *args.env], os.environ)


def _image(args: argparse.Namespace, root: Root, ui: Ui) -> str:
    """The image's name; a path is built first, under the name of its file."""
    path = Path(args.image)
    if args.image.startswith(("/", "./", "../")) and not path.is_file():  # no image is called so
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UsageError(f"{args.image} {what}", code="run.no_file",
                         hint="uni build DIR --name NAME --entrypoint PROGRAM" if path.is_dir() else
                         "give the path of an ELF executable, or the name of an image (uni images)")
    if "/" not in args.image or not path.is_file():
        return str(args.image)
    from ansible_collections.uni.engine.plugins.module_utils.cli.commands import image
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import ensure_present

    parser = argparse.ArgumentParser()
    image.build_arguments(parser)
    spec = image.spec_of(parser.parse_args([args.image]))
    result = ensure_present(root, spec)
    if result.changed:
        ui.note(f"built {spec.name}")
    return spec.name


def attach_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("-i", "--interactive", action="store_true", help="type standard input at the console")
    parser.add_argument(
        "-t", "--tty", action="store_true", help="hand every key to the guest (with -i or without); leave with Ctrl-]"
    )
    parser.add_argument("--detach-keys", metavar="KEYS",
                        help="with -t: the keys that leave, such as ctrl-p,ctrl-q (default: ctrl-])")


def attach(args: argparse.Namespace, ui: Ui) -> int:
    """Stream a VM's console until it ends; exit with its status."""
    vm = api.resolve_vm(ui.root, args.vm)
    from ansible_collections.uni.engine.plugins.module_utils.cli.console import parse_keys

    if args.detach_keys is not None and not args.tty:
        raise UsageError("--detach-keys needs -t", code="cli.usage", hint="without -t, Ctrl-C is the program's")
    return _stream(ui.root, vm.id, typing=args.interactive or args.tty, raw=args.tty, replay=False,
                   leave=parse_keys(args.detach_keys or "ctrl-]"))


def _stream(root: Root, vm_id: str, *, typing: bool, raw: bool, replay: bool, no_input: bool = False,
            leave: bytes = b"\x1d") -> int:
    from ansible_collections.uni.engine.plugins.module_utils.cli.console import Session

    try:
        # As with docker run: without -i, the program that this command has started has an empty standard input.
        session = Session(api.attach(root, vm_id, typing=typing or no_input, replay=replay), raw=raw, typing=typing,
                          no_input=no_input, leave=leave, signal=lambda number: api.kill(root, vm_id, number))
        if session.run():
            return 0
        heard = session.received > 0
    except StateError:
        if not replay:
            raise
        heard = False
    if replay and not heard:
        # It ended before anybody listened: everything that it said is in the log.
        for line in api.logs(root, vm_id):
            sys.stdout.buffer.write(line.raw())
        sys.stdout.buffer.flush()
    return int(api.wait(root, vm_id).get("code", 125))


def logs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the VM ends")
    parser.add_argument("-n", "--tail", type=int, metavar="N", help="only the last N lines")
    parser.add_argument("--since", metavar="TIME", help="only lines from 10m ago, or from 2026-01-31T12:00:00Z on")
    parser.add_argument("-t", "--timestamps", action="store_true", help="with the time of each line")


def logs(args: argparse.Namespace, ui: Ui) -> int:
    """Print a VM's console."""
    if args.tail is not None and args.tail < 0:
        raise UsageError(f"--tail {args.tail} is not a number of lines", code="cli.usage", hint="without it, all lines")
    lines = api.logs(ui.root, args.vm, tail=args.tail, since=args.since, follow=args.follow)
    if ui.format != "table":
        data = [{"time": line.stamp, "text": line.text.decode("utf-8", "replace")} for line in lines]
        ui.emit(data, lambda: None)
        return 0
    out, fresh = sys.stdout.buffer, True
    for line in lines:
        out.write((f"{line.stamp} ".encode() if args.timestamps and fresh else b"") + line.raw())
        fresh = line.whole
        if args.follow:
            out.flush()
    out.flush()
    return 0


def wait_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm")
    parser.add_argument("--timeout", metavar="DURATION", help="give up after this time")


def wait(args: argparse.Namespace, ui: Ui) -> int:
    """Wait until a VM has ended; print its exit status and exit with it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration

    timeout = None if args.timeout is None else parse_duration(args.timeout, what="--timeout")
    verdict = api.wait(ui.root, args.vm, timeout=timeout)
    code = int(verdict.get("code", 125))
    ui.line(verdict, str(code))
    return code
