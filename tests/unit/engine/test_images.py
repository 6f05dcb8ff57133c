# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.disk import file_digest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    NotFoundError,
    StateError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api
from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import LAYER_GZIP, MANIFEST
from ansible_collections.uni.engine.plugins.module_utils.engine.images.spec import Settings, plan_build
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import parse_reference
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images as vm_images
from ansible_collections.uni.engine.tests.unit.engine.elves import elf


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "uni.elf"
    path.write_bytes(elf() + b"kernel")
    return path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(elf() + b"hello")
    return path


@pytest.fixture
def spec(program, kernel):
    return BuildSpec("hello:v1", program=program, kernel=kernel, cmd=("--all", "two words"), env={"B": "2", "A": "1"},
                     exposed_ports=("80", "53/udp"), memory=64 << 20, user="1000", workdir="/srv")


def blobs(root):
    return {path.name for path in (root.images / "blobs" / "sha256").iterdir()}


def contents(store, layer):
    data = gzip.decompress(store.blob_path(layer["digest"]).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: (member.mode, archive.extractfile(member).read() if member.isfile() else None)
                for member in archive}


def test_four_passes(root, spec):
    """Check, apply, apply again, check again."""
    first = api.ensure_present(root, spec, check=True)
    assert first.changed
    assert first.image is None
    assert api.list_images(root) == []
    built = api.ensure_present(root, spec)
    assert built.changed
    assert built.plan.describe() == first.plan.describe()
    before = {path: path.stat().st_mtime_ns for path in root.images.rglob("*")}
    again = api.ensure_present(root, spec)
    assert not again.changed
    assert again.image.digest == built.image.digest
    assert not api.ensure_present(root, spec, check=True).changed
    assert {path: path.stat().st_mtime_ns for path in root.images.rglob("*")} == before


def test_equal_input_gives_an_equal_digest_anywhere(root, spec, tmp_path):
    first = api.ensure_present(root, spec).image
    second = api.ensure_present(Root(tmp_path / "elsewhere"), spec).image
    assert (first.id, first.digest) == (second.id, second.digest)


def test_known_digest(root, spec):
    """Part of the contract: when it changes, spec.FORMAT must change, too, or nobody's images are rebuilt."""
    image = api.ensure_present(root, spec).image
    assert (image.digest, image.annotations["org.uni-engine.format"]) == (
        "sha256:275e97a3f1bb8ee55c3a3408ddb97fab0164d5648c69de3992cb4c37f7b8f6a6", "1")


def test_what_is_in_an_image(root, spec, kernel):
    image = api.ensure_present(root, spec).image
    store = ImageStore(root)
    kernel_layer, disk_layer, metadata = (contents(store, layer) for layer in image.layers)
    assert kernel_layer == {".boot": (0o755, None), ".boot/kernel": (0o644, kernel.read_bytes())}
    assert disk_layer[".boot/rootfs"][1] == api.disk_for(root, image).read_bytes()
    mode, text = metadata["urunc.json"]
    decoded = {key: base64.b64decode(value, validate=True).decode() for key, value in json.loads(text).items()}
    assert mode == 0o644
    assert decoded == {key: value for key, value in image.annotations.items() if key.startswith("com.urunc.")}
    assert decoded == {key: value for key, value in image.labels.items() if key.startswith("com.urunc.")}
    assert decoded["com.urunc.unikernel.cmdline"] == "/bin/hello --all 'two words'"
    assert image.entrypoint == ("/bin/hello",)
    assert image.cmd == ("--all", "two words")
    assert image.env == {"A": "1", "B": "2"}
    assert image.exposed_ports == ("53/udp", "80/tcp")
    assert (image.memory, image.user, image.workdir, image.guest) == (64 << 20, "1000:0", "/srv", "uni")
    assert api.kernel_for(root, image).read_bytes() == kernel.read_bytes()
    assert image.to_dict()["tags"] == ["v1"]


def test_changes_are_named(root, spec, program):
    api.ensure_present(root, spec)
    changed = BuildSpec(**{**vars(spec), "env": {"A": "3"}, "memory": None})
    result = api.ensure_present(root, changed, check=True)
    assert result.plan.actions[0].before == {"env": {"A": "1", "B": "2"}, "memory": 64 << 20}
    assert result.plan.actions[0].after == {"env": {"A": "3"}, "memory": 0}
    program.write_bytes(elf() + b"other")
    assert list(api.ensure_present(root, spec).plan.actions[0].after) == ["content"]


