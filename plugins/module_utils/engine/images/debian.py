# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages as a source: resolved and fetched by this host's apt, unpacked without dpkg and without root.

apt is asked about an empty system, so the answer does not depend on what this host has installed, and apt's own
signed chain vouches for every package. Maintainer scripts do not run: packages that only they need are left out, and
what they would have made and programs miss is made here, as far as the scripts name it in plain words (``maintainer``).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.disk import file_digest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive, spool
from ansible_collections.uni.engine.plugins.module_utils.engine.records import lock
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Entry, Tree

# deb-control(5): package names; "+" and "." are legal in them.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+~:-]+)?")
_INSTALL = re.compile(r"Inst (\S+) \((\S+) ")
# Needed by maintainer scripts and by the package manager, never by the program itself.
_SCRIPT_ONLY = frozenset({
    "debconf", "cdebconf", "dpkg", "init-system-helpers", "ucf", "adduser", "lsb-base", "sysvinit-utils", "systemd",
    "perl-base", "install-info", "passwd", "base-files", "base-passwd"})
_TIMEOUT = 600
_MAX_SCRIPT = 1 << 20
# The users that every Debian system has (base-passwd, passwd.master).
_USERS = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
games:x:5:60:games:/usr/games:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
proxy:x:13:13:proxy:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = """root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
proxy:x:13:
www-data:x:33:
backup:x:34:
games:x:60:
nogroup:x:65534:
"""
# As in Debian's own slim images; copyright files stay, licenses ask for that.
_DOCUMENTS = ("/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/groff", "/usr/share/lintian",
              "/usr/share/linda")
