# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry client against a server that misbehaves on purpose."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    RegistryError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import MANIFEST
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api, auth
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.api import Connection
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials, parse_endpoint
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.client import BlobSource, RegistryClient
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.http import Transport
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

BLOB = bytes(range(256)) * 8192
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
SECRET = "correct horse battery"


class Server:
    """Answers by the functions in ``routes``: (method, path) to a function of the request handler."""

    def __init__(self):
        self.routes = {}
        self.seen = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                path = urlsplit(self.path).path
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length) if self.command != "PATCH" else b""
                with outer.lock:
                    outer.seen.append((self.command, self.path, dict(self.headers)))
                route = outer.routes.get((self.command, path))
                if route is None:
                    self.answer(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no\\u001b[31m such"}]}')
                else:
                    route(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

            def answer(self, status, data=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_words):
                return

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        # A client that goes away is part of the tests.
        self.httpd.handle_error = lambda *_words: None
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    def manifest(self, data, name="x", reference="v1", media_type=MANIFEST, **headers):
        self.routes["GET", f"/v2/{name}/manifests/{reference}"] = lambda request: request.answer(
            200, data, Content_Type=media_type, **headers)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client(server):
    made = []

    def make(credentials=None, **more):
        transport = Transport(parse_endpoint(server.url), credentials, sleep=lambda _seconds: None, **more)
        made.append(transport)
        return RegistryClient(transport)
    yield make
    for transport in made:
        transport.close()


def blob_route(breaks, ranges=True):
    """Serves BLOB; each number in ``breaks`` is how many bytes of an answer arrive before the line goes dead."""
    def route(request):
        start = 0
        wanted = request.headers.get("Range")
        if wanted and ranges:
            start = int(wanted.partition("=")[2].rstrip("-"))
        data = BLOB[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if breaks:
            request.wfile.write(data[:breaks.pop(0)])
            request.close_connection = True
        else:
            request.wfile.write(data)
    return route


def fetch(client):
    return b"".join(bytes(chunk) for chunk in client.blob_chunks("x", DIGEST, len(BLOB)))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke(server, client, ranges):
    server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = blob_route([1000, 500_000 + (0 if ranges else 1000)], ranges)
    assert fetch(client()) == BLOB
    assert [headers.get("Range") for _method, _path, headers in server.seen] == [
        None, "bytes=1000-", "bytes=501000-"]


def test_a_download_that_always_breaks_is_given_up(server, client):
    server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = blob_route([0] * 50)
    with pytest.raises(RegistryError) as caught:
        fetch(client())
    assert "at byte 0 of" in caught.value.message


def test_more_bytes_than_promised_are_refused(server, client):
    server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = lambda request: request.answer(200, BLOB + b"more")
    with pytest.raises(VerifyError) as caught:
        fetch(client())
    assert DIGEST in caught.value.message


def test_altered_bytes_never_reach_the_store(server, tmp_path):
    root = Root(tmp_path / "root")
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": len(BLOB)}
    server.manifest(json.dumps({"schemaVersion": 2, "layers": [layer]}).encode())
    server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = lambda request: request.answer(200, b"!" + BLOB[1:])
    with pytest.raises(VerifyError) as caught:
        api.pull(root, "x:v1", connection=Connection(url=server.url))
    assert caught.value.code == "registry.mismatch"
    assert DIGEST in caught.value.message
    assert list(ImageStore(root).blobs.iterdir()) == []
    assert ImageStore(root).images() == []


def test_a_manifest_of_another_digest_is_refused(server, client):
    server.manifest(b"{}", Docker_Content_Digest=DIGEST)
    with pytest.raises(VerifyError):
        client().get_manifest("x", "v1")
    server.manifest(b"{}", reference=DIGEST)
    with pytest.raises(VerifyError):
        client().get_manifest("x", DIGEST)


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff\xfe", b"[" * 50_000])
def test_malformed_manifests_are_refused(server, client, data):
    server.manifest(data)
    with pytest.raises(VerifyError) as caught:
        client().get_manifest("x", "v1")
    assert caught.value.code == "image.malformed"


def test_a_huge_manifest_is_not_read_to_its_end(server, client):
    server.manifest(b" " * ((4 << 20) + 1))
    with pytest.raises(RegistryError) as caught:
        client().get_manifest("x", "v1")
    assert caught.value.code == "registry.too_large"


def test_an_index_leads_to_the_right_platform(server, tmp_path):
    inner = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}).encode()
    digest = "sha256:" + hashlib.sha256(inner).hexdigest()

    def index(architecture, extra=0):
        return json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": MANIFEST, "digest": digest, "size": len(inner) + extra,
             "platform": {"os": "linux", "architecture": architecture}}]}).encode()

    server.manifest(inner, reference=digest)
    connection = Connection(url=server.url)
    server.manifest(index("arm64"))
    with pytest.raises(UniError) as caught:
        api.pull(Root(tmp_path), "x:v1", connection=connection)
    assert caught.value.code == "registry.platform"
    assert "linux/arm64" in caught.value.hint
    server.manifest(index("amd64", 1))
    with pytest.raises(VerifyError):
        api.pull(Root(tmp_path), "x:v1", connection=connection)
    server.manifest(index("amd64"))
    assert api.pull(Root(tmp_path), "x:v1", connection=connection).digest == digest


