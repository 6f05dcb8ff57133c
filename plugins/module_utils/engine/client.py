# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed command line: packing it, installing it, switching between versions.

A client release is a tar archive of ``bin/uni`` and the Python packages below ``ansible_collections/``; the
same sources give the same bytes. On a host it is unpacked to ``<prefix>/lib/uni/<version>-<digest>``; the
link ``<prefix>/lib/uni/current`` names the one in use and ``<prefix>/bin/uni`` goes through it, so that
switching is one rename and a running command keeps the files it started with.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error, lock

PYTHON = "/usr/bin/python3"
_INSIDE = "ansible_collections/uni/engine"
_PACKAGES = ("engine", "cli", "daemon")
_KEEP = 3  # versions that stay for going back, the current one included


@dataclass(frozen=True)
class Client:
    """One installed client. ``name`` is ``<version>-<first 12 digits of the archive's sha256>``."""

    name: str
    directory: Path
    current: bool

    @property
    def version(self) -> str:
        """The collection's version it was packed from."""
        return self.name.rpartition("-")[0]


def own_version() -> str:
    """The version of the client, or checkout, that this code belongs to."""
    collection = Path(__file__).resolve().parents[3]
    beside = collection / "VERSION"
    if beside.is_file():
        return beside.read_text().strip()
    galaxy = collection / "galaxy.yml"
    lines = galaxy.read_text().splitlines() if galaxy.is_file() else []
    return next((line.split()[1] for line in lines if line.startswith("version:")), "unknown")


def default_prefix() -> Path:
    """``/usr/local`` for root, ``~/.local`` for anybody else."""
    return Path("/usr/local") if os.geteuid() == 0 else Path("~/.local").expanduser()


def pack(collection: Path, version: str) -> tuple[str, bytes]:
    """The client of the collection in ``collection`` as (name, archive); the same files give the same bytes.

    :raises UsageError: the collection has no launcher (code ``client.source``)
    """
    files = {"bin/uni": collection / "bin" / "uni", f"{_INSIDE}/VERSION": None}
    if not (collection / "bin" / "uni").is_file():
        raise UsageError(f"{collection} has no bin/uni", code="client.source",
                         hint="pack from a checkout or an installed collection")
    for package in _PACKAGES:
        base = collection / "plugins" / "module_utils" / package
        for path in sorted(base.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files[f"{_INSIDE}/{path.relative_to(collection)}"] = path
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, \
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            source = files[name]
            data = source.read_bytes() if source else f"{version}\n".encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if name == "bin/uni" else 0o644
            archive.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()
    return f"{version}-{hashlib.sha256(data).hexdigest()[:12]}", data


def list_clients(prefix: Path) -> list[Client]:
    """The installed clients, the most recently installed first."""
    base = prefix / "lib" / "uni"
    current = _current(base)
    found = [path for path in base.iterdir() if path.is_dir() and not path.is_symlink()
             and not path.name.startswith(".")] if base.is_dir() else []
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [Client(path.name, path, path.name == current) for path in found]


def plan_install(prefix: Path, name: str) -> Plan:
    """What installing the client ``name`` would change."""
    base = prefix / "lib" / "uni"
    actions = []
    if not (base / name / "bin" / "uni").is_file():
        summary = f"install uni {name} below {base}"
        actions.append(Action("create", f"client/{name}", summary, {}, {"name": name}))
    old = _current(base)
    link = prefix / "bin" / "uni"
    if old != name or _target(link) != "../lib/uni/current/bin/uni":
        summary = f"let {link} be {name}"
        actions.append(Action("update", f"client-link{link}", summary, {"name": old}, {"name": name}))
    return Plan(tuple(actions))


def install(prefix: Path, name: str, archive: bytes) -> Plan:
    """Install the client ``name`` from its ``archive`` and make it the current one.

    :raises VerifyError: the archive is not the one that ``name`` stands for (code ``client.damaged``)
    :raises HostError: the prefix cannot be written
    """
    base = prefix / "lib" / "uni"
    try:
        with _readable_by_all():
            base.mkdir(parents=True, exist_ok=True)
            (prefix / "bin").mkdir(parents=True, exist_ok=True)
            with lock(base / ".lock"):
                return _install(prefix, base, name, archive)
    except OSError as error:
        raise host_error(error, base) from error


def _install(prefix: Path, base: Path, name: str, archive: bytes) -> Plan:
    plan = plan_install(prefix, name)
    if not (base / name / "bin" / "uni").is_file():
        _unpack(base, name, archive)
    switch(prefix, name)
    _replace_link(prefix / "bin" / "uni", "../lib/uni/current/bin/uni")
    for old in list_clients(prefix)[_KEEP:]:
        if not old.current:
            shutil.rmtree(old.directory)
    return plan


@contextmanager
def _readable_by_all() -> Iterator[None]:
    """What root installs is for everybody, whatever root's umask is."""
    previous = os.umask(0o022)
    try:
        if os.geteuid():
            os.umask(previous)
        yield
    finally:
        os.umask(previous)


def switch(prefix: Path, name: str) -> None:
    """Make an installed client the current one."""
    _replace_link(prefix / "lib" / "uni" / "current", name)


def plan_remove(prefix: Path) -> Plan:
    """What removing every client would change."""
    base = prefix / "lib" / "uni"
    if not base.exists() and not (prefix / "bin" / "uni").is_symlink():
        return Plan()
    return Plan((Action("remove", "client", f"remove uni from {prefix}", {"name": _current(base)}, {}),))


def remove(prefix: Path) -> Plan:
    """Remove every installed client. State (images, VMs) is not touched."""
    plan = plan_remove(prefix)
    if plan.changed:
        try:
            (prefix / "bin" / "uni").unlink(missing_ok=True)
            shutil.rmtree(prefix / "lib" / "uni", ignore_errors=True)
        except OSError as error:
            raise host_error(error, prefix) from error
    return plan


def _unpack(base: Path, name: str, archive: bytes) -> None:
    digest = hashlib.sha256(archive).hexdigest()
    if digest[:12] != name.rpartition("-")[2]:
        raise VerifyError(f"the archive of client {name} has the sha256 {digest}", code="client.damaged",
                          hint="fetch it again")
    fresh = base / f".new-{name}"
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            path = (fresh / member.name).resolve()
            if not member.isfile() or fresh.resolve() not in path.parents:
                raise VerifyError(f"the archive of client {name} holds {member.name!r}",
                                  code="client.damaged")
            source = tar.extractfile(member)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read() if source else b"")
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
    # Bytecode is made now, while we may write here: compiling at each start would double what `uni ps` takes.
    subprocess.run([PYTHON, "-I", "-S", "-m", "compileall", "-q", "-s", str(fresh), "-p", str(base / name),
                    str(fresh)], check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fresh.rename(base / name)


def _current(base: Path) -> str | None:
    return _target(base / "current")


def _target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _replace_link(link: Path, target: str) -> None:
    if _target(link) == target:
        return
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)
