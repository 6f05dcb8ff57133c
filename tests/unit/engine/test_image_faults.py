# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds that are killed, run out of space or run twice at once: the store stays whole, the next build repairs it."""

from __future__ import annotations

import errno
import os
import pathlib
import signal

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.disk import file_digest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import DeadlineError, HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api
from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.tests.unit.engine.elves import elf


@pytest.fixture
def build(tmp_path):
    """Builds version ``number`` of the image ``x`` in the root directory ``name``."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf())
    for number in range(5):
        (tmp_path / f"program{number}").write_bytes(elf() + str(number).encode())

    def run(name, number):
        program = tmp_path / f"program{number}"
        return api.ensure_present(Root(tmp_path / name),
                                  BuildSpec("x", program=program, program_path="/bin/x", kernel=kernel,
                                            size=1 << 20))
    return run


class Effects:
    """Calls ``then`` in place of the ``number``-th call that changes a file system."""

    def __init__(self, monkeypatch, number, then):
        self.left = number
        self.then = then
        for owner, name in ((os, "write"), (os, "pwrite"), (os, "fsync"), (os, "ftruncate"),
                            (pathlib.Path, "rename"), (pathlib.Path, "chmod")):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, real):
        def call(*args, **more):
            self.left -= 1
            if self.left == 0:
                self.then()
            return real(*args, **more)
        return call


def sound(root):
    """Every image can be read whole; its disk is right."""
    store = ImageStore(root)
    for image in store.images():
        for layer in image.layers:
            assert sum(len(chunk) for chunk in store.verified_chunks(layer["digest"])) == layer["size"]
        assert file_digest(api.disk_for(root, image)) == image.disk_digest[7:]


def leftovers(root):
    return list(root.path.rglob(".tmp-*"))


def test_killed_at_every_step(build, tmp_path, monkeypatch):
    expected = build("reference", 2).image.digest
    for number in range(1, 400):
        name = f"root{number}"
        root = Root(tmp_path / name)
        first = build(name, 1).image.digest
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Effects(patch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
                build(name, 2)
                os._exit(0)
        _pid, status = os.waitpid(child, 0)
        sound(root)
        # The old image or the new one, never anything else.
        assert api.inspect(root, "x").digest in (first, expected)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert number > 20
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert build(name, 2).image.digest == expected
        assert build(name, 3).changed
        assert leftovers(root) == []
    pytest.fail("the build never came to its end")


def test_disk_full_at_every_step(build, tmp_path, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    build("root", 1)
    root = Root(tmp_path / "root")
    first = api.inspect(root, "x").digest
    for number in range(1, 400):
        with pytest.MonkeyPatch.context() as patch:
            effects = Effects(patch, number, full)
            try:
                build("root", 2)
            except HostError as error:
                assert error.code == "host.disk_full"
        if effects.left > 0:
            assert number > 20
            return
        assert leftovers(root) == []
        sound(root)
        if api.inspect(root, "x").digest != first:
            api.ensure_absent(root, "x", force=True)
            build("root", 1)
    pytest.fail("the build never came to its end")


def test_two_builds_at_once(build, tmp_path):
    expected = {build("reference", number).image.digest for number in range(4)}
    root = Root(tmp_path / "root")
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _round in range(5):
                    build("root", number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    sound(root)
    assert {image.digest for image in api.list_images(root)} <= expected
    assert api.inspect(root, "x").digest in expected
    assert leftovers(root) == []


def test_removal_does_not_wait_for_somebody_elses_pull(build, tmp_path, monkeypatch):
    image = build("root", 1).image
    root = Root(tmp_path / "root")
    real = ImageStore.gc
    monkeypatch.setattr(ImageStore, "gc", lambda self, **more: real(self, **{**more, "timeout": 0}))
    with ImageStore(root).writing():
        assert api.ensure_absent(root, "x").changed
    assert api.list_images(root) == []
    assert ImageStore(root).has_blob(image.digest)
    assert api.prune(root)[1] > 0
    assert not ImageStore(root).has_blob(image.digest)


def test_gc_waits_for_writers_and_spares_their_blobs(tmp_path):
    root = Root(tmp_path / "root")
    store = ImageStore(root)
    with store.writing():
        descriptor = store.add_blob(b"not referred to yet", media_type="x")
        with pytest.raises(DeadlineError):
            store.gc(timeout=0)
        assert store.has_blob(descriptor["digest"])
    assert store.gc(timeout=0) > 0
    assert not store.has_blob(descriptor["digest"])
