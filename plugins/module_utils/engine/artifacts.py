# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI artifacts with signatures, in whatever keeps them: a directory (an OCI image layout) or a registry.

Formats: OCI Image Format Specification 1.1, manifest.md ("Guidelines for Artifact Usage") and image-layout.md.
A signature is an artifact of its own whose ``subject`` is the signed manifest (OCI 1.1 referrers); its one layer
is a sigstore bundle over the manifest's bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.uni.engine.plugins.module_utils.engine import kernels, signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEX,
    MANIFEST,
    MAX_MANIFEST,
    REF_NAME,
    Descriptor,
    canonical_json,
    check_descriptor,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error, lock, write_bytes
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import is_digest, parse_reference
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
MAX_FILE = 256 << 20


class Keeper(Protocol):
    """What keeps artifacts."""

    name: str

    def tags(self) -> list[str]:
        """Every tag."""

    def manifest(self, reference: str) -> bytes:
        """The bytes of the manifest with this tag or digest. NotFoundError ``artifact.not_found``."""

    def blob(self, digest: str, size: int) -> bytes:
        """The bytes of a blob; the caller verifies them."""

    def referrers(self, digest: str, artifact_type: str) -> list[str]:
        """Digests of the manifests of this type whose subject is ``digest``."""

    def add_blob(self, data: bytes) -> None:
        """Keep a blob."""

    def add_manifest(self, data: bytes, tag: str | None) -> None:
        """Keep a manifest whose blobs are there."""


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: its files by name, what it says of itself, and who signed it (None: nobody)."""

    digest: str
    version: str
    artifact_type: str
    files: Mapping[str, bytes]
    annotations: Mapping[str, str]
    signer: signing.PublicKey | None


def digest_of(data: bytes) -> str:
    """``sha256:...`` of ``data``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def publish(target: Keeper, artifact_type: str, version: str, files: Mapping[str, tuple[str, bytes]], *,
            key: Path | None, annotations: Mapping[str, str] | None = None) -> str:
    """Keep an artifact under the tag ``version``, signed when there is a key; its digest.

    :param files: name -> (media type, content); equal files give an equal digest
    """
    layers = []
    for name, (media_type, data) in files.items():
        target.add_blob(data)
        layers.append({**_descriptor(media_type, data), "annotations": {TITLE: name}})
    manifest = _manifest(artifact_type, layers, {VERSION: version, **(annotations or {})})
    target.add_blob(b"{}")
    target.add_manifest(manifest, version)
    if key is not None:
        bundle = canonical_json(signing.sign(key, manifest))
        target.add_blob(bundle)
        subject = _descriptor(MANIFEST, manifest)
        layer = _descriptor(signing.BUNDLE_TYPE, bundle)
        target.add_manifest(_manifest(signing.BUNDLE_TYPE, [layer], {}, subject), None)
    return digest_of(manifest)


def fetch(source: Keeper, reference: str, artifact_type: str, keys: Mapping[str, signing.PublicKey], *,
          unsigned: bool = False) -> Artifact:
    """Read an artifact; nothing of it is returned before its signature and every byte are verified.

    :param keys: keys that are trusted
    :param unsigned: take one without a signature too; one with a wrong signature is refused even so
    :raises VerifyError: codes ``artifact.type``, ``artifact.unsigned``, ``artifact.tampered``, ``signature.*``
    """
    data = source.manifest(reference)
    digest = digest_of(data)
    what = f"{reference} of {source.name}"
    if is_digest(reference) and digest != reference:
        raise VerifyError(f"{what} is not what its digest says", code="artifact.tampered")
    manifest = parse_object(data, what)
    found = manifest.get("artifactType")
    if found != artifact_type:
        raise VerifyError(f"{what} is {found or 'an image'}, not {artifact_type}", code="artifact.type",
                          hint="name a repository of such artifacts")
    signer = _signer(source, digest, data, keys, what)
    if signer is None and not unsigned:
        raise VerifyError(f"{what} is not signed", code="artifact.unsigned",
                          hint="sign it, or say that an unsigned one will do")
    annotations = {str(name): str(value) for name, value in (manifest.get("annotations") or {}).items()}
    return Artifact(digest, annotations.get(VERSION, ""), artifact_type, _files(source, manifest, what), annotations,
                    signer)


def _signer(source: Keeper, digest: str, data: bytes, keys: Mapping[str, signing.PublicKey],
            what: str) -> signing.PublicKey | None:
    """Who signed the manifest; the first trusted signature counts, else the last error is raised."""
    problem: VerifyError | None = None
    for referrer in source.referrers(digest, signing.BUNDLE_TYPE):
        try:
            manifest = parse_object(source.manifest(referrer), f"the signature of {what}")
            subject = manifest.get("subject")
            if not isinstance(subject, dict) or subject.get("digest") != digest:
                raise VerifyError(f"the signature {referrer} is not one of {what}", code="signature.malformed")
            layers = manifest.get("layers")
            if not isinstance(layers, list) or len(layers) != 1:
                raise VerifyError(f"the signature of {what} has no bundle", code="signature.malformed")
            bundle = _blob(source, layers[0], f"the signature of {what}", MAX_MANIFEST)
            return signing.verify(parse_object(bundle, f"the signature of {what}"), data, keys, what=what)
        except VerifyError as error:
            problem = error
    if problem is not None:
        raise problem
    return None


