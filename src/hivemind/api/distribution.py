"""The node as a registry: the OCI distribution API at `/v2/`, over the images that its containers run from.

A repository is called as its images are: `team/web` is what `--image team/web:1` means, `ghcr.io/team/web` what
`--image ghcr.io/team/web` does. docker, skopeo and others sign in with a token as the password of any user.
"""

from __future__ import annotations

import logging
import re
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hivemind.api.access import Caller, caller, check_host
from hivemind.api.backend import Backend
from hivemind.api.intake import upload
from hivemind.api.settings import ApiSettings
from hivemind.drivers.images.blobs import hex_of
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.manifest import DOCUMENT_LIMIT
from hivemind.drivers.images.uploads import check_repository
from hivemind.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    HivemindError,
    Invalid,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unsupported,
    WrongMethod,
)
from hivemind.model.answers import PROBLEM_FORMAT, problem
from hivemind.model.base import encode
from hivemind.model.image import parse_reference
from hivemind.model.principal import Role

log = logging.getLogger("hivemind.api")

_UPLOADS = re.compile(r"(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]{32})?")
_BLOB = re.compile(r"(?P<name>.+)/blobs/(?P<digest>[^/]+)")
_MANIFEST = re.compile(r"(?P<name>.+)/manifests/(?P<target>[^/]+)")
_TAGS = re.compile(r"(?P<name>.+)/tags/list")
_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)")
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


class Distribution:
    """An ASGI application for everything below `/v2/`."""

    def __init__(self, backend: Backend, settings: ApiSettings) -> None:
        self._backend = backend
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        path = scope["path"].removeprefix("/v2").removeprefix("/")
        try:
            response = await self._answer(request, path)
        except ClientDisconnect:
            return
        except HivemindError as error:
            response = _refusal(request, path, error)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            response = _refusal(request, path, HivemindError("this is a defect in Hivemind"))
        response.headers.update(_VERSION)
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        check_host(request)
        who = caller(self._backend, request, basic=True)
        if who.through:
            raise Forbidden("images are asked for at the node that has them", hint="ask that node itself")
        if not path:
            return JSONResponse({})
        who.require(Role.OPERATOR)
        if path == "_catalog":
            return self._catalog()
        for pattern, handler in (
            (_UPLOADS, self._upload),
            (_BLOB, self._blob),
            (_MANIFEST, self._manifest),
            (_TAGS, self._tags),
        ):
            if match := pattern.fullmatch(path):
                check_repository(match["name"])
                response: Response = await handler(request, who, **match.groupdict())
                return response
        raise NotFound(f"there is nothing at /v2/{path[:200]}")

    @property
    def _images(self) -> Images:
        return self._backend.images.store

    # reading

    def _catalog(self) -> Response:
        names = {_repository(name) for image in self._images.list() for name in image.names}
        return JSONResponse({"repositories": sorted(names)})

    async def _tags(self, request: Request, who: Caller, name: str) -> Response:
        _only(request, "GET", "HEAD")
        wanted = parse_reference(f"{name}:tag")
        references = [parse_reference(n) for image in self._images.list() for n in image.names]
        tags = [r.tag for r in references if r.tag and msgspec.structs.replace(r, tag="tag") == wanted]
        if not tags:
            raise NotFound(f"this node has no image of the name {name}")
        return JSONResponse({"name": name, "tags": sorted(tags)})

    async def _manifest(self, request: Request, who: Caller, name: str, target: str) -> Response:
        _only(request, "GET", "HEAD", "PUT")
        if request.method == "PUT":
            return await self._put_manifest(request, name, target)
        image = self._images.uploads.find(name, target)
        descriptor = self._images.descriptor(image.digest)
        data = self._images.store.blobs.read(image.digest, DOCUMENT_LIMIT)
        return Response(
            data, headers={"Docker-Content-Digest": image.digest}, media_type=descriptor.media_type
        )

    async def _blob(self, request: Request, who: Caller, name: str, digest: str) -> Response:
        _only(request, "GET", "HEAD")
        hex_of(digest)
        if not self._images.store.blobs.has(digest):
            raise NotFound(f"this node has no blob {digest}")
        if request.method == "HEAD":
            self._images.uploads.touch()  # whoever asks is about to push an image that needs it
        return FileResponse(
            self._images.blob_path(digest),
            headers={"Docker-Content-Digest": digest},
            media_type="application/octet-stream",
        )

    # writing

    async def _put_manifest(self, request: Request, name: str, target: str) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        data = b"".join([piece async for piece in upload(request, self._settings, DOCUMENT_LIMIT)])
        uploads = self._images.uploads
        digest = await uploads.put_manifest(name, target, data, media_type, unpack=self._images.unpacks)
        self._images.on_arrival()
        return Response(
            status_code=201,
            headers={"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest},
        )

    async def _upload(self, request: Request, who: Caller, name: str, id: str | None) -> Response:
        if id is None:
            _only(request, "POST")
            return await self._begin(request, name)
        _only(request, "GET", "PATCH", "PUT", "DELETE")
        uploads = self._images.uploads
        if request.method == "DELETE":
            uploads.cancel(id)
            return Response(status_code=204)
        if request.method == "GET":
            return _under_way(name, id, uploads.size(id), 204)
        digest = request.query_params.get("digest", "")
        if request.method == "PUT":
            hex_of(digest)
        await self._append(request, id)
        if request.method == "PATCH":
            return _under_way(name, id, uploads.size(id), 202)
        await uploads.finish(id, digest)
        return _there(name, digest)

    async def _begin(self, request: Request, name: str) -> Response:
        uploads = self._images.uploads
        mounted = request.query_params.get("mount", "")
        if mounted and self._images.store.blobs.has(mounted):
            uploads.touch()
            return _there(name, mounted)
        digest = request.query_params.get("digest", "")
        if digest:
            hex_of(digest)
        id = uploads.begin()
        if not digest:
            return _under_way(name, id, 0, 202)
        await self._append(request, id)
        await uploads.finish(id, digest)
        return _there(name, digest)

    async def _append(self, request: Request, id: str) -> None:
        given = request.headers.get("content-range", "")
        found = _RANGE.fullmatch(given)
        if given and not found:
            raise Invalid(f"the Content-Range {given[:100]!r} makes no sense", hint="write it as START-END")
        start = int(found[1]) if found else None
        async with aclosing(upload(request, self._settings, self._settings.max_upload)) as pieces:
            await self._images.uploads.append(id, pieces, start)


def _repository(name: str) -> str:
    reference = parse_reference(name)
    ending = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
    return reference.familiar.removesuffix(ending)


def _under_way(name: str, id: str, size: int, status: int) -> Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{id}",
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": id,
    }
    return Response(status_code=status, headers=headers)


