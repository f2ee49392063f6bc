"""The distributed hash table of a hive: `protocols.kademlia` driven over datagrams of the kind `dht`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

from hivemind.errors import HivemindError, Unavailable
from hivemind.protocols.kademlia.events import (
    Effect,
    Ended,
    Found,
    Get,
    Got,
    Heard,
    Input,
    Join,
    Look,
    Meet,
    Moved,
    Outside,
    Part,
    Put,
    PutMutable,
    Reach,
    Reached,
    Review,
    Translation,
    Transmit,
)
from hivemind.protocols.kademlia.kademlia import Kademlia
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.signing import immutable_key, mutable_key
from hivemind.protocols.machine import SECOND, Micros, Signer, Tick, Verifier
from hivemind.transport.contract import Address, Datagrams
from hivemind.transport.discovery.contract import Finder
from hivemind.transport.discovery.openings import Openings

_logger = logging.getLogger(__name__)
KIND = "dht"
_AGAIN = 0.3
"""Seconds between two lookups of somebody that nobody has answered yet."""
_LOOKUP = 10.0
"""Seconds; a lookup ends long before."""


class Dht:
    """`start` it once the datagrams have entered the hive. `own`: where it hears datagrams, as it tells others;
    `admits`: who belongs to the hive; `perhaps`, `found`: see `contract.Finder`; `outside` hears how this node looks
    from outside."""

    def __init__(
        self,
        datagrams: Datagrams,
        signer: Signer,
        verify: Verifier,
        *,
        hive: str,
        own: Address,
        admits: Callable[[str], bool],
        outside: Callable[[Translation, Address | None], None] = lambda translation, address: None,
        settings: Settings | None = None,
    ) -> None:
        self._datagrams, self._outside = datagrams, outside
        loop_time = asyncio.get_running_loop().time
        self._clock: Callable[[], Micros] = lambda: round(loop_time() * SECOND)
        ahead = self._clock

        def wall(now: Micros) -> int:
            """Of that moment, which is this one or was just now."""
            return time.time_ns() // 1_000 - (ahead() - now)

        self._signer = signer
        self._machine = Kademlia(
            signer,
            verify,
            random.SystemRandom(),
            hive=hive,
            own=own,
            admits=admits,
            wall=wall,
            settings=settings,
        )
        self._finder: Finder | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Ended | Got]] = {}
        self._reached: dict[str, Address] = {}
        self._found: dict[bytes, Callable[[Found], None]] = {}
        self.openings = Openings(self.reach)
        self._events: deque[Input] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._undo: Callable[[], None] | None = None

    async def start(self, finder: Finder) -> None:
        self._finder = finder
        self._undo = self._datagrams.on_datagram(KIND, self._on_datagram)
        self._give(Tick())

    def close(self) -> None:
        if self._undo:
            self._undo()
            self._undo = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.openings.close()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.cancel()

    # -- what is wanted --------------------------------------------------------------------------------------

    def meet(self, addresses: Sequence[Address]) -> None:
        """Somebody may be there. The likeliest first."""
        if addresses:
            self._give(Meet(tuple(addresses)))

    def join(self, topic: bytes, addresses: Sequence[Address]) -> None:
        """Announces this node, there or from now on elsewhere; `finder` hears of the others."""
        self._give(Join(topic, tuple(addresses)))

    async def part(self, topic: bytes, timeout: float) -> None:
        """Takes the announcement back: nobody shall look for it here any more. Whom it cannot tell in time forgets it
        by itself."""
        try:
            await self._ask(lambda number: Part(topic, number), timeout)
        except Unavailable:
            _logger.info("not everybody has heard that this node is not here any more")

    async def look(self, topic: bytes, timeout: float) -> dict[str, Found]:
        """Who is announced there, without announcing oneself; empty when nobody answers in time."""
        found: dict[str, Found] = {}

        def heard(each: Found) -> None:
            found[each.node] = each

        try:
            async with asyncio.timeout(timeout):
                await self._seek(topic, heard, lambda: bool(found))
        except TimeoutError:
            pass
        return found

    async def seek(self, topic: bytes, heard: Callable[[Found], None]) -> None:
        """The same without end, as long as nobody cancels it: `heard` is told of each as soon as it is named, and
        again each time."""
        await self._seek(topic, heard, lambda: False)

    async def _seek(self, topic: bytes, heard: Callable[[Found], None], enough: Callable[[], bool]) -> None:
        self._found[topic] = heard
        try:
            while not enough():
                with contextlib.suppress(Unavailable):
                    await self._ask(lambda number: Look(topic, number), _LOOKUP)
                if not enough():
                    await asyncio.sleep(_AGAIN)
        finally:
            del self._found[topic]

    async def put(self, value: bytes, timeout: float) -> bytes:
        """Its key. Raises `Unavailable` when nobody took it."""
        _taken(await self._ask(lambda number: Put(value, number), timeout))
        return immutable_key(value)

    async def put_mutable(self, value: bytes, sequence: int, timeout: float, salt: bytes = b"") -> bytes:
        """Its key, which only this node may write. Raises `Unavailable` when nobody took it: also because it has a
        newer one."""
        _taken(await self._ask(lambda number: PutMutable(value, sequence, salt, number), timeout))
        return mutable_key(self._signer.public, salt)

    async def get(self, key: bytes, timeout: float) -> Got | None:
        got = await self._ask(lambda number: Get(key, number), timeout)
        return got if isinstance(got, Got) and got.value is not None else None

    async def reach(self, node: str, through: Sequence[Address], timeout: float) -> Address:
        """Makes a way for datagrams to it. Raises `Unavailable` that says why there is none."""
        ended = await self._ask(lambda number: Reach(node, tuple(through), number), timeout)
        if node not in self._reached:
            why = ended.refusal if isinstance(ended, Ended) else ""
            raise Unavailable(f"no datagram gets through to node {node[:8]}: {why}")
        return self._reached.pop(node)

    def moved(self) -> None:
        """The network is another one."""
        self._give(Moved())

    def review(self) -> None:
        """Who belongs to the hive has changed."""
        self._give(Review())

    def contacts(self) -> list[Address]:
        """Where others were heard, the last first."""
        return self._machine.contacts()

    @property
    def translation(self) -> Translation:
        return self._machine.outside.translation

    @property
    def seen_at(self) -> Address | None:
        """By others."""
        return self._machine.outside.address

    # -- driving ---------------------------------------------------------------------------------------------

    async def _ask(self, event: Callable[[int], Input], timeout: float) -> Ended | Got:
        number = next(self._numbers)
        future: asyncio.Future[Ended | Got] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(timeout):
                self._give(event(number))
                return await future
        except TimeoutError:
            raise Unavailable("the other nodes do not answer", hint="see whether they are reached") from None
        finally:
            self._waiting.pop(number, None)

    def _on_datagram(self, source: Address, sender: str, message: bytes) -> None:
        self._give(Heard(source, sender, message))

    def _on_time(self) -> None:
        self._timer = None
        self._give(Tick())

    def _give(self, event: Input) -> None:
        """To the machine, and whatever follows from it. What callbacks cause waits for its turn."""
        self._events.append(event)
        if self._busy or self._undo is None:
            return
        self._busy = True
        try:
            while self._events:
                for effect in self._machine.handle(self._events.popleft(), self._clock()):
                    self._perform(effect)
        finally:
            self._busy = False
            self._arm()

    def _arm(self) -> None:
        """Late rather than set anew for each datagram."""
        due = self._machine.deadline() if self._undo else None
        if due is None:
            return
        at = math.ceil(due) / SECOND
        if self._timer:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._on_time)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Transmit):
            try:
                self._datagrams.send(effect.to, KIND, effect.message)
            except (HivemindError, OSError) as error:
                _logger.debug("a datagram could not be sent to %s: %s", effect.to, error)
        elif isinstance(effect, Found):
            self._tell(effect)
        elif isinstance(effect, Ended | Got):
            future = self._waiting.get(effect.number)
            if future and not future.done():
                future.set_result(effect)
        elif isinstance(effect, Reached):
            self._reached[effect.node] = effect.address
        else:
            self._seen(effect)

    def _tell(self, found: Found) -> None:
        if found.topic in self._found:
            self._found[found.topic](found)
        elif self._finder:
            self.openings.want(found.node, found.relays)
            try:
                self._finder.found(found.node, found.addresses)
            except Exception:
                _logger.exception("what was found was not taken", extra={"node": found.node})

    def _seen(self, seen: Outside) -> None:
        where = "{}, port {}".format(*seen.address) if seen.address else "one address after the other"
        _logger.info("others see this node at %s: %s", where, seen.translation.value)
        try:
            self._outside(seen.translation, seen.address)
        except Exception:
            _logger.exception("how this node looks from outside was not taken")


def _taken(ended: Ended | Got) -> None:
    if isinstance(ended, Ended) and not ended.nodes:
        raise Unavailable(f"no node keeps that: {ended.refusal or 'nobody answers'}")
