# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers for the small notations that users write: sizes, durations, ports, environment, names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

# Binary units: 1K = 1024 bytes, as QEMU, Docker and Kubernetes' Ki have them.
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([KMGTkmgt]?)(?:i?[Bb])?")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_ENV_NAME = re.compile(r"[^=\0\s]+")
_PORT = re.compile(r"(?:(?P<bind>\[[^\]]+\]|[^:\[\]]*):)?(?P<host>\d+(?:-\d+)?):(?P<guest>\d+(?:-\d+)?)"
                   r"(?:/(?P<proto>[A-Za-z]+))?")
MAX_NAME = 63


def parse_size(value: str | int, *, unit: str = "", what: str = "size") -> int:
    """Bytes from ``"512M"``, ``"1.5G"``, ``"64MiB"`` or a plain number.

    :param unit: what a number without a suffix counts: "" bytes, "K", "M", "G", "T"
    :param what: the name of the input, for the error
    :raises UsageError: code ``units.size``
    """
    if isinstance(value, bool):
        raise _bad("size", what, value, "a size such as 512M or 1G")
    text = str(value).strip()
    match = _SIZE.fullmatch(text)
    if not match:
        raise _bad("size", what, value, "a size such as 512M or 1G")
    whole, fraction, suffix = match.groups()
    explicit = suffix or not text[-1:].isdigit()
    factor = _FACTORS[suffix.upper() if explicit else unit]
    size = int(whole) * factor
    if fraction:
        size += int(fraction) * factor // 10 ** len(fraction)
    return size


def format_size(size: int) -> str:
    """``size`` bytes as people read them: exact where a unit divides it ("1G"), else one decimal ("1.5M")."""
    for suffix in "TGMK":
        factor = _FACTORS[suffix]
        if size >= factor:
            return f"{size // factor}{suffix}" if size % factor == 0 else f"{size / factor:.1f}{suffix}"
    return f"{size}B"


def parse_duration(value: str | int | float, *, what: str = "duration") -> float:
    """Seconds from ``"30s"``, ``"1m30s"``, ``"500ms"`` or a plain number of seconds.

    :raises UsageError: code ``units.duration``
    """
    wanted = "a duration such as 30s or 1m30s"
    if isinstance(value, bool):
        raise _bad("duration", what, value, wanted)
    text = str(value).strip()
    try:
        seconds = float(text)
    except ValueError:
        parts = _DURATION_PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise _bad("duration", what, value, wanted) from None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds < 1e10:
        raise _bad("duration", what, value, wanted)
    return seconds


@dataclass(frozen=True, order=True)
class PortForward:
    """One forwarded port: ``bind:host`` on the host reaches port ``guest`` of the VM."""

    bind: str
    host: int
    guest: int
    proto: str = "tcp"

    def __str__(self) -> str:
        bind = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{bind}:{self.host}:{self.guest}/{self.proto}"


def parse_port(value: str) -> tuple[PortForward, ...]:
    """``[BIND:]HOST:GUEST[/tcp|/udp]``; HOST and GUEST may be ranges of the same length. BIND is an address.

    Host port 0 lets the engine choose a free one.

    :raises UsageError: code ``units.port``
    """
    wanted = "[BIND:]HOST:GUEST[/udp], such as 8080:80 or 127.0.0.1:8000-8010:80-90/udp"
    match = _PORT.fullmatch(str(value).strip())
    if not match:
        raise _bad("port", "port", value, wanted)
    proto = (match["proto"] or "tcp").lower()
    if proto not in ("tcp", "udp"):
        raise _bad("port", "port", value, "the protocol tcp or udp")
    bind = _address((match["bind"] or "0.0.0.0").strip("[]"), value)
    host, guest = _range(match["host"], value), _range(match["guest"], value)
    if len(host) != len(guest):
        raise _bad("port", "port", value, "ranges of the same length on both sides")
    if guest[0] == 0:
        raise _bad("port", "port", value, "a guest port from 1 to 65535")
    return tuple(PortForward(bind, left, right, proto) for left, right in zip(host, guest))


def _address(text: str, value: object) -> str:
    import ipaddress  # costs 3 ms: only for who forwards ports

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _bad("port", "port", value, "an IP address to bind to") from None


def _range(text: str, value: object) -> range:
    first, _dash, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 0 <= low <= high <= 65535 or (last and low == 0):
        raise _bad("port", "port", value, "ports from 1 to 65535, the smaller one first")
    return range(low, high + 1)


def parse_env(value: Iterable[str] | Mapping[str, object] | None, *, what: str = "env") -> dict[str, str]:
    """Environment from ``["K=V", ...]`` or a mapping; later entries win. Values never appear in errors.

    :raises UsageError: code ``units.env``
    """
    result: dict[str, str] = {}
    if value is None:
        return result
    if isinstance(value, Mapping):
        pairs = [(str(key), _env_text(item)) for key, item in value.items()]
    else:
        pairs = []
        for index, entry in enumerate([value] if isinstance(value, str) else value):
            key, equals, item = str(entry).partition("=")
            if not equals:
                raise _bad("env", f"{what}[{index}]", key, "NAME=VALUE")
            pairs.append((key, item))
    for key, item in pairs:
        if not _ENV_NAME.fullmatch(key):
            raise _bad("env", what, key, "a variable name without blanks, '=' or NUL")
        if "\0" in item:
            raise UsageError(f"{what}: the value of {key} contains a NUL byte", code="units.env")
        result[key] = item
    return result


def _env_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def check_name(kind: str, name: str) -> str:
    """``name`` itself when it is legal: ``[a-z0-9][a-z0-9_.-]*``, at most 63 characters.

    :raises UsageError: code ``units.name``
    """
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a legal {kind} name", code="units.name",
            hint=f"use lower-case letters, digits, '.', '_' and '-', a letter or digit first,"
                 f" at most {MAX_NAME} characters",
        )
    return name


def _bad(code: str, what: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"{what}: {value!r} is not understood", code=f"units.{code}", hint=f"expected {wanted}")
