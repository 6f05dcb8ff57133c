# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a file or directory of the controller to the managed host, where uni_copy puts it into the VM."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module; a C(src) of the controller travels first, a directory as a tar archive."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        for name in ("_transferred", "_name"):
            if name in arguments:
                raise AnsibleError(f"{name} is no option of uni_copy")
        try:
            source = arguments.get("src")
            if source and arguments.get("direction", "in") == "in" and not boolean(arguments.get("remote_src", False)):
                arguments.update(self._bring(str(source)))
            result.update(self._execute_module(module_name="uni.engine.uni_copy", module_args=arguments,
                                               task_vars=task_vars))
        except (AnsibleError, OSError) as error:
            result.update(failed=True, msg=str(error))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _bring(self, source: str) -> dict[str, str]:
        """Transfer ``source``; the module's options that say where it is now."""
        local = self._find_needle("files", source.rstrip("/") or "/")
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "uni_copy_source")
        if os.path.isdir(local):
            self._transfer_data(remote, _archive(local))
        else:
            self._transfer_file(local, remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        info = os.stat(local)
        kind = "directory" if os.path.isdir(local) else f"{info.st_mode & 0o777:o}:{int(info.st_mtime)}"
        return {"_transferred": remote, "_name": os.path.basename(local), "_kind": kind}


def _archive(directory: str) -> bytes:
    """The directory as a tar archive whose files belong to root."""

    def own(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(directory, arcname=".", filter=own)
    return buffer.getvalue()
