# SPDX-License-Identifier: GPL-3.0-or-later
"""Image references, in the grammar of the OCI Distribution Specification 1.1 (section "Pulling manifests")
and of Docker's reference package: ``[REGISTRY[:PORT]/]REPOSITORY[:TAG][@DIGEST]``.

A short name keeps no registry: ``hello`` is an image of this host, not of some company's registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_REGISTRY = re.compile(
    r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_REPOSITORY = 255
DEFAULT_TAG = "latest"


@dataclass(frozen=True)
class Reference:
    """A parsed reference. ``registry`` is empty for a name of this host; ``tag`` or ``digest`` is set."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    def with_tag(self, tag: str) -> Reference:
        """The same repository under another tag, without a digest."""
        return replace(self, tag=check_tag(tag), digest="")


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 digest, the only algorithm the store keeps."""
    return bool(_DIGEST.fullmatch(text))


def check_tag(tag: str) -> str:
    """``tag`` itself when it is legal.

    :raises UsageError: code ``reference.tag``
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"{tag!r} is not a legal tag", code="reference.tag",
            hint="use letters, digits, '_', '.' and '-', at most 128, not '.' or '-' first")
    return tag


def parse_reference(text: str) -> Reference:
    """Parse ``text``; the tag is ``latest`` when there is neither tag nor digest.

    :raises UsageError: code ``reference.invalid`` or ``reference.tag``
    """
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "a digest is sha256: and 64 lower-case hexadecimal digits")
    registry, slash, path = rest.partition("/")
    # Docker's rule: the first part is a registry only when it looks like a host.
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, path = "", rest
    elif not _REGISTRY.fullmatch(registry):
        raise _invalid(text, f"{registry!r} is not a registry's HOST[:PORT]")
    repository, colon, tag = path.partition(":")
    if colon:
        check_tag(tag)
    if len(repository) > _MAX_REPOSITORY:
        raise _invalid(text, f"the name is longer than {_MAX_REPOSITORY} characters")
    if not _REPOSITORY.fullmatch(repository):
        raise _invalid(text, "a name is lower-case letters and digits, joined by '.', '_', '-' or '/'")
    if not colon and not at:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag, digest)


def _invalid(text: str, hint: str) -> UsageError:
    return UsageError(f"{text!r} is not a legal image name", code="reference.invalid", hint=hint)
