# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is: the parsed form of an OCI manifest and its config, with urunc's and our own annotations.

Formats: OCI Image Format Specification 1.1 (manifest.md, config.md, annotations.md); urunc's annotations and
``/urunc.json`` as urunc 0.5 and newer read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import VerifyError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
# Docker's names for the same things (distribution, manifest v2 schema 2).
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)

URUNC = "com.urunc.unikernel."
OWN = "org.uni-engine."
REF_NAME = "org.opencontainers.image.ref.name"
KERNEL_PATH = "/.boot/kernel"
ROOTFS_PATH = "/.boot/rootfs"
URUNC_PATH = "/urunc.json"
MAX_MANIFEST = 4 << 20

Descriptor = dict[str, Any]


def canonical_json(obj: Any) -> bytes:
    """``obj`` as the one byte string that stands for it: sorted keys, no blanks."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class ImageInfo:
    """An image of the store.

    ``id`` is the digest of the config, ``digest`` that of the manifest; ``size`` counts all blobs in bytes;
    ``created`` is seconds since the epoch when it came into this store. ``kernel`` is the digest of the layer
    with the kernel, ``disk_layer`` that of the layer with the root disk, ``disk_digest`` the disk's own
    SHA-256 (``sha256:...``, None where only unpacking can tell). ``memory`` is in bytes.
    """

    id: str
    digest: str
    name: str
    tags: tuple[str, ...]
    size: int
    created: float
    architecture: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    user: str
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    kernel_range: str | None
    kernel: str | None
    disk_digest: str | None
    disk_layer: str | None
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    guest: str = ""
    cmdline: str = ""
    memory: int | None = None
    cpus: int | None = None
    references: tuple[str, ...] = field(default=())

    @property
    def bootable(self) -> bool:
        """Whether it is a unikernel; a plain container image is not."""
        return bool(self.guest)

    def to_dict(self) -> dict[str, Any]:
        """The image as plain data, for JSON output and module results."""
        import datetime

        created = datetime.datetime.fromtimestamp(self.created, datetime.timezone.utc)
        return {
            "id": self.id, "digest": self.digest, "name": self.name, "tags": list(self.tags),
            "references": list(self.references), "size": self.size,
            "created": created.isoformat(timespec="seconds"), "architecture": self.architecture,
            "entrypoint": list(self.entrypoint), "cmd": list(self.cmd), "env": dict(self.env),
            "workdir": self.workdir, "user": self.user, "exposed_ports": list(self.exposed_ports),
            "volumes": list(self.volumes), "stop_signal": self.stop_signal, "labels": dict(self.labels),
            "annotations": dict(self.annotations), "guest": self.guest, "kernel": self.kernel,
            "kernel_range": self.kernel_range, "disk_digest": self.disk_digest, "memory": self.memory,
            "cpus": self.cpus, "layers": [dict(layer) for layer in self.layers],
        }


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object; ``what`` names it in the error.

    :raises VerifyError: code ``image.malformed``
    """
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise malformed(what, str(error)) from error
    if not isinstance(parsed, dict):
        raise malformed(what, "it is not a JSON object")
    return parsed


def malformed(what: str, why: str) -> VerifyError:
    """The error for a manifest, config or index that does not follow its specification."""
    return VerifyError(f"{what} is malformed: {why}", code="image.malformed",
                       hint="pull or build the image again")


def check_descriptor(value: Any, what: str) -> Descriptor:
    """A descriptor with the three fields that it must have (OCI descriptor.md).

    :raises VerifyError: code ``image.malformed``
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.reference import is_digest

    if not isinstance(value, dict):
        raise malformed(what, "a descriptor is not an object")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise malformed(what, f"{digest!r} is not a SHA-256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise malformed(what, f"the size of {digest} is {size!r}")
    if not isinstance(value.get("mediaType", ""), str):
        raise malformed(what, f"the media type of {digest} is no text")
    return value


def manifest_blobs(manifest: Mapping[str, Any], what: str) -> list[Descriptor]:
    """Config, layers (or, for an index, manifests) that ``manifest`` refers to, checked."""
    found: list[Descriptor] = []
    if "config" in manifest:
        found.append(check_descriptor(manifest["config"], what))
    for key in ("layers", "manifests"):
        entries = manifest.get(key, [])
        if not isinstance(entries, list):
            raise malformed(what, f"{key} is not a list")
        found.extend(check_descriptor(entry, what) for entry in entries)
    return found


def image_info(manifest: Mapping[str, Any], config: Mapping[str, Any], *, digest: str, references: Sequence[str],
               created: float) -> ImageInfo:
    """Put the parts together. Absent or mistyped optional fields count as empty, sizes and digests do not."""
    what = f"the manifest {digest}"
    blobs = manifest_blobs(manifest, what)
    layers = tuple(blobs[1:] if "config" in manifest else blobs)
    settings = _mapping(config.get("config"))
    annotations = _texts(manifest.get("annotations"))
    labels = _texts(settings.get("Labels"))
    urunc = {**labels, **annotations}
    names = [reference.rpartition(":") for reference in references]
    kernel, disk = _layer(layers, "kernel"), _layer(layers, "rootfs")
    return ImageInfo(
        id=str(blobs[0]["digest"]) if blobs else digest, digest=digest, references=tuple(references),
        name=names[0][0] if names else "", tags=tuple(tag for name, _sep, tag in names if name == names[0][0]),
        size=sum(blob["size"] for blob in blobs), created=created,
        architecture=_text(config.get("architecture")), entrypoint=_strings(settings.get("Entrypoint")),
        cmd=_strings(settings.get("Cmd")), env=_environment(settings.get("Env")),
        workdir=_text(settings.get("WorkingDir")) or "/", user=_text(settings.get("User")),
        exposed_ports=tuple(sorted(_mapping(settings.get("ExposedPorts")))),
        volumes=tuple(sorted(_mapping(settings.get("Volumes")))), stop_signal=_text(settings.get("StopSignal")),
        labels=labels, annotations=annotations, kernel_range=annotations.get(OWN + "kernel.range"),
        kernel=kernel["digest"] if kernel else None, disk_layer=disk["digest"] if disk else None,
        disk_digest=_texts(disk.get("annotations")).get(OWN + "disk") if disk else None, layers=layers,
        diff_ids=_strings(_mapping(config.get("rootfs")).get("diff_ids")),
        history=tuple(_mapping(entry) for entry in config.get("history") or ()
                      if isinstance(config.get("history"), list)),
        guest=annotations.get(OWN + "guest") or urunc.get(URUNC + "unikernelType", ""),
        cmdline=urunc.get(URUNC + "cmdline", ""), memory=_number(annotations.get(OWN + "memory")),
        cpus=_number(annotations.get(OWN + "cpus")))


def _layer(layers: Sequence[Descriptor], role: str) -> Descriptor | None:
    return next((layer for layer in layers if _texts(layer.get("annotations")).get(OWN + "layer") == role), None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> dict[str, str]:
    return {key: item for key, item in _mapping(value).items() if isinstance(item, str)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 20 else None


def _environment(value: Any) -> dict[str, str]:
    pairs = (item.partition("=") for item in _strings(value))
    return {name: text for name, equals, text in pairs if name and equals}
