# SPDX-License-Identifier: GPL-3.0-or-later
"""When a VM's image is pulled, and environments from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import environment, images, pulling
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

NAME = "registry.example/app:1"
PULL = Plan((Action("pull", f"image/{NAME}", f"pull {NAME}", {"digest": None}, {"digest": "sha256:" + "1" * 64}),))


class Registry:
    """A registry with one image, and the store that it is pulled into."""

    def __init__(self) -> None:
        self.here = False
        self.pulls = 0

    def fetch(self, root: Root, image: str, *, check: bool = False) -> Plan:
        del root, image
        plan = Plan() if self.here else PULL
        if not check:
            self.pulls += 1
            self.here = True
        return plan

    def resolve(self, root: Root, reference: str) -> dict[str, Any]:
        del root
        if not self.here:
            raise NotFoundError(f"there is no image {reference!r}", code="image.not_found")
        return {"id": "sha256:" + "2" * 64, "digest": "sha256:" + "1" * 64}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    monkeypatch.setattr(pulling, "fetch", found.fetch)
    monkeypatch.setattr(images, "resolve", found.resolve)
    monkeypatch.setattr(images, "unpack", lambda root, image: dict(image))
    return found


def present(tmp_path: Path, image: str, **options: Any) -> Any:
    return pulling.ensure_vm(Root(tmp_path), VmSpec.parse("web", {"image": image}), "present", **options)


def test_missing(tmp_path: Path, registry: Registry) -> None:
    planned = present(tmp_path, NAME, check=True)
    assert [action.kind for action in planned.plan.actions] == ["pull", "create"] and registry.pulls == 0
    assert "(111111111111)" in planned.plan.actions[1].after["image"]
    assert [action.kind for action in present(tmp_path, NAME).plan.actions] == ["pull", "create"]
    assert not present(tmp_path, NAME).changed and registry.pulls == 1


def test_never_and_without_a_registry(tmp_path: Path, registry: Registry) -> None:
    for image, policy in ((NAME, "never"), ("app", "missing")):
        with pytest.raises(NotFoundError):
            present(tmp_path, image, pull=policy)
    assert registry.pulls == 0


def test_always(tmp_path: Path, registry: Registry) -> None:
    assert present(tmp_path, NAME, pull="always").changed
    assert not present(tmp_path, NAME, pull="always").changed and registry.pulls == 2
    registry.here = False  # another image by now
    planned = present(tmp_path, NAME, pull="always", check=True)
    assert [action.kind for action in planned.plan.actions] == ["pull", "recreate"]
    absent = pulling.ensure_vm(Root(tmp_path), VmSpec.parse("web", {"image": NAME}), "absent", pull="always")
    assert absent.changed and registry.pulls == 2, "what goes away needs no image"


def test_other_mistakes_pull_nothing(tmp_path: Path, registry: Registry) -> None:
    registry.here = True
    with pytest.raises(UniError):
        pulling.ensure_vm(Root(tmp_path), VmSpec.parse("web", {"image": NAME}), "nowhere")
    assert registry.pulls == 0


def test_environment_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("A=1\n\n# comment\n  # another\nB=x=y\nQUOTED='as it is'\nHERE\nGONE\n")
    two.write_text("A=2\n")
    words = environment.read_files([one, str(two)])
    assert environment.passed_on(words, {"HERE": "5"}) == {"A": "2", "B": "x=y", "QUOTED": "'as it is'", "HERE": "5"}
    with pytest.raises(UniError) as caught:
        environment.read_files([tmp_path / "none"])
    assert "none" in caught.value.message
    one.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError):
        environment.read_files([one])
    with pytest.raises(UniError):
        environment.passed_on(["=1"], {})
