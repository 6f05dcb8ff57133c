# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of a VM, once: how a value is normalised, and what it takes to change it.

Specification parser, plan, diff and module documentation all read this table. Normalised values are plain JSON
(text, numbers, lists, objects), so that the record holds exactly what is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine import units
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

LIVE, RESTART, RECREATE = "live", "restart", "recreate"
SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "ALRM": 14, "TERM": 15,
           "CONT": 18, "STOP": 19, "TSTP": 20, "WINCH": 28, "PWR": 30}
# The limits of getrlimit(2), as limits.conf(5) and docker name them.
ULIMITS = ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
           "rtprio", "rttime", "sigpending", "stack")
MIN_MEMORY = 1 << 20
MAX_CPUS = 255


@dataclass(frozen=True)
class Field:
    """One field. ``change``: live, restart or recreate. ``secret``: its value is never shown.

    ``mode``: how lists and mappings are compared when the user does not say: ``strict`` or ``allow_more``.
    """

    name: str
    change: str
    normalise: Callable[[Any], Any]
    help: str
    secret: bool = False


def fail(field: str, value: Any, wanted: str) -> UsageError:
    """The error for a value that a field cannot take."""
    return UsageError(f"{field}: {value!r} is not understood", code=f"vm.{field}", hint=f"expected {wanted}")


def parse_signal(value: Any) -> int:
    """The number of ``"SIGTERM"``, ``"term"`` or ``15``."""
    text = str(value).strip().upper()
    if text.isdigit() and 0 < int(text) < 65:
        return int(text)
    name = text[3:] if text.startswith("SIG") else text
    if name not in SIGNALS:
        raise fail("signal", value, "a signal such as SIGTERM, HUP or 15")
    return SIGNALS[name]


def _text(name: str, *, empty: bool = True) -> Callable[[Any], str]:
    def normalise(value: Any) -> str:
        if isinstance(value, (dict, list, tuple)) or "\0" in str(value) or (not empty and not str(value)):
            raise fail(name, value, "a text")
        return str(value)
    return normalise


def _words(name: str) -> Callable[[Any], list[str]]:
    def normalise(value: Any) -> list[str]:
        if isinstance(value, str):
            import shlex

            try:
                value = shlex.split(value)
            except ValueError as error:
                raise fail(name, value, f"a list of words ({error})") from None
        if not isinstance(value, (list, tuple)) or any("\0" in str(word) for word in value):
            raise fail(name, value, "a list of words")
        return [str(word) for word in value]
    return normalise


def _choice(name: str, *choices: str) -> Callable[[Any], str]:
    def normalise(value: Any) -> str:
        if str(value) not in choices:
            raise fail(name, value, f"one of {', '.join(choices)}")
        return str(value)
    return normalise


def _flag(name: str) -> Callable[[Any], bool]:
    def normalise(value: Any) -> bool:
        if not isinstance(value, bool):
            raise fail(name, value, "true or false")
        return value
    return normalise


