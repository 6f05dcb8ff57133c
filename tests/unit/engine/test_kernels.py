# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    NotFoundError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import bootkernel, images
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def build(tmp_path):
    def make(version, content=b"kernel", beside=True):
        directory = tmp_path / f"src-{version}" / "build"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "uni.elf").write_bytes(b"\x7fELF" + content)
        (directory / "uni.elf.debug").write_bytes(b"\x7fELF symbols")
        ((directory if beside else directory.parent) / "VERSION").write_text(version + "\n")
        return directory
    return make


def test_first_release_becomes_default(root, build):
    plan, release = kernels.register(root, build("0.1.0", beside=False))
    assert [action.target for action in plan.actions] == ["kernel/0.1.0", "kernel-default"]
    assert release == kernels.default(root)
    assert release.default and release.symbols is not None
    kernels.verify(release)


def test_register_twice_changes_nothing(root, build):
    kernels.register(root, build("0.1.0"))
    plan, _release = kernels.register(root, build("0.1.0"))
    assert not plan.changed


def test_check_mode_writes_nothing(root, build):
    plan, release = kernels.register(root, build("0.1.0"), check=True)
    assert plan.changed and release.version == "0.1.0"
    assert list(root.kernels.iterdir()) == []


def test_other_content_replaces_the_release(root, build):
    _plan, old = kernels.register(root, build("0.1.0"))
    plan, new = kernels.register(root, build("0.1.0", b"other"))
    assert [action.kind for action in plan.actions] == ["update"]
    assert new.sha256 != old.sha256 == plan.actions[0].before["sha256"]
    kernels.verify(kernels.get(root, "0.1.0"))


def test_newer_release_is_not_the_default_by_itself(root, build):
    kernels.register(root, build("0.1.0"))
    kernels.register(root, build("0.2.0"))
    assert kernels.default(root).version == "0.1.0"
    plan, _release = kernels.use(root, "0.2.0")
    assert plan.diff()["before"] == "kernel-default:\n  version: 0.1.0\n"
    assert kernels.default(root).version == "0.2.0"
    assert not kernels.use(root, "0.2.0")[0].changed


def test_list_has_the_newest_first(root, build):
    for version in ("0.9.0", "0.10.0", "0.10.0-rc.2", "0.10.0-rc.10"):
        kernels.register(root, build(version))
    assert [release.version for release in kernels.list_releases(root)] == [
        "0.10.0", "0.10.0-rc.10", "0.10.0-rc.2", "0.9.0"]


def test_damaged_release_is_refused(root, build):
    kernels.register(root, build("0.1.0"))
    kernels.register(root, build("0.2.0"))
    path = kernels.get(root, "0.2.0").path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(VerifyError, match="uni.elf is damaged"):
        kernels.use(root, "0.2.0")
    assert kernels.default(root).version == "0.1.0"


def test_default_cannot_be_removed(root, build):
    kernels.register(root, build("0.1.0"))
    kernels.register(root, build("0.2.0"))
    with pytest.raises(ConflictError):
        kernels.remove(root, "0.1.0")
    assert kernels.remove(root, "0.2.0").changed
    assert not kernels.remove(root, "0.2.0").changed


def test_killed_between_the_renames(root, build):
    kernels.register(root, build("0.1.0"))
    kernels.register(root, build("0.2.0"))
    (root.kernels / "0.2.0").rename(root.kernels / ".old-0.2.0")
    kernels.register(root, build("0.1.0", b"other"))
    kernels.verify(kernels.get(root, "0.2.0"))
    assert not list(root.kernels.glob(".*"))


@pytest.mark.parametrize("text", ["", "1", "1.2", "01.2.3", "1.2.3 ", "../x", "1.2.3/..", "1.2.x"])
def test_bad_versions(root, text):
    with pytest.raises(UsageError):
        kernels.get(root, text)


def test_unknown_version_names_what_is_there(root, build):
    kernels.register(root, build("0.1.0"))
    with pytest.raises(NotFoundError, match=r"no kernel 9\.9\.9") as caught:
        kernels.get(root, "9.9.9")
    assert "0.1.0" in caught.value.hint


def test_not_a_kernel(root, tmp_path):
    with pytest.raises(UsageError, match="holds no kernel"):
        kernels.register(root, tmp_path)
    (tmp_path / "uni.elf").write_text("#!/bin/sh")
    with pytest.raises(UsageError, match="not an ELF"):
        kernels.register(root, tmp_path)
    assert list(root.kernels.iterdir()) == []


@pytest.mark.parametrize(("version", "kernel", "accepted", "said"), [
    ("0.1.0", "default", "", ""), ("0.1.0", "0.1.0", ">=2", ""),
    ("0.0.9", "default", "", "boot kernel 0.0.9, but this engine works with >="),
    ("0.0.9", "0.0.9", "", "boot kernel 0.0.9, but this engine works with >="),
    ("0.1.0", "default", ">=0.2.0", "accepts kernels >=0.2.0, the host's default is 0.1.0, and the image carries no kernel"),
])
def test_an_older_kernel_is_refused_before_the_start(root, build, tmp_path, version, kernel, accepted, said):
    kernels.register(root, build(version))
    image = {"id": "sha256:1", "kernel_range": accepted}
    vm = Vm(tmp_path, {"id": "0123456789ab", "name": "web", "values": {"kernel": kernel}, "image": image}, {})
    with mock.patch.object(images, "kernel", return_value=None):
        if not said:
            assert bootkernel.find_kernel(root, vm) == kernels.default(root).path
            return
        with pytest.raises(UniError) as caught:
            bootkernel.find_kernel(root, vm)
    assert said in str(caught.value) and "uni kernel" in (caught.value.hint or "")


@pytest.mark.parametrize(("version", "refused"), [("", False), ("0.1.0", False), ("0.0.9", True)])
def test_the_kernel_of_an_old_image_is_refused_before_the_start(root, tmp_path, version, refused):
    vm = Vm(tmp_path, {"id": "0123456789ab", "name": "web", "values": {"kernel": "image"}, "image": {"id": "sha256:1"}}, {})
    with mock.patch.object(images, "kernel", return_value=tmp_path), \
            mock.patch.object(images, "kernel_version", return_value=version):
        if refused:
            with pytest.raises(UsageError, match=r"boot kernel 0\.0\.9"):
                bootkernel.find_kernel(root, vm)
        else:
            assert bootkernel.find_kernel(root, vm) == tmp_path
