# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI Distribution Specification 1.1 as methods: manifests, blobs, tags, referrers of one registry.

Nothing that a registry says is believed: lengths are bounded, digests are computed while the bytes arrive.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    RegistryError,
    UniError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEXES,
    MANIFESTS,
    MAX_MANIFEST,
    Descriptor,
    check_descriptor,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import is_digest
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.http import BLOCK, Body, Response, Transport

_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_LINK = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_RANGE = re.compile(r"(?:bytes=)?(\d+)-(\d+)")
_MAX_PAGES = 1000


@dataclass(frozen=True)
class Manifest:
    """A manifest as it came, verified: ``data`` hashes to ``digest``."""

    data: bytes
    media_type: str
    digest: str

    @property
    def descriptor(self) -> Descriptor:
        """How an index refers to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}

    def parsed(self) -> dict[str, Any]:
        """The JSON object."""
        return parse_object(self.data, f"the manifest {self.digest}")


class RegistryClient:
    """One repository's operations take its name first. Errors are those of :meth:`Transport.request`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def name(self) -> str:
        """The registry's name, as in references."""
        return self.transport.endpoint.name

    def ping(self) -> None:
        """Check that this is a registry, and that it knows us (section "Determining Support")."""
        response = self.transport.request("GET", "/v2/", what="checking the registry")
        response.text()

    # Manifests

    def head_manifest(self, repository: str, reference: str) -> str | None:
        """The digest that a tag stands for; None when there is none, or the registry does not say."""
        response = self.transport.request(
            "HEAD", f"/v2/{repository}/manifests/{reference}", scope=pull_scope(repository),
            headers={"Accept": _ACCEPT}, accept=(200, 404), what=f"looking for {repository}:{reference}")
        response.text()
        digest = response.header("Docker-Content-Digest")
        return digest if response.status == 200 and is_digest(digest) else None

    def get_manifest(self, repository: str, reference: str) -> Manifest:
        """A manifest or index by tag or digest.

        :raises VerifyError: code ``registry.mismatch``: the bytes are not those of the digest
        """
        response = self.transport.request(
            "GET", f"/v2/{repository}/manifests/{reference}", scope=pull_scope(repository),
            headers={"Accept": _ACCEPT}, what=f"fetching the manifest of {repository}:{reference}")
        data = response.text(MAX_MANIFEST)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        promised = reference if is_digest(reference) else response.header("Docker-Content-Digest")
        if promised.startswith("sha256:") and promised != digest:
            raise VerifyError(f"{self.name} sent a manifest of digest {digest} for {promised}",
                              code="registry.mismatch", hint="the registry's copy is damaged, or someone altered it")
        media_type = response.header("Content-Type").partition(";")[0].strip()
        stated = parse_object(data, f"the manifest {digest}").get("mediaType")
        if isinstance(stated, str) and stated in MANIFESTS + INDEXES:
            media_type = stated
        return Manifest(data, media_type, digest)

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        """Store a manifest under a tag or digest; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        response = self.transport.request(
            "PUT", f"/v2/{repository}/manifests/{reference}", scope=push_scope(repository), body=data,
            headers={"Content-Type": media_type}, accept=(201,), what=f"storing {repository}:{reference}")
        response.text()
        stored = response.header("Docker-Content-Digest")
        if stored.startswith("sha256:") and stored != digest:
            raise VerifyError(f"{self.name} stored {stored} where {digest} was sent", code="registry.mismatch")
        return digest

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Remove a manifest with its tags; False when there was none."""
        response = self.transport.request(
            "DELETE", f"/v2/{repository}/manifests/{digest}", scope=f"repository:{repository}:delete,pull",
            accept=(202, 404), what=f"removing {repository}@{digest}")
        response.text()
        return response.status == 202

    def tags(self, repository: str) -> list[str]:
        """Every tag of a repository, page by page."""
        found: list[str] = []
        for page in self._pages(f"/v2/{repository}/tags/list", pull_scope(repository), f"listing {repository}"):
            entries = page.get("tags")
            found.extend(tag for tag in entries if isinstance(tag, str)) if isinstance(entries, list) else None
        return found

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """Artifacts that refer to a manifest (section "Listing Referrers"), with the tag scheme as fallback."""
        path = f"/v2/{repository}/referrers/{digest}"
        response = self.transport.request("GET", path, scope=pull_scope(repository), accept=(200, 404),
                                          what=f"listing what refers to {digest}")
        data = response.text(MAX_MANIFEST)
        if response.status == 404:
            # A registry older than 1.1: clients keep an index under a tag made of the digest.
            try:
                data = self.get_manifest(repository, digest.replace(":", "-")).data
            except RegistryError as error:
                if error.code != "registry.not_found":
                    raise
                return []
        entries = parse_object(data, f"the referrers of {digest}").get("manifests", [])
        found = [check_descriptor(entry, f"the referrers of {digest}") for entry in entries]
        return [entry for entry in found if not artifact_type or entry.get("artifactType") == artifact_type]

    def _pages(self, path: str, scope: str, what: str) -> Iterator[dict[str, Any]]:
        for _page in range(_MAX_PAGES):
            response = self.transport.request("GET", path, scope=scope, what=what)
            yield parse_object(response.text(), f"the answer of {self.name}")
            match = _LINK.search(response.header("Link"))
            if not match:
                return
            path = _same_host(response, match[1])

    # Blobs

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository holds the blob."""
        response = self.transport.request("HEAD", f"/v2/{repository}/blobs/{digest}", scope=pull_scope(repository),
                                          accept=(200, 404), what=f"looking for blob {digest[:19]}")
        response.text()
        return response.status == 200

    def read_blob(self, repository: str, digest: str, *, limit: int = MAX_MANIFEST) -> bytes:
        """A small blob, verified."""
        response = self.transport.request("GET", f"/v2/{repository}/blobs/{digest}", scope=pull_scope(repository),
                                          what=f"fetching blob {digest[:19]}")
        data = response.text(limit)
        if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise mismatch(self.name, digest)
        return data

    def blob_chunks(self, repository: str, digest: str, size: int, start: int = 0) -> Iterator[memoryview]:
        """The bytes of a blob from ``start``, in pieces that are valid until the next one. Not verified.

        A broken connection is taken up where it broke (Range); after several breaks without a byte the error goes
        to the caller, who has everything up to there.

        :raises VerifyError: ``registry.mismatch``: the registry sends more than ``size`` bytes
        """
        at = start
        buffer = memoryview(bytearray(BLOCK))
        breaks = 0
        while at < size:
            begun = at
            response = self._open_blob(repository, digest, at)
            try:
                if response.status == 200 and at:
                    _skip(response, at)
                while count := response.raw.readinto(buffer):
                    at += count
                    if at > size:
                        response.raw.close()
                        raise mismatch(self.name, digest)
                    yield buffer[:count]
            except (OSError, http.client.HTTPException):
                self.transport.drop()
            if at < size:
                breaks = 0 if at > begun else breaks + 1
                if breaks >= 3:
                    raise RegistryError(f"{self.name} breaks off in blob {digest} at byte {at} of {size}",
                                        code="registry.unreachable", hint="try again: it goes on from there")
                self.transport.sleep(0.2 * 2 ** breaks)

    def _open_blob(self, repository: str, digest: str, start: int) -> Response:
        headers = {"Range": f"bytes={start}-"} if start else {}
        return self.transport.request(
            "GET", f"/v2/{repository}/blobs/{digest}", scope=pull_scope(repository), headers=headers,
            accept=(200, 206) if start else (200,), what=f"fetching blob {digest[:19]}")

    def upload_blob(self, repository: str, digest: str, size: int, source: BlobSource, *,
                    mount_from: str = "") -> str:
        """Bring a blob into the repository: "mounted" from another one, or "uploaded".

        :raises RegistryError: also ``registry.refused`` when the bytes do not match the digest
        """
        scope = push_scope(repository)
        location = self._begin_upload(repository, digest, mount_from)
        if not location:
            return "mounted"
        location = self._send_blob(repository, location, digest, size, source)
        response = self.transport.request(
            "PUT", _with_digest(location, digest), scope=scope, body=b"", accept=(201,),
            headers={"Content-Type": "application/octet-stream"}, what=f"finishing the upload of {digest[:19]}")
        response.text()
        return "uploaded"

    def _begin_upload(self, repository: str, digest: str, mount_from: str = "") -> str:
        """Where to send a blob; empty when the registry has mounted it."""
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        response = self.transport.request(
            "POST", f"/v2/{repository}/blobs/uploads/{query}", scope=push_scope(repository), body=b"",
            accept=(201, 202), what=f"beginning the upload of {digest[:19]}")
        response.text()
        return self._location(response) if response.status == 202 else ""

    def _send_blob(self, repository: str, location: str, digest: str, size: int, source: BlobSource) -> str:
        """One PATCH with everything; after a break another one with the rest (section "Pushing a blob in chunks")."""
        start = 0
        scope = push_scope(repository)
        what = f"uploading {digest[:19]}"
        for attempt in range(4):
            headers = {"Content-Type": "application/octet-stream"}
            if start:
                headers["Content-Range"] = f"{start}-{size - 1}"
            try:
                response = self.transport.request(
                    "PATCH", location, scope=scope, headers=headers, body=source.body(start), length=size - start,
                    accept=(202,), what=what, once=True)
                response.text()
                return self._location(response)
            except UniError as error:
                if error.code not in ("registry.unreachable", "registry.timeout") or attempt == 3:
                    raise
                self.transport.drop()
            location, start = self._status(location, scope, what)
            if start >= size:
                return location
            if start == 0:
                location = self._begin_upload(repository, digest)
        return location

    def _status(self, location: str, scope: str, what: str) -> tuple[str, int]:
        """Where an upload stands: its location and the number of bytes that arrived.

        Registries say ``0-0`` for one byte and for none, so that counts as: begin anew.
        """
        response = self.transport.request("GET", location, scope=scope, accept=(204,), what=what)
        response.text()
        match = _RANGE.fullmatch(response.header("Range"))
        end = int(match[2]) + 1 if match and int(match[2]) else 0
        return self._location(response) if response.header("Location") else location, end

    def _location(self, response: Response) -> str:
        location = response.header("Location")
        if not location:
            raise RegistryError(f"{self.name} names no location for the upload", code="registry.malformed")
        return _same_host(response, location)


class BlobSource:
    """Gives the pieces of a blob from any position, as often as it is asked."""

    def __init__(self, chunks_from: Any) -> None:
        self.chunks_from = chunks_from

    def body(self, start: int) -> Body:
        """What :meth:`Transport.request` takes."""
        def pieces() -> Iterable[bytes]:
            found: Iterable[bytes] = self.chunks_from(start)
            return found
        return pieces


def pull_scope(repository: str) -> str:
    """The token scope that reading needs."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """The token scope that writing needs."""
    return f"repository:{repository}:pull,push"


def mismatch(registry: str, digest: str) -> VerifyError:
    """The error for bytes that are not those of their digest."""
    return VerifyError(f"{registry} sent other bytes than those of the blob {digest}", code="registry.mismatch",
                       hint="the registry's copy is damaged, or someone altered it")


def _same_host(response: Response, location: str) -> str:
    """A location for our next request: relative ones are relative to the answer's URL."""
    url = urljoin(response.url, location)
    return url if urlsplit(url).netloc else location


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest.replace(':', '%3A')}"


def _skip(response: Response, count: int) -> None:
    """Read over the start that a registry without Range sends again."""
    buffer = memoryview(bytearray(BLOCK))
    while count:
        got = response.raw.readinto(buffer[:min(count, BLOCK)])
        if not got:
            return
        count -= got