def test_a_new_kernel_does_not_rebuild_unless_asked_for(spec):
    observed_settings = Settings(entrypoint=("/bin/hello",))
    reference = parse_reference("hello")

    def plan(kernel, annotations, **more):
        info = type("Info", (), {"annotations": annotations, "labels": {}, "memory": None, "cpus": None,
                                 "kernel_range": None, "stop_signal": "", "user": "", "workdir": "/",
                                 "entrypoint": ("/bin/hello",), "cmd": (), "env": {}, "exposed_ports": (),
                                 "volumes": ()})()
        return plan_build(reference, observed_settings, "sha256:c", kernel, info, **more)

    have = {"org.uni-engine.content": "sha256:c", "org.uni-engine.format": "1",
            "org.uni-engine.kernel.digest": "sha256:old"}
    assert not plan("sha256:new", have).changed
    assert plan("sha256:new", have, update_kernel=True).actions[0].after == {"kernel": "sha256:new"}
    assert not plan("sha256:old", have, update_kernel=True).changed
    assert not plan(None, have).changed
    have.pop("org.uni-engine.kernel.digest")
    assert plan("sha256:new", have).changed


def test_without_any_kernel_there_is_a_warning(root, program):
    result = api.ensure_present(root, BuildSpec("hello", program=program))
    assert result.image.kernel is None
    assert "no kernel" in result.warnings[0]
    assert api.kernel_for(root, result.image) is None


def test_root_directory(root, program, kernel, tmp_path):
    directory = tmp_path / "rootfs"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc" / "hosts").write_text("10.0.0.1 mine\n")
    (directory / "lib").symlink_to("usr/lib")
    image = api.ensure_present(root, BuildSpec("x", program=program, rootfs=directory, kernel=kernel)).image
    disk = api.disk_for(root, image).read_bytes()
    assert b"10.0.0.1 mine" in disk
    assert b"127.0.0.1\tlocalhost" not in disk
    assert b"root:x:0:0:" in disk


def test_directory_with_its_own_program(root, program, kernel, tmp_path):
    directory = tmp_path / "rootfs"
    (directory / "opt").mkdir(parents=True)
    (directory / "opt" / "run").write_bytes(program.read_bytes())
    (directory / "opt" / "run").chmod(0o755)
    (directory / "opt" / "script").write_text("#!/opt/run -x\n")
    (directory / "opt" / "script").chmod(0o755)
    spec = BuildSpec("x", rootfs=directory, kernel=kernel, entrypoint=("run", "-v"), env={"PATH": "/bin:/opt"})
    assert api.ensure_present(root, spec).image.entrypoint == ("/opt/run", "-v")
    spec = BuildSpec("y", rootfs=directory, kernel=kernel, entrypoint=("script",), workdir="/opt",
                     env={"PATH": "/opt"})
    assert api.ensure_present(root, spec).image.entrypoint == ("/opt/script",)


@pytest.mark.parametrize(("entrypoint", "code"), [
    (("/nope",), "build.entrypoint"), (("/etc/data",), "build.entrypoint"), (("nope",), "build.entrypoint"),
    (("/etc/script",), "build.entrypoint"), (None, "build.no_entrypoint"), (("/etc/text",), "elf.not_elf"),
    (("/etc/dynamic",), "elf.interpreter")])
def test_unsuited_programs_are_refused_before_anything_is_built(root, tmp_path, kernel, entrypoint, code):
    directory = tmp_path / "rootfs" / "etc"
    directory.mkdir(parents=True)
    for name, data, mode in (("data", b"", 0o644), ("script", b"#!/bin/gone\n", 0o755), ("text", b"text", 0o755),
                             ("dynamic", elf(kind=3, interpreter=b"/gone", needed=(b"c",)), 0o755)):
        (directory / name).write_bytes(data)
        (directory / name).chmod(mode)
    with pytest.raises(UsageError) as caught:
        api.ensure_present(root, BuildSpec("x", rootfs=directory.parent, kernel=kernel, entrypoint=entrypoint))
    assert caught.value.code == code
    assert blobs(root) == set()


@pytest.mark.parametrize("change", [
    {"name": "Hello"}, {"name": "a b"}, {"name": "x@sha256:" + "0" * 64}, {"program": None}, {"memory": 5},
    {"cpus": 0}, {"user": "a b"}, {"stop_signal": "no"}, {"workdir": "srv"}, {"volumes": ("/a/../b",)},
    {"exposed_ports": ("80/sctp",)}, {"exposed_ports": ("0",)}, {"user": "nobody-knows"},
    {"kernel_range": "newest"}, {"kernel_range": ">=0.1.0,<x"}])
def test_bad_settings_are_refused(root, spec, change):
    with pytest.raises(UsageError):
        api.ensure_present(root, BuildSpec(**{**vars(spec), **change}))
    assert api.list_images(root) == []


