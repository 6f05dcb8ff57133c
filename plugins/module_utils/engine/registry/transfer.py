# SPDX-License-Identifier: GPL-3.0-or-later
"""Images between the store and a registry: nothing is sent or fetched twice, and every byte is verified.

A pull that was interrupted (even killed) goes on where it stopped: the blob's beginning waits in the store under
``.partial-<hex>``, is hashed again and completed by a Range request.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    ImageInfo,
    check_descriptor,
    malformed,
    manifest_blobs,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    host_error,
    read_json,
    sync_directory,
    write_json,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.client import (
    BlobSource,
    Manifest,
    RegistryClient,
    mismatch,
)

PARTIAL = ".partial-"
_CHUNK = 1 << 20
_PARALLEL = 3
_REMEMBERED = 2000


@dataclass(frozen=True)
class Moved:
    """What a transfer did: bytes and blobs that went over the wire, and blobs that did not have to."""

    digest: str
    bytes: int
    sent: int
    present: int
    mounted: int = 0


def platform_manifest(client: RegistryClient, repository: str, reference: str) -> Manifest:
    """The manifest for linux/amd64 that ``reference`` leads to, through an index where there is one.

    :raises NotFoundError: code ``registry.platform``: the index has none for this machine
    """
    manifest = client.get_manifest(repository, reference)
    if manifest.media_type in MANIFESTS:
        return manifest
    if manifest.media_type not in INDEXES:
        raise malformed(f"{repository}:{reference}", f"{manifest.media_type!r} is no image")
    entries = manifest_blobs(manifest.parsed(), f"the index {manifest.digest}")
    found: list[str] = []
    for entry in entries:
        platform = entry.get("platform") or {}
        found.append(f"{platform.get('os')}/{platform.get('architecture')}")
        if found[-1] == "linux/amd64" and entry.get("mediaType") in MANIFESTS:
            chosen = client.get_manifest(repository, entry["digest"])
            if len(chosen.data) != entry["size"]:
                raise VerifyError(f"the manifest {chosen.digest} is not of the size that the index says",
                                  code="registry.mismatch")
            return chosen
    raise NotFoundError(f"{repository}:{reference} is not there for linux/amd64", code="registry.platform",
                        hint=f"it is there for {', '.join(sorted(set(found))) or 'nothing'}")


class Progress:
    """Tells a function how many of how many bytes have moved; called from several threads, one at a time."""

    def __init__(self, tell: Callable[[int, int], None] | None = None) -> None:
        self.tell = tell
        self.lock = threading.Lock()
        self.done = self.total = 0

    def expect(self, count: int) -> None:
        """``count`` more bytes are to be moved."""
        with self.lock:
            self.total += count

    def add(self, count: int) -> None:
        """``count`` bytes have moved."""
        with self.lock:
            self.done += count
            if self.tell is not None:
                self.tell(min(self.done, self.total), self.total)


def pull_manifest(store: ImageStore, client: RegistryClient, repository: str, manifest: Manifest,
                  progress: Progress | None = None) -> Moved:
    """Bring a manifest and everything it names into the store. The caller holds ``store.writing()`` and tags it."""
    parsed = parse_object(manifest.data, f"the manifest {manifest.digest}")
    blobs = {blob["digest"]: blob for blob in manifest_blobs(parsed, f"the manifest {manifest.digest}")}
    missing = [blob for blob in blobs.values() if not store.has_blob(blob["digest"], blob["size"])]
    progress = progress or Progress()
    progress.expect(sum(blob["size"] for blob in missing))
    received = sum(_in_parallel(lambda blob: _fetch(store, client, repository, blob, progress), missing, client))
    store.add_blob(manifest.data, media_type=manifest.media_type, digest=manifest.digest)
    remember(store, client.name, repository, blobs)
    return Moved(manifest.digest, received, len(missing), len(blobs) - len(missing))


def _fetch(store: ImageStore, client: RegistryClient, repository: str, blob: Descriptor, progress: Progress) -> int:
    """One blob into the store; the bytes that were received. Two who fetch the same one share the work."""
    digest, size = str(blob["digest"]), int(blob["size"])
    final = store.blob_path(digest)
    partial = final.with_name(PARTIAL + final.name)
    try:
        fd = _open_locked(partial)
        try:
            if store.has_blob(digest, size):
                partial.unlink(missing_ok=True)
                return 0
            hasher = hashlib.sha256()
            start = _hash_existing(fd, hasher, size)
            progress.add(start)
            received = _receive(client, repository, digest, size, start, fd, hasher, progress)
            if digest != f"sha256:{hasher.hexdigest()}":
                partial.unlink(missing_ok=True)
                if start:
                    # The beginning was damaged here, perhaps by a crash of the host: once more from the front.
                    return received + _fetch(store, client, repository, blob, progress)
                raise mismatch(client.name, digest)
            os.fchmod(fd, 0o644)
            os.fsync(fd)
            partial.rename(final)
            sync_directory(final.parent)
        finally:
            os.close(fd)
    except OSError as error:
        raise host_error(error, final) from error
    return received


def _open_locked(path: Path) -> int:
    """Open ``path`` and lock it; when its holder renamed it meanwhile, begin again with a new file."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _hash_existing(fd: int, hasher: Any, size: int) -> int:
    """Hash what an earlier attempt left; its length. More than there can be is thrown away."""
    if os.fstat(fd).st_size >= size:
        os.ftruncate(fd, 0)
    at = 0
    while chunk := os.pread(fd, _CHUNK, at):
        hasher.update(chunk)
        at += len(chunk)
    return at