def _number(name: str, least: int, most: int) -> Callable[[Any], int]:
    def normalise(value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = least - 1
        if isinstance(value, bool) or not least <= number <= most:
            raise fail(name, value, f"a number from {least} to {most}")
        return number
    return normalise


def _memory(value: Any) -> int:
    """Bytes; a number without a unit counts bytes, as in docker. Rounded up to whole pages."""
    size = units.parse_size(value, what="memory")
    if size < MIN_MEMORY:
        raise fail("memory", value, "at least 1M (a number without a unit counts bytes)")
    return -(-size // 4096) * 4096


def _ports(value: Any) -> list[str]:
    entries = [value] if isinstance(value, (str, int)) else value
    ports = sorted({port for entry in entries for port in units.parse_port(str(entry))})
    taken: dict[tuple[str, int, str], int] = {}
    for port in ports:
        key = (port.bind, port.host, port.proto)
        if port.host and taken.setdefault(key, port.guest) != port.guest:
            raise UsageError(f"ports: {port.bind}:{port.host}/{port.proto} is forwarded twice", code="vm.ports")
    return [str(port) for port in ports]


def _mapping(name: str) -> Callable[[Any], dict[str, str]]:
    def normalise(value: Any) -> dict[str, str]:
        return dict(sorted(units.parse_env(value, what=name).items()))
    return normalise


def _hosts(value: Any) -> dict[str, str]:
    """``{"name": "address"}`` or ``["name:address"]``."""
    import ipaddress

    if isinstance(value, Mapping):
        pairs = [(str(name), str(address)) for name, address in value.items()]
    else:
        parts = [str(entry).replace("=", ":", 1).partition(":") for entry in value]
        pairs = [(name, address) for name, _sep, address in parts]
    try:
        return {name: str(ipaddress.ip_address(address.strip("[]"))) for name, address in sorted(pairs)}
    except ValueError as error:
        raise fail("extra_hosts", value, f"NAME:ADDRESS ({error})") from None


def _addresses(value: Any) -> list[str]:
    import ipaddress

    try:
        return [str(ipaddress.ip_address(str(entry))) for entry in ([value] if isinstance(value, str) else value)]
    except ValueError as error:
        raise fail("dns", value, f"IP addresses ({error})") from None


def _guest_path(field: str, path: str) -> str:
    import posixpath

    if not path.startswith("/") or ":" in path or "\0" in path:
        raise fail(field, path, "an absolute path in the guest, without ':'")
    return posixpath.normpath(path)


def _volumes(value: Any) -> list[str]:
    """``NAME:/path`` or ``NAME:/path:ro``, ``/host/disk.img:/path[:ro]`` for a raw disk of the user's own."""
    result = []
    for entry in [value] if isinstance(value, str) else value:
        source, _sep, rest = str(entry).partition(":")
        path, _sep, mode = rest.partition(":")
        if not source or not path or mode not in ("", "ro", "rw"):
            raise fail("volumes", entry, "VOLUME:/path or VOLUME:/path:ro")
        if not source.startswith("/"):
            units.check_name("volume", source)
        result.append(f"{source}:{_guest_path('volumes', path)}{':ro' if mode == 'ro' else ''}")
    paths = [entry.split(":")[1] for entry in result]
    if len(set(paths)) != len(paths):
        raise UsageError("volumes: two volumes at the same path", code="vm.volumes")
    return result


def _tmpfs(value: Any) -> list[str]:
    """``/path`` or ``/path:size=64M``."""
    result = []
    for entry in [value] if isinstance(value, str) else value:
        path, _sep, options = str(entry).partition(":")
        size = ""
        for option in filter(None, options.split(",")):
            key, _sep, text = option.partition("=")
            if key != "size":
                raise fail("tmpfs", entry, "/path or /path:size=64M")
            size = f":size={units.parse_size(text, what='tmpfs')}"
        result.append(_guest_path("tmpfs", path) + size)
    return sorted(result)


def _ulimits(value: Any) -> list[str]:
    """``NAME:SOFT[:HARD]`` (``NAME=SOFT:HARD`` as docker has it), or a mapping of them; -1 is ``unlimited``."""
    if isinstance(value, Mapping):
        value = [f"{name}:{limit}" for name, limit in value.items()]
    result: dict[str, str] = {}
    for entry in [value] if isinstance(value, str) else value:
        name, _sep, rest = str(entry).replace("=", ":", 1).partition(":")
        words = ["unlimited" if word == "-1" else word for word in rest.split(":")]
        soft, hard = words if len(words) == 2 else words * 2 if len(words) == 1 else ("", "")
        numbers = [float("inf") if word == "unlimited" else int(word) if word.isdecimal() else -1
                   for word in (soft, hard)]
        large = any(1 << 64 <= number < float("inf") for number in numbers)
        if name not in ULIMITS or large or not 0 <= numbers[0] <= numbers[1]:
            raise fail("ulimits", entry, f"NAME:SOFT[:HARD], numbers or unlimited, SOFT at most HARD, and NAME one of"
                                         f" {', '.join(ULIMITS)}")
        result[name] = f"{name}:{soft}:{hard}"
    return sorted(result.values())


def _networks(value: Any) -> list[dict[str, Any]]:
    """``none``, ``user``, ``NAME``, ``tap:INTERFACE``, or objects with name, ip, mac, aliases, gateway, dns."""
    if isinstance(value, (str, Mapping)):
        value = [value]
    result: list[dict[str, Any]] = []
    for entry in value:
        item = {"name": entry} if isinstance(entry, str) else dict(entry)
        unknown = set(item) - {"name", "ip", "ip6", "mac", "aliases", "gateway", "dns"}
        name = str(item.get("name", ""))
        if unknown or not name:
            raise fail("networks", entry, "a name, or an object with name, ip, ip6, mac, aliases, gateway, dns")
        if name == "none":
            if len(value) > 1:
                raise UsageError("networks: none does not go together with others", code="vm.networks")
            return []
        units.check_name("network", name[4:].lower() if name.startswith("tap:") else name)
        result.append(_network(name, item))
    names = [item["name"] for item in result]
    if len(set(names)) != len(names):
        raise UsageError("networks: a network is named twice", code="vm.networks")
    return result


def _network(name: str, item: dict[str, Any]) -> dict[str, Any]:
    import ipaddress
    import re

    network: dict[str, Any] = {"name": name}
    try:
        for key in ("ip", "ip6"):
            if item.get(key):
                text = str(item[key])
                network[key] = str(ipaddress.ip_interface(text)) if "/" in text else str(ipaddress.ip_address(text))
        for key in ("gateway", "dns"):
            if item.get(key):
                network[key] = str(ipaddress.ip_address(str(item[key])))
    except ValueError as error:
        raise fail("networks", item, f"IP addresses ({error})") from None
    if item.get("mac"):
        mac = str(item["mac"]).lower().replace("-", ":")
        if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) or int(mac[:2], 16) & 1:
            raise fail("networks", item["mac"], "a unicast MAC address such as 52:54:00:12:34:56")
        network["mac"] = mac
    if item.get("aliases"):
        network["aliases"] = sorted({units.check_name("alias", str(alias)) for alias in item["aliases"]})
    return network


def _restart(value: Any) -> str:
    policy, colon, most = str(value).partition(":")
    if policy not in ("no", "on-failure", "always", "unless-stopped") or (colon and policy != "on-failure") \
            or (colon and (not most.isdigit() or int(most) < 1)):
        raise fail("restart_policy", value, "no, on-failure, on-failure:N, always or unless-stopped")
    return f"{policy}:{int(most)}" if colon else policy


def _user(value: Any) -> str:
    uid, colon, gid = str(value).partition(":")
    if not uid.isdigit() or (colon and not gid.isdigit()):
        raise fail("user", value, "UID or UID:GID, numbers (a unikernel has no user database)")
    return f"{int(uid)}:{int(gid)}" if colon else str(int(uid))


def _cpu_list(value: Any) -> str:
    """``"0-2,5"`` as ``"0,1,2,5"``."""
    cpus: set[int] = set()
    try:
        for part in str(value).split(","):
            first, _sep, last = part.partition("-")
            cpus.update(range(int(first), int(last or first) + 1))
    except ValueError:
        raise fail("cpu_pin", value, "CPU numbers such as 0-2,5") from None
    if not cpus or max(cpus) > 4095:
        raise fail("cpu_pin", value, "CPU numbers such as 0-2,5")
    return ",".join(str(cpu) for cpu in sorted(cpus))


def _secrets(value: Any) -> list[dict[str, Any]]:
    """Objects with ``name`` or ``path``, ``content`` (or ``src``, a file on this host), mode, uid, gid."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.secrets import normalise

    return normalise(value)


def _health(value: Any) -> dict[str, Any]:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.health import normalise

    return normalise(value)


def _size(name: str) -> Callable[[Any], int]:
    def normalise(value: Any) -> int:
        return units.parse_size(value, what=name)
    return normalise


def _duration(name: str) -> Callable[[Any], float]:
    def normalise(value: Any) -> float:
        return units.parse_duration(value, what=name)
    return normalise


def _limits(value: Any) -> dict[str, Any]:
    """cgroup v2: cpu (CPUs, 0.5), cpu_weight, memory (of all of QEMU), pids, io_* (of the host's disk)."""
    result: dict[str, Any] = {}
    for key, item in dict(value).items():
        if key == "cpu":
            try:
                result[key] = float(item)
            except (TypeError, ValueError):
                result[key] = 0.0
            if not 0.01 <= result[key] <= 4096:
                raise fail("limits.cpu", item, "a number of CPUs such as 0.5")
        elif key in ("memory", "io_read_bps", "io_write_bps"):
            result[key] = units.parse_size(item, what=f"limits.{key}")
        elif key in ("pids", "io_read_iops", "io_write_iops", "cpu_weight"):
            result[key] = _number(f"limits.{key}", 1, 1 << 31)(item)
        else:
            raise fail("limits", key, "cpu, cpu_weight, memory, pids, io_read_bps, io_write_bps, io_read_iops,"
                                      " io_write_iops")
    return dict(sorted(result.items()))


_TABLE = (
    Field("image", RECREATE, _text("image", empty=False), "image reference, id or digest"),
    Field("command", RESTART, _words("command"), "program and first arguments, in place of the image's entrypoint"),
    Field("args", RESTART, _words("args"), "arguments, in place of the image's"),
    Field("env", RESTART, _mapping("env"), "environment, added to the image's"),
    Field("workdir", RESTART, lambda value: _guest_path("workdir", str(value)), "working directory"),
    Field("user", RESTART, _user, "UID[:GID] of the program"),
    Field("hostname", RESTART, lambda value: units.check_name("host", str(value).lower()), "host name in the guest"),
    Field("memory", RESTART, _memory, "memory of the VM"),
    Field("cpus", RESTART, _number("cpus", 1, MAX_CPUS), "virtual CPUs"),
    Field("cpu_pin", RESTART, _cpu_list, "host CPUs that the VM may use"),
    Field("ports", LIVE, _ports, "port forwards [BIND:]HOST:GUEST[/udp]"),
    Field("networks", RESTART, _networks, "networks, the first one is eth0"),
    Field("dns", RESTART, _addresses, "name servers"),
    Field("dns_search", RESTART, _words("dns_search"), "search domains"),
    Field("extra_hosts", RESTART, _hosts, "lines of /etc/hosts"),
    Field("volumes", RESTART, _volumes, "volumes NAME:/path[:ro]"),
    Field("tmpfs", RESTART, _tmpfs, "memory file systems /path[:size=64M]"),
    Field("ulimits", RESTART, _ulimits, "the program's own limits NAME:SOFT[:HARD]"),
    Field("secrets", RESTART, _secrets, "files that only the guest sees", secret=True),
    Field("read_only", RESTART, _flag("read_only"), "mount the root file system read-only"),
    Field("tty", RESTART, _flag("tty"), "the program's standard streams are a terminal"),
    Field("trace", RESTART, _flag("trace"), "print every system call on the console"),
    Field("labels", LIVE, _mapping("labels"), "labels"),
    Field("restart_policy", LIVE, _restart, "no, on-failure[:N], always, unless-stopped"),
    Field("health_check", LIVE, _health, "health check"),
    Field("stop_signal", LIVE, parse_signal, "signal that asks the program to end"),
    Field("stop_timeout", LIVE, _duration("stop_timeout"), "seconds between that signal and the end by force"),
    Field("auto_remove", LIVE, _flag("auto_remove"), "remove the VM when it ends"),
    Field("limits", LIVE, _limits, "resource limits (cgroup v2)"),
    Field("log_max_size", LIVE, _size("log_max_size"), "size at which the console log is rotated"),
    Field("log_max_files", LIVE, _number("log_max_files", 1, 100), "console logs that are kept"),
    Field("disk_bps", LIVE, _size("disk_bps"), "bytes per second of each disk"),
    Field("disk_read_bps", LIVE, _size("disk_read_bps"), "bytes per second read from each disk"),
    Field("disk_write_bps", LIVE, _size("disk_write_bps"), "bytes per second written to each disk"),
    Field("disk_iops", LIVE, _number("disk_iops", 0, 1 << 31), "operations per second of each disk"),
    Field("disk_read_iops", LIVE, _number("disk_read_iops", 0, 1 << 31), "reads per second of each disk"),
    Field("disk_write_iops", LIVE, _number("disk_write_iops", 0, 1 << 31), "writes per second of each disk"),
    Field("net_in_bps", LIVE, _size("net_in_bps"), "bytes per second that each managed network interface receives"),
    Field("net_out_bps", LIVE, _size("net_out_bps"), "bytes per second that each managed network interface sends"),
    Field("rng", RESTART, _flag("rng"), "virtio-rng device"),
    Field("kernel", RESTART, _text("kernel", empty=False), "default, image, a version, or a path"),
    Field("kernel_args", RESTART, _text("kernel_args"), "more words for the kernel command line"),
    Field("guest", RECREATE, _choice("guest", "uni"), "guest framework"),
    Field("monitor", RESTART, _choice("monitor", "qemu"), "monitor"),
    Field("machine", RESTART, _choice("machine", "microvm", "q35", "pc"), "machine type"),
    Field("accel", RESTART, _choice("accel", "auto", "kvm", "tcg"), "accelerator"),
    Field("hardening", RESTART, _choice("hardening", "default", "required"), "required: refuse to run with less"),
    Field("debug", RESTART, _flag("debug"), "offer QEMU's gdb stub on gdb.sock"),
)
FIELDS: Mapping[str, Field] = {field.name: field for field in _TABLE}

# What a VM gets that neither its user nor its image says.
DEFAULTS: Mapping[str, Any] = {
    "memory": 128 << 20, "cpus": 1, "restart_policy": "no", "stop_timeout": 30.0, "auto_remove": False,
    "log_max_size": 10 << 20, "log_max_files": 3, "rng": True, "kernel": "default", "guest": "uni",
    "monitor": "qemu", "machine": "microvm", "accel": "auto", "hardening": "default", "read_only": False,
    "tty": False, "trace": False, "debug": False, "networks": [{"name": "user"}], "ports": [], "env": {},
    "labels": {}, "volumes": [], "tmpfs": [], "ulimits": [], "secrets": [], "dns": [], "dns_search": [],
    "extra_hosts": {}, "limits": {},
}