def _files(source: Keeper, manifest: Mapping[str, Any], what: str) -> dict[str, bytes]:
    layers = manifest.get("layers")
    files: dict[str, bytes] = {}
    for layer in layers if isinstance(layers, list) else []:
        title = (layer.get("annotations") or {}).get(TITLE, "") if isinstance(layer, dict) else ""
        if not title or "/" in title or title.startswith(".") or title in files:
            raise VerifyError(f"{what} has a file named {title!r}", code="artifact.malformed")
        files[title] = _blob(source, layer, f"{title} of {what}", MAX_FILE)
    return files


def _blob(source: Keeper, value: Any, what: str, limit: int) -> bytes:
    descriptor = check_descriptor(value, what)
    if descriptor["size"] > limit:
        raise VerifyError(f"{what} has {descriptor['size']} bytes", code="artifact.malformed",
                          hint=f"at most {limit} are taken")
    data = source.blob(descriptor["digest"], descriptor["size"])
    if digest_of(data) != descriptor["digest"] or len(data) != descriptor["size"]:
        raise VerifyError(f"{what} was altered: its digest is {digest_of(data)}, not {descriptor['digest']}",
                          code="artifact.tampered", hint="do not use it; fetch it again from its origin")
    return data


def _descriptor(media_type: str, data: bytes) -> Descriptor:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _manifest(artifact_type: str, layers: Sequence[Descriptor], annotations: Mapping[str, str],
              subject: Descriptor | None = None) -> bytes:
    manifest: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
        "config": {**_descriptor(EMPTY, b"{}"), "data": "e30="}, "layers": list(layers)}
    if annotations:
        manifest["annotations"] = dict(annotations)
    if subject is not None:
        manifest["subject"] = subject
    return canonical_json(manifest)


