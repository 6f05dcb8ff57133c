# SPDX-License-Identifier: GPL-3.0-or-later
"""The root directory: where all state of one "host" lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

# Directories that other users may enter: QEMU runs under a uid of its own and must reach disks and kernels.
_SEARCHABLE = frozenset({"disks", "vms", "volumes", "kernels", "run"})


@dataclass(frozen=True)
class Root:
    """One Uni root directory. Subdirectories are created when they are first asked for.

    The root itself and what QEMU must reach are 0755 (0711 is not enough for tools that list them),
    everything else is 0700.
    """

    path: Path

    @classmethod
    def resolve(cls, explicit: str | os.PathLike[str] | None = None) -> Root:
        """The root to use: ``explicit``, else ``UNI_ROOT``, else the default of the calling user.

        Defaults: ``/var/lib/uni`` for uid 0, ``~/.local/share/uni`` for anybody else.
        """
        text = os.fspath(explicit) if explicit else os.environ.get("UNI_ROOT", "")
        if text:
            return cls(Path(text).expanduser().absolute())
        if os.geteuid() == 0:
            return cls(Path("/var/lib/uni"))
        return cls(Path("~").expanduser() / ".local" / "share" / "uni")

    def directory(self, name: str) -> Path:
        """The subdirectory ``name``, created if it is missing."""
        path = self.path / name
        if not path.is_dir():
            _make(self.path, 0o755)
            _make(path, 0o755 if name in _SEARCHABLE else 0o700)
        return path

    @property
    def images(self) -> Path:
        """The OCI image layout."""
        return self.directory("images")

    @property
    def disks(self) -> Path:
        """Raw disks unpacked from images, named by their SHA-256."""
        return self.directory("disks")

    @property
    def vms(self) -> Path:
        """One directory per VM."""
        return self.directory("vms")

    @property
    def volumes(self) -> Path:
        """Raw ext2 files that outlive VMs."""
        return self.directory("volumes")

    @property
    def networks(self) -> Path:
        """Records of managed networks."""
        return self.directory("networks")

    @property
    def kernels(self) -> Path:
        """Kernel releases, one directory per version."""
        return self.directory("kernels")

    @property
    def stacks(self) -> Path:
        """Records of stacks."""
        return self.directory("stacks")

    @property
    def run(self) -> Path:
        """Sockets and other things that a reboot of the host may lose."""
        return self.directory("run")

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.directory("locks")

    @property
    def cache(self) -> Path:
        """What can be computed again: probe results, downloads."""
        return self.directory("cache")

    @property
    def log(self) -> Path:
        """Logs of the engine and the daemon."""
        return self.directory("log")


def _make(path: Path, mode: int) -> None:
    """Create ``path`` with exactly ``mode`` (the umask does not apply); fine if it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode)
        path.chmod(mode)
    except FileExistsError:
        if not path.is_dir():
            raise HostError(
                f"{path} exists and is not a directory", code="root.not_a_directory",
                hint="move it away, or choose another root with UNI_ROOT or --root",
            ) from None
    except OSError as error:
        raise HostError(
            f"cannot create {path}: {error.strerror}", code="root.create",
            hint="choose a writable root with UNI_ROOT or --root",
        ) from error