def upload_routes(server, breaks):
    """A registry that takes uploads; each number in ``breaks`` is after how many bytes it hangs up."""
    stored = bytearray()
    location = "/v2/x/blobs/uploads/1?state=a%3D"

    def post(request):
        stored.clear()
        request.answer(202, Location=location)

    def patch(request):
        length = int(request.headers["Content-Length"])
        wanted = request.headers.get("Content-Range")
        assert wanted is None or int(wanted.partition("-")[0]) == len(stored)
        if breaks:
            stored.extend(request.rfile.read(breaks.pop(0)))
            request.close_connection = True
            request.connection.close()
            return
        stored.extend(request.rfile.read(length))
        request.answer(202, Location=location, Range=f"0-{len(stored) - 1}")

    def put(request):
        digest = parse_qs(urlsplit(request.path).query)["digest"][0]
        good = digest == "sha256:" + hashlib.sha256(stored).hexdigest()
        request.answer(201 if good else 400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')

    server.routes["POST", "/v2/x/blobs/uploads/"] = post
    server.routes["PATCH", "/v2/x/blobs/uploads/1"] = patch
    server.routes["PUT", "/v2/x/blobs/uploads/1"] = put
    server.routes["GET", "/v2/x/blobs/uploads/1"] = lambda request: request.answer(
        204, Location=location, Range=f"0-{max(len(stored) - 1, 0)}")
    return stored


def source(data=BLOB):
    return BlobSource(lambda start: (data[at:at + 65536] for at in range(start, len(data), 65536)))


@pytest.mark.parametrize("breaks", [[], [100_000], [1, 300_000, 65536]])
def test_a_broken_upload_goes_on_where_it_broke(server, client, breaks):
    stored = upload_routes(server, breaks)
    assert client().upload_blob("x", DIGEST, len(BLOB), source()) == "uploaded"
    assert bytes(stored) == BLOB


def test_a_wrong_upload_is_refused_in_the_registrys_words(server, client):
    upload_routes(server, [])
    with pytest.raises(RegistryError) as caught:
        client().upload_blob("x", DIGEST, len(BLOB), source(b"!" + BLOB[1:]))
    assert "DIGEST_INVALID" in caught.value.message


def token_routes(server, tokens):
    """A registry with a token server beside it; ``tokens`` is what it has given out."""
    def give(request):
        query = parse_qs(urlsplit(request.path).query)
        assert query["service"] == ["test, service"]
        expected = "Basic " + base64.b64encode(f"eve:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            request.answer(401, b"{}")
            return
        tokens.append((query["scope"][0], f"token{len(tokens)}"))
        request.answer(200, json.dumps({"token": tokens[-1][1]}).encode())

    def blob(request):
        if request.headers.get("Authorization") not in [f"Bearer {token}" for _scope, token in tokens[-1:]]:
            request.answer(401, WWW_Authenticate=f'Bearer realm="{server.url}/token",service="test, service",'
                                                 'scope="repository:x:pull"')
            return
        request.answer(200, BLOB)

    server.routes["GET", "/token"] = give
    server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = blob


def test_tokens(server, client):
    tokens = []
    token_routes(server, tokens)
    good = client(Credentials("eve", SECRET))
    assert fetch(good) == BLOB
    assert fetch(good) == BLOB
    assert tokens == [("repository:x:pull", "token0")]
    tokens.append(("", "the old one has expired"))
    assert fetch(good) == BLOB
    assert len(tokens) == 3


@pytest.mark.parametrize("credentials", [None, Credentials("eve", "guess")])
def test_no_token_no_entry(server, client, credentials):
    token_routes(server, [])
    with pytest.raises(RegistryError) as caught:
        fetch(client(credentials))
    assert caught.value.code == "registry.unauthorized"
    assert "guess" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX: y"}'])
def test_a_strange_token_is_refused(server, client, answer):
    token_routes(server, [])
    server.routes["GET", "/token"] = lambda request: request.answer(200, answer)
    with pytest.raises(RegistryError) as caught:
        fetch(client(Credentials("eve", SECRET)))
    assert caught.value.code == "registry.malformed"


def test_a_redirect_does_not_carry_the_password(server, client):
    other = Server()
    try:
        other.routes["GET", "/storage"] = lambda request: request.answer(200, BLOB)
        expected = Credentials("eve", SECRET).basic()

        def redirect(request):
            if request.headers.get("Authorization") != expected:
                request.answer(401, WWW_Authenticate='Basic realm="x"')
            else:
                request.answer(307, Location=f"{other.url}/storage")

        server.routes["GET", f"/v2/x/blobs/{DIGEST}"] = redirect
        assert fetch(client(Credentials("eve", SECRET))) == BLOB
        assert "Authorization" in server.seen[-1][2]
        assert "Authorization" not in other.seen[-1][2]
    finally:
        other.close()


def test_redirects_in_a_circle(server, client):
    server.routes["GET", "/v2/"] = lambda request: request.answer(307, Location="/v2/")
    with pytest.raises(RegistryError) as caught:
        client().ping()
    assert caught.value.code == "registry.redirect"
    server.routes["GET", "/v2/"] = lambda request: request.answer(307, Location="file:///etc/passwd")
    with pytest.raises(RegistryError) as caught:
        client().ping()
    assert caught.value.code == "registry.redirect"


def test_busy_registries_are_asked_again(server, client):
    answers = [(503, {}), (429, {"Retry_After": "1"}), (200, {})]
    server.routes["GET", "/v2/"] = lambda request: request.answer(answers[0][0], b"{}", **answers.pop(0)[1])
    client().ping()
    assert answers == []
    server.routes["GET", "/v2/"] = lambda request: request.answer(500, b'{"errors": [{"message": "tired"}]}')
    with pytest.raises(RegistryError) as caught:
        client().ping()
    assert "500: tired" in caught.value.message


def test_errors_are_safe_to_print(server, client):
    with pytest.raises(RegistryError) as caught:
        client().get_manifest("x", "v1")
    assert caught.value.code == "registry.not_found"
    assert "NAME_UNKNOWN no" in caught.value.message
    assert caught.value.message.isprintable()


def test_silence_ends(server, client):
    hold = threading.Event()
    server.routes["GET", "/v2/"] = lambda request: hold.wait(20) and request.answer(200)
    try:
        with pytest.raises(DeadlineError) as caught:
            client(timeout=0.05).ping()
        assert caught.value.code == "registry.timeout"
    finally:
        hold.set()


def test_pages_of_tags(server, client):
    def tags(request):
        last = parse_qs(urlsplit(request.path).query).get("last")
        if last:
            request.answer(200, b'{"tags": ["c"]}')
        else:
            request.answer(200, b'{"tags": ["a", "b"]}', Link='</v2/x/tags/list?last=b>; rel="next"')
    server.routes["GET", "/v2/x/tags/list"] = tags
    assert client().tags("x") == ["a", "b", "c"]


def test_referrers(server, client):
    entry = {"mediaType": MANIFEST, "digest": DIGEST, "size": 1, "artifactType": "a/b"}
    listed = json.dumps({"manifests": [entry, {**entry, "artifactType": "c/d"}]}).encode()
    assert client().referrers("x", DIGEST) == []
    server.manifest(listed, reference=DIGEST.replace(":", "-"))
    assert client().referrers("x", DIGEST, "a/b") == [entry]
    server.routes["GET", f"/v2/x/referrers/{DIGEST}"] = lambda request: request.answer(200, listed)
    assert len(client().referrers("x", DIGEST)) == 2


@pytest.mark.parametrize(("text", "scheme", "host", "port"), [
    ("127.0.0.1:5000", "", "127.0.0.1", 5000), ("localhost", "", "localhost", 443), ("[::1]:5000", "", "::1", 5000),
    ("http://registry.example", "http", "registry.example", 80), ("ghcr.io", "https", "ghcr.io", 443),
    ("https://10.0.0.1:5000/", "https", "10.0.0.1", 5000), ("10.0.0.1:5000", "https", "10.0.0.1", 5000),
    ("docker.io", "https", "registry-1.docker.io", 443)])
def test_endpoints(text, scheme, host, port):
    endpoint = parse_endpoint(text)
    assert (endpoint.scheme, endpoint.host, endpoint.port) == (scheme, host, port)


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "x:0", "x:99999", "http://x/path", "a b", "x:port"])
def test_bad_endpoints(text):
    with pytest.raises(UsageError) as caught:
        parse_endpoint(text)
    assert caught.value.code == "registry.url"


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_endpoint(f"http://eve:{SECRET}@registry")
    assert SECRET not in str(caught.value)


def test_auth_file(tmp_path, monkeypatch):
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    root = Root(tmp_path)
    endpoint = parse_endpoint("registry.example:5000")
    secret = Credentials("eve", SECRET + ":with:colons")
    assert SECRET not in repr(secret)
    assert auth.load(root, endpoint) is None
    assert auth.save(root, endpoint, secret)
    assert not auth.save(root, endpoint, secret)
    assert auth.load(root, endpoint) == secret
    assert auth.logged_in(root) == ["registry.example:5000"]
    path = tmp_path / "auth.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(json.dumps({"credHelpers": {"x": "y"}, "auths": {"registry.example:5000": {"auth": "!!"}}}))
    with pytest.raises(UniError) as caught:
        auth.load(root, endpoint)
    assert caught.value.code == "registry.auth_file"
    assert auth.save(root, endpoint, secret)
    assert json.loads(path.read_text())["credHelpers"] == {"x": "y"}
    assert auth.save(root, endpoint, None)
    assert auth.load(root, endpoint) is None
    path.write_text('{"auths": []}')
    with pytest.raises(UniError):
        auth.load(root, endpoint)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "mine.json"))
    assert auth.load(root, endpoint) is None
