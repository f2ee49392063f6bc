"""Calls and streams over one multiplexer: who waits here for the other side, and what runs here for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from hivemind.errors import HivemindError, Unavailable, from_code
from hivemind.protocols.mux.events import Answered, Asked, Broke, Changed, Event, Heard, Opened
from hivemind.protocols.mux.frame import Failure
from hivemind.protocols.mux.machine import Mux
from hivemind.transport.services import Services, not_served, told
from hivemind.transport.stream import ChannelStream, measured

_logger = logging.getLogger(__name__)
_NOT_WAITED_FOR = Failure("unavailable", "nobody waits for the answer any more")


class Conversations:
    """`flush` is called when there may be something to send; `quiet` when the last stream has ended."""

    __slots__ = (
        "_answering",
        "_asking",
        "_mux",
        "_quiet",
        "_services",
        "_streams",
        "binding",
        "dropped",
        "flush",
        "over",
        "peer",
    )

    def __init__(
        self,
        mux: Mux,
        services: Services,
        peer: str,
        binding: bytes,
        flush: Callable[[], None],
        quiet: Callable[[], None],
    ) -> None:
        self.peer, self.binding, self.flush = peer, binding, flush
        self.dropped = 0
        """Messages that came and that nobody heard."""
        self.over = False
        self._mux, self._services, self._quiet = mux, services, quiet
        self._asking: dict[int, asyncio.Future[bytes]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, ChannelStream] = {}

    @property
    def busy(self) -> bool:
        return bool(self._streams)

    def send(self, service: str, message: bytes) -> bool:
        sent = self._mux.message(service, message)
        self.flush()
        return sent

    async def call(self, service: str, question: bytes) -> bytes:
        """Raises what the other side did, or `Unavailable`. Cancelled, it tells the other side."""
        number = self._mux.ask(service, question)
        if number is None:
            raise Unavailable(
                f"too many questions to node {self.peer[:8]} wait for answers", hint="ask later"
            )
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asking[number] = future
        self.flush()
        try:
            return await future
        finally:
            if self._asking.pop(number, None):
                self._mux.fail(number, _NOT_WAITED_FOR)
                self.flush()

    async def open(self, service: str) -> ChannelStream:
        number = self._mux.open(service)
        if number is None:
            raise Unavailable(f"too many streams to node {self.peer[:8]} are open", hint="close some")
        stream = self._streams[number] = ChannelStream(self, self._mux, number)
        self.flush()
        try:
            await stream.accepted()
        except BaseException:
            await stream.close()
            raise
        return stream

    def ended(self, number: int) -> None:
        """Nobody here uses that stream any more."""
        self._streams.pop(number, None)
        self.flush()
        if not self._streams:
            self._quiet()

    def happen(self) -> None:
        """Hands out what has come."""
        while not self.over and (events := self._mux.events()):
            for event in events:
                self._handle(event)

    def break_off(self, error: HivemindError) -> None:
        """Nothing comes any more. What runs here for streams notices it by itself."""
        self.over = True
        asking, self._asking = self._asking, {}
        for future in asking.values():
            if not future.done():
                future.set_exception(error)
        for number, task in tuple(self._answering.items()):
            if number > 0:
                task.cancel()
        for stream in tuple(self._streams.values()):
            stream.break_off(error)
        self._streams.clear()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Heard):
            self._hear(event)
        elif isinstance(event, Changed):
            if stream := self._streams.get(event.stream):
                stream.look_again()
        elif isinstance(event, Asked):
            self._run(event.stream, self._answer(event))
        elif isinstance(event, Answered):
            future = self._asking.pop(event.stream, None)
            if future and not future.done():
                future.set_result(event.answer)
        elif isinstance(event, Opened):
            self._serve(event)
        else:
            self._break(event)

    def _hear(self, event: Heard) -> None:
        if (handler := self._services.hearing.get(event.service)) is None:
            self.dropped += 1
            return
        try:
            handler(self.peer, event.message)
        except Exception:
            _logger.exception("a message of node %s to %s", self.peer[:8], event.service)

    async def _answer(self, event: Asked) -> None:
        try:
            if (handler := self._services.answering.get(event.service)) is None:
                raise not_served(event.service)
            answer = measured(await handler(self.peer, event.question))
        except Exception as error:
            if not isinstance(error, HivemindError):
                _logger.exception("a question of node %s to %s", self.peer[:8], event.service)
            self._mux.fail(event.stream, _failure(error))
        else:
            self._mux.reply(event.stream, answer)
        self.flush()

    def _serve(self, event: Opened) -> None:
        if (handler := self._services.serving.get(event.service)) is None:
            self._mux.fail(event.stream, _failure(not_served(event.service)))
            return
        stream = self._streams[event.stream] = ChannelStream(self, self._mux, event.stream)
        self._mux.accept(event.stream)

        async def serve() -> None:
            try:
                await handler(stream)
            except HivemindError as error:
                _logger.debug("a stream of node %s to %s: %s", self.peer[:8], event.service, error.message)
            except Exception:
                _logger.exception("a stream of node %s to %s", self.peer[:8], event.service)
            finally:
                await stream.close()

        self._run(-event.stream, serve())

    def _break(self, event: Broke) -> None:
        error = from_code(event.failure.code, event.failure.message, event.failure.hint)
        future = self._asking.pop(event.stream, None)
        if future and not future.done():
            future.set_exception(error)
        if task := self._answering.get(event.stream):
            task.cancel()
        if stream := self._streams.pop(event.stream, None):
            stream.break_off(error)

    def _run(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        """Answers by their stream; streams by the negative: these end when what they wait for breaks."""
        task = self._answering[number] = asyncio.get_running_loop().create_task(work)

        def forget(_: asyncio.Task[None]) -> None:
            if self._answering.get(number) is task:
                del self._answering[number]

        task.add_done_callback(forget)


def _failure(error: Exception) -> Failure:
    shown = told(error)
    return Failure(shown.code, shown.message, shown.hint)
