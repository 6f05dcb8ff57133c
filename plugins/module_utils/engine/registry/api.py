# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that modules, command line and daemon do with registries: log in, push, pull, copy tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import RegistryError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import ImageInfo
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import Reference, parse_reference
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import auth
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials, Endpoint
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry.client import RegistryClient


# Told how many of how many bytes have moved.
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Connection:
    """How to reach a registry. ``url`` overrides the registry in a reference; ``credentials`` what was kept by
    ``login``. ``ca`` is a file of certificates; ``verify`` false trusts any. ``timeout`` is in seconds."""

    url: str | None = None
    credentials: Credentials | None = None
    ca: Path | None = None
    verify: bool = True
    timeout: float = 60.0


@dataclass(frozen=True)
class TransferResult:
    """What a push or pull did, or would do: ``bytes`` and ``blobs`` moved, blobs ``present`` and ``mounted``."""

    plan: Plan
    reference: str
    digest: str = ""
    bytes: int = 0
    blobs: int = 0
    present: int = 0
    mounted: int = 0
    image: ImageInfo | None = None

    @property
    def changed(self) -> bool:
        """Whether anything changed, or would."""
        return self.plan.changed


def login(root: Root, registry: str, credentials: Credentials, *, connection: Connection | None = None,
          check: bool = False) -> Plan:
    """Try the credentials, and keep them when the registry takes them. The password is in no plan.

    :raises RegistryError: code ``registry.unauthorized``; nothing is kept
    """
    endpoint = auth.parse_endpoint(registry)
    if not credentials.username or ":" in credentials.username:
        raise UsageError("the user name is empty or holds a colon", code="registry.username")
    with _open(root, endpoint, replace(connection or Connection(), credentials=credentials)) as client:
        client.ping()
    kept = auth.load(root, endpoint)
    if kept == credentials:
        return Plan()
    if not check:
        auth.save(root, endpoint, credentials)
    before = {"username": kept.username} if kept else {}
    return Plan((Action("login", f"registry/{endpoint.name}", f"log in to {endpoint.name}", before,
                        {"username": credentials.username}),))


def logout(root: Root, registry: str, *, check: bool = False) -> Plan:
    """Forget the credentials for a registry."""
    endpoint = auth.parse_endpoint(registry)
    kept = auth.load(root, endpoint)
    if kept is None:
        return Plan()
    if not check:
        auth.save(root, endpoint, None)
    return Plan((Action("logout", f"registry/{endpoint.name}", f"log out of {endpoint.name}",
                        {"username": kept.username}, {}),))


def pull(root: Root, name: str, *, connection: Connection | None = None, check: bool = False,
         missing_only: bool = False, auth_root: Root | None = None, progress: Tell | None = None) -> TransferResult:
    """Bring the image ``name`` from its registry into the store, under that name.

    :param missing_only: an image of that name that is here is good enough
    :param progress: called with the bytes that have moved, and those that will have
    :param auth_root: where the credentials are kept, when not in ``root``
    :raises VerifyError: ``registry.mismatch``; nothing is tagged
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry import transfer

    connection = connection or Connection()
    reference = parse_reference(name)
    endpoint, repository = _locate(reference, connection)
    store = ImageStore(root)
    present = store.find(name)
    if present is not None and (missing_only or reference.digest):
        return TransferResult(Plan(), str(reference), present.digest, image=present)
    with _open(auth_root or root, endpoint, connection) as client:
        wanted = reference.digest or reference.tag
        if _complete(store, present, client.head_manifest(repository, wanted) if present else None):
            return TransferResult(Plan(), str(reference), present.digest if present else "", image=present)
        manifest = transfer.platform_manifest(client, repository, wanted)
        # A digest alone names no tag: the image stays reachable by its digest.
        local = replace(reference, digest="") if reference.tag else None
        if _complete(store, present, manifest.digest):
            return TransferResult(Plan(), str(reference), manifest.digest, image=present)
        plan = Plan((Action("pull", f"image/{local or reference}", f"pull {reference} from {endpoint.name}",
                            {"digest": present.digest if present else None}, {"digest": manifest.digest}),))
        if check:
            return TransferResult(plan, str(reference), manifest.digest)
        with store.writing():
            moved = transfer.pull_manifest(store, client, repository, manifest, transfer.Progress(progress))
            store.tag(manifest.descriptor, local)
    return TransferResult(plan, str(reference), manifest.digest, moved.bytes, moved.sent, moved.present,
                          image=store.resolve(manifest.digest))


def push(root: Root, name: str, *, target: str | None = None, connection: Connection | None = None,
         check: bool = False, progress: Tell | None = None) -> TransferResult:
    """Send the image ``name`` to its registry (or under the reference ``target``). ``progress`` as in :func:`pull`."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry import transfer

    connection = connection or Connection()
    store = ImageStore(root)
    image = store.resolve(name)
    reference = parse_reference(target or (name if _is_name(image, name) else next(iter(image.references), name)))
    if reference.digest or not reference.tag:
        raise UsageError(f"cannot push to {reference}: a digest follows from what is pushed", code="registry.target",
                         hint="give NAME[:TAG]")
    endpoint, repository = _locate(reference, connection)
    with _open(root, endpoint, connection) as client:
        there = client.head_manifest(repository, reference.tag)
        if there == image.digest:
            return TransferResult(Plan(), str(reference), image.digest, image=image)
        plan = Plan((Action("push", f"registry/{endpoint.name}/{repository}:{reference.tag}",
                            f"push {name} to {endpoint.name}", {"digest": there}, {"digest": image.digest}),))
        if check:
            return TransferResult(plan, str(reference), image.digest, image=image)
        # No sweeper may take a blob away while it is being sent.
        with store.writing():
            moved = transfer.push_image(store, client, image, repository, reference.tag,
                                        transfer.Progress(progress))
    return TransferResult(plan, str(reference), moved.digest, moved.bytes, moved.sent, moved.present, moved.mounted,
                          image)


