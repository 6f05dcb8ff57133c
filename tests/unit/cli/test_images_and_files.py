# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that move images and files: build from every source, push, pull, login, save, load, cp."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from types import SimpleNamespace

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli.main import main
from ansible_collections.uni.engine.plugins.module_utils.engine import vmfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api
from ansible_collections.uni.engine.plugins.module_utils.engine.overlay import create_overlay
from ansible_collections.uni.engine.plugins.module_utils.engine.process import boot_id, start_ticks
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images as vm_images
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes
from ansible_collections.uni.engine.tests.unit.engine.elves import elf
from ansible_collections.uni.engine.tests.unit.engine.registries import docker_registry

VM = "0123456789ab"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("UNI_ROOT", str(tmp_path / "root"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return Root(tmp_path / "root")


@pytest.fixture
def uni(root, monkeypatch, capfdbinary):
    def run(*argv, stdin=b""):
        monkeypatch.setattr("sys.argv", ["uni", *argv])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(
            buffer=io.BytesIO(stdin), isatty=lambda: False, readline=io.StringIO(stdin.decode("latin-1")).readline))
        status = main(argv)
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()
    return run


@pytest.fixture
def image(root, tmp_path):
    program = tmp_path / "hello"
    program.write_bytes(elf())
    return api.ensure_present(root, api.BuildSpec("hello", program=program, kernel=program)).image


@pytest.fixture
def vm(root, image):
    """A VM that has been stopped, with a volume at /data."""
    volumes.ensure_present(root, volumes.VolumeSpec.parse("store", "8M"))
    directory = root.vms / VM
    directory.mkdir()
    record = {"name": "web", "values": {"volumes": ["store:/data"]},
              "image": vm_images.unpack(root, vm_images.resolve(root, "hello"))}
    (directory / "vm.json").write_text(json.dumps(record))
    (directory / "state.json").write_text(json.dumps({"status": "exited"}))
    create_overlay(directory / "disk.qcow2", api.disk_for(root, image), 0)
    (root.vms / ".names").mkdir()
    (root.vms / ".names" / "web").symlink_to(f"../{VM}")
    return directory


def test_build_from_a_container_image(uni, root, image, tmp_path):
    program = tmp_path / "hello"
    status, out, _err = uni("build", str(program), "--name", "again", "--output", "json")
    assert (status, json.loads(out)["references"]) == (0, ["again:latest"])
    status, _out, err = uni("build", "--from", "oci:/nowhere", "--name", "x")
    assert (status, "/nowhere" in err) == (1, True)
    status, _out, err = uni("build", "--pkg", "Bad_Name", "--name", "x")
    assert (status, "Bad_Name" in err) == (2, True)


def test_push_pull_login(uni, root, image, tmp_path):
    with docker_registry(tmp_path / "registry", user="eve", password="sesame") as (address, _cert):
        url = f"http://{address}"
        status, _out, err = uni("push", "hello", url)
        assert (status, "uni login" in err) == (1, True)
        status, out, err = uni("login", url, "-u", "eve", stdin=b"guess\n")
        assert (status, "guess" in err) == (1, False)
        status, out, err = uni("login", url, "-u", "eve", stdin=b"sesame\n")
        assert status == 0
        assert b"sesame" not in out
        status, out, err = uni("push", "hello", url, "--output", "json")
        assert (status, json.loads(out)["changed"], json.loads(out)["digest"]) == (0, True, image.digest)
        assert json.loads(uni("push", "hello", url, "--output", "json")[1])["changed"] is False
        assert uni("rmi", "hello")[0] == 0
        status, out, _err = uni("pull", "hello", url)
        assert (status, out.decode().split()) == (0, ["hello:latest", image.digest])
        assert uni("logout", url)[0] == 0
        status, _out, err = uni("pull", "hello:v2", url)
        assert (status, "uni login" in err) == (1, True)


def test_save_and_load(uni, root, image, tmp_path):
    status, archive, _err = uni("save", "hello")
    assert status == 0
    assert uni("save", "hello", "-o", str(tmp_path / "x.tar"))[0] == 0
    assert (tmp_path / "x.tar").read_bytes() == archive
    assert uni("rmi", "hello")[0] == 0
    status, out, _err = uni("load", "-", stdin=archive)
    assert (status, out) == (0, b"hello:latest\n")
    assert json.loads(uni("load", str(tmp_path / "x.tar"), "--output", "json")[1])["changed"] is False
    assert uni("load", str(tmp_path / "gone.tar"))[0] == 1


def test_cp_with_the_root_disk(uni, vm, tmp_path):
    (tmp_path / "file").write_text("from here")
    assert uni("cp", str(tmp_path / "file"), "web:/etc/file")[0] == 0
    assert uni("cp", f"{VM[:4]}:/etc/file", str(tmp_path / "back"))[0] == 0
    assert (tmp_path / "back").read_text() == "from here"
    status, archive, _err = uni("cp", "web:/etc", "-")
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert found.extractfile("etc/file").read() == b"from here"
    assert status == 0
    assert uni("cp", "-", "web:/tmp", stdin=archive)[0] == 0
    assert uni("cp", "web:/tmp/etc/file", str(tmp_path / "third"))[0] == 0
    assert (tmp_path / "third").read_text() == "from here"
    assert [path.name for path in vm.iterdir() if path.name.startswith(".tmp")] == []


def test_cp_with_a_volume(uni, root, vm, tmp_path):
    (tmp_path / "file").write_text("on the volume")
    assert uni("cp", str(tmp_path / "file"), "web:/data/sub")[0] == 0
    assert uni("cp", str(tmp_path / "file"), "web:/data")[0] == 0
    assert uni("cp", "web:/data/.", str(tmp_path / "out"))[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"sub", "file"}
    assert b"on the volume" in volumes.inspect(root, "store").path.read_bytes()


def test_cp_refusals(uni, vm, tmp_path):
    for words, code in ((("a", "b"), 2), (("web:/a", "web:/b"), 2), (("web:a", "b"), 2), (("gone:/a", "b"), 1),
                        (("web:/nothing", str(tmp_path)), 1), ((str(tmp_path / "gone"), "web:/"), 1)):
        status, out, err = uni("cp", *words)
        assert (status, out) == (code, b""), (words, err)
    # Any process that is there counts as its QEMU: this one.
    (vm / "state.json").write_text(json.dumps({"status": "running", "boot": boot_id(), "pid": os.getpid(),
                                               "start": start_ticks(os.getpid())}))
    status, _out, err = uni("cp", str(tmp_path / "root"), "web:/etc/hosts")
    assert (status, "uni stop web" in err) == (1, True), err


@pytest.mark.parametrize(("text", "expected"), [
    ("web:/etc", ("web", "/etc")), ("./web:/etc", None), ("/a:/b", None), ("a/b:/c", None), ("plain", None),
    ("-", None), (":/x", None)])
def test_paths_of_vms(text, expected):
    assert vmfiles.split(text) == expected


def test_a_relative_path_of_a_vm_is_refused():
    with pytest.raises(UsageError):
        vmfiles.split("web:etc")


def test_removing_goes_on_past_a_name_that_is_not_there(uni, root, image):
    assert uni("volume", "create", "data", "--size", "4M")[0] == 0
    for words, name in ((("volume", "rm"), "data"), (("rmi",), "hello")):
        status, out, err = uni(*words, "nothing", name, "--output", "json")
        assert (status, json.loads(out)) == (1, {"removed": [name]})
        assert "nothing" in json.loads(err)["error"]["message"]
        status, out, err = uni(*words, name)
        assert (status, out) == (1, b"")
        assert err.startswith("uni: ")