def test_tags(root, spec, program):
    first = api.ensure_present(root, spec).image
    assert api.tag(root, "hello:v1", "other/name:x").changed
    assert not api.tag(root, "hello:v1", "other/name:x").changed
    assert api.inspect(root, "other/name:x").references == ("hello:v1", "other/name:x")
    program.write_bytes(elf() + b"second")
    second = api.ensure_present(root, spec).image
    assert second.digest != first.digest
    assert api.inspect(root, "other/name:x").digest == first.digest
    assert api.tag(root, "hello:v1", "other/name:x").plan.actions[0].before == {"id": first.id}
    dangling = [image for image in api.list_images(root) if not image.references]
    assert [image.digest for image in dangling] == [first.digest]
    result, freed = api.prune(root)
    assert result.changed
    assert freed > 0
    assert [image.digest for image in api.list_images(root)] == [second.digest]
    assert not api.prune(root)[0].changed


def test_names_ids_and_prefixes(root, spec):
    image = api.ensure_present(root, spec).image
    for name in ("hello:v1", image.id, image.digest, image.id[7:19], image.digest[:15], f"hello@{image.digest}"):
        assert api.inspect(root, name).digest == image.digest
    for name in ("hello", "hello:v2", image.id[7:10], "sha256:" + "0" * 64, f"other@{image.digest}"):
        with pytest.raises(NotFoundError) as caught:
            api.inspect(root, name)
        assert caught.value.code == "image.not_found"
    with pytest.raises(NotFoundError) as caught:
        api.inspect(root, "helo:v1")
    assert caught.value.hint == "did you mean hello:v1?"
    with pytest.raises(UsageError):
        api.inspect(root, "../../etc/passwd")


def test_an_ambiguous_prefix_is_refused(root):
    store = ImageStore(root)
    found = {}
    for number in range(60_000):
        data = json.dumps({"schemaVersion": 2, "layers": [], "n": number}).encode()
        prefix = hashlib.sha256(data).hexdigest()[:4]
        if prefix in found:
            break
        found[prefix] = data
    for text in (data, found[prefix]):
        store.tag(store.add_blob(text, media_type=MANIFEST), None)
    with pytest.raises(ConflictError) as caught:
        store.resolve(prefix)
    assert caught.value.code == "image.ambiguous"


def test_a_vm_keeps_its_image_when_another_one_differs_in_memory_alone(root, spec):
    """The memory stands in the manifest, not in the config: both images have the same id."""
    first, second = (api.ensure_present(root, replace(spec, name=name, memory=size)).image
                     for name, size in (("small:1", 32 << 20), ("large:1", 64 << 20)))
    assert first.id == second.id and first.digest != second.digest
    for name, size in (("small:1", 32 << 20), ("large:1", 64 << 20)):
        kept = vm_images.resolve(root, name)
        assert kept["memory"] == size
        assert vm_images.unpack(root, kept)["disk"].endswith(first.disk_digest.partition(":")[2] + ".ext2")


def test_removal(root, spec):
    image = api.ensure_present(root, spec).image
    api.tag(root, "hello:v1", "hello:v2")
    assert api.ensure_absent(root, "hello:v1", check=True).changed
    assert api.ensure_absent(root, "hello:v1").changed
    assert not api.ensure_absent(root, "hello:v1").changed
    with pytest.raises(StateError) as caught:
        api.ensure_absent(root, "hello:v2", users=lambda _image: ["VM web"])
    assert caught.value.code == "image.in_use"
    assert "VM web" in caught.value.message
    assert api.inspect(root, "hello:v2").digest == image.digest
    assert api.ensure_absent(root, image.id).changed
    assert blobs(root) == set()
    assert list(root.disks.iterdir()) == []


def test_an_image_of_a_vm_is_in_use(root, spec):
    image = api.ensure_present(root, spec).image
    record = root.vms / "abc" / "vm.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"name": "web", "image": {"digest": image.digest}}))
    with pytest.raises(StateError) as caught:
        api.ensure_absent(root, "hello:v1")
    assert "VM web" in caught.value.message
    assert not api.prune(root, every=True)[0].changed
    record.write_text(json.dumps({"name": "web", "disk": f"{image.disk_digest[7:]}.ext2"}))
    assert api.ensure_absent(root, "hello:v1", force=True).changed
    assert api.disks_in_use(root) == {f"{image.disk_digest[7:]}.ext2", f"{image.disk_digest[7:]}.ext2.ok"}


