# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks: the one parser of their notation, for CLI, modules and stacks alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration

_KEYS = frozenset({"test", "kind", "port", "path", "host", "status", "statuses", "body", "pattern", "interval",
                   "timeout", "retries", "start_period", "on_failure"})
_WANTED = "tcp:PORT, http:PORT[:/path], log:PATTERN, ready or none"


def normalise(value: Any) -> dict[str, Any]:
    """A health check from ``"tcp:80"``, ``"http:8080:/healthz"``, ``"log:started"``, ``"ready"``, ``"none"``
    or an object with ``test`` (or kind, port, path, pattern), status, body, interval, timeout, retries,
    start_period and on_failure. ``{}`` means none.

    :raises UsageError: code ``vm.health_check``
    """
    options = {"test": value} if isinstance(value, str) else dict(value)
    unknown = set(options) - _KEYS
    if unknown:
        raise _bad(sorted(unknown)[0], f"the keys {', '.join(sorted(_KEYS))}")
    kind, check = _test(str(options["test"])) if "test" in options else (str(options.get("kind", "")), {})
    if kind in ("", "none"):
        return {}
    for key in ("port", "path", "pattern", "host", "body"):
        if options.get(key) is not None:
            check[key] = options[key]
    _check(kind, check)
    check["kind"] = kind
    if kind == "http":
        check.setdefault("path", "/")
        check.setdefault("host", "localhost")
        check.setdefault("body", "")
        check["statuses"] = _statuses(options.get("statuses", options.get("status")))
    for key, default in (("interval", 10.0), ("timeout", 5.0), ("start_period", 30.0)):
        given = options.get(key)
        check[key] = default if given is None else parse_duration(given, what=f"health_check.{key}")
    if check["interval"] < 0.1:
        raise _bad(options.get("interval"), "an interval of at least 100ms")
    retries = options.get("retries")
    check["retries"] = 3 if retries is None else int(retries) if str(retries).isdigit() else 0
    check["on_failure"] = str(options.get("on_failure") or "none")
    if check["retries"] < 1 or check["on_failure"] not in ("none", "restart", "kill"):
        given = {key: options.get(key) for key in ("retries", "on_failure")}
        raise _bad(given, "retries of at least 1, on_failure none, restart or kill")
    return dict(sorted(check.items()))


def _test(text: str) -> tuple[str, dict[str, Any]]:
    kind, _sep, rest = text.partition(":")
    if kind == "tcp":
        return kind, {"port": rest}
    if kind == "http":
        port, _sep, path = rest.partition(":")
        return kind, {"port": port, **({"path": path} if path else {})}
    if kind == "log":
        return kind, {"pattern": rest}
    return kind, {}


def _check(kind: str, check: dict[str, Any]) -> None:
    if kind in ("tcp", "http"):
        port = str(check.get("port", ""))
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise _bad(port, "a guest port from 1 to 65535")
        check["port"] = int(port)
        path, host = str(check.get("path", "/")), str(check.get("host", ""))
        if not path.startswith("/") or re.search(r"[\s\x00-\x1f]", path) or re.search(r"[\r\n]", host):
            raise _bad(path, "a path that starts with /")
    elif kind == "log":
        try:
            re.compile(str(check.get("pattern") or "("))
        except re.error as error:
            raise _bad(check.get("pattern"), f"a regular expression ({error})") from None
    elif kind != "ready":
        raise _bad(kind, _WANTED)


def _statuses(value: Any) -> list[list[int]]:
    """``200``, ``"200-399"``, ``[200, 204]`` as ranges; default: success and redirections."""
    if value is None:
        return [[200, 399]]
    ranges = []
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        try:
            low, high = entry if isinstance(entry, (list, tuple)) else (str(entry).partition("-")[::2])
            ranges.append([int(low), int(high or low)])
        except (TypeError, ValueError):
            raise _bad(value, "HTTP status codes such as 200 or 200-299") from None
    return sorted(ranges)


def _bad(value: Any, wanted: str) -> UsageError:
    return UsageError(f"health_check: {value!r} is not understood", code="vm.health_check", hint=f"expected {wanted}")


def for_keeper(check: Mapping[str, Any], address: str, port: int, *, forwarded: bool) -> dict[str, Any]:
    """The keeper's form: where to connect on the host.

    :param forwarded: the connection goes through QEMU's user networking, which accepts before the guest has
    """
    result = dict(check)
    result.setdefault("statuses", [[200, 399]])
    result.update(address=address, port=port, settle=0.2 if forwarded else 0.0)
    return result