def _there(name: str, digest: str) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise WrongMethod(f"{request.method} is not possible here", hint=f"possible: {', '.join(methods)}")


def _refusal(request: Request, path: str, error: HivemindError) -> Response:
    """As registries say it, or for Hivemind's own client as the rest of the API does."""
    if PROBLEM_FORMAT in request.headers.get("accept", ""):
        response = Response(encode(problem(error)), _status(error), media_type=PROBLEM_FORMAT)
    else:
        told = f"{error.message} ({error.hint})" if error.hint else error.message
        body: dict[str, Any] = {"errors": [{"code": _code(path, error), "message": told, "detail": {}}]}
        response = JSONResponse(body, _status(error))
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Basic realm="hivemind"'
    return response


def _status(error: HivemindError) -> int:
    if isinstance(error, Corrupt | Unsupported):
        return 400
    return 416 if isinstance(error, Conflict) else error.status


def _code(path: str, error: HivemindError) -> str:
    if isinstance(error, NotFound):
        for part, code in (
            ("/uploads/", "BLOB_UPLOAD_UNKNOWN"),
            ("/blobs/", "BLOB_UNKNOWN"),
            ("/manifests/", "MANIFEST_UNKNOWN"),
        ):
            if part in path:
                return code
        return "NAME_UNKNOWN"
    for kind, code in (
        (Unauthenticated, "UNAUTHORIZED"),
        (Forbidden, "DENIED"),
        (Corrupt, "DIGEST_INVALID"),
        (TooLarge, "SIZE_INVALID"),
        (Conflict, "BLOB_UPLOAD_INVALID"),
        (Unsupported, "MANIFEST_INVALID"),
        (WrongMethod, "UNSUPPORTED"),
        (Invalid, "MANIFEST_INVALID" if "/manifests/" in path else "NAME_INVALID"),
    ):
        if isinstance(error, kind):
            return code
    return "UNKNOWN"