def test_an_older_image_with_the_same_disk_is_pruned_and_the_disk_stays(root, spec):
    first = api.ensure_present(root, spec).image
    second = api.ensure_present(root, BuildSpec(**{**vars(spec), "env": {"NEW": "1"}})).image
    assert first.disk_digest == second.disk_digest
    record = root.vms / "abc" / "vm.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"image": {"digest": second.digest, "disk": f"{second.disk_digest[7:]}.ext2"}}))
    assert [action.before["id"] for action in api.prune(root, every=True)[0].plan.actions] == [first.id]
    assert (root.disks / f"{second.disk_digest[7:]}.ext2").exists()
    assert api.inspect(root, "hello:v1").digest == second.digest


def test_a_tampered_blob_is_refused_by_name(root, spec):
    image = api.ensure_present(root, spec).image
    store = ImageStore(root)
    for path in root.disks.iterdir():
        path.unlink()
    path = store.blob_path(image.disk_layer)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerifyError) as caught:
        api.disk_for(root, image)
    assert image.disk_layer in caught.value.message
    assert [entry for entry in root.disks.iterdir() if entry.suffix == ".ext2"] == []
    manifest = store.blob_path(image.digest)
    manifest.write_bytes(manifest.read_bytes().replace(b"hello", b"hallo"))
    with pytest.raises(VerifyError) as caught:
        api.inspect(root, "hello:v1")
    assert caught.value.code == "blob.tampered"
    assert image.digest in caught.value.message


def test_a_truncated_layer_is_refused(root, spec):
    image = api.ensure_present(root, spec).image
    for path in root.disks.iterdir():
        path.unlink()
    blob = ImageStore(root).blob_path(image.disk_layer)
    blob.write_bytes(blob.read_bytes()[:-20])
    with pytest.raises(VerifyError) as caught:
        api.disk_for(root, image)
    assert image.disk_layer in caught.value.message


def test_a_written_to_disk_is_replaced_before_it_boots(root, spec):
    image = api.ensure_present(root, spec).image
    path = api.disk_for(root, image)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"evil")
    assert file_digest(api.disk_for(root, image)) == image.disk_digest[7:]
    path.unlink()
    assert file_digest(api.disk_for(root, image)) == image.disk_digest[7:]


def test_a_wrong_promise_of_a_disk_is_refused(root, spec):
    image = api.ensure_present(root, spec).image
    wrong = type(image)(**{**vars(image), "disk_digest": "sha256:" + "0" * 64})
    with pytest.raises(VerifyError) as caught:
        api.disk_for(root, wrong)
    assert caught.value.code == "disk.mismatch"


def test_an_image_of_other_tools_is_unpacked(root, kernel):
    """As bunny makes them: no annotations of ours, one plain layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (("./.boot/kernel", kernel.read_bytes()), (".boot/rootfs", b"disk" * 5000)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    store = ImageStore(root)
    layer = store.add_blob(buffer.getvalue(), media_type=LAYER_GZIP)
    config = store.add_blob(b'{"config": {"Cmd": ["app"]}}', media_type="application/json")
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in (
        ("unikernelType", "unikraft"), ("binary", "/.boot/kernel"), ("block", "/.boot/rootfs"))}
    manifest = json.dumps({"config": config, "layers": [layer], "annotations": annotations}).encode()
    store.tag(store.add_blob(manifest, media_type=MANIFEST), parse_reference("foreign"))
    image = api.inspect(root, "foreign")
    assert (image.guest, image.cmd, image.disk_digest) == ("unikraft", ("app",), None)
    for _pass in range(2):
        assert api.disk_for(root, image).read_bytes() == b"disk" * 5000
        assert api.kernel_for(root, image).read_bytes() == kernel.read_bytes()
    assert api.prune(root)[0].changed is False
    assert api.disk_for(root, image).exists()


def test_hostile_manifests_are_refused(root):
    store = ImageStore(root)
    for text in (b"[]", b"{", b'{"layers": 5}', b'{"layers": [{"digest": "sha256:../../x", "size": 1}]}',
                 b'{"layers": [{"digest": "sha256:' + b"0" * 64 + b'", "size": -1}]}', b'{"config": "x"}',
                 b"[" * 100_000):
        descriptor = store.add_blob(text, media_type=MANIFEST)
        store.tag(descriptor, parse_reference("bad"))
        with pytest.raises(VerifyError) as caught:
            store.resolve("bad")
        assert caught.value.code == "image.malformed"
        store.untag(parse_reference("bad"))
    (root.images / "index.json").write_text('{"manifests": {}}')
    with pytest.raises(VerifyError):
        store.images()


def test_mismatching_bytes_are_not_stored(root):
    store = ImageStore(root)
    with pytest.raises(VerifyError) as caught:
        store.add_blob([b"a", b"b"], media_type="x", digest="sha256:" + "0" * 64)
    assert caught.value.code == "blob.mismatch"
    with pytest.raises(VerifyError):
        store.add_blob(b"ab", media_type="x", size=3)
    assert blobs(root) == set()
