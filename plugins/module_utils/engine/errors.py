# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of errors: every failure that a user can cause or meet is one of these.

An error carries a stable ``code`` (for programs), one sentence naming the input (for people) and a hint
(what to do about it). It becomes ``fail_json``, a CLI exit status and a JSON-RPC error in one place each.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs two milliseconds
if TYPE_CHECKING:
    from typing import Any


class UniError(Exception):
    """The root of all errors raised by the engine.

    :param message: one sentence that says what is wrong with which input
    :param code: stable identifier, ``area.reason``; programs may compare it
    :param hint: what the user can do about it; empty where nothing sensible can be said
    """

    default_code = "error"
    exit_status = 1

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data, for JSON output, JSON-RPC and module results."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(UniError):
    """The input itself is wrong: nothing was tried."""

    default_code = "usage"
    exit_status = 2


class NotFoundError(UniError):
    """The named object does not exist."""

    default_code = "not_found"


class ConflictError(UniError):
    """A name is in use, or an object is in use by another one."""

    default_code = "conflict"


class StateError(UniError):
    """The object exists, but its state forbids the operation."""

    default_code = "state"


class VerifyError(UniError):
    """A digest, size or signature does not match."""

    default_code = "verify"


class HostError(UniError):
    """The host lacks something: a tool, space on a disk, a permission."""

    default_code = "host"


class GuestError(UniError):
    """The guest or its monitor failed."""

    default_code = "guest"


class RegistryError(UniError):
    """A registry refused, or could not be reached."""

    default_code = "registry"


class DeadlineError(UniError):
    """Something did not happen in time."""

    default_code = "deadline"
