# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of the command line and the daemon: the packed client (see :mod:`.client`) as a signed artifact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine import artifacts, client, kernels, releases, signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    StateError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.releases import Offer
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

TYPE = "application/vnd.uni-engine.client.release.v1"
ARCHIVE = "uni-client.tar.gz"
_MEDIA = "application/vnd.uni-engine.client.v1.tar+gzip"
_NAME = "org.uni-engine.client.name"


def publish(root: Root, collection: Path, version: str, target: str, *, key: Path | None) -> tuple[str, str]:
    """Publish the client of a collection; (name, digest). ``root`` keeps the logins to registries."""
    kernels.version_key(version)
    name, data = client.pack(collection, version)
    with artifacts.keeper(root, target, create=True) as place:
        digest = artifacts.publish(place, TYPE, version, {ARCHIVE: (_MEDIA, data)}, key=key, annotations={_NAME: name})
    return name, digest


def offer(root: Root, source: str, current: str | None) -> Offer:
    """What ``source`` offers to a client of the version ``current``."""
    return Offer(source, current, artifacts.versions(root, source))


def upgrade(root: Root, prefix: Path, source: str, version: str, *, keys: Mapping[str, signing.PublicKey] | None = None,
            unsigned: bool = False, check: bool = False) -> Plan:
    """Install the client ``version`` from ``source`` below ``prefix``; running commands keep their files.

    :raises VerifyError: its signature or its content is wrong; nothing was changed
    """
    known = releases.trusted(root) if keys is None else keys
    with artifacts.keeper(root, source) as place:
        found = artifacts.fetch(place, version, TYPE, known, unsigned=unsigned)
    name, archive = found.annotations.get(_NAME, ""), found.files.get(ARCHIVE)
    if found.version != version or archive is None or name.rpartition("-")[0] != version or "/" in name:
        raise VerifyError(f"{version} of {source} is not that release of uni", code="artifact.malformed")
    return client.plan_install(prefix, name) if check else client.install(prefix, name, archive)


def rollback(prefix: Path) -> str:
    """Go back to the client that was installed before the current one; its name.

    :raises StateError: code ``client.no_previous``
    """
    clients = client.list_clients(prefix)
    current = next((number for number, found in enumerate(clients) if found.current), None)
    if current is None:
        raise NotFoundError(f"no client is installed below {prefix}", code="client.not_installed",
                            hint="install one with the role uni.engine.host")
    if current + 1 >= len(clients):
        raise StateError(f"{clients[current].name} is the oldest client here", code="client.no_previous")
    client.switch(prefix, clients[current + 1].name)
    return clients[current + 1].name
