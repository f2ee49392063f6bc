"""Fetching a certified state from another node, and giving one.

    who is behind           who has it
    Ask              ->
                     <-     Offer: the certificate, and the manifest that it proves
    Want             ->     which partitions are not there yet, or have changed
                     <-     Piece … of parts, each checked against the manifest when it is whole

What was fetched stays when the stream breaks or another node is asked, also for a newer checkpoint. A source whose
bytes do not add up is named in the log, and not asked again as long as there is another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from hivemind.errors import Corrupt, HivemindError, NotFound, Unavailable
from hivemind.ledger.journal import Journal
from hivemind.ledger.links import SERVICE, Links, Stream
from hivemind.ledger.parts import LARGEST_PART, Assembly, Manifest, Part, Source
from hivemind.model.base import UNREADABLE
from hivemind.protocols.pbft.certificate import checkpoint_holds
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.wire import CheckpointCertificate
from hivemind.state.partition import PARTITIONS
from hivemind.state.state import State

_logger = logging.getLogger(__name__)
_PIECE = 512 * 2**10


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """For a certified state after that sequence."""

    above: int


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=2):
    certificate: CheckpointCertificate
    manifest: Manifest


class Want(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A bit for each partition, the lowest first."""

    partitions: bytes


class Piece(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Of an encoded part; `last` makes it whole."""

    data: bytes
    last: bool


class Nothing(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """There is no later certified state here. The next certified one will be kept."""


Message = Ask | Offer | Want | Piece | Nothing
_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(Message)
_parts = msgspec.msgpack.Decoder(Part)
_certificates = msgspec.msgpack.Decoder(CheckpointCertificate)


class Fetched(msgspec.Struct, frozen=True):
    snapshot: bytes
    head: bytes
    certificate: CheckpointCertificate


class Fetcher:
    """`done` is called with what was fetched, or with the sequence that nobody gave."""

    def __init__(
        self,
        links: Links,
        chain: Epochs,
        state: State,
        timeout: float,
        done: Callable[[Fetched | int], Awaitable[None]],
    ) -> None:
        self._links, self._chain, self._state, self._timeout, self._done = links, chain, state, timeout, done
        self._target: CheckpointCertificate | None = None
        self._sources: tuple[str, ...] = ()
        self._assembly: Assembly | None = None
        self._liars: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def fetch(self, certificate: CheckpointCertificate, sources: tuple[str, ...]) -> None:
        """A later call replaces what was wanted; what is under way goes on as far as it serves that."""
        self._target, self._sources = certificate, sources
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        found: Fetched | None = None
        try:
            for source in self._in_turn():
                found = await self._tried(source)
                if found:
                    break
        finally:
            self._task = None
        target = self._target
        if found:
            self._assembly = None
            await self._done(found)
        elif target:
            await self._done(target.checkpoint.sequence)

    def _in_turn(self) -> list[str]:
        """Those that were caught come last."""
        others = [source for source in self._sources if source != self._links.node]
        return sorted(others, key=lambda source: source in self._liars)

    async def _tried(self, source: str) -> Fetched | None:
        try:
            stream = await self._links.open(source, SERVICE, timeout=self._timeout)
        except (Unavailable, NotFound) as error:
            _logger.info("%s gives no state: %s", source[:8], error.message)
            return None
        try:
            return await self._from(stream)
        except Corrupt as error:
            self._liars = [*self._liars[-15:], source]
            _logger.error("what node %s gave as the hive's state is wrong: %s", source, error.message)
        except (HivemindError, TimeoutError) as error:
            _logger.info("fetching the state from %s failed: %s", source[:8], error)
        finally:
            await stream.close()
        return None

    async def _from(self, stream: Stream) -> Fetched | None:
        await stream.send(_encoder.encode(Ask(self._above())))
        offer = await self._next(stream)
        if not isinstance(offer, Offer):
            return None
        self._check(offer)
        if self._assembly is None:
            own = self._state.tables.copies()
            self._assembly = await asyncio.to_thread(Assembly, offer.manifest, own)
        else:
            self._assembly.retarget(offer.manifest)
        missing = self._assembly.missing()
        await stream.send(_encoder.encode(Want(_bits(missing))))
        while missing:
            part = await self._part(stream)
            await asyncio.to_thread(self._assembly.add, part)
            missing = self._assembly.missing()
        snapshot = await asyncio.to_thread(self._assembly.snapshot)
        return Fetched(snapshot, offer.manifest.head, offer.certificate)

    def _above(self) -> int:
        """Who diverged takes an earlier state, too."""
        assert self._target
        own, wanted = self._state.sequence, self._target.checkpoint.sequence
        return own if wanted > own else -1

    def _check(self, offer: Offer) -> None:
        """Raises `Corrupt`."""
        certificate, manifest = offer.certificate, offer.manifest
        epoch = self._chain.numbered(certificate.epoch)
        if epoch is None:
            raise Unavailable("it is of an epoch that is not known here yet")
        if not checkpoint_holds(certificate, epoch, self._chain.signatures):
            raise Corrupt("its certificate does not hold")
        if (manifest.sequence, manifest.digest()) != (
            certificate.checkpoint.sequence,
            certificate.checkpoint.digest,
        ):
            raise Corrupt("its manifest is not what was certified")
        if manifest.sequence <= self._above():
            raise Corrupt("it is older than what was asked for")

    async def _part(self, stream: Stream) -> Part:
        data = bytearray()
        while True:
            piece = await self._next(stream)
            if not isinstance(piece, Piece) or len(data) + len(piece.data) > LARGEST_PART:
                raise Corrupt("parts of it are missing, or too large")
            data += piece.data
            if piece.last:
                break
        try:
            return _parts.decode(data)
        except (*UNREADABLE, ValueError):
            raise Corrupt("a part of it cannot be read") from None

    async def _next(self, stream: Stream) -> Message:
        async with asyncio.timeout(self._timeout):
            message = await stream.receive()
        if message is None:
            raise Unavailable("it ended before its end")
        return _decoded(message)


async def serve(stream: Stream, journal: Journal, timeout: float) -> None:
    """Answers one `Fetcher`."""
    try:
        async with asyncio.timeout(timeout):
            ask = _decoded(await stream.receive() or b"")
        found = await journal.in_thread(journal.log.proven)
        if not isinstance(ask, Ask) or found is None or found[0].sequence <= ask.above:
            journal.want_checkpoint()
            await stream.send(_encoder.encode(Nothing()))
            await stream.finish()
            return
        checkpoint, proof = found
        source = await asyncio.to_thread(Source, checkpoint.snapshot, checkpoint.head)
        await stream.send(_encoder.encode(Offer(_certificates.decode(proof), source.manifest)))
        async with asyncio.timeout(timeout):
            want = _decoded(await stream.receive() or b"")
        if isinstance(want, Want):
            await _give(stream, source.parts(_set(want.partitions)))
        await stream.finish()
    except (HivemindError, TimeoutError) as error:
        _logger.info("giving the state to %s failed: %s", stream.peer[:8], error)


async def _give(stream: Stream, parts: Iterator[Part]) -> None:
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        data = _encoder.encode(part)
        for at in range(0, len(data), _PIECE):
            piece = Piece(data[at : at + _PIECE], last=at + _PIECE >= len(data))
            await stream.send(_encoder.encode(piece))


def _decoded(message: bytes) -> Message:
    try:
        found: Message = _messages.decode(message)
    except (*UNREADABLE, ValueError):
        raise Corrupt("a message of it cannot be read") from None
    return found


def _bits(partitions: list[int]) -> bytes:
    found = bytearray(PARTITIONS // 8)
    for partition in partitions:
        found[partition // 8] |= 1 << partition % 8
    return bytes(found)


def _set(bits: bytes) -> Iterator[int]:
    return (p for p in range(min(PARTITIONS, 8 * len(bits))) if bits[p // 8] >> p % 8 & 1)
