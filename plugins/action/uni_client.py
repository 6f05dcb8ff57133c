# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the command line on the controller and bring it to a host that does not have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.uni.engine.plugins.module_utils.engine import client


class ActionModule(ActionBase):
    """Asks the module first; the archive travels only when the host lacks it."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once, or twice when it asks for the archive."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        collection = Path(__file__).resolve().parents[2]
        name, data = client.pack(collection, _version(collection))
        arguments["name"] = name
        answer = self._ask(arguments, task_vars)
        if answer.get("needs_archive"):
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, f"{name}.tar.gz")
            self._transfer_data(remote, data)
            self._fixup_perms2((self._connection._shell.tmpdir, remote))
            answer = self._ask({**arguments, "archive": remote}, task_vars)
        self._remove_tmp_path(self._connection._shell.tmpdir)
        result.update(answer)
        return result

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="uni.engine.uni_client", module_args=arguments, task_vars=task_vars)
        return answer


def _version(collection: Path) -> str:
    """The collection's version: MANIFEST.json when it is installed, galaxy.yml in a checkout."""
    import json

    import yaml

    manifest = collection / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    return str(yaml.safe_load((collection / "galaxy.yml").read_text())["version"])
