# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry client against Debian's docker-registry and the embedded one, with skopeo as the second opinion."""

from __future__ import annotations

import json
import random
import stat

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import RegistryError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.api import Connection
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.tests.unit.engine.elves import elf
from ansible_collections.uni.engine.tests.unit.engine.registries import docker_registry, embedded_registry, skopeo


@pytest.fixture(scope="module", params=["docker-registry", "embedded"])
def plain(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    if request.param == "embedded":
        with embedded_registry(directory) as address:
            yield address
        return
    with docker_registry(directory) as (address, _cert):
        yield address


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    with docker_registry(tmp_path_factory.mktemp("locked"), user="eve", password="open sesame", tls=True) as found:
        yield found


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return Root(tmp_path / "root")


@pytest.fixture
def other(tmp_path):
    return Root(tmp_path / "other")


@pytest.fixture
def build(tmp_path, root):
    def run(name, data=b"", seed=0):
        program, kernel = tmp_path / "program", tmp_path / "kernel"
        # Contents that differ from test to test: a blob must not be in the registry already.
        program.write_bytes(elf() + tmp_path.name.encode() + data + random.Random(seed).randbytes(100_000))
        kernel.write_bytes(elf() + tmp_path.name.encode())
        return images.ensure_present(root, BuildSpec(name, program=program, kernel=kernel)).image
    return run


def test_round_trip(plain, root, other, build):
    """Push and pull in four passes: check, apply, apply again, check again."""
    image = build("team/hello:v1")
    url = Connection(url=f"http://{plain}")
    assert api.push(root, "team/hello:v1", connection=url, check=True).changed
    assert api.remote_digest(root, "team/hello:v1", connection=url) is None
    pushed = api.push(root, "team/hello:v1", connection=url)
    assert (pushed.changed, pushed.digest, pushed.blobs) == (True, image.digest, 4)
    assert not api.push(root, "team/hello:v1", connection=url).changed
    assert not api.push(root, "team/hello:v1", connection=url, check=True).changed

    assert api.pull(other, "team/hello:v1", connection=url, check=True).changed
    assert images.list_images(other) == []
    pulled = api.pull(other, "team/hello:v1", connection=url)
    assert (pulled.changed, pulled.digest, pulled.blobs) == (True, image.digest, 4)
    assert pulled.image.references == ("team/hello:v1",)
    assert not api.pull(other, "team/hello:v1", connection=url).changed
    assert not api.pull(other, "team/hello:v1", connection=url, check=True).changed
    assert images.disk_for(other, pulled.image).read_bytes() == images.disk_for(root, image).read_bytes()


def test_the_registry_stands_in_the_name(plain, root, other, build):
    """127.0.0.1:PORT without a scheme: loopback, so plain HTTP is found out."""
    image = build(f"{plain}/named:v1")
    assert api.push(root, f"{plain}/named:v1").changed
    assert api.pull(other, f"{plain}/named:v1").image.references == (f"{plain}/named:v1",)
    by_digest = api.pull(other, f"{plain}/named@{image.digest}")
    assert not by_digest.changed
    assert api.remote_tags(root, f"{plain}/named") == ["v1"]


def test_pull_by_digest(plain, root, other, build):
    image = build(f"{plain}/bydigest:v1")
    api.push(root, f"{plain}/bydigest:v1")
    assert api.pull(other, f"{plain}/bydigest@{image.digest}").image.references == ()
    assert not api.pull(other, f"{plain}/bydigest@{image.digest}").changed
    assert images.inspect(other, image.digest).digest == image.digest


def test_nothing_is_sent_twice(plain, root, build):
    first = build(f"{plain}/twice:v1")
    assert api.push(root, f"{plain}/twice:v1").blobs == 4
    second = build(f"{plain}/twice:v2", b"changed")
    assert second.kernel == first.kernel
    pushed = api.push(root, f"{plain}/twice:v2")
    # The kernel and /urunc.json are there; the disk and the config are new.
    assert (pushed.blobs, pushed.present) == (2, 2)
    mounted = api.push(root, f"{plain}/twice:v2", target=f"{plain}/elsewhere:v2")
    assert (mounted.blobs, mounted.mounted) == (0, 4)


def test_progress_reaches_its_end(plain, root, other, build):
    image = build(f"{plain}/progress:v1")
    total = sum(layer["size"] for layer in image.layers) + len(ImageStore(root).read_blob(image.id))
    for move in (lambda tell: api.push(root, f"{plain}/progress:v1", progress=tell),
                 lambda tell: api.pull(other, f"{plain}/progress:v1", progress=tell)):
        seen = []
        move(lambda done, whole, seen=seen: seen.append((done, whole)))
        assert seen[-1] == (total, total)
        assert [done for done, _whole in seen] == sorted(done for done, _whole in seen)


def test_nothing_is_fetched_twice(plain, root, other, build):
    build(f"{plain}/fetch:v1")
    api.push(root, f"{plain}/fetch:v1")
    build(f"{plain}/fetch:v2", b"changed")
    api.push(root, f"{plain}/fetch:v2")
    assert api.pull(other, f"{plain}/fetch:v1").blobs == 4
    pulled = api.pull(other, f"{plain}/fetch:v2")
    assert (pulled.blobs, pulled.present) == (2, 2)


def test_tags_in_the_registry(plain, root, build):
    image = build(f"{plain}/copy/a:v1")
    api.push(root, f"{plain}/copy/a:v1")
    assert api.copy(root, f"{plain}/copy/a:v1", f"{plain}/copy/a:stable", check=True).changed
    assert api.copy(root, f"{plain}/copy/a:v1", f"{plain}/copy/a:stable").digest == image.digest
    assert not api.copy(root, f"{plain}/copy/a:v1", f"{plain}/copy/a:stable").changed
    assert api.copy(root, f"{plain}/copy/a:v1", f"{plain}/copy/b:v1").changed
    assert sorted(api.remote_tags(root, f"{plain}/copy/a")) == ["stable", "v1"]
    assert api.remote_digest(root, f"{plain}/copy/b:v1") == image.digest
    assert api.remote_delete(root, f"{plain}/copy/b:v1").changed
    assert not api.remote_delete(root, f"{plain}/copy/b:v1").changed


def test_skopeo_reads_what_we_pushed(plain, root, build, tmp_path):
    image = build(f"{plain}/skopeo:v1")
    api.push(root, f"{plain}/skopeo:v1")
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{plain}/skopeo:v1"))
    assert seen["Digest"] == image.digest
    skopeo("copy", "--src-tls-verify=false", f"docker://{plain}/skopeo:v1", f"oci:{tmp_path / 'copy'}:v1")
    for layer in image.layers:
        copied = tmp_path / "copy" / "blobs" / "sha256" / layer["digest"][7:]
        assert copied.read_bytes() == ImageStore(root).blob_path(layer["digest"]).read_bytes()


def test_we_read_what_skopeo_pushed(plain, root, other, build):
    image = build("local:v1")
    skopeo("copy", "--dest-tls-verify=false", f"oci:{root.images}:local:v1", f"docker://{plain}/fromskopeo:v1")
    pulled = api.pull(other, f"{plain}/fromskopeo:v1")
    assert pulled.digest == image.digest
    assert images.disk_for(other, pulled.image).exists()


def test_tls_and_password(locked, root, other, build):
    address, cert = locked
    image = build("secret:v1")
    url = f"https://{address}"
    with pytest.raises(RegistryError) as caught:
        api.push(root, "secret:v1", connection=Connection(url=url))
    assert caught.value.code == "registry.tls"
    trusted = Connection(url=url, ca=cert)
    with pytest.raises(RegistryError) as caught:
        api.push(root, "secret:v1", connection=trusted)
    assert caught.value.code == "registry.unauthorized"
    assert "uni login" in caught.value.hint
    with pytest.raises(RegistryError) as caught:
        api.login(root, url, Credentials("eve", "wrong word"), connection=trusted)
    assert caught.value.code == "registry.unauthorized"
    assert "wrong word" not in str(caught.value)
    assert not (root.path / "auth.json").exists()

    good = Credentials("eve", "open sesame")
    assert api.login(root, url, good, connection=trusted, check=True).changed
    assert not (root.path / "auth.json").exists()
    plan = api.login(root, url, good, connection=trusted)
    assert "open sesame" not in str(plan.describe()) + repr(good)
    assert not api.login(root, url, good, connection=trusted).changed
    assert stat.S_IMODE((root.path / "auth.json").stat().st_mode) == 0o600
    assert api.push(root, "secret:v1", connection=trusted).changed
    skopeo("inspect", "--tls-verify=false", f"docker://{address}/secret:v1", authfile=root.path / "auth.json")
    pulled = api.pull(other, "secret:v1", connection=Connection(url=url, ca=cert, credentials=good))
    assert pulled.digest == image.digest
    assert api.pull(other, "secret:v1",
                    connection=Connection(url=url, verify=False, credentials=good)).changed is False
    assert api.logout(root, url, check=True).changed
    assert api.logout(root, url).changed
    assert not api.logout(root, url).changed
    with pytest.raises(RegistryError):
        api.pull(root, "secret:v9", connection=trusted)


def test_a_tampered_layer_is_found_by_the_registry_and_named(plain, root, build):
    image = build(f"{plain}/tampered:v1")
    path = ImageStore(root).blob_path(image.disk_layer)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(VerifyError) as caught:
        api.push(root, f"{plain}/tampered:v1")
    assert image.disk_layer in caught.value.message
    assert api.remote_digest(root, f"{plain}/tampered:v1") is None


def test_what_is_not_there(plain, root):
    with pytest.raises(RegistryError) as caught:
        api.pull(root, f"{plain}/nothing:v1")
    assert caught.value.code == "registry.not_found"
    assert images.list_images(root) == []
    with pytest.raises(RegistryError) as caught:
        api.pull(root, "nothing:v1", connection=Connection(url="http://127.0.0.1:1"))
    assert caught.value.code == "registry.unreachable"
    with pytest.raises(RegistryError) as caught:
        api.pull(root, "nothing:v1", connection=Connection(url=f"https://{plain}"))
    assert caught.value.code == "registry.tls"


def test_killed_pull_goes_on_where_it_stopped(plain, root, other, build):
    image = build(f"{plain}/resume:v1")
    api.push(root, f"{plain}/resume:v1")
    blob = ImageStore(root).blob_path(image.disk_layer).read_bytes()
    store = ImageStore(other)
    partial = store.blobs / f".partial-{image.disk_layer[7:]}"
    partial.write_bytes(blob[:50_000])
    pulled = api.pull(other, f"{plain}/resume:v1")
    assert pulled.bytes == sum(layer["size"] for layer in image.layers) + len(
        ImageStore(root).read_blob(image.id)) - 50_000
    # A beginning that a crash damaged is fetched again, not kept and not an error.
    images.ensure_absent(other, f"{plain}/resume:v1")
    partial.write_bytes(b"x" * 50_000)
    assert api.pull(other, f"{plain}/resume:v1").image.digest == image.digest
    assert not partial.exists()
