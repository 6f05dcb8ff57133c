# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a stack's plan: as much at a time as the dependencies allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import GuestError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import (
    COMPLETED,
    HEALTHY,
    STARTED,
    StackSpec,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.plan import Instance
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms

# Threads that start VMs or wait for them, mostly on sockets.
MAX_THREADS = 64

Progress = Callable[[str], None]
# What a finished task brought about: (service, condition) pairs that hold now, and failures by service.
Outcome = tuple[list[tuple[str, str]], dict[str, UniError]]


class Ascent:
    """Brings the instances of a stack up in the order of their dependencies.

    New VMs whose dependencies are met at the same moment start together, under one keeper. When something fails, what
    does not depend on it still comes up; the rest is left for the next `up`.
    """

    def __init__(self, root: Root, stack: StackSpec, instances: Collection[Instance], *,
                 timeout: float | None = None, progress: Progress = lambda _text: None) -> None:
        self._root = root
        self._stack = stack
        self._timeout = timeout
        self._progress = progress
        self._instances: dict[str, list[Instance]] = {}
        for instance in instances:
            self._instances.setdefault(instance.service, []).append(instance)
        self._holds: set[tuple[str, str]] = set()
        self._errors: dict[str, UniError] = {}

    def run(self) -> None:
        """Do it.

        :raises UniError: the first failure; the message names what failed and what was not started because of it
        """
        waiting = list(self._instances)
        tasks: set[Future[Outcome]] = set()
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            while True:
                ready = [name for name in waiting if self._may_start(name)]
                waiting = [name for name in waiting if name not in ready]
                new = [name for name in ready if all(i.fresh for i in self._instances[name])]
                if new:
                    tasks.add(pool.submit(self._create, new))
                tasks.update(pool.submit(self._change, name) for name in ready if name not in new)
                if not tasks:
                    break
                done, tasks = wait(tasks, return_when=FIRST_COMPLETED)
                for task in done:
                    holds, errors = task.result()
                    self._holds.update(holds)
                    self._errors.update(errors)
                    tasks.update(pool.submit(self._await, service, condition) for service, started in holds
                                 if started == STARTED for condition in self._conditions(service))
        self._report(waiting)

    def _may_start(self, service: str) -> bool:
        return all((d.service, d.condition) in self._holds for d in self._stack.services[service].depends_on)

    def _conditions(self, service: str) -> set[str]:
        """What others wait for in this service, beyond its start."""
        return {d.condition for other in self._instances for d in self._stack.services[other].depends_on
                if d.service == service and d.condition != STARTED}

    def _create(self, services: Sequence[str]) -> Outcome:
        """Start new VMs together; when that fails, one by one, to know which ones it was."""
        instances = [i for name in services for i in self._instances[name]]
        for instance in instances:
            self._progress(f"{instance.spec.name}: starting")
        try:
            vms.ensure_many(self._root, [i.spec for i in instances], "started", timeout=self._timeout)
            return [(name, STARTED) for name in services], {}
        except UniError:
            outcomes = [self._change(name) for name in services]
        return ([pair for holds, _errors in outcomes for pair in holds],
                {name: error for _holds, errors in outcomes for name, error in errors.items()})

    def _change(self, service: str) -> Outcome:
        try:
            for instance in self._instances[service]:
                kinds = [action.kind for action in instance.plan.actions]
                if kinds:
                    self._progress(f"{instance.spec.name}: {', '.join(kinds)}")
                    state = "started" if set(kinds) - {"update"} else "present"
                    vms.ensure(self._root, instance.spec, state, timeout=self._timeout)
        except UniError as error:
            return [], {service: error}
        return [(service, STARTED)], {}

    def _await(self, service: str, condition: str) -> Outcome:
        """Wait until every instance of a service has reached a condition."""
        self._progress(f"{service}: waiting, {condition.replace('_', ' ')}")
        try:
            for instance in self._instances[service]:
                name = instance.spec.name
                if condition == HEALTHY:
                    vms.wait_for(self._root, name, "healthy", timeout=self._timeout)
                elif condition == COMPLETED:
                    verdict = vms.wait(self._root, name, timeout=self._timeout)
                    if verdict.get("code") != 0:
                        raise GuestError(f"{name} ended with status {verdict.get('code')}", code="stack.job_failed",
                                         hint=f"see `uni logs {name}`")
        except UniError as error:
            return [], {service: error}
        return [(service, condition)], {}

    def _report(self, waiting: Sequence[str]) -> None:
        if not self._errors:
            return
        service, error = next(iter(self._errors.items()))
        more = [f"{name}: {e.message}" for name, e in list(self._errors.items())[1:]]
        text = f"service {service}: {error.message}" + "".join(f"; service {line}" for line in more)
        if waiting:
            text += f"; not started because of that: {', '.join(waiting)}"
        failure = type(error)(text, code=error.code, hint=error.hint)
        raise failure from error


def take_down(root: Root, waves: Sequence[Sequence[str]], *, timeout: float | None = None,
              progress: Progress = lambda _text: None) -> None:
    """Stop and remove VMs, wave by wave, each wave in parallel. A VM that is gone already is fine.

    :param timeout: seconds of grace instead of each VM's own
    :raises UniError: the first failure, after everything else was tried
    """
    errors: dict[str, UniError] = {}

    def remove(name: str) -> None:
        try:
            progress(f"{name}: stopping")
            vms.stop(root, name, grace=timeout)
            vms.remove(root, name, force=True)
        except UniError as error:
            if error.code != "vm.not_found":
                errors[name] = error

    with ThreadPoolExecutor(MAX_THREADS) as pool:
        for wave in waves:
            list(pool.map(remove, wave))
    if errors:
        name, error = next(iter(errors.items()))
        raise type(error)(f"{name}: {error.message}", code=error.code, hint=error.hint)
