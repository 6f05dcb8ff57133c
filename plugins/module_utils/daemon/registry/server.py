# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry's HTTP face: OCI Distribution Spec 1.1, pull, push, discovery and deletion.

Endpoint numbers in comments are those of the specification's table of endpoints.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.storage import (
    DIGEST,
    MAX_MANIFEST,
    NAME,
    TAG,
    Storage,
    Upload,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

# Error of the engine -> status and code of the specification ("Error Codes").
_ERRORS = {
    "blob.unknown": (404, "BLOB_UNKNOWN"),
    "blob.digest": (400, "DIGEST_INVALID"),
    "upload.unknown": (404, "BLOB_UPLOAD_UNKNOWN"),
    "upload.range": (416, "BLOB_UPLOAD_INVALID"),
    "digest.invalid": (400, "DIGEST_INVALID"),
    "name.invalid": (400, "NAME_INVALID"),
    "name.unknown": (404, "NAME_UNKNOWN"),
    "manifest.unknown": (404, "MANIFEST_UNKNOWN"),
    "manifest.invalid": (400, "MANIFEST_INVALID"),
    "manifest.digest": (400, "DIGEST_INVALID"),
    "manifest.blob_unknown": (404, "MANIFEST_BLOB_UNKNOWN"),
    "manifest.size": (413, "SIZE_INVALID"),
    "host.disk_full": (507, "UNKNOWN"),
}
_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/\d+)?")

