# SPDX-License-Identifier: GPL-3.0-or-later
"""The image store: an OCI image layout, and beside it the raw disks and kernels that its images unpack to.

Format: OCI Image Format Specification 1.1, image-layout.md. ``index.json`` lists every image; its tag is the
annotation ``org.opencontainers.image.ref.name``, the way skopeo and containerd write it.

Crash safety: a blob appears under its digest only when it is complete, verified and on disk; the index is
replaced whole, after everything that it names. What a killed process leaves are temporary files that nobody
refers to; the next writer that is alone sweeps them.

Locks: ``images.lock`` is shared by those who add blobs and exclusive for those who delete them;
``images-index.lock`` orders writers of the index.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    DeadlineError,
    NotFoundError,
    StateError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEXES,
    MANIFESTS,
    MAX_MANIFEST,
    OWN,
    REF_NAME,
    Descriptor,
    ImageInfo,
    canonical_json,
    check_descriptor,
    image_info,
    malformed,
    manifest_blobs,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    TEMP_PREFIX,
    host_error,
    lock,
    sync_directory,
    write_bytes,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import (
    Reference,
    is_digest,
    parse_reference,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

_CHUNK = 1 << 20
_STORED = OWN + "stored"
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": []}


class ImageStore:
    """The images below one root. Any number of processes may use it at once."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.path = root.images
        self.blobs = self.path / "blobs" / "sha256"
        if not (self.path / "oci-layout").exists():
            self.blobs.mkdir(parents=True, exist_ok=True)
            with self._index_lock():
                write_bytes(self.path / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n', mode=0o644)

    # Blobs

    def blob_path(self, digest: str) -> Path:
        """Where the blob ``digest`` is kept. Nothing is verified.

        :raises UsageError: code ``image.digest``: it is no SHA-256 digest (and so never leaves the directory)
        """
        if not is_digest(digest):
            raise UsageError(f"{digest!r} is not a SHA-256 digest", code="image.digest")
        return self.blobs / digest.partition(":")[2]

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is here (with that size, in bytes)."""
        try:
            found = self.blob_path(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def read_blob(self, digest: str, *, limit: int = MAX_MANIFEST) -> bytes:
        """The verified bytes of a small blob.

        :raises NotFoundError: code ``blob.missing``
        :raises VerifyError: code ``blob.tampered``, naming the digest
        """
        try:
            with self.blob_path(digest).open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > limit:
                    raise malformed(f"the blob {digest}", f"it is larger than {limit} bytes")
                data = file.read(limit)
        except FileNotFoundError:
            raise self._missing(digest) from None
        except OSError as error:
            raise host_error(error, self.blob_path(digest), "read") from error
        found = hashlib.sha256(data).hexdigest()
        if digest != f"sha256:{found}":
            raise self._tampered(digest, found)
        return data

    def verified_chunks(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob in pieces of at most 1 MiB; the error for a wrong one comes after the last
        piece.

        :raises VerifyError: code ``blob.tampered``
        """
        found = hashlib.sha256()
        try:
            with self.blob_path(digest).open("rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
                    yield chunk
        except FileNotFoundError:
            raise self._missing(digest) from None
        if digest != f"sha256:{found.hexdigest()}":
            raise self._tampered(digest, found.hexdigest())

    def _missing(self, digest: str) -> NotFoundError:
        return NotFoundError(f"the blob {digest} is missing from {self.path}", code="blob.missing",
                             hint="pull or build the image again")

    def _tampered(self, digest: str, found: str) -> VerifyError:
        return VerifyError(f"the blob {digest} in {self.path} was altered: its SHA-256 is {found}",
                           code="blob.tampered", hint="remove the image and pull or build it again")

    def add_blob(self, data: bytes | Iterable[bytes], *, media_type: str, digest: str | None = None,
                 size: int | None = None) -> Descriptor:
        """Store bytes, or a stream of them, and return the descriptor.

        :param digest: what they must hash to; None: whatever they do
        :raises VerifyError: code ``blob.mismatch``; nothing is stored
        :raises HostError: ``host.disk_full``; nothing is stored
        """
        temp = self.blobs / f"{TEMP_PREFIX}{os.getpid()}.{os.urandom(6).hex()}"
        try:
            with temp.open("wb", buffering=0) as file:
                found, length = _pour([data] if isinstance(data, bytes) else data, file.fileno())
                os.fsync(file.fileno())
            if (digest is not None and digest != found) or (size is not None and size != length):
                raise VerifyError(
                    f"received {found} of {length} bytes where {digest or 'a blob'}"
                    f"{f' of {size} bytes' if size is not None else ''} was expected", code="blob.mismatch",
                    hint="try again; if it stays, the sender's copy is damaged")
            temp.chmod(0o644)
            temp.rename(self.blob_path(found))
            sync_directory(self.blobs)
        except OSError as error:
            raise host_error(error, self.blobs) from error
        finally:
            temp.unlink(missing_ok=True)
        return {"mediaType": media_type, "digest": found, "size": length}

    # Writers and sweepers

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold off :meth:`gc` while blobs are added that nothing refers to yet.

        When nobody else writes, what killed writers left behind is removed first.
        """
        path = self.root.locks / "images.lock"
        try:
            with lock(path, timeout=0):
                self._sweep()
        except DeadlineError:
            pass
        with lock(path, shared=True):
            yield

    def _sweep(self) -> None:
        for directory in (self.blobs, self.root.disks):
            for path in directory.glob(TEMP_PREFIX + "*"):
                path.unlink(missing_ok=True)

    # The index

    def index(self) -> list[Descriptor]:
        """The entries of ``index.json``.

        :raises VerifyError: code ``image.malformed``
        """
        try:
            data = (self.path / "index.json").read_bytes()
        except FileNotFoundError:
            return []
        parsed = parse_object(data, str(self.path / "index.json"))
        entries = parsed.get("manifests", [])
        if not isinstance(entries, list):
            raise malformed(str(self.path / "index.json"), "manifests is not a list")
        return [check_descriptor(entry, str(self.path / "index.json")) for entry in entries]

    @contextmanager
    def _index_lock(self) -> Iterator[None]:
        """Order writers of the layout's own files, and sweep what killed ones left."""
        with lock(self.root.locks / "images-index.lock"):
            for path in self.path.glob(TEMP_PREFIX + "*"):
                path.unlink(missing_ok=True)
            yield

    @contextmanager
    def _changing_index(self) -> Iterator[list[Descriptor]]:
        """The entries, to be changed in place; written back when the body ends without an error."""
        with self._index_lock():
            entries = self.index()
            before = canonical_json(entries)
            yield entries
            if canonical_json(entries) != before:
                write_bytes(self.path / "index.json", canonical_json({**_EMPTY_INDEX, "manifests": entries}),
                            mode=0o644)

    def tag(self, manifest: Descriptor, reference: Reference | None) -> None:
        """Point ``reference`` at a stored manifest; what it pointed at before stays, without that tag.

        Without a reference the manifest is kept untagged.
        """
        plain: Descriptor = {key: manifest[key] for key in ("mediaType", "digest", "size") if key in manifest}
        name = str(reference) if reference else ""
        with self._changing_index() as entries:
            stored = next((entry["annotations"][_STORED] for entry in entries
                           if entry["digest"] == plain["digest"] and _STORED in entry.get("annotations", {})),
                          f"{time.time():.3f}")
            if name:
                _drop_name(entries, name, keep=plain["digest"])
            if any(entry["digest"] == plain["digest"] and (not name or _name_of(entry) == name)
                   for entry in entries):
                return
            # An untagged entry of the same manifest becomes the tagged one.
            entries[:] = [entry for entry in entries
                          if entry["digest"] != plain["digest"] or _name_of(entry)]
            annotations = {_STORED: stored, **({REF_NAME: name} if name else {})}
            entries.append({**plain, "annotations": annotations})

    def untag(self, reference: Reference) -> bool:
        """Remove one tag; the manifest goes with its last tag. False when there was no such tag."""
        with self._changing_index() as entries:
            kept = [entry for entry in entries if _name_of(entry) != str(reference)]
            changed = len(kept) != len(entries)
            entries[:] = kept
        return changed

    def forget(self, digest: str) -> bool:
        """Remove a manifest with all its tags; :meth:`gc` frees the space."""
        with self._changing_index() as entries:
            kept = [entry for entry in entries if entry["digest"] != digest]
            changed = len(kept) != len(entries)
            entries[:] = kept
        return changed

    # Images

    def images(self) -> list[ImageInfo]:
        """Every image, the newest first."""
        grouped: dict[str, list[Descriptor]] = {}
        for entry in self.index():
            if entry.get("mediaType", MANIFESTS[0]) in MANIFESTS and "artifactType" not in entry:
                grouped.setdefault(entry["digest"], []).append(entry)
        images = [self._load(entries) for entries in grouped.values()]
        return sorted(images, key=lambda image: (-image.created, image.name))

    def _load(self, entries: list[Descriptor]) -> ImageInfo:
        digest = str(entries[0]["digest"])
        manifest = parse_object(self.read_blob(digest), f"the manifest {digest}")
        config: Mapping[str, Any] = {}
        if "config" in manifest:
            descriptor = check_descriptor(manifest["config"], f"the manifest {digest}")
            config = parse_object(self.read_blob(descriptor["digest"]), f"the config {descriptor['digest']}")
        stored = entries[0].get("annotations", {}).get(_STORED, "0")
        return image_info(manifest, config, digest=digest, created=_seconds(stored),
                          references=sorted(name for name in map(_name_of, entries) if name))

    def find(self, text: str) -> ImageInfo | None:
        """The image called ``text``, or None. See :meth:`resolve`."""
        try:
            return self.resolve(text)
        except NotFoundError as error:
            if error.code != "image.not_found":
                raise
            return None

    def resolve(self, text: str) -> ImageInfo:
        """The image called ``text``: NAME[:TAG], NAME@DIGEST, an id, a digest, or an unambiguous start of
        those.

        :raises NotFoundError: code ``image.not_found``
        :raises ConflictError: code ``image.ambiguous``
        :raises UsageError: the text is no reference at all
        """
        entries = self.index()
        if is_digest(text):
            digests = {entry["digest"] for entry in entries if entry["digest"] == text}
        else:
            reference = parse_reference(text)
            digests = {entry["digest"] for entry in entries if _matches(entry, reference)}
        if not digests:
            digests = self._by_prefix(entries, text)
        if len(digests) > 1:
            names = ", ".join(sorted(digest[7:19] for digest in digests))
            raise ConflictError(f"{text!r} could be any of the images {names}", code="image.ambiguous",
                                hint="give more digits, or a name and tag")
        if not digests:
            raise NotFoundError(f"there is no image {text!r}", code="image.not_found",
                                hint=self._suggest(entries, text))
        digest = digests.pop()
        return self._load([entry for entry in entries if entry["digest"] == digest])

    def _by_prefix(self, entries: list[Descriptor], text: str) -> set[str]:
        prefix = text[7:] if text.startswith("sha256:") else text
        if not 4 <= len(prefix) <= 64 or set(prefix) - set("0123456789abcdef"):
            return set()
        found = {entry["digest"] for entry in entries if entry["digest"][7:].startswith(prefix)}
        return found or {image.digest for image in self.images() if image.id[7:].startswith(prefix)}

    def _suggest(self, entries: list[Descriptor], text: str) -> str:
        import difflib

        names = sorted({name for name in map(_name_of, entries) if name})
        close = difflib.get_close_matches(text, names, 1) or difflib.get_close_matches(f"{text}:latest", names, 1)
        if close:
            return f"did you mean {close[0]}?"
        return "build it with `uni build`, or pull it with `uni pull`; `uni images` lists what is here"

    def manifest(self, image: ImageInfo) -> dict[str, Any]:
        """The parsed manifest of ``image``."""
        return parse_object(self.read_blob(image.digest), f"the manifest {image.digest}")

    # Garbage

    def live_blobs(self) -> set[str]:
        """Digests of all blobs that an index entry leads to, missing ones included."""
        live: set[str] = set()
        queue = list(self.index())
        while queue:
            entry = queue.pop()
            digest = str(entry["digest"])
            if digest in live:
                continue
            live.add(digest)
            if entry.get("mediaType", "") in MANIFESTS + INDEXES and self.has_blob(digest):
                queue.extend(manifest_blobs(parse_object(self.read_blob(digest), f"the manifest {digest}"),
                                            f"the manifest {digest}"))
        return live

    def gc(self, *, keep_disks: Iterable[str] = (), timeout: float | None = 60) -> int:
        """Delete every blob, disk and kernel that no image needs; returns the bytes freed.

        :param keep_disks: names of files in ``root.disks`` that VMs still use
        :param timeout: seconds to wait for writers to finish
        :raises DeadlineError: code ``lock.busy``
        """
        with lock(self.root.locks / "images.lock", timeout=timeout):
            self._sweep()
            live = self.live_blobs()
            freed = 0
            for path in self.blobs.iterdir():
                if f"sha256:{path.name}" not in live:
                    freed += _unlink(path)
            needed = set(keep_disks)
            for image in self.images():
                needed.update(unpacked_names(image))
            for path in self.root.disks.iterdir():
                if path.name.removesuffix(".ok") not in needed:
                    freed += _unlink(path)
        return freed

    def check_removable(self, image: ImageInfo, users: Iterable[str]) -> None:
        """Refuse to remove an image in use.

        :raises StateError: code ``image.in_use``, naming the users
        """
        names = sorted(users)
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise StateError(f"the image {image.references[0] if image.references else image.digest} is used by"
                             f" {shown}", code="image.in_use", hint="remove those first")


def unpacked_names(image: ImageInfo) -> set[str]:
    """Names of the files in ``root.disks`` that ``image`` unpacks to."""
    names = {f"{layer['digest'][7:]}.{suffix}" for layer in image.layers for suffix in ("layer", "kernel")}
    return names | ({f"{image.disk_digest[7:]}.ext2"} if image.disk_digest else set())


def _matches(entry: Descriptor, reference: Reference) -> bool:
    name = _name_of(entry)
    if reference.digest:
        # The digest alone decides; a name beside it must be one of the image's names, where it has any.
        return bool(entry["digest"] == reference.digest
                    and (not name or parse_reference(name).name == reference.name))
    return name == str(reference)


def _name_of(entry: Descriptor) -> str:
    return str(entry.get("annotations", {}).get(REF_NAME, ""))


def _drop_name(entries: list[Descriptor], name: str, keep: str) -> None:
    """Take ``name`` from every entry but the one of the digest ``keep``; their manifests stay, untagged."""
    for entry in [item for item in entries if _name_of(item) == name and item["digest"] != keep]:
        others = [item for item in entries if item is not entry and item["digest"] == entry["digest"]]
        if others:
            entries.remove(entry)
        else:
            entry["annotations"] = {key: value for key, value in entry["annotations"].items() if key != REF_NAME}


def _pour(chunks: Iterable[bytes], fd: int) -> tuple[str, int]:
    """Write ``chunks`` to ``fd``; their digest and length."""
    found = hashlib.sha256()
    length = 0
    for chunk in chunks:
        found.update(chunk)
        length += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view):]
    return f"sha256:{found.hexdigest()}", length


def _seconds(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def _unlink(path: Path) -> int:
    try:
        size = path.stat().st_blocks * 512
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
