"""Bringing images to this node and removing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.collection import one
from hivemind.api.documents import image_document
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line, reply
from hivemind.api.intake import upload
from hivemind.api.streams import Streamed, rang
from hivemind.api.views import find
from hivemind.drivers.images.manifest import Platform
from hivemind.drivers.runtimes.contract import OnProgress, PullPolicy
from hivemind.drivers.runtimes.contract import PullProgress as Progress
from hivemind.errors import (
    Conflict,
    Corrupt,
    HivemindError,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
    WrongMedia,
)
from hivemind.model.answers import STREAM_FORMAT, ImageList, Pruned, PullProgress, problem
from hivemind.model.base import Spec
from hivemind.model.image import IMAGE, Image, ImageDetails, ImageDocument, parse_reference
from hivemind.model.principal import Role

_ARCHIVES = ("application/x-tar", "application/gzip", "application/zstd", "application/octet-stream")


_Reference = Annotated[str, Meta(min_length=1, max_length=512)]


class Pull(Spec, frozen=True, kw_only=True):
    reference: _Reference
    policy: PullPolicy = "missing"
    platform: Annotated[str, Meta(max_length=64, description="as linux/arm64; this machine's when empty")] = (
        ""
    )


class Push(Spec, frozen=True, kw_only=True):
    reference: _Reference


class Tag(Spec, frozen=True, kw_only=True):
    source: _Reference
    target: _Reference


class Save(Spec, frozen=True, kw_only=True):
    names: Annotated[tuple[_Reference, ...], Meta(min_length=1, max_length=100)]


class Inspect(Spec, frozen=True, kw_only=True):
    name: _Reference


class Prune(Spec, frozen=True, kw_only=True):
    all: bool = False
    """Also images that have a name, if nothing uses them."""


def image_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            "/v1/images/load",
            "images.load",
            "Load a `docker save` or OCI archive, plain or compressed by gzip or zstd.",
            _load,
            (Answer(200, "The images it held.", (ImageList,)),),
            upload=_ARCHIVES,
            errors=(TooLarge, WrongMedia, Corrupt, Unsupported),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "POST",
            "/v1/images/pull",
            "images.pull",
            "Fetch an image from its registry; answers with progress. The last line has `image` or `error`.",
            _pull,
            (Answer(200, "One JSON object a line.", (PullProgress,), STREAM_FORMAT),),
            body=Pull,
            errors=(TooLarge, WrongMedia),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "POST",
            "/v1/images/push",
            "images.push",
            "Send an image from this node to the registry in its name; answers with progress, as a pull does.",
            _push,
            (Answer(200, "One JSON object a line.", (PullProgress,), STREAM_FORMAT),),
            body=Push,
            errors=(TooLarge, WrongMedia),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "POST",
            "/v1/images/save",
            "images.save",
            "One archive of some images, an OCI layout that `docker load` reads as well.",
            _save,
            (Answer(200, "A tar.", (), _ARCHIVES[0]),),
            body=Save,
            errors=(NotFound, TooLarge, WrongMedia),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "POST",
            "/v1/images/inspect",
            "images.inspect",
            "Everything that an image says of itself.",
            _inspect,
            (Answer(200, "The image.", (ImageDetails,)),),
            body=Inspect,
            errors=(NotFound, TooLarge, WrongMedia),
        ),
        Endpoint(
            "POST",
            "/v1/images/tag",
            "images.tag",
            "Give an image one more name, taking that from the image that had it.",
            _tag,
            (Answer(200, "The image.", (ImageDocument,)),),
            body=Tag,
            errors=(NotFound, TooLarge, WrongMedia),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "POST",
            "/v1/images/prune",
            "images.prune",
            "Remove images that nothing uses: those without a name, or all.",
            _prune,
            (Answer(200, "What was removed.", (Pruned,)),),
            body=Prune,
            errors=(TooLarge, WrongMedia),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "DELETE",
            one(IMAGE),
            "images.delete",
            "Remove an image from this node, by name or digest.",
            _remove,
            (Answer(204, "It is removed."),),
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
        ),
    ]


async def _load(call: Call) -> Response:
    media = call.request.headers.get("content-type", _ARCHIVES[0]).partition(";")[0].strip().lower()
    if media not in _ARCHIVES:
        raise WrongMedia(
            f"{media[:100]!r} is not an image archive", hint=f"send one of {', '.join(_ARCHIVES)}"
        )
    async with aclosing(upload(call.request, call.settings, call.settings.max_upload)) as pieces:
        images = await call.backend.images.load(pieces)
    return reply(ImageList(items=[image_document(call.backend, image) for image in images]))


async def _pull(call: Call) -> Response:
    wish: Pull = call.body
    reference = str(parse_reference(wish.reference))
    if wish.platform:
        Platform.read(wish.platform)

    def pull(heard: OnProgress) -> Awaitable[Image]:
        return call.backend.images.pull(reference, heard, policy=wish.policy, platform=wish.platform)

    return Streamed(_progress(call, pull), media_type=STREAM_FORMAT)


async def _push(call: Call) -> Response:
    reference = str(parse_reference(call.body.reference))

    def push(heard: OnProgress) -> Awaitable[Image]:
        return call.backend.images.push(reference, heard)

    return Streamed(_progress(call, push), media_type=STREAM_FORMAT)


async def _save(call: Call) -> Response:
    images = [await _image(call, name) for name in call.body.names]
    told = {
        name
        for image, asked in zip(images, call.body.names, strict=True)
        for name in ([n for n in image.names if _same(n, asked)] or image.names)
    }
    pieces = call.backend.images.save([image.digest for image in images], sorted(told))
    return Streamed(pieces, media_type=_ARCHIVES[0])


async def _inspect(call: Call) -> Response:
    image = await _image(call, call.body.name)
    desk = call.backend.images
    config, layers = await asyncio.to_thread(desk.layers, image.digest)
    return reply(
        ImageDetails(
            id=image.digest,
            names=image.names,
            config=image.config,
            config_digest=config,
            layers=tuple(layers),
            size=image.size,
            os=image.os,
            arch=image.arch,
            created=image.created,
            used=desk.used(image.digest),
            in_use=image_document(call.backend, image).in_use,
        )
    )


async def _tag(call: Call) -> Response:
    image = await _image(call, call.body.source)
    tagged = await call.backend.images.tag(image.digest, call.body.target)
    return reply(image_document(call.backend, tagged))


async def _prune(call: Call) -> Response:
    return reply(await call.backend.images.prune(call.body.all))


async def _image(call: Call, name: str) -> Image:
    found: Image = await find(call.backend, "Image", None, name)
    return found


async def _progress(call: Call, work: Callable[[OnProgress], Awaitable[Image]]) -> AsyncIterator[bytes]:
    """Lines as often as the reader takes them: only the latest progress is kept, repeated as a
    sign of life. A reader that leaves cancels."""
    with call.streams.bell() as bell:
        latest = [Progress("resolving")]

        def heard(progress: Progress) -> None:
            latest[:] = [progress]
            bell.set()

        task = asyncio.ensure_future(work(heard))
        task.add_done_callback(lambda _: bell.set())
        try:
            while not task.done():
                if call.streams.closing:
                    raise Unavailable("this node is stopping", hint="try again once it is back")
                await rang(bell, call.settings.heartbeat)
                yield encode_line(_line(latest[0]))
            yield encode_line(_last(call, await task))
        except HivemindError as error:
            yield encode_line(PullProgress(error=problem(error)))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _line(progress: Progress) -> PullProgress:
    return PullProgress(stage=progress.stage, done=progress.done, total=progress.total)


def _last(call: Call, image: Image) -> PullProgress:
    return PullProgress(done=image.size, total=image.size, image=image_document(call.backend, image))


async def _remove(call: Call) -> Response:
    image: Image = await find(call.backend, "Image", None, call.params["name"])
    wanted = call.params["name"]
    names = [name for name in image.names if _same(name, wanted)]
    for name in names or image.names or (image.digest,):
        await call.backend.images.remove(name)
    return Response(status_code=204)


def _same(name: str, wanted: str) -> bool:
    try:
        return name == str(parse_reference(wanted))
    except HivemindError:
        return False