class Layout:
    """Artifacts in a directory: an OCI image layout that skopeo and friends read as it stands."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.name = str(path)
        self.blobs = path / "blobs" / "sha256"
        if create:
            try:
                self.blobs.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise host_error(error, path) from error
            write_bytes(path / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n', mode=0o644)
        elif not (path / "oci-layout").is_file():
            raise NotFoundError(f"{path} is not a directory of releases", code="artifact.no_layout",
                                hint="it must be an OCI image layout, as `uni kernel publish` makes one")

    def tags(self) -> list[str]:
        """Every tag."""
        return [tag for tag in (_tag(entry) for entry in self._index()) if tag]

    def manifest(self, reference: str) -> bytes:
        """The manifest with this tag or digest."""
        for entry in self._index():
            if reference in (entry["digest"], _tag(entry)):
                return self.blob(entry["digest"], entry["size"])
        raise NotFoundError(f"there is no {reference} in {self.name}", code="artifact.not_found",
                            hint="there is: " + (", ".join(sorted(self.tags())) or "nothing"))

    def blob(self, digest: str, size: int) -> bytes:
        """A blob's bytes, not verified."""
        if not is_digest(digest):
            raise UsageError(f"{digest!r} is not a SHA-256 digest", code="artifact.malformed")
        path = self.blobs / digest.partition(":")[2]
        try:
            with path.open("rb") as file:
                return file.read(size + 1)
        except FileNotFoundError:
            raise NotFoundError(f"the blob {digest} is missing from {self.name}", code="artifact.not_found") from None
        except OSError as error:
            raise host_error(error, path, "read") from error

    def referrers(self, digest: str, artifact_type: str) -> list[str]:
        """Manifests in the index whose subject is ``digest``."""
        found = []
        for entry in self._index():
            manifest = parse_object(self.blob(entry["digest"], entry["size"]), f"{entry['digest']} of {self.name}")
            subject = manifest.get("subject")
            if manifest.get("artifactType") == artifact_type and isinstance(subject, dict) \
                    and subject.get("digest") == digest:
                found.append(str(entry["digest"]))
        return found

    def add_blob(self, data: bytes) -> None:
        """Keep a blob."""
        path = self.blobs / digest_of(data).partition(":")[2]
        if not path.exists():
            write_bytes(path, data, mode=0o644)

    def add_manifest(self, data: bytes, tag: str | None) -> None:
        """Keep a manifest; the tag moves to it."""
        self.add_blob(data)
        with lock(self.path / ".lock", timeout=60.0):
            entries = [entry for entry in self._index()
                       if entry["digest"] != digest_of(data) and (tag is None or _tag(entry) != tag)]
            entry = _descriptor(MANIFEST, data)
            entry["artifactType"] = json.loads(data)["artifactType"]
            if tag is not None:
                entry["annotations"] = {REF_NAME: tag}
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, entry]}
            write_bytes(self.path / "index.json", canonical_json(index), mode=0o644)

    def _index(self) -> list[Descriptor]:
        path = self.path / "index.json"
        try:
            parsed = parse_object(path.read_bytes(), str(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise host_error(error, path, "read") from error
        entries = parsed.get("manifests")
        return [check_descriptor(entry, str(path)) for entry in entries] if isinstance(entries, list) else []


def _tag(entry: Descriptor) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


class Repository:
    """Artifacts in a repository of a registry. ``client`` is a RegistryClient."""

    def __init__(self, client: Any, repository: str) -> None:
        self.client = client
        self.repository = repository
        self.name = f"{client.name}/{repository}"

    def tags(self) -> list[str]:
        """Every tag."""
        return list(self.client.tags(self.repository))

    def manifest(self, reference: str) -> bytes:
        """The manifest with this tag or digest."""
        data: bytes = self.client.get_manifest(self.repository, reference).data
        return data

    def blob(self, digest: str, size: int) -> bytes:
        """A blob's bytes."""
        data: bytes = self.client.read_blob(self.repository, digest, limit=size)
        return data

    def referrers(self, digest: str, artifact_type: str) -> list[str]:
        """What the registry (or the index under the digest's tag) lists."""
        found = self.client.referrers(self.repository, digest, artifact_type)
        return [str(entry["digest"]) for entry in found]

    def add_blob(self, data: bytes) -> None:
        """Keep a blob, unless the registry has it."""
        from ansible_collections.uni.engine.plugins.module_utils.engine.registry.client import BlobSource

        digest = digest_of(data)
        if not self.client.has_blob(self.repository, digest):
            source = BlobSource(lambda start: [data[start:]])
            self.client.upload_blob(self.repository, digest, len(data), source)

    def add_manifest(self, data: bytes, tag: str | None) -> None:
        """Keep a manifest. One with a subject is listed under the subject's tag too, for registries that do not list
        referrers themselves (OCI Distribution Specification 1.1, "Referrers Tag Schema").
        """
        self.client.put_manifest(self.repository, tag or digest_of(data), data, MANIFEST)
        manifest = json.loads(data)
        subject = manifest.get("subject")
        if subject is None:
            return
        entries = [entry for entry in self.client.referrers(self.repository, subject["digest"])
                   if entry["digest"] != digest_of(data)]
        entries.append({**_descriptor(MANIFEST, data), "artifactType": manifest["artifactType"]})
        index = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        self.client.put_manifest(self.repository, subject["digest"].replace(":", "-"), index, INDEX)


@contextmanager
def keeper(root: Root, text: str, *, create: bool = False) -> Iterator[Keeper]:
    """What ``text`` names: a directory (begins with ``/`` or ``.``), else ``[http[s]://]HOST[:PORT]/REPOSITORY``.

    :raises UsageError: code ``artifact.source``
    """
    if text.startswith(("/", ".", "~")):
        yield Layout(Path(text).expanduser().absolute(), create=create)
        return
    scheme, colon, rest = text.rpartition("://")
    host, slash, repository = rest.partition("/")
    if not slash or not repository or not host:
        raise UsageError(f"{text!r} names neither a directory nor a repository", code="artifact.source",
                         hint="write /DIRECTORY, ./DIRECTORY or HOST[:PORT]/REPOSITORY")
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api as registries

    repository = parse_reference(f"{host if '.' in host or ':' in host else f'{host}:443'}/{repository}").repository
    with registries.open_client(root, f"{scheme}{colon}{host}") as client:
        yield Repository(client, repository)


def versions(root: Root, source: str) -> tuple[str, ...]:
    """The releases that a source has, the newest first; tags that are no versions are left out."""
    with keeper(root, source) as place:
        tags = place.tags()
    found = []
    for tag in tags:
        try:
            found.append((kernels.version_key(tag), tag))
        except UsageError:
            continue
    return tuple(tag for _key, tag in sorted(found, reverse=True))


def chosen_source(remembered: Path, named: str | None, kind: str) -> str:
    """The source that was named, which is remembered in a file of this host, else the one that was used last.

    :param kind: what comes from it: ``kernel`` or ``client``
    :raises UsageError: code ``<kind>.no_source``
    """
    if named:
        text = str(Path(named).expanduser().absolute()) if named.startswith((".", "~")) else named
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(remembered, text.encode() + b"\n", mode=0o644)
        return text
    try:
        return remembered.read_text().strip()
    except FileNotFoundError:
        raise UsageError(f"it is not known where releases of the {kind} come from", code=f"{kind}.no_source",
                         hint="name a source once with --from") from None
