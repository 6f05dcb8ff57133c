# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that modules, command line and daemon do with images."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import DeadlineError, UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import ImageInfo
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import (
    BuildSpec,
    check_spec,
    plan_build,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import TEMP_PREFIX
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import parse_reference
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.build import Kernel

__all__ = ["BuildSpec", "ImageInfo", "Result", "disk_for", "ensure_absent", "ensure_present", "find", "inspect",
           "kernel_for", "list_images", "prune", "tag"]

# Who uses an image: names of VMs, by manifest digest.
UsersOf = Callable[[ImageInfo], Iterable[str]]


@dataclass(frozen=True)
class Result:
    """What an operation did, or would do in check mode. ``image`` is None where there is none (yet)."""

    plan: Plan
    image: ImageInfo | None = None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything changed, or would."""
        return self.plan.changed


def list_images(root: Root) -> list[ImageInfo]:
    """Every image, the newest first."""
    return ImageStore(root).images()


def find(root: Root, name: str) -> ImageInfo | None:
    """The image ``name`` (reference, id, digest or a start of those); None when there is none."""
    return ImageStore(root).find(name)


def inspect(root: Root, name: str) -> ImageInfo:
    """As :func:`find`. :raises NotFoundError: code ``image.not_found``"""
    return ImageStore(root).resolve(name)


def ensure_present(root: Root, spec: BuildSpec, *, check: bool = False) -> Result:
    """Build ``spec`` unless the image of that name is made of exactly that already.

    :param check: only say what would happen
    :raises UsageError: a source is unsuited; nothing was changed
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import build, sources

    reference = check_spec(spec)
    store = ImageStore(root)
    observed = store.find(str(reference))
    kernel, warnings = _kernel(root, spec)
    with scratch_directory(root) as scratch:
        ready = sources.assemble(root, spec, scratch, check=check)
        plan = plan_build(reference, ready.settings, ready.content, kernel.digest if kernel else None, observed,
                          update_kernel=spec.update_kernel or spec.kernel is not None)
        if plan.changed and not check:
            build.apply_build(store, reference, ready.tree, ready.settings, ready.content, kernel)
            observed = store.resolve(str(reference))
    return Result(plan, observed, warnings)


def _kernel(root: Root, spec: BuildSpec) -> tuple[Kernel | None, tuple[str, ...]]:
    """The kernel that a new build carries, and warnings."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.build import Kernel, load_kernel

    if spec.kernel is not None:
        return load_kernel(spec.kernel.absolute()), ()
    try:
        release = kernels.default(root)
    except UniError as error:
        if error.code != "kernel.no_default":
            raise
        return None, (f"{error.message}: the image carries none, and boots only where the host has one",)
    return Kernel(release.path, release.version, f"sha256:{release.sha256}"), ()


def ensure_absent(root: Root, name: str, *, check: bool = False, force: bool = False,
                  users: UsersOf | None = None) -> Result:
    """Remove the image ``name``. A name with other tags loses that tag only; an id or digest removes all tags.

    :param users: who uses an image; by default the VMs below ``root``
    :param force: remove it even so; running VMs keep their open disk
    :raises StateError: code ``image.in_use``
    """
    store = ImageStore(root)
    image = store.find(name)
    if image is None:
        return Result(Plan())
    reference = _tag_of(image, name)
    last = reference is None or len(image.references) <= 1
    users_of = users or users_from_records(root)
    if last and not force:
        store.check_removable(image, users_of(image))
    what = reference or (image.references[0] if image.references else image.digest)
    plan = Plan((Action("remove", f"image/{what}", f"remove {what}", {"id": image.id, "tags": list(image.references)},
                        {"tags": [] if last else [tag for tag in image.references if tag != reference]}),))
    if not check:
        if reference is not None:
            store.untag(parse_reference(reference))
        else:
            store.forget(image.digest)
        if last:
            # While somebody builds or pulls, the space is freed by whoever removes or prunes next.
            with suppress(DeadlineError):
                store.gc(keep_disks=disks_in_use(root), timeout=2)
    return Result(plan, image)


def _tag_of(image: ImageInfo, name: str) -> str | None:
    """The tag of ``image`` that ``name`` spells; None when it was named by id or digest."""
    try:
        text = str(parse_reference(name))
    except UsageError:
        return None
    return text if text in image.references else None


def tag(root: Root, source: str, target: str, *, check: bool = False) -> Result:
    """Give the image ``source`` the further name ``target``; another image loses that name, if it had it."""
    store = ImageStore(root)
    image = store.resolve(source)
    reference = parse_reference(target)
    if reference.digest:
        raise UsageError(f"{target!r} has a digest; a tag is NAME[:TAG]", code="reference.invalid")
    if str(reference) in image.references:
        return Result(Plan(), image)
    other = store.find(str(reference))
    plan = Plan((Action("tag", f"image/{reference}", f"tag {source} as {reference}",
                        {"id": other.id if other else None}, {"id": image.id}),))
    if not check:
        from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import MANIFEST

        size = store.blob_path(image.digest).stat().st_size
        media_type = store.manifest(image).get("mediaType", MANIFEST)
        store.tag({"mediaType": media_type, "digest": image.digest, "size": size}, reference)
        image = store.resolve(str(reference))
    return Result(plan, image)


def prune(root: Root, *, every: bool = False, check: bool = False,
          users: UsersOf | None = None) -> tuple[Result, int]:
    """Remove images without a tag (with ``every``: all that no VM uses), and whatever nothing needs any more.

    Returns the result and the bytes freed (0 in check mode).
    """
    store = ImageStore(root)
    users_of = users or users_from_records(root)
    doomed = [image for image in store.images()
              if (every or not image.references) and not list(users_of(image))]
    actions = [Action("remove", f"image/{image.references[0] if image.references else image.digest[7:19]}",
                      "remove an image that nothing uses", {"id": image.id, "size": image.size}, {})
               for image in doomed]
    if check:
        return Result(Plan(tuple(actions))), 0
    for image in doomed:
        store.forget(image.digest)
    freed = store.gc(keep_disks=disks_in_use(root))
    if freed and not actions:
        actions.append(Action("remove", "image/store", "remove blobs that nothing refers to", {"bytes": freed}, {}))
    return Result(Plan(tuple(actions))), freed


def disk_for(root: Root, image: ImageInfo) -> Path:
    """The verified raw disk of ``image``; see :func:`.unpack.disk_for`."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import unpack

    return unpack.disk_for(ImageStore(root), image)


def kernel_for(root: Root, image: ImageInfo) -> Path | None:
    """The verified kernel that ``image`` carries; None when it carries none."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import unpack

    return unpack.kernel_for(ImageStore(root), image)


def users_from_records(root: Root) -> UsersOf:
    """Names of the VMs below ``root`` whose record names the image's manifest or its id.

    A VM that only shares the image's disk does not count: :meth:`.ImageStore.gc` leaves it the disk.
    """
    used: dict[str, list[str]] = {}
    for name, text in _vm_records(root):
        for word in _digests(text):
            used.setdefault(word, []).append(f"VM {name}")

    def users(image: ImageInfo) -> Iterable[str]:
        return sorted({user for digest in (image.digest, image.id) for user in used.get(digest[7:], [])})
    return users


def disks_in_use(root: Root) -> set[str]:
    """Names of files in ``root.disks`` that a VM's record mentions."""
    present = {path.name for path in root.disks.iterdir()}
    words = {word for _name, text in _vm_records(root) for word in _digests(text)}
    return {name for name in present if name.partition(".")[0] in words}


def _vm_records(root: Root) -> Iterator[tuple[str, str]]:
    for path in sorted(root.vms.glob("*/vm.json")):
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            continue
        try:
            name = json.loads(text).get("name")
        except (ValueError, AttributeError):
            # A damaged record still says what it needs.
            name = None
        yield str(name or path.parent.name), text


def _digests(text: str) -> Iterator[str]:
    """Every SHA-256 that is mentioned anywhere in a record; a wrong guess only keeps a file too long."""
    yield from set(re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text))


@contextmanager
def scratch_directory(root: Root) -> Iterator[Path]:
    """A directory for spools that is gone afterwards; leftovers of killed processes are removed first."""
    import tempfile

    for path in root.cache.glob(f"{TEMP_PREFIX}build-*"):
        owner = path.name.split("-")[2].partition(".")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}build-{os.getpid()}.", dir=root.cache))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
