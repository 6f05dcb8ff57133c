# SPDX-License-Identifier: GPL-3.0-or-later
"""One service of a stack file, translated to uni_vm's vocabulary.

Compose's words (compose-spec, 05-services.md) on the left, uni_vm's on the right: ``entrypoint`` is ``command`` (it
replaces the image's entrypoint), ``command`` is ``args`` (it replaces the image's Cmd), ``environment`` is ``env``.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import (
    CONDITIONS,
    Dependency,
    ServiceSpec,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.source import (
    Listed,
    Mapped,
    Place,
    check_keys,
    expect,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.units import (
    parse_duration,
    parse_env,
    parse_port,
    parse_size,
)

RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")
_HEALTH_KEYS = ("test", "tcp", "http", "interval", "timeout", "retries", "start_period", "disable")
_PORT_KEYS = ("target", "published", "host_ip", "protocol", "name", "mode")
_VOLUME_KEYS = ("type", "source", "target", "read_only", "size")
_NETWORK_KEYS = ("aliases", "ipv4_address", "mac_address", "ip", "mac")


def parse_service(name: str, raw: Mapped, base: Path) -> ServiceSpec:
    """The service ``name`` from its mapping. Errors name the line."""
    check_keys(raw, _PARSERS.keys() | _SPECIAL)
    image = raw.get("image")
    if not isinstance(image, str) or not image:
        raise raw.at("image").error("a service needs an image", hint="image: NAME[:TAG]")
    options: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _PARSERS and value is not None:
            target, parse = _PARSERS[key]
            place = raw.at(key)
            try:
                options[target] = parse(value, place)
            except UsageError as error:
                if error.code.startswith("stack."):
                    raise
                raise place.error(error.message, hint=error.hint) from error
    if "cpus" in options:
        # A VM has whole CPUs; half of one is a whole one that may run half of the time.
        number = options["cpus"]
        options["cpus"] = math.ceil(number)
        if number != options["cpus"]:
            options["limits"] = {"cpu": number}
    env = _env_files(raw, base)
    env.update(options.get("env", {}))
    if env:
        options["env"] = env
    health = _health(raw)
    if health:
        options["health_check"] = health
    return ServiceSpec(name, options, _depends_on(raw), _scale(raw), bool(health), raw.place)


def named(options: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The names of declared volumes or networks that a service's options use."""
    if kind == "volumes":
        return tuple(str(v).split(":", 1)[0] for v in options.get("volumes", ()) if v[:1] not in "/.~")
    return tuple(str(n["name"]) for n in options.get("networks", ()))


def read_env_file(path: Path, *, missing_ok: bool = False) -> dict[str, str]:
    """``NAME=VALUE`` lines; blank lines and ``#`` comments are skipped, quotes around a value are taken off.

    :raises UsageError: code ``stack.env_file``
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise UsageError(f"there is no env file {path}", code="stack.env_file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the env file {path}: {error}", code="stack.env_file") from error
    result: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.removeprefix("export ").partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{path}:{number}: expected NAME=VALUE", code="stack.env_file")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        result[key.strip()] = value
    return result


def _env_files(raw: Mapped, base: Path) -> dict[str, str]:
    value = raw.get("env_file")
    if value is None:
        return {}
    place = raw.at("env_file")
    result: dict[str, str] = {}
    for item in value if isinstance(value, list) else [value]:
        try:
            result.update(read_env_file(base / expect(item, place, str, "a path")))
        except UsageError as error:
            raise error if error.code != "stack.env_file" else place.error(error.message) from error
    return result


def _text(value: Any, place: Place) -> str:
    return str(expect(value, place, (str, int, float), "text"))


def _words(value: Any, place: Place) -> list[str]:
    """A command: a list is taken as it stands, a string is split as a shell would split it."""
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise place.error(f"{value!r} cannot be split into words: {error}") from error
    return [_text(item, place) for item in expect(value, place, list, "a list or a string")]


def _strings(value: Any, place: Place) -> list[str]:
    items = [value] if isinstance(value, str) else expect(value, place, list, "a list")
    return [_text(item, place) for item in items]


def _pairs(value: Any, place: Place) -> dict[str, str]:
    if isinstance(value, Mapped):
        for key, item in value.items():
            if isinstance(item, (dict, list)):
                raise value.at(key).error("expected text, found a collection")
        return parse_env(value, what=place.path[-1])
    return parse_env(expect(value, place, (Listed, list), "a mapping or a list"), what=place.path[-1])


def _bytes(value: Any, place: Place) -> int:
    return parse_size(expect(value, place, (str, int), "a size such as 128M"), what=place.path[-1])


def _seconds(value: Any, place: Place) -> float:
    return parse_duration(expect(value, place, (str, int, float), "a duration such as 30s"), what=place.path[-1])


def _cpus(value: Any, place: Place) -> float:
    try:
        number = float(_text(value, place))
    except ValueError:
        raise place.error(f"expected a number of CPUs, found {value!r}") from None
    if not 0.01 <= number <= 255:
        raise place.error(f"expected a number of CPUs above 0, found {value!r}")
    return number


def _flag(value: Any, place: Place) -> bool:
    return bool(expect(value, place, bool, "true or false"))


def _ports(value: Any, place: Place) -> list[str]:
    """Short form ``[BIND:]HOST:GUEST[/udp]`` (a single port stands for both), or Compose's long form."""
    result: list[str] = []
    items = expect(value, place, Listed, "a list")
    for item, at in zip(items, items.places):
        if isinstance(item, Mapped):
            check_keys(item, _PORT_KEYS)
            target = expect(item.get("target"), item.at("target"), (int, str), "the guest's port")
            bind = f"{item['host_ip']}:" if item.get("host_ip") else ""
            text = f"{bind}{item.get('published', target)}:{target}/{item.get('protocol', 'tcp')}"
        else:
            text = _text(item, at)
            if ":" not in text:
                port, slash, proto = text.partition("/")
                text = f"{port}:{port}{slash}{proto}"
        try:
            result += [str(forward) for forward in parse_port(text)]
        except UniError as error:
            raise at.error(error.message, hint=error.hint) from error
    return result


