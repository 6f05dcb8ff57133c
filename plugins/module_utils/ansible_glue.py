# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module shares: the common options, errors as fail_json, plans as results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

COMMON_SPEC: dict[str, dict[str, Any]] = {"root": {"type": "path"}}


def run_module(
    spec: Mapping[str, Any], work: Callable[[AnsibleModule], Mapping[str, Any]], **keywords: Any,
) -> None:
    """Parse the arguments, call ``work`` and leave with its result; an error of the engine fails the task.

    The failed result carries ``error`` (code, message, hint), so that a playbook can react to the code.
    """
    module = AnsibleModule(argument_spec={**COMMON_SPEC, **spec}, supports_check_mode=True, **keywords)
    try:
        result = dict(work(module))
    except UniError as error:
        module.fail_json(msg=str(error), error=error.to_dict())
    module.exit_json(**result)


def root_of(module: AnsibleModule) -> Root:
    """The root directory that the task names, or the default of the user it runs as."""
    return Root.resolve(module.params["root"])


def plan_result(plan: Plan, **values: Any) -> dict[str, Any]:
    """A plan as a module's result: changed, diff, the list of actions, and what the module adds."""
    return {"changed": plan.changed, "diff": plan.diff(), "actions": plan.describe(), **values}
