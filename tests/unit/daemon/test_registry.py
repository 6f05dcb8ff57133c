# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded registry against skopeo, and against what a hostile client sends."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from aiohttp import web
from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.auth import Htpasswd
from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.server import make_app
from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.storage import Storage
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api as client
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Server:
    """The registry in a thread of its own, on a free port of the loopback interface."""

    def __init__(self, path, authorize=None):
        self.storage = Storage(path)
        self.authorize = authorize
        self.loop = asyncio.new_event_loop()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.started.wait(10)

    def _run(self):
        async def serve():
            self.stopping = asyncio.Event()
            runner = web.AppRunner(make_app(self.storage, self.authorize))
            await runner.setup()
            await web.SockSite(runner, self.socket).start()
            self.started.set()
            await self.stopping.wait()
            await runner.cleanup()

        self.loop.run_until_complete(serve())
        self.loop.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def push(self, name, data):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        status, headers, _body = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202
        status, _headers, _body = self.ask("PUT", f"{headers['Location']}?digest={digest}", data)
        assert status == 201
        return digest

    def put_manifest(self, name, reference, layers, **more):
        config = self.push(name, b"{}")
        document = {
            "schemaVersion": 2, "mediaType": MANIFEST, **more,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config},
            "layers": [{"mediaType": "application/octet-stream", "size": 1, "digest": d} for d in layers],
        }
        body = json.dumps(document).encode()
        return self.ask("PUT", f"/v2/{name}/manifests/{reference}", body, Content_Type=MANIFEST)


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path / "registry")
    yield running
    running.stop()


def code(answer):
    return answer[0], json.loads(answer[2])["errors"][0]["code"]


def test_skopeo_pushes_and_pulls(server, tmp_path):
    layout = tmp_path / "layout"
    subprocess.run(["tar", "-C", "/etc", "-cf", tmp_path / "layer.tar", "hostname", "passwd"], check=True)
    layer = (tmp_path / "layer.tar").read_bytes()
    diff = hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux",
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]}}).encode()
    (layout / "blobs/sha256").mkdir(parents=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(data), "digest": f"sha256:{digest}"}

    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob(config, "config.v1+json"),
                "layers": [blob(layer, "layer.v1.tar")]}
    index = {"schemaVersion": 2, "manifests": [
        {**blob(json.dumps(manifest).encode(), "manifest.v1+json"),
         "annotations": {"org.opencontainers.image.ref.name": "one"}}]}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps(index))
    there = f"docker://127.0.0.1:{server.port}/team/app:1"
    for _again in range(2):
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:one", there], check=True)
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", there, f"oci-archive:{tmp_path}/back.tar"],
                   check=True)
    with tarfile.open(tmp_path / "back.tar") as archive:
        blobs = [archive.extractfile(m).read() for m in archive if m.isfile() and m.name.startswith("blobs/")]
    # skopeo compresses layers on their way into a registry.
    assert layer in [gzip.decompress(b) for b in blobs if b[:2] == b"\x1f\x8b"]
    listed = subprocess.run(["skopeo", "list-tags", "--tls-verify=false", f"docker://127.0.0.1:{server.port}/team/app"],
                            check=True, capture_output=True, text=True)
    assert json.loads(listed.stdout)["Tags"] == ["1"]
    subprocess.run(["skopeo", "delete", "--tls-verify=false", there], check=True)
    assert code(server.ask("GET", "/v2/team/app/manifests/1")) == (404, "MANIFEST_UNKNOWN")
    assert server.storage.collect() > 0       # the manifest; the blobs are still the repository's
    assert server.storage.collect() == 0