def _volumes(value: Any, place: Place) -> list[str]:
    """``NAME:/path[:ro]`` or Compose's long form; the target must be absolute."""
    result: list[str] = []
    items = expect(value, place, Listed, "a list")
    for item, at in zip(items, items.places):
        if isinstance(item, Mapped):
            check_keys(item, _VOLUME_KEYS)
            source = expect(item.get("source"), item.at("source"), str, "a volume's name")
            target = expect(item.get("target"), item.at("target"), str, "an absolute path")
            text = f"{source}:{target}" + (":ro" if item.get("read_only") else "")
        else:
            text = _text(item, at)
        parts = text.split(":")
        legal = len(parts) in (2, 3) and parts[0] and parts[1].startswith("/") and parts[2:] in ([], ["ro"], ["rw"])
        if not legal:
            raise at.error(f"{text!r} is not understood", hint="expected VOLUME:/path[:ro]")
        result.append(":".join(parts[:2] + (["ro"] if parts[2:] == ["ro"] else [])))
    return result


def _networks(value: Any, place: Place) -> list[dict[str, Any]]:
    """A list of names, or a mapping of names to aliases and addresses."""
    if isinstance(value, list):
        return [{"name": _text(item, place)} for item in value]
    section = expect(value, place, Mapped, "a list or a mapping")
    result: list[dict[str, Any]] = []
    for name, options in section.items():
        entry: dict[str, Any] = {"name": name}
        if options is not None:
            at = section.at(name)
            check_keys(expect(options, at, Mapped, "a mapping"), _NETWORK_KEYS)
            if options.get("aliases"):
                entry["aliases"] = _strings(options["aliases"], options.at("aliases"))
            for key, target in (("ipv4_address", "ip"), ("ip", "ip"), ("mac_address", "mac"), ("mac", "mac")):
                if options.get(key):
                    entry[target] = _text(options[key], options.at(key))
        result.append(entry)
    return result


def _restart(value: Any, place: Place) -> str:
    text = "no" if value is False else _text(value, place)   # YAML 1.1 reads a bare `no` as false
    policy, _colon, count = text.partition(":")
    if policy not in RESTART_POLICIES or (count and (policy != "on-failure" or not count.isdigit())):
        raise place.error(f"{text!r} is no restart policy", hint=f"one of {', '.join(RESTART_POLICIES)}, on-failure:N")
    return text


