"""The engine's events, for as long as this runtime is open, whatever becomes of the engine meanwhile.

The engine forgets its events when it is started anew. So each time it is found again, the whole truth is asked for
while the events that come meanwhile wait in the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from hivemind.drivers.runtimes.docker import configuration
from hivemind.drivers.runtimes.docker.container import filters
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.errors import HivemindError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries to find the engine again."""
_log = logging.getLogger(__name__)


class _Actor(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID", default="")
    attributes: dict[str, str] = msgspec.field(name="Attributes", default={})


class Event(msgspec.Struct, frozen=True):
    """`action` as docker has it (`die`, `oom`, `start`, `destroy`, `exec_die`); `id` is the engine's."""

    action: str = msgspec.field(name="Action", default="")
    actor: _Actor = msgspec.field(name="Actor", default=_Actor())

    @property
    def id(self) -> str:
        return self.actor.id

    @property
    def attributes(self) -> dict[str, str]:
        return self.actor.attributes


async def watch(
    engine: Engine,
    owner: str,
    learn: Callable[[], Awaitable[None]],
    hear: Callable[[Event], None],
    lost: Callable[[str], None],
    first: asyncio.Future[None],
) -> None:
    """Runs until it is cancelled. `learn` is called whenever the engine was found, `hear` for each event, `lost` with
    the reason when it cannot be found and with nothing once it was; `first` is done once `learn` was, or has the
    reason why not."""
    pause = 0.0
    while True:
        await asyncio.sleep(pause)
        try:
            wanted = filters(type="container", label=f"{configuration.OWNER}={owner}")
            async with engine.stream("GET", "/events", query={"filters": wanted}) as response:
                await learn()
                lost("")
                if not first.done():
                    first.set_result(None)
                elif pause:
                    _log.info("the docker engine is back")
                pause = 0.0
                rest = b""
                async for chunk in response.chunks():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            hear(msgspec.json.decode(line, type=Event))
        except HivemindError as error:
            if not first.done():
                first.set_exception(error)
                return
            lost(error.message)
            if not pause:
                _log.warning("%s; looking for it again", error.message)
        pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
