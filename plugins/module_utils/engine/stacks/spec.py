# SPDX-License-Identifier: GPL-3.0-or-later
"""Stack files: Compose's vocabulary as far as it makes sense for VMs, parsed to frozen specs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import OPTIONS as NETWORK_OPTIONS
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import graph
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import service as services
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import (
    HEALTHY,
    STARTED,
    ServiceSpec,
    StackSpec,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.source import (
    Mapped,
    Place,
    check_keys,
    expect,
    load,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name

_TOP_KEYS = ("name", "version", "services", "volumes", "networks")
_VOLUME_KEYS = ("size", "external", "name", "labels")
_NETWORK_KEYS = (*NETWORK_OPTIONS, "driver", "external", "name")


def parse_stack(text: str, *, file: str, name: str | None = None, directory: Path | None = None,
                variables: Mapping[str, str] | None = None) -> StackSpec:
    """The stack that ``text`` declares.

    :param file: the name shown in errors; the stack's default name is its directory's
    :param name: overrides the file's ``name:``
    :param directory: where relative paths (``env_file``, bind sources) start
    :param variables: values for ``${NAME}``
    :raises UsageError: naming file, line, key and the nearest known word
    """
    top = load(text, file, variables or {})
    base = directory or Path(file).resolve().parent
    check_keys(top, _TOP_KEYS)
    stack_name = _checked("stack", name or top.get("name") or _default_name(base), top.at("name"))
    raw = top.get("services")
    if not isinstance(raw, Mapped) or not raw:
        raise top.at("services").error("a stack needs at least one service", hint="services: {web: {image: ...}}")
    parsed: dict[str, ServiceSpec] = {}
    for key, value in raw.items():
        place = raw.at(key)
        _checked("service", key, place)
        expect(value, place, Mapped, "a mapping")
        parsed[key] = services.parse_service(key, value, base)
    volumes = _objects(top, "volumes", _VOLUME_KEYS)
    networks = _objects(top, "networks", _NETWORK_KEYS)
    spec = StackSpec(stack_name, parsed, volumes, networks)
    _check_references(spec, raw)
    return spec


def load_stack(path: Path, *, name: str | None = None, variables: Mapping[str, str] | None = None) -> StackSpec:
    """The stack in the file at ``path``; a ``.env`` beside it gives values for variables, as Compose has it.

    :raises UsageError: code ``stack.unreadable`` when there is no such file
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the stack file {path}: {reason}", code="stack.unreadable",
                         hint="give the path of a stack file, such as stack.yaml") from error
    values = {**services.read_env_file(path.parent / ".env", missing_ok=True), **(variables or {})}
    return parse_stack(text, file=str(path), name=name, directory=path.resolve().parent, variables=values)


def _default_name(directory: Path) -> str:
    cleaned = "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "-" for c in directory.name.lower())
    return cleaned.strip("-_") or "stack"


def _checked(kind: str, value: Any, place: Place) -> str:
    try:
        return check_name(kind, value)
    except UniError as error:
        raise place.error(error.message, hint=error.hint, code="stack.name") from error


def _objects(top: Mapped, key: str, known: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The ``volumes:`` or ``networks:`` section: names with options, which may be empty."""
    value = top.get(key)
    if value is None:
        return {}
    section = expect(value, top.at(key), Mapped, "a mapping of names")
    result: dict[str, dict[str, Any]] = {}
    for name, options in section.items():
        _checked(key[:-1], name, section.at(name))
        if options is None:
            result[name] = {}
            continue
        check_keys(expect(options, section.at(name), Mapped, "a mapping"), known)
        result[name] = {option: _plain(value) for option, value in options.items()}
        if result[name].get("driver", "bridge") != "bridge":
            raise options.at("driver").error(f"{result[name]['driver']!r} is no driver here", hint="only bridge")
    return result


def _plain(value: Any) -> Any:
    """A value without its positions."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _check_references(spec: StackSpec, raw: Mapped) -> None:
    """Every service, volume and network that is named must be declared; dependencies must not go in circles."""
    for service in spec.services.values():
        entry = raw[service.name]
        for dependency in service.depends_on:
            if dependency.service not in spec.services:
                raise entry.at("depends_on").error(
                    f"there is no service {dependency.service!r}", code="stack.unknown_service",
                    hint=f"services: {', '.join(spec.services)}")
            if dependency.condition == HEALTHY and not spec.services[dependency.service].has_health:
                raise entry.at("depends_on").error(
                    f"{dependency.service!r} has no health check to wait for", code="stack.no_health",
                    hint=f"give {dependency.service} a `health_check: tcp:PORT`, or depend on {STARTED}")
        for kind, declared in (("volumes", spec.volumes), ("networks", spec.networks)):
            for name in services.named(service.options, kind):
                if name not in declared:
                    raise entry.at(kind).error(
                        f"the {kind[:-1]} {name!r} is not declared", code=f"stack.unknown_{kind[:-1]}",
                        hint=f"add it under the top-level `{kind}:`")
    cycle = graph.find_cycle({name: [d.service for d in s.depends_on] for name, s in spec.services.items()})
    if cycle:
        raise raw[cycle[0]].at("depends_on").error(
            f"the services wait for each other: {' -> '.join(cycle)}", code="stack.cycle",
            hint="take one of these dependencies out")
