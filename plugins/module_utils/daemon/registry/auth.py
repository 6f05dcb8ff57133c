# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the registry: users in an htpasswd file with bcrypt hashes, as ``htpasswd -B`` writes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path

from aiohttp import web
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

_BCRYPT = ("$2a$", "$2b$", "$2y$")


class Htpasswd:
    """Checks HTTP Basic credentials (RFC 7617) against a file, which is read again when it changed.

    bcrypt is slow on purpose (about 0.1 s); a client that pushes sends its password with every request, so a verified
    one is remembered, as a keyed hash that is worth nothing outside this process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._users: dict[str, bytes] = {}
        self._seen: set[bytes] = set()
        self._key = secrets.token_bytes(32)
        self._nobody = _hash(secrets.token_hex(16))
        self._read()

    def __call__(self, request: web.Request) -> bool:
        """Whether the request carries the name and password of a user."""
        kind, _blank, value = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return bool(colon) and self.check(user, password)

    def check(self, user: str, password: str) -> bool:
        """Whether ``password`` is the user's."""
        import bcrypt

        self._read()
        stored = self._users.get(user)
        mark = hmac.new(self._key, f"{user}\0{password}".encode(), hashlib.sha256).digest()
        if mark in self._seen:
            return True
        # The same work for a user that is not there: the time of the answer must not tell names.
        if not bcrypt.checkpw(password.encode()[:72], stored or self._nobody) or stored is None:
            return False
        self._seen.add(mark)
        return True

    def _read(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the password file {self._path}: {error}",
                             code="registry.htpasswd") from error
        users: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            user, colon, stored = line.strip().partition(":")
            if not user or user.startswith("#"):
                continue
            if not colon or not stored.startswith(_BCRYPT):
                raise UsageError(f"{self._path}:{number}: not a bcrypt entry", code="registry.htpasswd",
                                 hint="make the file with `htpasswd -B`")
            users[user] = stored.encode()
        self._users, self._stamp = users, stamp
        self._seen.clear()


def _hash(password: str) -> bytes:
    import bcrypt

    return bytes(bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)))
