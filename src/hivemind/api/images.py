"""Bringing images to this node and removing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from hivemind.api.collection import one
from hivemind.api.documents import image_document
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line, reply
from hivemind.api.intake import upload
from hivemind.api.streams import rang
from hivemind.api.views import find
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
from hivemind.model.answers import STREAM_FORMAT, ImageList, PullProgress, problem
from hivemind.model.base import Spec
from hivemind.model.image import IMAGE, Image, parse_reference
from hivemind.model.principal import Role

_ARCHIVES = ("application/x-tar", "application/gzip", "application/zstd", "application/octet-stream")


class Pull(Spec, frozen=True, kw_only=True):
    reference: Annotated[str, Meta(min_length=1, max_length=512)]


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
        images = await call.backend.load_image(pieces)
    return reply(ImageList(items=[image_document(call.backend, image) for image in images]))


async def _pull(call: Call) -> Response:
    reference = str(parse_reference(call.body.reference))
    return StreamingResponse(_progress(call, reference), media_type=STREAM_FORMAT)


async def _progress(call: Call, reference: str) -> AsyncIterator[bytes]:
    """Lines as often as the reader takes them: only the latest progress is kept, repeated as a
    sign of life. A reader that leaves cancels."""
    with call.streams.bell() as bell:
        latest = [Progress("resolving")]

        def heard(progress: Progress) -> None:
            latest[:] = [progress]
            bell.set()

        task = asyncio.create_task(call.backend.pull_image(reference, heard))
        task.add_done_callback(lambda _: bell.set())
        try:
            while not task.done():
                if call.streams.closing:
                    raise Unavailable("this node is stopping", hint="pull again once it is back")
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
        await call.backend.remove_image(name)
    return Response(status_code=204)


def _same(name: str, wanted: str) -> bool:
    try:
        return name == str(parse_reference(wanted))
    except HivemindError:
        return False
