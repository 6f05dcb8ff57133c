# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images as sources: from this host's store, a registry, an OCI layout or an OCI archive."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    StateError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive, spool
from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import TAR_ERRORS, EndGuard, LayerReader
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    INDEXES,
    MANIFESTS,
    REF_NAME,
    Descriptor,
    ImageInfo,
    image_info,
    manifest_blobs,
    parse_object,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import Settings, exposed_port
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree

_LAYOUT, _ARCHIVE = "oci:", "oci-archive:"


@dataclass(frozen=True)
class Source:
    """An image somewhere on disk: its parsed form, and the store that has its blobs."""

    image: ImageInfo
    store: ImageStore


def container_tree(root: Root, text: str, scratch: Path, *, check: bool) -> tuple[Tree, Settings]:
    """The file tree and the settings of the container image ``text``.

    ``oci:DIRECTORY[:REF]``, ``oci-archive:FILE[:REF]``, a path to either of them, or a reference, looked for in the
    store and then in its registry.

    :param check: a pulled image goes to ``scratch`` and not into the store
    :raises StateError: code ``build.unikernel``: it is a unikernel already
    """
    source = find_source(root, text, scratch, check=check)
    image = source.image
    if image.bootable:
        raise StateError(f"{text} is a unikernel image already", code="build.unikernel",
                         hint="run it as it is, or build from the container image that it was made of")
    if image.architecture not in ("amd64", ""):
        raise UsageError(f"{text} is made for {image.architecture}, not for amd64", code="build.platform")
    tree = Tree()
    for index, layer in enumerate(image.layers):
        apply_layer(tree, source, layer, index, scratch)
    return tree, _settings(image)


def apply_layer(tree: Tree, source: Source, layer: Descriptor, index: int, scratch: Path) -> None:
    """Lay one layer over ``tree``; both its digests are verified."""
    path = source.store.blob_path(layer["digest"])
    if not path.exists():
        raise NotFoundError(f"the layer {layer['digest']} is missing", code="blob.missing",
                            hint="pull the image again")
    diff_ids = source.image.diff_ids
    with LayerReader(path, layer, diff_ids[index] if index < len(diff_ids) else "") as reader:
        spooled = spool(reader, scratch / f"layer-{index}.tar")
        reader.finish()
    apply_archive(tree, spooled)


def _settings(image: ImageInfo) -> Settings:
    return Settings(
        entrypoint=image.entrypoint, cmd=image.cmd, env=dict(image.env), workdir=image.workdir, user=image.user,
        exposed_ports=tuple(sorted(exposed_port(port) for port in image.exposed_ports)), volumes=image.volumes,
        stop_signal=image.stop_signal, labels=dict(image.labels))


def find_source(root: Root, text: str, scratch: Path, *, check: bool = False) -> Source:
    """Find the image that ``text`` names; see :func:`container_tree`.

    :raises NotFoundError: codes ``image.not_found``, ``source.not_found``
    """
    path, reference = text, ""
    if text.startswith((_LAYOUT, _ARCHIVE)):
        path = text.partition(":")[2]
        if not Path(path).exists():
            path, _colon, reference = path.partition(":")
    elif "/" not in text or not Path(text).exists():
        return _by_reference(root, text.removeprefix("docker://"), scratch, check)
    found = Path(path)
    if not found.exists():
        raise NotFoundError(f"there is no file {path}", code="source.not_found", hint="check the path")
    return open_layout(found if found.is_dir() else unpack_archive(found, scratch), reference)


def _by_reference(root: Root, text: str, scratch: Path, check: bool) -> Source:
    store = ImageStore(root)
    image = store.find(text)
    if image is None:
        from ansible_collections.uni.engine.plugins.module_utils.engine.reference import parse_reference
        from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api

        if not parse_reference(text).registry:
            image = store.resolve(text)
        else:
            store = ImageStore(Root(scratch / "root")) if check else store
            image = api.pull(store.root, text, auth_root=root).image
            if image is None:
                raise AssertionError("image is set here")
    return Source(image, store)


def unpack_archive(path: Path, scratch: Path) -> Path:
    """Unpack the OCI archive ``path`` (a tar of a layout); only names that a layout has are taken.

    :raises VerifyError: code ``layer.damaged``
    """
    target = scratch / "images"
    (target / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=cast(IO[bytes], EndGuard(file)), mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                parts = name.split("/")
                blob = len(parts) == 3 and parts[:2] == ["blobs", "sha256"] and len(parts[2]) == 64 and not (
                    set(parts[2]) - set("0123456789abcdef"))
                if member.isfile() and (blob or name in ("index.json", "oci-layout")):
                    source = archive.extractfile(member)
                    if source is None:
                        raise AssertionError("source is set here")
                    spool(source, target / name)
    except TAR_ERRORS as error:
        raise VerifyError(f"{path} is no tar archive: {error}", code="layer.damaged",
                          hint="give the output of `uni save` or of `skopeo copy ... oci-archive:FILE`") from error
    return target


def open_layout(directory: Path, reference: str = "") -> Source:
    """The image ``reference`` of the layout ``directory``; without one the layout must hold a single image.

    :raises NotFoundError: ``image.not_found``; :raises UsageError: ``source.layout``, ``source.several``
    """
    if not (directory / "oci-layout").is_file() or not (directory / "index.json").is_file():
        raise UsageError(f"{directory} is no OCI image layout", code="source.layout",
                         hint="it has no oci-layout and index.json; a plain root directory is given with --rootfs")
    store = LayoutStore(directory)
    entries = store.index()
    if reference:
        entries = [entry for entry in entries if entry.get("annotations", {}).get(REF_NAME) == reference]
    if not entries:
        raise NotFoundError(f"there is no image {reference or ''} in {directory}", code="image.not_found")
    if len({entry["digest"] for entry in entries}) > 1:
        names = ", ".join(str(entry.get("annotations", {}).get(REF_NAME, entry["digest"][:19])) for entry in entries)
        raise UsageError(f"{directory} holds several images: {names}", code="source.several",
                         hint="choose one with oci:DIRECTORY:NAME")
    return Source(store.load(entries[0]), store)


class LayoutStore(ImageStore):
    """A foreign layout, read only."""

    def __init__(self, directory: Path) -> None:
        self.root = Root(directory)
        self.path = directory
        self.blobs = directory / "blobs" / "sha256"

    def load(self, entry: Descriptor) -> ImageInfo:
        """The image of an index entry, through a nested index where there is one."""
        for _level in range(3):
            digest = str(entry["digest"])
            manifest = parse_object(self.read_blob(digest), f"the manifest {digest}")
            if entry.get("mediaType") not in INDEXES and "manifests" not in manifest:
                config_digest = manifest_blobs(manifest, f"the manifest {digest}")[0]["digest"]
                config = parse_object(self.read_blob(config_digest), f"the config {config_digest}")
                return image_info(manifest, config, digest=digest, references=(), created=0.0)
            entries = manifest_blobs(manifest, f"the index {digest}")
            matching = [item for item in entries if item.get("mediaType") in MANIFESTS + INDEXES and (
                item.get("platform") or {}).get("architecture", "amd64") == "amd64"]
            if not matching:
                break
            entry = matching[0]
        raise NotFoundError(f"{self.path} has no image for linux/amd64", code="registry.platform")