def _depends_on(raw: Mapped) -> tuple[Dependency, ...]:
    value = raw.get("depends_on")
    if value is None:
        return ()
    place = raw.at("depends_on")
    if isinstance(value, (list, str)):
        return tuple(Dependency(name) for name in _strings(value, place))
    result = []
    for name, options in expect(value, place, Mapped, "a list or a mapping").items():
        condition = CONDITIONS[0]
        if options is not None:
            check_keys(expect(options, value.at(name), Mapped, "a mapping"), ("condition", "required", "restart"))
            condition = options.get("condition", condition)
            if condition not in CONDITIONS:
                raise options.at("condition").error(
                    f"{condition!r} is no condition", hint=f"one of {', '.join(CONDITIONS)}")
        result.append(Dependency(name, condition))
    return tuple(result)


def _health(raw: Mapped) -> dict[str, Any] | None:
    """``health_check: tcp:PORT|http:PORT:/path`` or a ``healthcheck:`` mapping with ``tcp``, ``http`` or ``test``."""
    if "health_check" in raw and "healthcheck" in raw:
        raise raw.at("healthcheck").error("health_check and healthcheck exclude each other")
    if isinstance(raw.get("health_check"), str):
        return {"test": _probe(raw["health_check"], raw.at("health_check"))}
    key = "health_check" if "health_check" in raw else "healthcheck"
    value = raw.get(key)
    if value is None:
        return None
    check_keys(expect(value, raw.at(key), Mapped, "a mapping or tcp:PORT"), _HEALTH_KEYS)
    if value.get("disable"):
        return None
    given = [k for k in ("test", "tcp", "http") if k in value]
    if len(given) != 1:
        raise value.place.error("a health check needs exactly one of test, tcp, http")
    kind = given[0]
    text = value[kind]
    if isinstance(text, list):
        # Compose's CMD form runs a command in the container: a unikernel has no second process.
        raise value.at(kind).error("a unikernel cannot run a command beside its program",
                                   hint="use tcp: PORT or http: PORT:/path")
    prefix = "" if kind == "test" else f"{kind}:"
    result: dict[str, Any] = {"test": _probe(f"{prefix}{text}", value.at(kind))}
    for name in ("interval", "timeout", "start_period"):
        if value.get(name) is not None:
            result[name] = _seconds(value[name], value.at(name))
    if value.get("retries") is not None:
        result["retries"] = int(expect(value["retries"], value.at("retries"), int, "a number"))
    return result


def _probe(text: str, place: Place) -> str:
    kind, _colon, rest = text.partition(":")
    port, _colon, path = rest.partition(":")
    legal_path = not path if kind == "tcp" else not path or path.startswith("/")
    if kind not in ("tcp", "http") or not port.isdigit() or not 0 < int(port) < 65536 or not legal_path:
        raise place.error(f"{text!r} is no health check", hint="expected tcp:PORT or http:PORT:/path")
    return text


def _scale(raw: Mapped) -> int:
    value = raw.get("scale", 1)
    place = raw.at("scale")
    if expect(value, place, int, "a number") < 0:
        raise place.error("expected 0 or more")
    if value > 1 and raw.get("ports"):
        for forward in _ports(raw["ports"], raw.at("ports")):
            if parse_port(forward)[0].host:
                raise raw.at("ports").error("several instances cannot publish the same host port",
                                            hint="use host port 0 (any free one), or scale: 1")
    return int(value)


# Key of the file -> key of uni_vm, parser.
_PARSERS: dict[str, tuple[str, Callable[[Any, Place], Any]]] = {
    "image": ("image", _text),
    "entrypoint": ("command", _words),
    "command": ("args", _words),
    "environment": ("env", _pairs),
    "memory": ("memory", _bytes),
    "mem_limit": ("memory", _bytes),
    "cpus": ("cpus", _cpus),
    "ports": ("ports", _ports),
    "volumes": ("volumes", _volumes),
    "networks": ("networks", _networks),
    "restart": ("restart_policy", _restart),
    "labels": ("labels", _pairs),
    "stop_grace_period": ("stop_timeout", _seconds),
    "stop_signal": ("stop_signal", _text),
    "hostname": ("hostname", _text),
    "user": ("user", _text),
    "working_dir": ("workdir", _text),
    "read_only": ("read_only", _flag),
    "tmpfs": ("tmpfs", _strings),
    "extra_hosts": ("extra_hosts", _strings),
    "dns": ("dns", _strings),
    "kernel": ("kernel", _text),
    "accel": ("accel", _text),
    "machine": ("machine", _text),
    "hardening": ("hardening", _text),
    "tty": ("tty", _flag),
}
_SPECIAL = frozenset({"depends_on", "health_check", "healthcheck", "scale", "env_file"})