Authorize = Callable[[web.Request], bool]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(storage: Storage, authorize: Authorize | None = None) -> web.Application:
    """The registry as an aiohttp application.

    :param authorize: says whether a request may pass; None lets everybody in (loopback only: the daemon sees to it)
    """
    server = RegistryServer(storage)
    app = web.Application(middlewares=[_errors, _authorization(authorize)], client_max_size=MAX_MANIFEST)
    name = "{name:" + NAME.pattern + "}"
    app.router.add_get("/v2/", server.base)                                            # end-1
    app.router.add_get("/v2/_catalog", server.catalog)
    app.router.add_get(f"/v2/{name}/tags/list", server.list_tags)                      # end-8
    app.router.add_get(f"/v2/{name}/referrers/{{digest}}", server.list_referrers)      # end-12
    blobs = f"/v2/{name}/blobs"
    app.router.add_post(f"{blobs}/uploads/", server.start_upload)                      # end-4, end-11
    app.router.add_get(f"{blobs}/uploads/{{id}}", server.upload_status)                # end-13
    app.router.add_patch(f"{blobs}/uploads/{{id}}", server.append)                     # end-5
    app.router.add_put(f"{blobs}/uploads/{{id}}", server.finish)                       # end-6
    app.router.add_delete(f"{blobs}/uploads/{{id}}", server.cancel)                    # end-14
    app.router.add_get(f"{blobs}/{{digest}}", server.get_blob)                         # end-2, HEAD too
    app.router.add_delete(f"{blobs}/{{digest}}", server.delete_blob)                   # end-10
    manifest = f"/v2/{name}/manifests/{{reference}}"
    app.router.add_get(manifest, server.get_manifest)                                  # end-3, HEAD too
    app.router.add_put(manifest, server.put_manifest)                                  # end-7
    app.router.add_delete(manifest, server.delete_manifest)                            # end-9
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure in the specification's JSON form, and the API's version on every answer."""
    try:
        response = await handler(request)
    except UniError as error:
        status, code = _ERRORS.get(error.code, (500, "UNKNOWN"))
        response = _error(status, code, error.message)
    except web.HTTPRequestEntityTooLarge:
        response = _error(413, "SIZE_INVALID", f"a manifest may have at most {MAX_MANIFEST} bytes")
    except web.HTTPNotFound:
        response = _error(404, "NAME_UNKNOWN", f"no such endpoint: {request.path}")
    except web.HTTPMethodNotAllowed:
        response = _error(405, "UNSUPPORTED", f"{request.method} is not supported here")
    if not response.prepared:
        response.headers["Docker-Distribution-API-Version"] = "registry/2.0"
    return response


def _authorization(authorize: Authorize | None) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if authorize is not None and not await asyncio.to_thread(authorize, request):
            response = _error(401, "UNAUTHORIZED", "authentication required")
            response.headers["WWW-Authenticate"] = 'Basic realm="uni"'
            return response
        return await handler(request)

    return middleware


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)


class RegistryServer:
    """The endpoints. Disk work goes to threads, so that one slow push does not hold up the others."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def base(self, _request: web.Request) -> web.Response:
        """Tells that this is a registry."""
        return web.json_response({})

    async def catalog(self, request: web.Request) -> web.Response:
        """All repositories (Docker's extension)."""
        names = await asyncio.to_thread(self.storage.repositories)
        page, link = _page(request, names)
        return web.json_response({"repositories": page}, headers=link)

    async def list_tags(self, request: web.Request) -> web.Response:
        """Tags, sorted, in pages when ``n`` is given."""
        name = request.match_info["name"]
        page, link = _page(request, await asyncio.to_thread(self.storage.tags, name))
        return web.json_response({"name": name, "tags": page}, headers=link)

    async def list_referrers(self, request: web.Request) -> web.Response:
        """An image index of the manifests that refer to a digest."""
        name, digest = request.match_info["name"], request.match_info["digest"]
        found = await asyncio.to_thread(self.storage.referrers, name, digest)
        headers = {}
        wanted = request.query.get("artifactType")
        if wanted:
            found = [d for d in found if d.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        kind = "application/vnd.oci.image.index.v1+json"
        body = {"schemaVersion": 2, "mediaType": kind, "manifests": found}
        return web.json_response(body, headers=headers, content_type=kind)

    # --- Blobs -----------------------------------------------------------------------------------------------

    async def get_blob(self, request: web.Request) -> web.StreamResponse:
        """A blob by sendfile; ranges are the framework's."""
        digest = request.match_info["digest"]
        path = await asyncio.to_thread(self.storage.blob, request.match_info["name"], digest)
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return web.FileResponse(path, chunk_size=_CHUNK, headers=headers)

    async def delete_blob(self, request: web.Request) -> web.Response:
        """The repository forgets the blob."""
        await asyncio.to_thread(self.storage.delete_blob, request.match_info["name"], request.match_info["digest"])
        return web.Response(status=202)

    async def start_upload(self, request: web.Request) -> web.Response:
        """Start an upload; or all of it at once (``digest``); or mount another repository's (``mount``, ``from``)."""
        name, query = request.match_info["name"], request.query
        source, wanted = query.get("from", ""), query.get("mount", "")
        if NAME.fullmatch(source) is not None and await asyncio.to_thread(self.storage.mount, name, wanted, source):
            return _created(name, "blobs", wanted)
        upload = await asyncio.to_thread(self.storage.start_upload, name)
        if "digest" in query:
            return await self._complete(request, upload, query["digest"])
        return _progress(202, upload)

    async def upload_status(self, request: web.Request) -> web.Response:
        """How far an upload has come."""
        return _progress(204, await self._upload(request))

    async def append(self, request: web.Request) -> web.Response:
        """A chunk, or the whole blob in one stream."""
        upload = await self._upload(request)
        _check_range(request, upload)
        await self._receive(request, upload)
        return _progress(202, upload)

    async def finish(self, request: web.Request) -> web.Response:
        """The last chunk (perhaps empty) and the digest."""
        upload = await self._upload(request)
        _check_range(request, upload)
        return await self._complete(request, upload, request.query.get("digest", ""))

    async def cancel(self, request: web.Request) -> web.Response:
        """The client gave up."""
        await asyncio.to_thread(self.storage.cancel_upload, await self._upload(request))
        return web.Response(status=204)

    async def _upload(self, request: web.Request) -> Upload:
        return await asyncio.to_thread(self.storage.upload, request.match_info["name"], request.match_info["id"])

    async def _receive(self, request: web.Request, upload: Upload) -> None:
        """Bytes of the body into the upload, in large pieces: hashing and writing release the interpreter's lock."""
        pending = bytearray()
        async for piece in request.content.iter_any():
            pending += piece
            if len(pending) >= _CHUNK:
                full, pending = bytes(pending), bytearray()
                await asyncio.to_thread(upload.write, full)
        if pending:
            await asyncio.to_thread(upload.write, bytes(pending))

    async def _complete(self, request: web.Request, upload: Upload, digest: str) -> web.Response:
        if not DIGEST.fullmatch(digest):
            return _error(400, "DIGEST_INVALID", f"{digest!r} is not a sha256 digest")
        await self._receive(request, upload)
        await asyncio.to_thread(self.storage.finish_upload, upload, digest)
        return _created(upload.repository, "blobs", digest)

    # --- Manifests -------------------------------------------------------------------------------------------

    async def get_manifest(self, request: web.Request) -> web.Response:
        """A manifest by tag or digest. aiohttp drops the body for HEAD."""
        name, reference = request.match_info["name"], _reference(request)
        digest, media_type, data = await asyncio.to_thread(self.storage.manifest, name, reference)
        return web.Response(body=data, headers={"Content-Type": media_type, "Docker-Content-Digest": digest})

    async def put_manifest(self, request: web.Request) -> web.Response:
        """Take a manifest in, once everything it names is there."""
        name, reference = request.match_info["name"], _reference(request)
        data = await request.read()
        kind = request.content_type
        digest, subject = await asyncio.to_thread(self.storage.put_manifest, name, reference, data, kind)
        response = _created(name, "manifests", digest)
        if subject:
            response.headers["OCI-Subject"] = subject
        return response

    async def delete_manifest(self, request: web.Request) -> web.Response:
        """Remove a tag or a manifest."""
        await asyncio.to_thread(self.storage.delete_manifest, request.match_info["name"], _reference(request))
        return web.Response(status=202)


def _reference(request: web.Request) -> str:
    reference = request.match_info["reference"]
    if not TAG.fullmatch(reference) and not DIGEST.fullmatch(reference):
        raise UniError(f"{reference!r} is neither a tag nor a digest", code="manifest.unknown")
    return str(reference)


def _check_range(request: web.Request, upload: Upload) -> None:
    """Chunks must come in order (Distribution Spec, "Pushing a blob in chunks"): 416 otherwise."""
    header = request.headers.get("Content-Range")
    if header is None:
        return
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match or int(match[1]) != upload.size:
        raise UniError(f"the next byte is {upload.size}, the chunk is {header!r}", code="upload.range")


def _progress(status: int, upload: Upload) -> web.Response:
    return web.Response(status=status, headers={
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.size - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    })


def _created(name: str, kind: str, digest: str) -> web.Response:
    location = f"/v2/{name}/{kind}/{digest}"
    return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})


def _page(request: web.Request, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The part of ``names`` that ``n`` and ``last`` ask for, and the Link to the next part."""
    last, count = request.query.get("last", ""), request.query.get("n", "")
    rest = [name for name in names if name > last] if last else names
    if not count.isdigit() or int(count) >= len(rest):
        return (rest if not count.isdigit() else rest[:int(count)]), {}
    page = rest[:int(count)]
    if not page:
        return page, {}
    return page, {"Link": f'<{request.path}?n={count}&last={page[-1]}>; rel="next"'}
