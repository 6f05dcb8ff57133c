# SPDX-License-Identifier: GPL-3.0-or-later
"""Where registries are, and who we are there.

Credentials are kept in the format of containers-auth.json(5), mode 0600, so that a file made by ``podman login`` can
be named in ``REGISTRY_AUTH_FILE`` and the reverse. A secret never appears in a repr, a log or an error.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.records import lock, read_json, write_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

_URL = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>\d{1,5}))?/?")
# Docker Hub's name is not its address.
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Endpoint:
    """A registry's address. ``scheme`` is "http", "https", or "" for: TLS, and plain HTTP where TLS is not spoken.

    Only loopback addresses may have the empty scheme; anywhere else plain HTTP must be asked for by ``http://``.
    """

    scheme: str
    host: str
    port: int
    name: str

    @property
    def loopback(self) -> bool:
        """Whether the bytes never leave this host."""
        return _is_loopback(self.host)


def parse_endpoint(text: str) -> Endpoint:
    """``HOST[:PORT]`` or ``http[s]://HOST[:PORT]``.

    :raises UsageError: code ``registry.url``; what is wrong is not repeated, it may hold a password
    """
    if "@" in text:
        raise UsageError("the registry's URL holds credentials", code="registry.url",
                         hint="log in with `uni login`; URLs end up in logs and process lists")
    match = _URL.fullmatch(text.strip())
    if not match or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise UsageError(f"{text!r} is not the address of a registry", code="registry.url",
                         hint="give HOST[:PORT] or http[s]://HOST[:PORT]")
    host = match["host"].strip("[]").lower()
    scheme = match["scheme"] or ("" if _is_loopback(host) else "https")
    port = int(match["port"] or (80 if scheme == "http" else 443))
    name = match["host"].lower() + (f":{match['port']}" if match["port"] else "")
    return Endpoint(scheme, _DOCKER_HUB.get(host, host), port, name)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Credentials:
    """A user of a registry: a password, or an identity token in its place."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def auth_file(root: Root) -> Path:
    """``REGISTRY_AUTH_FILE``, else ``auth.json`` of the root directory."""
    chosen = os.environ.get("REGISTRY_AUTH_FILE")
    return Path(chosen) if chosen else root.path / "auth.json"


def load(root: Root, endpoint: Endpoint) -> Credentials | None:
    """The credentials kept for ``endpoint``; None when there are none.

    :raises UniError: code ``registry.auth_file``: the file is damaged
    """
    path = auth_file(root)
    auths = _auths(path)
    for key in (endpoint.name, f"https://{endpoint.name}", f"https://{endpoint.name}/v1/"):
        entry = auths.get(key)
        if isinstance(entry, dict) and isinstance(entry.get("auth"), str):
            try:
                user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                colon = ""
            if not colon:
                # Without "from": the exception would show the secret's bytes.
                raise UniError(f"the entry for {endpoint.name} in {path} is damaged", code="registry.auth_file",
                               hint="log in again with `uni login`") from None
            token = entry.get("identitytoken")
            return Credentials(user, password, token if isinstance(token, str) else "")
    return None


def save(root: Root, endpoint: Endpoint, credentials: Credentials | None) -> bool:
    """Keep (or with None forget) credentials; whether the file changed."""
    path = auth_file(root)
    with lock(root.locks / "auth.lock"):
        record: dict[str, Any] = read_json(path) or {}
        auths = _auths(path)
        before = dict(auths)
        if credentials is None:
            auths = {key: value for key, value in auths.items()
                     if key.removeprefix("https://").removesuffix("/v1/") != endpoint.name}
        else:
            auths[endpoint.name] = {"auth": credentials.basic().partition(" ")[2]}
        if auths == before:
            return False
        write_json(path, {**record, "auths": auths}, mode=0o600)
    return True


def logged_in(root: Root) -> list[str]:
    """Names of the registries that credentials are kept for."""
    return sorted(_auths(auth_file(root)))


def _auths(path: Path) -> dict[str, Any]:
    record = read_json(path)
    auths = record.get("auths", {}) if isinstance(record, dict) else {}
    if record is not None and not (isinstance(record, dict) and isinstance(auths, dict)):
        raise UniError(f"{path} is not in the format of containers-auth.json", code="registry.auth_file",
                       hint="move it away and log in again with `uni login`")
    return dict(auths)
