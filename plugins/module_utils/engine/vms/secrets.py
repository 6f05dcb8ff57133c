# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: files that appear in the guest and nowhere else. They are kept in a 0600 file beside the VM's record.

The record itself holds only path, mode and a salted digest of the content, which is enough to see a change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name

DIRECTORY = "/run/secrets"
MAX_SECRET = 512 << 10  # bytes: the whole configuration has 1 MiB, in base64


def normalise(value: Any) -> list[dict[str, Any]]:
    """A list of ``{"path", "mode", "uid", "gid", "content"}``; content is base64.

    :raises UsageError: code ``vm.secrets``; the message never holds content
    :raises HostError: a source file cannot be read
    """
    import base64

    result = []
    for number, entry in enumerate([value] if isinstance(value, Mapping) else value):
        where = f"secrets[{number}]"
        if not isinstance(entry, Mapping):
            raise UsageError(f"{where} is not an object", code="vm.secrets",
                             hint="use name, content or src, mode, uid, gid")
        unknown = set(entry) - {"name", "path", "content", "content_b64", "src", "mode", "uid", "gid"}
        if unknown:
            raise UsageError(f"{where}: {sorted(unknown)[0]!r} is unknown", code="vm.secrets")
        path = str(entry.get("path") or f"{DIRECTORY}/{check_name('secret', str(entry.get('name', '')))}")
        if not path.startswith("/") or ":" in path or "\0" in path:
            raise UsageError(f"{where}: {path!r} is not an absolute path without ':'", code="vm.secrets")
        content = _content(entry, where)
        if len(content) > MAX_SECRET:
            raise UsageError(f"{where} has {len(content)} bytes, {MAX_SECRET} are possible", code="vm.secrets")
        mode = entry.get("mode", "0400")
        if not isinstance(mode, int):
            mode = int(mode, 8) if re.fullmatch("[0-7]{1,4}", str(mode)) else -1
        if not 0 <= mode <= 0o7777:
            raise UsageError(f"{where}: mode {entry['mode']!r} is not understood", code="vm.secrets",
                             hint="octal digits in quotes, such as '0440'")
        owner = {key: str(entry.get(key) or 0) for key in ("uid", "gid")}
        for key, text in owner.items():
            if not re.fullmatch("[0-9]{1,9}", text):
                raise UsageError(f"{where}: {key} {text!r} is not a number", code="vm.secrets")
        result.append({"path": path, "mode": mode, "uid": int(owner["uid"]), "gid": int(owner["gid"]),
                       "content": base64.b64encode(content).decode()})
    return sorted(result, key=lambda item: str(item["path"]))


def _content(entry: Mapping[str, Any], where: str) -> bytes:
    import base64

    if entry.get("content") is not None:
        return str(entry["content"]).encode("utf-8", "surrogateescape")
    if entry.get("content_b64") is not None:
        try:
            return base64.b64decode(str(entry["content_b64"]), validate=True)
        except ValueError:
            raise UsageError(f"{where}: content_b64 is not base64", code="vm.secrets") from None
    if entry.get("src"):
        try:
            return Path(str(entry["src"])).read_bytes()
        except OSError as error:
            raise HostError(f"{where}: cannot read {entry['src']}: {error.strerror}", code="vm.secret_file") from error
    raise UsageError(f"{where} has neither content nor src", code="vm.secrets")


def split(values: Mapping[str, Any], salt: str) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """Fields for the record (digests in place of content), and the secrets themselves (None: field not set)."""
    if "secrets" not in values:
        return dict(values), None
    return {**values, "secrets": [redact(item, salt) for item in values["secrets"]]}, list(values["secrets"])


def redact(item: Mapping[str, Any], salt: str) -> dict[str, Any]:
    """A secret without its content."""
    if "content" not in item:
        return dict(item)
    import hashlib

    digest = hashlib.sha256(f"{salt}\0{item['content']}".encode()).hexdigest()
    return {**{key: value for key, value in item.items() if key != "content"}, "digest": digest}
