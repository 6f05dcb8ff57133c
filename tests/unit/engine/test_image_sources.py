# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of a rootfs: container images (layers with whiteouts) and Debian packages (from a repository of our own)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    HostError,
    NotFoundError,
    StateError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api, debian, share, sources
from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive
from ansible_collections.uni.engine.plugins.module_utils.engine.images.container import unpack_archive
from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import LayerReader, extract_file
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree
from ansible_collections.uni.engine.tests.unit.engine.elves import elf
from ansible_collections.uni.engine.tests.unit.engine.registries import docker_registry, skopeo, tool


def tar(*members):
    """A tar archive; a member is (name, data) or (name, {TarInfo fields})."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o755, 1_700_000_000
            data = what if isinstance(what, bytes) else None
            for key, value in ({} if data is not None else what).items():
                setattr(info, key, value)
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def layout(directory, layers, config=None, architecture="amd64"):
    """An OCI layout with one image, named ``app:v1``."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    descriptors = [add(gzip.compress(layer, mtime=0), "layer.v1.tar+gzip") for layer in layers]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    described = add(json.dumps({"architecture": architecture, "os": "linux", "config": config or {},
                                "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode(), "config.v1+json")
    manifest = add(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": described, "layers": descriptors}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "app:v1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


LAYERS = [
    tar(("bin", {"type": tarfile.DIRTYPE}), ("bin/app", elf()), ("bin/same", {"type": tarfile.LNKTYPE,
                                                                              "linkname": "bin/app"}),
        ("etc/old", b"old"), ("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:70:71::/:/bin/sh\n"),
        ("data/one", b"1"), ("data/two", b"2"), ("srv", {"type": tarfile.DIRTYPE, "uid": 1000, "gid": 1000}),
        ("dev/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})),
    tar(("etc/.wh.old", b""), ("data/.wh..wh..opq", b""), ("data/three", b"3"), ("./etc/new", b"new")),
]
CONFIG = {"Entrypoint": ["app"], "Cmd": ["-v"], "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/work", "User": "web",
          "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return Root(tmp_path / "root")


@pytest.fixture
def assembled(root, tmp_path):
    def run(**fields):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return sources.assemble(root, BuildSpec("x", **fields), scratch, check=True)
    return run


def read(tree, path):
    return tree.entries[path].content.read()


def test_layers_and_whiteouts(assembled, tmp_path):
    ready = assembled(image=str(layout(tmp_path / "layout", LAYERS, CONFIG)))
    tree = ready.tree
    assert {path for path in tree.entries if path.startswith(("/etc", "/data"))} >= {"/etc/new", "/data/three"}
    assert not {"/etc/old", "/data/one", "/data/two", "/etc/.wh.old", "/data/.wh..wh..opq"} & set(tree.entries)
    assert read(tree, "/bin/app") == elf()
    assert tree.entries["/bin/app"].inode is tree.entries["/bin/same"].inode is not None
    assert (tree.entries["/srv"].uid, tree.entries["/dev/null"].device) == (1000, (1, 3))
    assert tree.entries["/etc/new"].mtime == 1_700_000_000
    settings = ready.settings
    assert settings.entrypoint == ("/bin/app",)
    assert settings.cmd == ("-v",)
    assert settings.env == {"PATH": "/bin", "A": "1"}
    assert (settings.user, settings.workdir, settings.stop_signal) == ("70:71", "/work", "SIGQUIT")
    assert (settings.exposed_ports, settings.volumes) == (("80/tcp",), ("/data",))
    assert tree.entries["/work"].kind == "dir"


def test_settings_of_the_user_win(assembled, tmp_path):
    image = f"oci:{layout(tmp_path / 'layout', LAYERS, CONFIG)}:app:v1"
    settings = assembled(image=image, cmd=(), env={"A": "2"}, user="0", workdir="/").settings
    assert (settings.cmd, settings.env["A"], settings.user, settings.workdir) == ((), "2", "0:0", "/")
    settings = assembled(image=image, entrypoint=("/bin/same",)).settings
    assert (settings.entrypoint, settings.cmd) == (("/bin/same",), ())


def test_four_passes(root, tmp_path):
    spec = BuildSpec("x", image=str(layout(tmp_path / "layout", LAYERS, CONFIG)))
    assert api.ensure_present(root, spec, check=True).changed
    assert api.list_images(root) == []
    assert api.ensure_present(root, spec).changed
    assert not api.ensure_present(root, spec).changed
    assert not api.ensure_present(root, spec, check=True).changed
    assert list(root.cache.iterdir()) == []


def test_archive_gives_the_same_image_as_its_layout(root, tmp_path):
    first = api.ensure_present(root, BuildSpec("a", image=str(layout(tmp_path / "layout", LAYERS, CONFIG)))).image
    skopeo("copy", f"oci:{tmp_path / 'layout'}:app:v1", f"oci-archive:{tmp_path / 'app.tar'}:app:v1")
    second = api.ensure_present(root, BuildSpec("b", image=str(tmp_path / "app.tar"))).image
    assert first.digest == second.digest


def test_from_a_registry(root, tmp_path):
    layout(tmp_path / "layout", LAYERS, CONFIG)
    with docker_registry(tmp_path / "registry") as (address, _cert):
        skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:app:v1", f"docker://{address}/app:v1")
        spec = BuildSpec("x", image=f"{address}/app:v1")
        assert api.ensure_present(root, spec, check=True).changed
        assert api.list_images(root) == []
        image = api.ensure_present(root, spec).image
    # The base stays in the store: building again needs no registry.
    assert not api.ensure_present(root, spec).changed
    assert {name for found in api.list_images(root) for name in found.references} == {"x:latest", f"{address}/app:v1"}
    with pytest.raises(StateError) as caught:
        api.disk_for(root, api.inspect(root, f"{address}/app:v1"))
    assert caught.value.code == "image.no_disk"
    with pytest.raises(StateError) as caught:
        api.ensure_present(root, BuildSpec("y", image="x"))
    assert caught.value.code == "build.unikernel"
    assert image.guest == "uni"


def test_over_a_container_image(assembled, tmp_path):
    directory = tmp_path / "over"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc" / "new").write_bytes(b"newer")
    tree = assembled(image=str(layout(tmp_path / "layout", LAYERS, CONFIG)), rootfs=directory).tree
    assert read(tree, "/etc/new") == b"newer"
    assert "/data/three" in tree


@pytest.mark.parametrize(("members", "error"), [
    ([("../../etc/passwd", b"x")], "tree.path"),
    ([("a", {"type": tarfile.LNKTYPE, "linkname": "gone"})], "layer.damaged"),
    ([("a", {"type": tarfile.SYMTYPE, "linkname": "a"}), ("a/b", b"")], "tree.path"),
    ([("a", b""), ("a/b", b"")], "tree.path")])
def test_hostile_archives_are_refused(tmp_path, members, error):
    (tmp_path / "x.tar").write_bytes(tar(*members))
    with pytest.raises(UniError) as caught:
        apply_archive(Tree(), tmp_path / "x.tar")
    assert caught.value.code == error


def pax(kind=tarfile.REGTYPE, **records):
    """An archive of one member, ``file``, whose pax header says ``records`` about it."""
    body = b""
    for key, value in records.items():
        tail = f" {key.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(tail), len(tail) + 9) if len(str(n)) + len(tail) == n)
        body += str(length).encode() + tail
    header, member = tarfile.TarInfo("x"), tarfile.TarInfo("file")
    header.type, header.size = b"x", len(body)
    member.type, member.size, member.linkname = kind, 512 if kind == tarfile.REGTYPE else 0, "target"
    return (header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)
            + member.tobuf(tarfile.USTAR_FORMAT) + b"1\n0\n5\n".ljust(member.size, b"\0") + bytes(1024))


@pytest.mark.parametrize("records", [
    {"size": 10 ** 20}, {"size": -1}, {"size": "9" * 400}, {"mtime": "inf"}, {"mtime": "nan"}, {"mtime": "1e400"},
    {"GNU__sparse__major": 1, "GNU__sparse__minor": 0, "GNU__sparse__realsize": 10 ** 20},
    {"GNU__sparse__major": 0, "GNU__sparse__minor": 1, "GNU__sparse__size": 10 ** 15, "GNU__sparse__map": "0,5"}])
def test_absurd_headers_end_in_an_error_at_once(root, tmp_path, records):
    """tarfile skips a member of an exabyte by reading 10 KiB at a time, past the end of the data, for ever."""
    data = pax(**records)
    (tmp_path / "x.tar").write_bytes(data)
    readers = [lambda: apply_archive(Tree(), tmp_path / "x.tar"), lambda: share.load(root, tmp_path / "x.tar"),
               lambda: unpack_archive(tmp_path / "x.tar", tmp_path)]
    for wanted in ("file", "another"):
        reader = LayerReader(tmp_path / "x.tar", {"digest": "", "mediaType": ""}, "")
        readers.append(lambda reader=reader, wanted=wanted: extract_file(reader, wanted, tmp_path / "out"))
    for read in readers:
        try:
            read()
        except UniError:
            continue


def test_symbolic_links_lead_nowhere_outside(tmp_path):
    """A link to the host's /etc, and a file through it: both stay in the tree."""
    (tmp_path / "x.tar").write_bytes(tar(("e", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("e/hosts", b"mine"),
                                         ("u", {"type": tarfile.SYMTYPE, "linkname": "../../.."}), ("u/v", b"up")))
    tree = Tree()
    apply_archive(tree, tmp_path / "x.tar")
    assert read(tree, "/etc/hosts") == b"mine"
    assert read(tree, "/v") == b"up"


def test_damaged_sources(assembled, tmp_path):
    directory = layout(tmp_path / "layout", LAYERS, CONFIG)
    with pytest.raises(NotFoundError):
        assembled(image="oci:/nowhere")
    with pytest.raises(NotFoundError):
        assembled(image=f"oci:{directory}:other:v1")
    with pytest.raises(NotFoundError):
        assembled(image="unknown")
    with pytest.raises(UsageError) as caught:
        assembled(image=str(tmp_path))
    assert caught.value.code == "source.layout"
    (tmp_path / "text.tar").write_text("not a tar")
    with pytest.raises(VerifyError):
        assembled(image=str(tmp_path / "text.tar"))
    with pytest.raises(UsageError) as caught:
        assembled(image=str(layout(tmp_path / "arm", LAYERS, CONFIG, architecture="arm64")))
    assert caught.value.code == "build.platform"
    largest = max((directory / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[20] ^= 1
    largest.write_bytes(data)
    with pytest.raises(VerifyError) as caught:
        assembled(image=str(directory))
    assert largest.name in caught.value.message


def test_a_wrong_diff_id_is_refused(assembled, tmp_path):
    directory = layout(tmp_path / "layout", LAYERS, CONFIG)
    lying = layout(tmp_path / "lying", [LAYERS[0]], CONFIG)
    index = json.loads((directory / "index.json").read_text())
    name = index["manifests"][0]["digest"][7:]
    manifest = json.loads((directory / "blobs" / "sha256" / name).read_text())
    other = json.loads((lying / "index.json").read_text())["manifests"][0]["digest"][7:]
    config = json.loads((lying / "blobs" / "sha256" / other).read_text())["config"]
    manifest["config"] = config
    manifest["layers"] = manifest["layers"][1:]
    (directory / "blobs" / "sha256" / config["digest"][7:]).write_bytes(
        (lying / "blobs" / "sha256" / config["digest"][7:]).read_bytes())
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (directory / "blobs" / "sha256" / digest).write_bytes(data)
    index["manifests"][0].update(digest=f"sha256:{digest}", size=len(data))
    (directory / "index.json").write_text(json.dumps(index))
    with pytest.raises(VerifyError) as caught:
        assembled(image=str(directory))
    assert "contents of layer" in caught.value.message


# Debian packages


def package(directory, name, version, files, postinst="", **fields):
    """Build a .deb and return its stanza for the index."""
    tree = directory / f"{name}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    control = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "test <t@example.org>",
               "Description": f"the {name}", **{key.replace("_", "-"): value for key, value in fields.items()}}
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    (tree / "DEBIAN" / "control").write_text(text)
    if postinst:
        (tree / "DEBIAN" / "postinst").write_text(postinst)
        (tree / "DEBIAN" / "postinst").chmod(0o755)
    for path, data in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755)
    deb = directory / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
    subprocess.run([tool("dpkg-deb"), "--root-owner-group", "-Znone", "--build", str(tree), str(deb)], check=True,
                   capture_output=True, timeout=60)
    data = deb.read_bytes()
    return text + f"Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An apt of our own: nothing of this host's configuration, no network."""
    directory = tmp_path / "repository"
    directory.mkdir()
    stanzas = [
        package(directory, "web", "1:2.0", {"usr/bin/web": elf(), "usr/share/doc/web/README": b"x",
                                            "usr/share/doc/web/copyright": b"free", "usr/share/man/web.1": b"x"},
                Depends="libweb (>= 1.0), debconf | debconf-2.0, gone | virtual-thing", Pre_Depends="script-tool"),
        package(directory, "libweb", "1.1", {"usr/lib/libweb.so": elf(kind=3)}, Depends="script-tool", postinst="""#!/bin/sh
update-alternatives --install /usr/bin/www www /usr/bin/web 10 --slave /usr/share/man/www.1 www.1 /usr/share/man/web.1
adduser --system --quiet --group webber
touch /ran
"""),
        package(directory, "script-tool", "1", {"usr/bin/script-tool": b"#!/bin/sh\n"}),
        package(directory, "debconf", "1", {"usr/bin/debconf": b"#!/bin/sh\n"}, Depends="perl"),
        package(directory, "perl", "5", {"usr/bin/perl": b"perl"}),
        package(directory, "provider", "1", {"usr/bin/provider": b"x"}, Provides="virtual-thing (= 1)"),
    ]
    (directory / "Packages").write_text("".join(stanzas))
    apt = tmp_path / "apt"
    for name in ("lists/partial", "archives/partial", "parts", "etc"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [trusted=yes] file:{directory} ./\n")
    (apt / "status").touch()
    config = {"Dir::Etc": apt / "etc", "Dir::Etc::sourcelist": apt / "sources.list",
              "Dir::Etc::sourceparts": apt / "parts", "Dir::Etc::parts": apt / "parts",
              "Dir::Etc::main": "/dev/null", "Dir::Etc::preferences": "/dev/null",
              "Dir::Etc::preferencesparts": apt / "parts", "Dir::State::lists": apt / "lists",
              "Dir::State::status": apt / "status", "Dir::Cache": apt, "Dir::Cache::archives": apt / "archives",
              "APT::Architecture": "amd64", "APT::Architectures": "amd64", "APT::Sandbox::User": ""}
    (apt / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in config.items()))
    monkeypatch.setenv("APT_CONFIG", str(apt / "apt.conf"))
    subprocess.run([tool("apt-get"), "-qq", "update"], check=True, capture_output=True, timeout=60)
    return directory


def test_packages_with_what_they_need_and_no_more(repository, assembled, root):
    tree = assembled(packages=("web",), entrypoint=("web",)).tree
    assert {"/usr/bin/web", "/usr/lib/libweb.so", "/usr/bin/script-tool", "/usr/bin/provider",
            "/usr/share/doc/web/copyright"} <= set(tree.entries)
    # debconf is for maintainer scripts, and perl came only with it; documents are left out.
    assert not {"/usr/bin/debconf", "/usr/bin/perl", "/usr/share/doc/web/README",
                "/usr/share/man/web.1"} & set(tree.entries)
    assert b"www-data:x:33:33:" in read(tree, "/etc/passwd")
    assert sorted(path.name for path in (root.cache / "debs").iterdir()) == [
        "libweb_1.1_amd64.deb", "provider_1_amd64.deb", "script-tool_1_amd64.deb", "web_1%3a2.0_amd64.deb"]


def test_the_origin_of_a_program_behind_a_link_is_where_the_program_is(assembled, tmp_path):
    tree = tmp_path / "tree"
    for path, data in {"jvm/bin/java": elf(kind=3, interpreter=b"/lib/ld.so", needed=(b"libjli.so",), runpath=b"$ORIGIN/../lib"),
                       "jvm/lib/libjli.so": elf(kind=3), "lib/ld.so": elf(kind=3)}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
        (tree / path).chmod(0o755)
    (tree / "bin").mkdir()
    (tree / "bin/java").symlink_to("/jvm/bin/java")
    assert assembled(rootfs=tree, entrypoint=("/bin/java",)).settings.entrypoint == ("/bin/java",)
    (tree / "jvm/lib/libjli.so").unlink()
    with pytest.raises(UsageError, match=r"libjli\.so"):
        assembled(rootfs=tree, entrypoint=("/bin/java",))


def test_what_maintainer_scripts_say_is_done_and_none_runs(repository, assembled):
    tree = assembled(packages=("web",), entrypoint=("www",)).tree
    assert tree.resolve("/usr/bin/www") == "/usr/bin/web"
    assert not {"/usr/share/man/www.1", "/ran"} & set(tree.entries)
    assert b"webber:x:100:100:" in read(tree, "/etc/passwd")


def test_a_package_runs_the_program_that_it_is_named_after(repository, assembled):
    assert assembled(packages=("web",)).settings.entrypoint == ("/usr/bin/web",)
    assert assembled(packages=("script-tool", "web"), cmd=("web",)).settings.entrypoint == ("/usr/bin/web",)
    with pytest.raises(UsageError, match="no program to run"):
        assembled(packages=("libweb",))


def test_packages_four_passes(repository, root):
    spec = BuildSpec("web", packages=("web=1:2.0",), entrypoint=("web", "-x"))
    assert api.ensure_present(root, spec, check=True).changed
    assert api.ensure_present(root, spec).image.entrypoint == ("/usr/bin/web", "-x")
    assert not api.ensure_present(root, spec).changed
    assert not api.ensure_present(root, spec, check=True).changed


def test_the_cache(repository, root, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert {package.name for package, _path in debian.get(root, ["web"], scratch)} == {
        "web", "libweb", "script-tool", "provider"}
    assert [(entry["name"], entry["version"]) for entry in debian.cached(root)][-1] == ("web", "1:2.0")
    with pytest.raises(NotFoundError):
        debian.forget(root, ["libweb", "nosuch"])
    assert debian.forget(root, ["libweb", "web"]) == 2
    assert [entry["name"] for entry in debian.cached(root)] == ["provider", "script-tool"]
    assert debian.search("provider") == [{"name": "provider", "summary": "the provider"}]
    with pytest.raises(UsageError):
        debian.search("-o")


def test_a_damaged_package_in_the_cache_is_fetched_again(repository, assembled, root):
    first = assembled(packages=("web",), entrypoint=("web",)).content
    cached = root.cache / "debs" / "libweb_1.1_amd64.deb"
    cached.write_bytes(b"damaged")
    assert assembled(packages=("web",), entrypoint=("web",)).content == first


def test_a_package_that_is_not_what_the_index_promises(repository, assembled):
    path = repository / "libweb_1.1_amd64.deb"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(HostError) as caught:
        assembled(packages=("web",), entrypoint=("web",))
    assert caught.value.code == "pkg.apt"


@pytest.mark.parametrize(("name", "code"), [
    ("nosuch", "pkg.not_found"), ("web=9", "pkg.not_found"), ("--allow", "pkg.name"), ("a b", "pkg.name"),
    ("Web", "pkg.name"), ("", "pkg.name")])
def test_unknown_packages(repository, assembled, name, code):
    with pytest.raises(UniError) as caught:
        assembled(packages=(name,), entrypoint=("web",))
    assert caught.value.code == code
