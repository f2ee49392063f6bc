"""What people do with the files of this node's volumes: take them out as a tar, bring a tar in."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from hivemind.agent.provision.volumes import Volumes
from hivemind.errors import Conflict
from hivemind.model.volume import Volume
from hivemind.state.volume_use import held_by

_HEAD = 1 << 16
"""Bytes in which the archive's first entry is looked for."""


async def export(volumes: Volumes, volume: Volume) -> AsyncIterator[bytes]:
    """A tar of all it holds, as of one moment. Raises `Conflict` if it is not ready."""
    from hivemind.drivers.runtimes.files.pack import read_tar

    async with volumes.frozen(volume, "export") as (path, _):
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            pieces = read_tar(root, ".")
        finally:
            os.close(root)
        async for piece in pieces:
            yield piece


async def bring(volumes: Volumes, volume: Volume, chunks: AsyncIterator[bytes], *, replace: bool) -> None:
    """Fills it with a tar: all of it or, if that fails, nothing. Raises `Conflict` while it is used, or if it holds
    something and `replace` is not said; `Invalid` for an archive that leads outside or is none."""
    from hivemind.drivers.runtimes.files.unpack import write_tar

    async def fill(place: Path) -> None:
        head = bytearray()
        async for chunk in chunks:
            head += chunk
            if len(head) >= _HEAD:
                break
        root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await write_tar(root, "/", _chain(bytes(head), chunks))
            if top := _top(bytes(head)):
                os.fchown(root, top.uid, top.gid)
                os.fchmod(root, top.mode & 0o7777)
        finally:
            os.close(root)

    async with volumes.locked(volume.id):
        users = held_by(volumes.state, volume)
        if users:
            raise Conflict(
                f"volume {volume.name!r} is used by {', '.join(users[:5])}",
                hint=f"stop it first: hivemind app stop {users[0].rpartition('.')[0]}",
            )
        real, driver, wanted = await volumes.use(volume)
        if os.listdir(real.path) and not replace:
            raise Conflict(
                f"volume {volume.name!r} holds something already", hint="--replace throws that away first"
            )
        await driver.make(wanted, fill)
    await volumes.measure(volume)


async def _chain(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in chunks:
        yield chunk


def _top(head: bytes) -> tarfile.TarInfo | None:
    """The archive's entry of the directory itself, whose owner and mode the volume takes."""
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r|") as archive:
            first = archive.next()
    except (tarfile.TarError, EOFError, ValueError):
        return None
    return first if first and first.isdir() and first.name.strip("./") == "" else None