def copy(root: Root, source: str, target: str, *, connection: Connection | None = None,
         check: bool = False) -> TransferResult:
    """Give an image in a registry a further tag there, or in another repository of the same registry."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry import transfer

    connection = connection or Connection()
    first, second = parse_reference(source), parse_reference(target)
    endpoint, repository = _locate(first, connection)
    other, destination = _locate(second, connection)
    if endpoint != other:
        raise UsageError(f"{source} and {target} are in different registries", code="registry.target",
                         hint="pull it from one and push it to the other")
    if second.digest:
        raise UsageError(f"cannot tag {target}: it has a digest", code="registry.target", hint="give NAME[:TAG]")
    with _open(root, endpoint, connection) as client:
        digest = client.get_manifest(repository, first.digest or first.tag).digest
        there = client.head_manifest(destination, second.tag)
        if there == digest:
            return TransferResult(Plan(), str(second), digest)
        if not check:
            transfer.copy_tag(client, (repository, digest), (destination, second.tag))
    plan = Plan((Action("tag", f"registry/{endpoint.name}/{destination}:{second.tag}", f"tag {source} as {target}",
                        {"digest": there}, {"digest": digest}),))
    return TransferResult(plan, str(second), digest)


def remote_digest(root: Root, name: str, *, connection: Connection | None = None) -> str | None:
    """The digest that ``name`` has in its registry; None when it is not there."""
    connection = connection or Connection()
    reference = parse_reference(name)
    endpoint, repository = _locate(reference, connection)
    with _open(root, endpoint, connection) as client:
        try:
            return client.get_manifest(repository, reference.digest or reference.tag).digest
        except RegistryError as error:
            if error.code != "registry.not_found":
                raise
            return None


def remote_tags(root: Root, name: str, *, connection: Connection | None = None) -> list[str]:
    """The tags of the repository ``name`` in its registry."""
    connection = connection or Connection()
    endpoint, repository = _locate(parse_reference(name), connection)
    with _open(root, endpoint, connection) as client:
        return client.tags(repository)


def remote_delete(root: Root, name: str, *, connection: Connection | None = None, check: bool = False) -> Plan:
    """Remove the manifest that ``name`` stands for from its registry, with every tag of it there."""
    connection = connection or Connection()
    reference = parse_reference(name)
    endpoint, repository = _locate(reference, connection)
    digest = remote_digest(root, name, connection=connection)
    if digest is None:
        return Plan()
    if not check:
        with _open(root, endpoint, connection) as client:
            client.delete_manifest(repository, digest)
    return Plan((Action("remove", f"registry/{endpoint.name}/{repository}", f"remove {name} from {endpoint.name}",
                        {"digest": digest}, {}),))


@contextmanager
def open_client(root: Root, registry: str, connection: Connection | None = None) -> Iterator[RegistryClient]:
    """A client for one registry, with the credentials that are kept for it; for artifacts of other kinds."""
    with _open(root, auth.parse_endpoint(registry), connection or Connection()) as client:
        yield client


def _complete(store: ImageStore, image: ImageInfo | None, digest: str | None) -> bool:
    """Whether ``image`` is what ``digest`` stands for, with every layer here."""
    return image is not None and image.digest == digest and all(
        store.has_blob(layer["digest"], layer["size"]) for layer in image.layers)


def _is_name(image: ImageInfo, name: str) -> bool:
    try:
        return str(parse_reference(name)) in image.references
    except UsageError:
        return False


def _locate(reference: Reference, connection: Connection) -> tuple[Endpoint, str]:
    """The registry to talk to, and the repository's name there."""
    address = connection.url or reference.registry
    if not address:
        raise UsageError(f"{reference} names no registry", code="registry.none",
                         hint=f"write HOST[:PORT]/{reference}, or give the registry's URL")
    repository = reference.repository
    if reference.registry in ("docker.io", "index.docker.io") and "/" not in repository and not connection.url:
        repository = f"library/{repository}"
    return auth.parse_endpoint(address), repository


@contextmanager
def _open(root: Root, endpoint: Endpoint, connection: Connection) -> Iterator[RegistryClient]:
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry.client import RegistryClient
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry.http import Transport

    transport = Transport(endpoint, connection.credentials or auth.load(root, endpoint), ca=connection.ca,
                          verify=connection.verify, timeout=connection.timeout)
    try:
        yield RegistryClient(transport)
    finally:
        transport.close()