def _receive(client: RegistryClient, repository: str, digest: str, size: int, start: int, fd: int,
             hasher: Any, progress: Progress) -> int:
    at = start
    for chunk in client.blob_chunks(repository, digest, size, start):
        hasher.update(chunk)
        progress.add(len(chunk))
        view = chunk
        while view:
            written = os.pwrite(fd, view, at)
            view = view[written:]
            at += written
    return at - start


def push_image(store: ImageStore, client: RegistryClient, image: ImageInfo, repository: str, tag: str,
               progress: Progress | None = None) -> Moved:
    """Send an image: blobs first, the manifest when all of them are there.

    :raises VerifyError: ``blob.tampered``: a blob of the store was altered, which is found while it is sent
    """
    data = store.read_blob(image.digest)
    parsed = parse_object(data, f"the manifest {image.digest}")
    blobs = list({blob["digest"]: blob for blob in manifest_blobs(parsed, f"the manifest {image.digest}")}.values())
    known = recall(store, client.name)
    progress = progress or Progress()
    results = list(_in_parallel(lambda blob: _send(store, client, repository, blob, known, progress), blobs, client))
    media_type = parsed.get("mediaType")
    client.put_manifest(repository, tag, data, media_type if isinstance(media_type, str) else MANIFESTS[0])
    remember(store, client.name, repository, (blob["digest"] for blob in blobs))
    sent = [blob["size"] for blob, result in zip(blobs, results) if result == "uploaded"]
    return Moved(image.digest, sum(sent), len(sent), results.count("present"), results.count("mounted"))


def _send(store: ImageStore, client: RegistryClient, repository: str, blob: Descriptor, known: dict[str, str],
          progress: Progress) -> str:
    """One blob to the registry: "present", "mounted" or "uploaded"."""
    digest, size = str(blob["digest"]), int(blob["size"])
    if client.has_blob(repository, digest):
        return "present"
    mount = known.get(digest, "")
    return client.upload_blob(repository, digest, size, _source(store, digest, size, progress),
                              mount_from=mount if mount != repository else "")


def _source(store: ImageStore, digest: str, size: int, progress: Progress) -> BlobSource:
    progress.expect(size)

    def chunks_from(start: int) -> Iterator[bytes]:
        at = 0
        for chunk in store.verified_chunks(digest):
            at += len(chunk)
            if at > size:
                break
            if at > start:
                piece = chunk[max(start - (at - len(chunk)), 0):]
                yield piece
                progress.add(len(piece))
        if at != size:
            raise VerifyError(f"the blob {digest} in {store.path} was altered: its size is not {size}",
                              code="blob.tampered", hint="remove the image and pull or build it again")
    return BlobSource(chunks_from)


def copy_tag(client: RegistryClient, source: tuple[str, str], target: tuple[str, str]) -> str:
    """Copy a tag (repository and tag or digest) inside one registry without moving bytes; the digest."""
    manifest = client.get_manifest(*source)
    if source[0] != target[0]:
        _mount_all(client, source[0], target[0], manifest)
    return client.put_manifest(target[0], target[1], manifest.data, manifest.media_type)


def _mount_all(client: RegistryClient, source: str, target: str, manifest: Manifest) -> None:
    for entry in manifest_blobs(manifest.parsed(), f"the manifest {manifest.digest}"):
        digest = str(check_descriptor(entry, manifest.digest)["digest"])
        if entry.get("mediaType") in MANIFESTS + INDEXES:
            child = client.get_manifest(source, digest)
            _mount_all(client, source, target, child)
            client.put_manifest(target, digest, child.data, child.media_type)
        elif not client.has_blob(target, digest):
            def chunks_from(start: int, digest: str = digest, size: int = entry["size"]) -> Iterable[bytes]:
                return (bytes(chunk) for chunk in client.blob_chunks(source, digest, size, start))
            client.upload_blob(target, digest, entry["size"], BlobSource(chunks_from), mount_from=source)


def remember(store: ImageStore, registry: str, repository: str, digests: Iterable[str]) -> None:
    """Note where a registry has blobs, so that another repository there can mount them. Only a hint."""
    path = _notes(store, registry)
    notes = recall(store, registry)
    notes.update(dict.fromkeys(digests, repository))
    write_json(path, dict(list(notes.items())[-_REMEMBERED:]))


def recall(store: ImageStore, registry: str) -> dict[str, str]:
    """Repositories by digest, as noted by :func:`remember`."""
    notes = read_json(_notes(store, registry))
    return dict(notes) if isinstance(notes, dict) else {}


def _notes(store: ImageStore, registry: str) -> Path:
    return store.root.cache / f"registry-{hashlib.sha256(registry.encode()).hexdigest()[:16]}.json"


def _in_parallel(function: Any, items: list[Descriptor], client: RegistryClient) -> Iterable[Any]:
    """Results in the order of ``items``; the first error, or Ctrl-C, cuts off those that are under way."""
    if len(items) <= 1:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_PARALLEL) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            client.transport.close()
            raise
