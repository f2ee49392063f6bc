"""What can be done with volumes beyond writing them: restore, back up, export, import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from hivemind.api.collection import WriteQuery, planned
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line, reply
from hivemind.api.intake import upload
from hivemind.api.remote.places import of_volume
from hivemind.api.streams import Streamed, rang
from hivemind.api.tars import TAR, TARS, check_tar
from hivemind.api.views import VIEWS, find
from hivemind.errors import (
    Conflict,
    Corrupt,
    HivemindError,
    NotFound,
    Stale,
    TooLarge,
    Unavailable,
    WrongMedia,
)
from hivemind.model.answers import STREAM_FORMAT, Plan, problem
from hivemind.model.backup import BackupList, BackupProgress, BackupTarget
from hivemind.model.base import Spec
from hivemind.model.names import Name
from hivemind.model.principal import Role
from hivemind.model.volume import BackupPolicy, BackupResult, Source, Volume, VolumeDocument
from hivemind.state.operations import RestoreVolume

_VOLUME = "/v1/projects/{project}/volumes/{name}"


class Restore(Spec, frozen=True, kw_only=True):
    source: Source


class BackUp(Spec, frozen=True, kw_only=True):
    target: Name | None = None
    """That of its policy, when absent."""
    verify: bool = False
    """Restore it afterwards and compare every file."""


class ImportQuery(Spec, frozen=True, kw_only=True):
    replace: Annotated[bool, Meta(description="throw away what it holds")] = False


class BackupsQuery(Spec, frozen=True, kw_only=True):
    volume: Annotated[str, Meta(max_length=63, description="only of the volume that had this name")] = ""


def volume_endpoints() -> list[Endpoint]:
    errors = (NotFound, Conflict)
    return [
        Endpoint(
            "POST", f"{_VOLUME}/restore", "volumes.restore",
            "Give a volume other content: of a snapshot, a backup or another volume.", _restore,
            (Answer(200, "The volume; with `dry_run`, the plan.", (VolumeDocument, Plan), etag=True),),
            query=WriteQuery, body=Restore, errors=(*errors, Stale, TooLarge, WrongMedia), role=Role.OPERATOR,
        ),
        Endpoint(
            "POST", f"{_VOLUME}/backup", "volumes.backup",
            "Back a volume up; answers with progress. The last line has `result` or `error`.", _back_up,
            (Answer(200, "One JSON object a line.", (BackupProgress,), STREAM_FORMAT),),
            body=BackUp, errors=(*errors, TooLarge, WrongMedia), role=Role.OPERATOR, at=of_volume,
        ),
        Endpoint(
            "GET", f"{_VOLUME}/export", "volumes.export", "Everything it holds, as a tar.", _export,
            (Answer(200, "A tar.", (), TAR),), errors=errors, role=Role.OPERATOR, at=of_volume,
        ),
        Endpoint(
            "POST", f"{_VOLUME}/import", "volumes.import", "Fill it with a tar, all of it or nothing.", _import,
            (Answer(200, "The volume.", (VolumeDocument,), etag=True),),
            query=ImportQuery, upload=TARS, errors=(*errors, TooLarge, WrongMedia), role=Role.OPERATOR, at=of_volume,
        ),
        Endpoint(
            "GET", "/v1/projects/{project}/backuptargets/{name}/backups", "backuptargets.backups",
            "The backups that a target holds, oldest first.", _backups,
            (Answer(200, "The backups.", (BackupList,)),),
            query=BackupsQuery, errors=(*errors, Corrupt), role=Role.OPERATOR,
        ),
    ]  # fmt: skip


async def _volume(call: Call) -> Volume:
    found: Volume = await find(call.backend, "Volume", call.project, call.params["name"])
    return found


async def _shown(call: Call) -> Response:
    volume = await _volume(call)
    return reply(VIEWS["Volume"].document(call.backend, volume), version=volume.version)


async def _restore(call: Call) -> Response:
    volume = await _volume(call)
    operation = RestoreVolume(project=volume.project, name=volume.name, source=call.body.source)
    if call.query.dry_run:
        return await planned(call, operation)
    await call.submit(operation)
    return await _shown(call)


async def _export(call: Call) -> Response:
    pieces = call.backend.volumes.export(await _volume(call))
    # What stands in the way shows with the first piece; afterwards there is no status any more.
    first = await anext(pieces)
    name = f'attachment; filename="{call.params["name"]}.tar"'
    return Streamed(_rest(first, pieces), media_type=TAR, headers={"Content-Disposition": name})


async def _rest(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):  # type: ignore[type-var]
        yield first
        async for piece in pieces:
            yield piece


async def _import(call: Call) -> Response:
    check_tar(call)
    volume = await _volume(call)
    async with aclosing(upload(call.request, call.settings, call.settings.max_upload)) as pieces:
        await call.backend.volumes.bring(volume, pieces, replace=call.query.replace)
    return await _shown(call)


async def _back_up(call: Call) -> Response:
    volume = await _volume(call)
    target = call.body.target or (volume.backup.target if volume.backup else "")
    if not target:
        raise Conflict(
            f"volume {volume.name!r} has no backup target yet",
            hint="name one: hivemind volume backup NAME --target …",
        )
    policy = volume.backup if volume.backup and volume.backup.target == target else None
    made = policy or BackupPolicy(target=target, keep=10_000, verify_every=0)
    return Streamed(_progress(call, volume, made), media_type=STREAM_FORMAT)


async def _progress(call: Call, volume: Volume, policy: BackupPolicy) -> AsyncIterator[bytes]:
    """Lines as often as the reader takes them. A reader that leaves does not end the backup."""
    with call.streams.bell() as bell:
        done = [0.0]

        def heard(part: float) -> None:
            done[:] = [part]
            bell.set()

        work = call.backend.volumes.back_up(volume, policy, heard, verify=call.body.verify)
        task: asyncio.Task[BackupResult] = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: bell.set())
        try:
            while not task.done():
                if call.streams.closing:
                    raise Unavailable("this node is stopping", hint="back it up again once it is back")
                await rang(bell, call.settings.heartbeat)
                yield encode_line(BackupProgress(done=done[0]))
            yield encode_line(BackupProgress(done=1.0, result=await task))
        except HivemindError as error:
            yield encode_line(BackupProgress(done=done[0], error=problem(error)))
        finally:
            if call.streams.closing:
                task.cancel()


async def _backups(call: Call) -> Response:
    target: BackupTarget = await find(call.backend, "BackupTarget", call.project, call.params["name"])
    return reply(BackupList(items=await call.backend.volumes.backups(target, call.query.volume)))