_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Version '([^']+)' for '([^']+)' was not found")
_CERTIFICATES, _BUNDLE = "/usr/share/ca-certificates", "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Package:
    """A package of the answer: what it needs, in groups of alternatives, and what it stands for."""

    name: str
    version: str
    sha256: str
    depends: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = field(default=())


def add_packages(root: Root, tree: Tree, names: Sequence[str], scratch: Path) -> tuple[str, ...]:
    """Put the packages and everything they depend on into ``tree``; returns ``NAME=VERSION`` of each.

    :raises UsageError: code ``pkg.name``
    :raises NotFoundError: code ``pkg.not_found``, naming what apt does not know
    :raises HostError: ``host.tool``: no apt here; ``pkg.apt``: apt's own words
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.images import maintainer

    files = get(root, names, scratch)
    for package, path in files:
        _unpack(tree, package, path, scratch)
    _finish(tree)
    maintainer.apply(tree, [_postinst(path) for _package, path in files])
    return tuple(f"{package.name}={package.version}" for package, _path in files)


def get(root: Root, names: Sequence[str], scratch: Path) -> list[tuple[Package, Path]]:
    """Bring the packages and everything they depend on into the cache. Errors as :func:`add_packages`."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a package name", code="pkg.name", hint="expected NAME[=VERSION]")
    packages = needed(solve(names, scratch), [name.partition("=")[0] for name in names])
    with lock(root.locks / "debs.lock"):
        return _fetch(packages, _cache(root))


def cached(root: Root) -> list[dict[str, str | int]]:
    """The packages in the cache: name, version and size in bytes, sorted by name."""
    found: list[dict[str, str | int]] = []
    for path in sorted(_cache(root).glob("*.deb")):
        name, version = path.name.split("_")[:2]
        found.append({"name": name, "version": version.replace("%3a", ":"), "size": path.stat().st_size})
    return found


def forget(root: Root, names: Sequence[str]) -> int:
    """Remove packages (all versions) from the cache; images made of them stay. The number of files removed.

    :raises NotFoundError: code ``pkg.not_cached``; nothing is removed
    """
    with lock(root.locks / "debs.lock"):
        doomed = {name: [path for path in _cache(root).glob("*.deb") if path.name.split("_")[0] == name]
                  for name in names}
        for name, paths in doomed.items():
            if not paths:
                raise NotFoundError(f"the package {name} is not in the cache", code="pkg.not_cached",
                                    hint="see `uni pkg list`")
        for path in [path for paths in doomed.values() for path in paths]:
            path.unlink()
    return sum(map(len, doomed.values()))


def _cache(root: Root) -> Path:
    path = root.cache / "debs"
    path.mkdir(exist_ok=True)
    return path


def solve(names: Sequence[str], scratch: Path) -> dict[str, Package]:
    """Everything that apt would install on an empty system, by name."""
    status = scratch / "status"
    status.touch()
    options = ["-o", f"Dir::State::status={status}", "-o", "APT::Install-Recommends=false",
               "-o", "APT::Install-Suggests=false", "-o", "APT::Get::AutomaticRemove=false"]
    answer = _run(["apt-get", *options, "-o", "Debug::NoLocking=true", "-s", "-qq", "-y", "install", "--", *names])
    chosen = {name.partition(":")[0]: version for name, version in _INSTALL.findall(answer)}
    if not chosen:
        raise HostError("apt gives no answer about " + " ".join(names), code="pkg.apt", hint="run apt-get update")
    text = _run(["apt-cache", *options, "show", "--", *(f"{name}={version}" for name, version in chosen.items())])
    return {package.name: package for package in map(_parse, text.split("\n\n")) if package is not None}


def _parse(stanza: str) -> Package | None:
    """A stanza of apt-cache(8) in the format of deb-control(5); continuation lines are of no interest here."""
    fields: Mapping[str, str] = dict(
        line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
    if "Package" not in fields or "SHA256" not in fields:
        return None
    depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
    return Package(fields["Package"], fields.get("Version", ""), fields["SHA256"],
                   tuple(tuple(map(_bare, group.split("|"))) for group in depends.split(",") if group.strip()),
                   tuple(map(_bare, filter(str.strip, fields.get("Provides", "").split(",")))))


def _bare(text: str) -> str:
    """The name in ``name:any (>= 1.0)``."""
    return text.split("(")[0].strip().partition(":")[0]


def needed(packages: Mapping[str, Package], names: Iterable[str]) -> list[Package]:
    """What the programs in ``names`` need of apt's answer, sorted: without what only maintainer scripts use."""
    providers: dict[str, list[str]] = {}
    for package in packages.values():
        for virtual in package.provides:
            providers.setdefault(virtual, []).append(package.name)
    wanted = [found for name in names for found in ([name] if name in packages else providers.get(name, []))]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in packages:
            continue
        seen.add(name)
        for group in packages[name].depends:
            present = [item for item in group if item in packages] or [
                found for item in group for found in providers.get(item, [])]
            wanted.extend(item for item in present[:1] if item not in _SCRIPT_ONLY)
    return [packages[name] for name in sorted(seen)]


def _fetch(packages: Sequence[Package], cache: Path) -> list[tuple[Package, Path]]:
    """The packages' files; those that are not in the cache yet come by apt, all at once. Each is verified."""
    missing = [package for package in packages if _cached(package, cache) is None]
    if missing:
        _run(["apt-get", "-o", "APT::Sandbox::User=", "-qq", "download", "--",
              *(f"{package.name}={package.version}" for package in missing)], cwd=cache)
    result = []
    for package in packages:
        path = _cached(package, cache)
        if path is None:
            raise HostError(f"apt fetched another file for {package.name}={package.version} than its index promises",
                            code="pkg.apt", hint="run apt-get update and try again")
        result.append((package, path))
    return result


def _cached(package: Package, cache: Path) -> Path | None:
    # apt writes the colon of an epoch as %3a.
    version = package.version.replace(":", "%3a")
    for path in sorted(cache.glob(f"{package.name}_{version}_*.deb")):
        if file_digest(path) == package.sha256:
            return path
        path.unlink()
    return None


def _unpack(tree: Tree, package: Package, path: Path, scratch: Path) -> None:
    spooled = scratch / f"{package.name}.tar"
    try:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            if process.stdout is None:
                raise AssertionError("process.stdout is set here")
            if process.stderr is None:
                raise AssertionError("process.stderr is set here")
            spool(process.stdout, spooled)
            errors = process.stderr.read()
    except FileNotFoundError:
        raise HostError("dpkg-deb is not installed", code="host.tool", hint="install the package dpkg") from None
    if process.returncode != 0:
        raise HostError(f"dpkg-deb cannot read {path.name}: {_last_line(errors.decode('utf-8', 'replace'))}",
                        code="pkg.apt", hint="remove it from the cache and try again")
    apply_archive(tree, spooled, whiteouts=False, keep_links=True)


def _postinst(path: Path) -> str:
    """The script that dpkg would run after unpacking (deb(5), control archive); "" for a package without one."""
    import io
    import tarfile

    try:
        done = subprocess.run(["dpkg-deb", "--ctrl-tarfile", str(path)], stdin=subprocess.DEVNULL, capture_output=True,
                              check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            file = archive.extractfile("./postinst")
            return file.read(_MAX_SCRIPT).decode("utf-8", "replace") if file else ""
    except KeyError:
        return ""
    except (subprocess.CalledProcessError, tarfile.TarError) as error:
        raise HostError(f"dpkg-deb cannot read {path.name}: {error}", code="pkg.apt",
                        hint="remove it from the cache and try again") from error


def _finish(tree: Tree) -> None:
    """Drop documents, and add what maintainer scripts would have made: users, and the bundle of certificates."""
    for path, entry in tree.sorted():
        if path.startswith(_DOCUMENTS) and entry.kind != "dir" and not path.endswith("/copyright"):
            tree.remove(path)
    for path, text in (("/etc/passwd", _USERS), ("/etc/group", _GROUPS)):
        if tree.resolve(path) is None:
            tree.add(path, Entry("file", 0o644, content=Content.of_bytes(text.encode())))
    if tree.resolve(_BUNDLE) is None:
        parts = [entry.content.read() for path, entry in tree.sorted()
                 if path.startswith(_CERTIFICATES) and path.endswith(".crt") and entry.content]
        if parts:
            tree.add(_BUNDLE, Entry("file", 0o644, content=Content.of_bytes(b"".join(
                part if part.endswith(b"\n") else part + b"\n" for part in parts))))


def search(term: str) -> list[dict[str, str]]:
    """Packages whose name or description holds ``term``: name and one line each, sorted by name."""
    if not term or term.startswith("-") or len(term) > 200:
        raise UsageError(f"{term!r} is nothing to search for", code="pkg.name")
    lines = _run(["apt-cache", "search", "--", term]).splitlines()
    found = (line.partition(" - ") for line in lines)
    return [{"name": name, "summary": summary} for name, _dash, summary in sorted(found)]


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    import os

    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd,
                              timeout=_TIMEOUT, check=False, errors="replace",
                              env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
    except FileNotFoundError:
        raise HostError(f"{command[0]} is not installed: packages are a source on Debian and Ubuntu only",
                        code="host.tool", hint="build from a container image or a root directory instead") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{command[0]} did not end within {_TIMEOUT} seconds", code="pkg.apt") from None
    if done.returncode != 0:
        unknown = _UNKNOWN.search(done.stderr)
        if unknown:
            name = unknown[1] or f"{unknown[3]}={unknown[2]}"
            raise NotFoundError(f"apt knows no package {name}", code="pkg.not_found",
                                hint="check its name with `uni pkg search`, or run apt-get update")
        raise HostError(f"{command[0]} failed: {_last_line(done.stderr)}", code="pkg.apt",
                        hint="run apt-get update, and look at /etc/apt/sources.list")
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it says nothing"
