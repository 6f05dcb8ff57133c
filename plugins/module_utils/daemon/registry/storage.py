# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry keeps, on disk.

    blobs/sha256/HEX                          every blob and manifest once, whatever repository names it
    repositories/NAME/_/blobs/HEX             an empty file: the repository has this blob
    repositories/NAME/_/manifests/HEX         the manifest's media type
    repositories/NAME/_/tags/TAG              the digest
    repositories/NAME/_/referrers/HEX/HEX     descriptor of a manifest whose subject is the first digest
    uploads/ID/{data,repository}              a blob on its way in

A name's parts cannot be "_", so no repository can be mistaken for another one's bookkeeping. Everything is written
whole (engine.records); a blob is renamed into place only when its digest is right.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    host_error,
    sync_directory,
    write_bytes,
)

# OCI Distribution Spec 1.1, "Pulling manifests".
NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_NAME = 255
MAX_MANIFEST = 4 << 20
UPLOAD_LIFETIME = 24 * 3600   # seconds
_INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_UPLOAD = re.compile(r"[0-9a-f]{32}")


class Upload:
    """A blob on its way in. Chunks are hashed as they come; after a restart the file is read again."""

    def __init__(self, directory: Path, repository: str) -> None:
        self.id = directory.name
        self.repository = repository
        self.directory = directory
        self.data = directory / "data"
        self.data.touch(mode=0o600)
        self.size = self.data.stat().st_size
        self._hash = hashlib.sha256()
        if self.size:
            with open(self.data, "rb") as old:
                for chunk in iter(lambda: old.read(1 << 20), b""):
                    self._hash.update(chunk)

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``. :raises HostError: disk full; the upload stands as it was before the call."""
        # The file is opened for each piece: an upload that its client forgot must not hold a descriptor.
        try:
            with open(self.data, "r+b", buffering=0) as file:
                file.seek(self.size)
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view):]
        except OSError as error:
            os.truncate(self.data, self.size)
            raise host_error(error, self.data) from error
        self._hash.update(chunk)
        self.size += len(chunk)

    def finish(self) -> str:
        """Make the bytes durable. Returns their digest."""
        with open(self.data, "rb") as file:
            os.fsync(file.fileno())
        return f"sha256:{self._hash.hexdigest()}"


class Storage:
    """The registry's directory. Methods are synchronous and safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"
        self.repositories_dir = path / "repositories"
        self.uploads_dir = path / "uploads"
        for directory in (self.blobs, self.repositories_dir, self.uploads_dir):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open: dict[str, Upload] = {}
        self._forget_old_uploads()

    # --- Blobs -----------------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: str) -> Path:
        """The file of a blob that ``repository`` has. :raises NotFoundError: ``blob.unknown``"""
        path = self.blobs / _hex(digest)
        if not (self._repo(repository) / "blobs" / path.name).exists() or not path.exists():
            raise NotFoundError(f"{repository} has no blob {digest}", code="blob.unknown")
        return path

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Give ``repository`` a blob of another one; False when ``source`` does not have it."""
        try:
            self.blob(source, digest)
        except NotFoundError:
            return False
        self._link(repository, digest)
        return True

    def delete_blob(self, repository: str, digest: str) -> None:
        """The repository no longer has the blob; its bytes go with :meth:`collect`."""
        self.blob(repository, digest)
        (self._repo(repository) / "blobs" / _hex(digest)).unlink()

    def start_upload(self, repository: str) -> Upload:
        """A new, empty upload."""
        directory = self.uploads_dir / secrets.token_hex(16)
        directory.mkdir(mode=0o700)
        write_bytes(directory / "repository", repository.encode())
        upload = Upload(directory, repository)
        self._open[upload.id] = upload
        return upload

    def upload(self, repository: str, upload_id: str) -> Upload:
        """The upload with that id. :raises NotFoundError: ``upload.unknown``"""
        known = self._open.get(upload_id)
        if known is None and _UPLOAD.fullmatch(upload_id) and (self.uploads_dir / upload_id / "repository").exists():
            directory = self.uploads_dir / upload_id
            known = self._open[upload_id] = Upload(directory, (directory / "repository").read_text())
        if known is None or known.repository != repository:
            raise NotFoundError(f"{repository} has no upload {upload_id}", code="upload.unknown")
        return known

    def finish_upload(self, upload: Upload, digest: str) -> None:
        """The upload is complete. :raises VerifyError: its bytes are not ``digest``; they are thrown away"""
        found = upload.finish()
        if found != digest:
            self.cancel_upload(upload)
            raise VerifyError(f"the blob is {found}, announced as {digest}", code="blob.digest")
        target = self.blobs / _hex(digest)
        os.rename(upload.data, target)
        sync_directory(self.blobs)
        self._link(upload.repository, digest)
        self.cancel_upload(upload)

    def cancel_upload(self, upload: Upload) -> None:
        """Forget the upload and its bytes."""
        self._open.pop(upload.id, None)
        shutil.rmtree(upload.directory, ignore_errors=True)

    # --- Manifests and tags ------------------------------------------------------------------------------------

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> tuple[str, str | None]:
        """Keep a manifest under a tag or its digest. Returns its digest, and its subject's when it names one.

        :raises UsageError: ``manifest.invalid``; :raises NotFoundError: ``manifest.blob_unknown``;
        :raises VerifyError: ``manifest.digest``
        """
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if ":" in reference and reference != digest:
            raise VerifyError(f"the manifest is {digest}, announced as {reference}", code="manifest.digest")
        document = _parse_manifest(data, media_type)
        for entry in _references(document, media_type):
            known = self._repo(repository) / ("manifests" if media_type in _INDEX_TYPES else "blobs")
            if not (known / _hex(entry)).exists():
                raise NotFoundError(f"the manifest names {entry}, which {repository} does not have",
                                    code="manifest.blob_unknown")
        write_bytes(self.blobs / _hex(digest), data)
        repo = self._repo(repository)
        _write(repo / "manifests" / _hex(digest), media_type)
        subject = (document.get("subject") or {}).get("digest")
        if subject:
            descriptor = json.dumps(_descriptor(document, data, media_type))
            _write(repo / "referrers" / _hex(subject) / _hex(digest), descriptor)
        if ":" not in reference:
            _write(repo / "tags" / reference, digest)
        return digest, subject

    def manifest(self, repository: str, reference: str) -> tuple[str, str, bytes]:
        """Digest, media type and bytes. :raises NotFoundError: ``manifest.unknown``"""
        repo = self._repo(repository)
        missing = NotFoundError(f"{repository} has no manifest {reference}", code="manifest.unknown")
        try:
            digest = reference if ":" in reference else (repo / "tags" / reference).read_text()
            return digest, (repo / "manifests" / _hex(digest)).read_text(), (self.blobs / _hex(digest)).read_bytes()
        except FileNotFoundError:
            raise missing from None

    def delete_manifest(self, repository: str, reference: str) -> None:
        """Remove a tag, or a manifest with all tags that point to it."""
        digest, _media_type, data = self.manifest(repository, reference)
        repo = self._repo(repository)
        if ":" not in reference:
            (repo / "tags" / reference).unlink(missing_ok=True)
            return
        for tag in self.tags(repository):
            if (repo / "tags" / tag).read_text() == digest:
                (repo / "tags" / tag).unlink(missing_ok=True)
        subject = (json.loads(data).get("subject") or {}).get("digest")
        if subject:
            (repo / "referrers" / _hex(subject) / _hex(digest)).unlink(missing_ok=True)
        (repo / "manifests" / _hex(digest)).unlink(missing_ok=True)

    def tags(self, repository: str) -> list[str]:
        """All tags, sorted. :raises NotFoundError: ``name.unknown``"""
        repo = self._repo(repository)
        if not repo.is_dir():
            raise NotFoundError(f"there is no repository {repository}", code="name.unknown")
        return sorted(p.name for p in (repo / "tags").glob("*") if not p.name.startswith("."))

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests whose subject is ``digest``."""
        directory = self._repo(repository) / "referrers" / _hex(digest)
        return [json.loads(p.read_text()) for p in sorted(directory.glob("*")) if not p.name.startswith(".")]

    def repositories(self) -> list[str]:
        """All names, sorted."""
        return sorted(str(p.parent.relative_to(self.repositories_dir)) for p in self._repo_dirs())

    def collect(self) -> int:
        """Remove the bytes that no repository names any more. Returns bytes freed. Not while something is pushed."""
        used: set[str] = set()
        for repo in self._repo_dirs():
            for kind in ("blobs", "manifests"):
                used.update(p.name for p in (repo / kind).glob("*"))
        freed = 0
        for path in self.blobs.iterdir():
            if path.name not in used:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _forget_old_uploads(self) -> None:
        """Uploads that nobody touched for a day are not taken up again."""
        limit = time.time() - UPLOAD_LIFETIME
        for directory in self.uploads_dir.iterdir():
            data = directory / "data"
            if (data if data.exists() else directory).stat().st_mtime < limit:
                shutil.rmtree(directory, ignore_errors=True)

    def _repo_dirs(self) -> Iterator[Path]:
        for directory, names, _files in os.walk(self.repositories_dir):
            if "_" in names:
                names.remove("_")
                yield Path(directory) / "_"

    def _repo(self, repository: str) -> Path:
        if not NAME.fullmatch(repository) or len(repository) > MAX_NAME:
            raise UsageError(f"{repository!r} is not a legal repository name", code="name.invalid")
        return self.repositories_dir / repository / "_"

    def _link(self, repository: str, digest: str) -> None:
        _write(self._repo(repository) / "blobs" / _hex(digest), "")