def test_chunks_in_order_and_resumed_after_a_restart(server, tmp_path):
    _status, headers, _body = server.ask("POST", "/v2/a/blobs/uploads/")
    location = headers["Location"]
    assert server.ask("PATCH", location, b"hello ", Content_Range="0-5")[0] == 202
    status, headers, _body = server.ask("PATCH", location, b"junk", Content_Range="9-12")
    assert status == 416
    again = Server(tmp_path / "registry")     # a second process that knows nothing but the disk
    try:
        status, headers, _body = again.ask("GET", location)
        assert (status, headers["Range"]) == (204, "0-5")
        digest = f"sha256:{hashlib.sha256(b'hello world').hexdigest()}"
        assert again.ask("PUT", f"{location}?digest={digest}", b"world", Content_Range="6-10")[0] == 201
        status, headers, body = again.ask("GET", f"/v2/a/blobs/{digest}", Range="bytes=6-")
        assert (status, body) == (206, b"world")
        assert again.ask("HEAD", f"/v2/a/blobs/{digest}")[1]["Content-Length"] == "11"
        assert code(again.ask("GET", f"/v2/b/blobs/{digest}")) == (404, "BLOB_UNKNOWN")
        assert again.ask("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a")[0] == 201
        assert again.ask("GET", f"/v2/b/blobs/{digest}")[0] == 200
    finally:
        again.stop()


def test_wrong_bytes_are_thrown_away(server):
    _status, headers, _body = server.ask("POST", "/v2/a/blobs/uploads/")
    lie = f"sha256:{'0' * 64}"
    assert code(server.ask("PUT", f"{headers['Location']}?digest={lie}", b"x")) == (400, "DIGEST_INVALID")
    assert list(server.storage.uploads_dir.iterdir()) == []
    assert list(server.storage.blobs.iterdir()) == []


@pytest.mark.parametrize(("method", "path", "body", "expected"), [
    ("GET", "/v2/a/blobs/sha256:../../../etc/passwd", None, (404, "NAME_UNKNOWN")),
    ("GET", "/v2/a/blobs/sha256:%2e%2e%2f%2e%2e", None, (400, "DIGEST_INVALID")),
    ("GET", "/v2/a/blobs/sha256:zz", None, (400, "DIGEST_INVALID")),
    ("GET", "/v2/../etc/manifests/x", None, (404, "NAME_UNKNOWN")),
    ("GET", "/v2/a/manifests/..", None, (404, "MANIFEST_UNKNOWN")),
    ("POST", "/v2/UPPER/blobs/uploads/", None, (404, "NAME_UNKNOWN")),
    ("PUT", "/v2/a/manifests/t", b"[1]", (400, "MANIFEST_INVALID")),
    ("PUT", "/v2/a/manifests/t", b'{"schemaVersion":2,"layers":3}', (400, "MANIFEST_INVALID")),
    ("PUT", "/v2/a/manifests/t", b'{"schemaVersion":2,"config":{"digest":"sha256:1"}}', (400, "DIGEST_INVALID")),
    ("PUT", "/v2/a/manifests/t", b"[" * 100_000, (400, "MANIFEST_INVALID")),
    ("PUT", "/v2/a/manifests/t", b" " * (5 << 20), (413, "SIZE_INVALID")),
    ("GET", "/v2/a/tags/list", None, (404, "NAME_UNKNOWN")),
    ("PATCH", "/v2/a/blobs/uploads/../../x", b"x", (404, "NAME_UNKNOWN")),
    ("PATCH", f"/v2/a/blobs/uploads/{'0' * 32}", b"x", (404, "BLOB_UPLOAD_UNKNOWN")),
], ids=lambda value: value if isinstance(value, str) else "-")
def test_hostile_requests(server, method, path, body, expected):
    assert code(server.ask(method, path, body, Content_Type=MANIFEST)) == expected


def test_a_manifest_needs_its_blobs(server):
    missing = f"sha256:{'1' * 64}"
    assert code(server.put_manifest("a", "t", [missing])) == (404, "MANIFEST_BLOB_UNKNOWN")
    layer = server.push("a", b"x")
    assert server.put_manifest("a", "t", [layer])[0] == 201


