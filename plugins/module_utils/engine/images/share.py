# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as files: OCI archives (a tar of an image layout), to and from. Equal images give equal archives.

Format: OCI Image Format Specification 1.1, image-layout.md; the tag stands where skopeo and containerd put it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from ansible_collections.uni.engine.plugins.module_utils.engine.disk import temporary
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import TAR_ERRORS, EndGuard
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEX,
    INDEXES,
    MANIFEST,
    MANIFESTS,
    MAX_MANIFEST,
    REF_NAME,
    Descriptor,
    ImageInfo,
    canonical_json,
    check_descriptor,
    malformed,
    manifest_blobs,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import Reference, is_digest, parse_reference
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_CHUNK = 1 << 20
# What `docker save` writes beside the tag, which it cuts down to the part behind the colon.
_CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Loaded:
    """What a load did, or would do: ``references`` are the names that the archive's images have now."""

    plan: Plan
    references: tuple[str, ...]
    images: tuple[ImageInfo, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything changed, or would."""
        return self.plan.changed


def save(root: Root, names: Sequence[str], out: Path) -> list[ImageInfo]:
    """Write images to the OCI archive ``out``: complete, or not at all.

    :raises NotFoundError: ``image.not_found``; :raises VerifyError: ``blob.tampered``, naming the blob
    """
    temp = temporary(out)
    try:
        with temp.open("wb") as file:
            images = save_stream(root, names, file)
        temp.chmod(0o644)
        temp.rename(out)
    except OSError as error:
        raise host_error(error, out) from error
    finally:
        temp.unlink(missing_ok=True)
    return images


def save_stream(root: Root, names: Sequence[str], stream: IO[bytes]) -> list[ImageInfo]:
    """As :func:`save`, to a stream, such as standard output."""
    store = ImageStore(root)
    chosen = [(store.resolve(name), name) for name in names]
    if not chosen:
        raise UsageError("no image to save", code="image.none", hint="name at least one")
    blobs: dict[str, int] = {}
    entries: list[Descriptor] = []
    for image, name in chosen:
        data = store.read_blob(image.digest)
        manifest = parse_object(data, f"the manifest {image.digest}")
        blobs[image.digest] = len(data)
        blobs.update({blob["digest"]: blob["size"] for blob in manifest_blobs(manifest, image.digest)})
        for reference in _references(image, name):
            entries.append({"mediaType": manifest.get("mediaType", MANIFEST), "digest": image.digest,
                            "size": len(data), "annotations": {REF_NAME: reference} if reference else {}})
    index = canonical_json({"schemaVersion": 2, "mediaType": INDEX,
                            "manifests": sorted(entries, key=lambda entry: str(entry["annotations"]))})
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", len(_LAYOUT), io.BytesIO(_LAYOUT))
        _add(archive, "index.json", len(index), io.BytesIO(index))
        for digest, size in sorted(blobs.items()):
            _add(archive, f"blobs/sha256/{digest[7:]}", size, _Verified(store.verified_chunks(digest)))
    return [image for image, _name in chosen]


def _references(image: ImageInfo, name: str) -> tuple[str, ...]:
    """The tag that the image was asked for by; all of its tags when that was an id or digest."""
    try:
        text = str(parse_reference(name))
    except UsageError:
        text = ""
    return (text,) if text in image.references else image.references or ("",)


def _add(archive: tarfile.TarFile, name: str, size: int, source: IO[bytes] | _Verified) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    try:
        archive.addfile(info, source)
    except OSError as error:
        if "unexpected end of data" not in str(error):
            raise
        raise VerifyError(f"the blob {name} in the store is shorter than it should be", code="blob.tampered",
                          hint="remove the image and pull or build it again") from error
    if isinstance(source, _Verified):
        source.finish()


class _Verified:
    """Chunks with a ``read``, so that tarfile can copy them; the digest is checked at the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = b""

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        parts = [self.rest]
        have = len(self.rest)
        while have < size:
            chunk = next(self.chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self.rest = data[size:]
        return data[:size]

    def finish(self) -> None:
        """Let the generator compare the digest."""
        for _chunk in self.chunks:
            continue


def load(root: Root, path: Path, *, check: bool = False) -> Loaded:
    """Bring the images of an OCI archive into the store, under the names they have there.

    :raises VerifyError: ``layer.damaged``, ``blob.mismatch``; no name changes then
    :raises UsageError: ``source.layout``: it is no OCI archive
    """
    store = ImageStore(root)
    index, manifests = _read_index(path)
    wanted = [_choose(entry, manifests) for entry in index]
    actions = []
    for reference, descriptor in wanted:
        before = store.find(str(reference)) if reference else store.find(descriptor["digest"])
        if before is None or before.digest != descriptor["digest"]:
            what = str(reference) if reference else descriptor["digest"][:19]
            actions.append(Action("load", f"image/{what}", f"load {what} from {path.name}",
                                  {"digest": before.digest if before else None}, {"digest": descriptor["digest"]}))
    names = tuple(str(reference) for reference, _descriptor in wanted if reference)
    plan = Plan(tuple(actions))
    if check or not actions:
        return Loaded(plan, names, tuple(found for found in map(store.find, names) if found))
    with store.writing():
        _copy_blobs(store, path)
        for _reference, descriptor in wanted:
            _check_complete(store, descriptor)
        for reference, descriptor in wanted:
            store.tag(descriptor, reference)
    return Loaded(plan, names, tuple(store.resolve(descriptor["digest"]) for _reference, descriptor in wanted))


@contextmanager
def _reading(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive as a stream; its errors in our words."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=cast(IO[bytes], EndGuard(file)), mode="r|*") as archive:
            yield archive
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", code="source.not_found", hint="check the path") from None
    except TAR_ERRORS as error:
        raise VerifyError(f"{path} is no whole tar archive: {error}", code="layer.damaged",
                          hint="give the output of `uni save` or of `skopeo copy ... oci-archive:FILE`") from error
    except OSError as error:
        raise host_error(error, path, "read") from error


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The members that a layout has: their names, and for blobs the digest in place of the name."""
    for member in archive:
        name = member.name.removeprefix("./")
        if name.startswith("blobs/sha256/"):
            name = f"sha256:{name[len('blobs/sha256/'):]}"
        if member.isfile() and (name in ("index.json", "oci-layout") or is_digest(name)):
            yield name, member


def _read_index(path: Path) -> tuple[list[Descriptor], dict[str, bytes]]:
    """The index entries, and every blob small enough to be a manifest."""
    small: dict[str, bytes] = {}
    index: bytes | None = None
    with _reading(path) as archive:
        for name, member in _members(archive):
            if member.size > MAX_MANIFEST or name == "oci-layout":
                continue
            source = archive.extractfile(member)
            if source is None:
                raise AssertionError("source is set here")
            data = source.read()
            if name == "index.json":
                index = data
            elif data[:1] == b"{":
                small[name] = data
    if index is None:
        raise UsageError(f"{path} is no OCI archive: it has no index.json", code="source.layout",
                         hint="convert an older one with `skopeo copy docker-archive:FILE oci-archive:FILE`")
    entries = parse_object(index, f"the index of {path.name}").get("manifests")
    if not isinstance(entries, list) or not entries:
        raise malformed(f"the index of {path.name}", "it lists no images")
    return [check_descriptor(entry, f"the index of {path.name}") for entry in entries], small


def _choose(entry: Descriptor, small: dict[str, bytes]) -> tuple[Reference | None, Descriptor]:
    """The name of an index entry, and its manifest for linux/amd64, through nested indexes."""
    annotations = entry.get("annotations") if isinstance(entry.get("annotations"), dict) else {}
    if annotations is None:
        raise AssertionError("annotations is set here")
    name = annotations.get(_CONTAINERD_NAME) or annotations.get(REF_NAME)
    reference = parse_reference(str(name)) if name else None
    for _level in range(3):
        data = small.get(entry["digest"])
        if data is None:
            raise VerifyError(f"the archive lacks the manifest {entry['digest']}", code="blob.missing")
        if entry.get("mediaType") not in INDEXES:
            return reference, {"mediaType": entry.get("mediaType", MANIFEST), "digest": entry["digest"],
                               "size": len(data)}
        inner = [item for item in manifest_blobs(parse_object(data, entry["digest"]), entry["digest"])
                 if item.get("mediaType") in MANIFESTS + INDEXES
                 and (item.get("platform") or {}).get("architecture", "amd64") == "amd64"]
        if not inner:
            break
        entry = inner[0]
    raise NotFoundError(f"the archive's {reference or entry['digest']} is not there for linux/amd64",
                        code="registry.platform")


def _copy_blobs(store: ImageStore, path: Path) -> None:
    with _reading(path) as archive:
        for name, member in _members(archive):
            if not is_digest(name) or store.has_blob(name, member.size):
                continue
            source = archive.extractfile(member)
            if source is None:
                raise AssertionError("source is set here")
            try:
                store.add_blob(iter(partial(source.read, _CHUNK), b""), media_type="", digest=name)
            except UniError as error:
                if error.code != "blob.mismatch":
                    raise
                raise VerifyError(f"the blob {name} in {path.name} was altered", code="blob.mismatch",
                                  hint="get the archive again") from error


def _check_complete(store: ImageStore, descriptor: Descriptor) -> None:
    manifest = parse_object(store.read_blob(descriptor["digest"]), f"the manifest {descriptor['digest']}")
    for blob in manifest_blobs(manifest, f"the manifest {descriptor['digest']}"):
        if not store.has_blob(blob["digest"], blob["size"]):
            raise VerifyError(f"the archive lacks the blob {blob['digest']}", code="blob.missing",
                              hint="get the archive again")