def _hex(digest: Any) -> str:
    """The file name of a digest; refuses everything that is not one, so that no path can be smuggled in."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise UsageError(f"{digest!r} is not a digest", code="digest.invalid")
    return digest[7:]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(path, text.encode())


def _parse_manifest(data: bytes, media_type: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise UsageError("the manifest is not a JSON object of schema version 2", code="manifest.invalid")
    if document.get("mediaType", media_type) != media_type:
        raise UsageError(f"the manifest says {document['mediaType']!r}, its Content-Type {media_type!r}",
                         code="manifest.invalid")
    if not isinstance(document.get("subject") or {}, dict):
        raise UsageError("the manifest's subject is not a descriptor", code="manifest.invalid")
    return document


def _references(document: dict[str, Any], media_type: str) -> list[str]:
    """Digests that must be there before the manifest is accepted."""
    if media_type in _INDEX_TYPES:
        entries = document.get("manifests", [])
    else:
        layers = document.get("layers", [])
        entries = [document.get("config", {}), *(layers if isinstance(layers, list) else [None])]
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "digest" in e for e in entries):
        raise UsageError("the manifest's descriptors are malformed", code="manifest.invalid")
    # Layers with URLs (foreign layers) live elsewhere.
    return [_hex(e["digest"]) and str(e["digest"]) for e in entries if not e.get("urls")]


def _descriptor(document: dict[str, Any], data: bytes, media_type: str) -> dict[str, Any]:
    """The entry of the referrers list (Distribution Spec, "Listing Referrers")."""
    descriptor: dict[str, Any] = {
        "mediaType": media_type, "size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
    }
    kind = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
    if kind:
        descriptor["artifactType"] = kind
    if document.get("annotations"):
        descriptor["annotations"] = document["annotations"]
    return descriptor