def test_referrers_and_tags(server):
    layer = server.push("a", b"x")
    _status, headers, _body = server.put_manifest("a", "v1", [layer])
    subject = headers["Docker-Content-Digest"]
    more = {"artifactType": "application/vnd.test.signature",
            "subject": {"mediaType": MANIFEST, "size": 1, "digest": subject}}
    status, headers, _body = server.put_manifest("a", "sig", [layer], **more)
    assert (status, headers["OCI-Subject"]) == (201, subject)
    signature = headers["Docker-Content-Digest"]
    _status, _headers, body = server.ask("GET", f"/v2/a/referrers/{subject}")
    assert [d["digest"] for d in json.loads(body)["manifests"]] == [signature]
    _status, headers, body = server.ask("GET", f"/v2/a/referrers/{subject}?artifactType=other")
    assert json.loads(body)["manifests"] == [] and headers["OCI-Filters-Applied"] == "artifactType"
    _status, headers, body = server.ask("GET", "/v2/a/tags/list?n=1")
    assert json.loads(body)["tags"] == ["sig"] and 'last=sig>; rel="next"' in headers["Link"]
    assert json.loads(server.ask("GET", "/v2/a/tags/list?n=5&last=sig")[2])["tags"] == ["v1"]
    assert server.ask("DELETE", f"/v2/a/manifests/{signature}")[0] == 202
    assert json.loads(server.ask("GET", f"/v2/a/referrers/{subject}")[2])["manifests"] == []
    assert json.loads(server.ask("GET", "/v2/a/tags/list")[2])["tags"] == ["v1"]
    assert json.loads(server.ask("GET", "/v2/_catalog")[2])["repositories"] == ["a"]


def test_forgotten_uploads_go_after_a_day(tmp_path):
    storage = Storage(tmp_path)
    old, new = storage.start_upload("a"), storage.start_upload("a")
    old.write(b"x")
    os.utime(old.data, (0, 0))
    again = Storage(tmp_path)
    assert [d.name for d in again.uploads_dir.iterdir()] == [new.id]


def test_passwords(tmp_path):
    path = tmp_path / "htpasswd"
    subprocess.run(["htpasswd", "-Bbc", path, "ann", "right"], check=True, capture_output=True)
    users = Htpasswd(path)
    assert users.check("ann", "right") and users.check("ann", "right")
    assert not users.check("ann", "wrong")
    assert not users.check("bob", "right")
    subprocess.run(["htpasswd", "-Bb", path, "ann", "newer"], check=True, capture_output=True)
    os.utime(path, (1, 1))
    assert users.check("ann", "newer") and not users.check("ann", "right")
    path.write_text("ann:plain\n")
    with pytest.raises(UsageError, match=r"htpasswd:1: not a bcrypt entry"):
        users.check("ann", "plain")


def test_a_registry_with_users_asks_for_them(tmp_path):
    path = tmp_path / "htpasswd"
    subprocess.run(["htpasswd", "-Bbc", path, "ann", "right"], check=True, capture_output=True)
    server = Server(tmp_path / "registry", Htpasswd(path))
    try:
        status, headers, body = server.ask("GET", "/v2/")
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="uni"')
        assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"
        right = base64.b64encode(b"ann:right").decode()
        assert server.ask("GET", "/v2/", Authorization=f"Basic {right}")[0] == 200
        for bad in ("Basic !!", "Bearer x", "Basic " + base64.b64encode(b"\xff\xff").decode()):
            assert server.ask("GET", "/v2/", Authorization=bad)[0] == 401
    finally:
        server.stop()


def test_our_client_and_our_server(server, tmp_path):
    """Push, push again, pull elsewhere, then a blob that somebody changed on the server's disk."""
    here, there, elsewhere = (Root(tmp_path / name) for name in ("here", "there", "elsewhere"))
    images.ensure_present(here, images.BuildSpec(name="hello", program=Path("/bin/busybox")))
    connection = client.Connection(url=f"http://127.0.0.1:{server.port}")
    first = client.push(here, "hello:latest", connection=connection)
    assert first.changed and first.blobs > 1
    again = client.push(here, "hello:latest", connection=connection)
    assert not again.changed and again.blobs == 0 and again.bytes == 0
    pulled = client.pull(there, "hello:latest", connection=connection)
    assert pulled.changed and pulled.digest == images.inspect(here, "hello").digest
    assert not client.pull(there, "hello:latest", connection=connection).changed
    victim = max(server.storage.blobs.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(VerifyError, match=victim.name[:12]):
        client.pull(elsewhere, "hello:latest", connection=connection)
    assert images.list_images(elsewhere) == []
