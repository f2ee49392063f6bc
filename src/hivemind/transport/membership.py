"""Membership of one node: `protocols.swim` driven over datagrams, and over the channels of `Peers`.

What it tells is a hint. It is right within seconds as long as messages get through, and wrong where they do not:
who would act on a failure submits an accusation, and acts when enough of these are agreed.

A member's datagrams go to the addresses that it signed, until one of them has answered a ping; from then on to
that one, as long as it answers. A repeated datagram from elsewhere therefore leads nobody astray.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from hivemind.errors import HivemindError
from hivemind.protocols import vivaldi
from hivemind.protocols.machine import SECOND, Dice, Micros, Received, Send, Signer, Tick, Verifier
from hivemind.protocols.swim import meta as metas
from hivemind.protocols.swim.events import (
    Announce,
    Change,
    Doubt,
    Effect,
    Failed,
    Input,
    Joined,
    Leave,
    Left,
    Locate,
    Measured,
    Meet,
    Returned,
    Review,
    SendReliably,
    Status,
    Suspected,
    Updated,
)
from hivemind.protocols.swim.meta import Meta
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import MAX_ADDRESSES, Alive
from hivemind.protocols.swim.swim import Swim
from hivemind.protocols.vivaldi import Coordinate, Vivaldi
from hivemind.transport.contract import Address, Datagrams, Peers

_logger = logging.getLogger(__name__)
SERVICE = "membership"
KIND = "swim"
_FAREWELL = 2.0
"""Seconds that saying good-bye may take."""
_MOVED = 0.001
_MOVED_EVERY: Micros = 60 * SECOND
"""A coordinate is told to all when it is a millisecond elsewhere, and at most once a minute."""


class Membership:
    """`start` it when the node has entered its hive, and `meet` whoever should be there; `close` it at the end.

    `incarnation`: higher at each start of the node, or at least not lower. `addresses`: where it hears datagrams
    and connections, as others reach it. `allowed` says who belongs to the hive, as agreed; `review` when that
    changes. Raises `Invalid` when what it says of itself is too long."""

    def __init__(
        self,
        datagrams: Datagrams,
        peers: Peers,
        signer: Signer,
        verify: Verifier,
        dice: Dice,
        *,
        hive: str,
        allowed: Callable[[str], bool],
        addresses: Sequence[Address],
        meta: Meta,
        incarnation: int,
        settings: Settings | None = None,
    ) -> None:
        self.node = signer.public
        self._datagrams = datagrams
        self._peers = peers
        self._allowed = allowed
        self._meta = meta
        self._addresses = tuple(addresses)[:MAX_ADDRESSES]
        me = Alive(incarnation, self._addresses, metas.encode(meta))
        self._swim = Swim(me, signer, verify, dice, settings or Settings(), hive, allowed=allowed)
        self._vivaldi = Vivaldi(dice)
        self._told_at: Micros = 0
        self._coordinates: dict[str, Coordinate] = {}
        """Of others, as they said in their last answer."""
        self._proven: dict[str, Address] = {}
        """Where a ping was answered from."""
        self._heard_from: dict[str, Address] = {}
        """Where a datagram came from last, for want of a better address."""
        self._source: Address | None = None
        """Of the datagram that is being handled."""
        self._events: deque[tuple[Input, Address | None]] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._callbacks: list[Callable[[Change], None]] = []
        self._undo: list[Callable[[], None]] = []
        self._told_all = asyncio.Event()

    # Its life.

    def start(self) -> None:
        self._undo = [
            self._datagrams.on_datagram(KIND, self._on_datagram),
            self._peers.on_message(SERVICE, self._on_message),
            self._peers.on_connection(self._on_connection),
        ]
        self._told_at = self._now()
        self._give(Locate(vivaldi.encode(self._vivaldi.coordinate)))
        self.meet(self._peers.connected)

    def meet(self, nodes: Iterable[str]) -> None:
        """These should be there, and `Peers` knows where: they are tried until they are known."""
        if strangers := tuple(sorted(set(nodes) - {self.node})):
            self._give(Meet(strangers))

    def review(self) -> None:
        """Who belongs to the hive has changed."""
        self._give(Review())

    def announce(self, *, addresses: Sequence[Address] | None = None, meta: Meta | None = None) -> None:
        """What is given has changed. Raises `Invalid` when it is too long."""
        here = vivaldi.encode(self._vivaldi.coordinate)
        self._meta = msgspec.structs.replace(meta or self._meta, coordinate=here)
        self._addresses = self._addresses if addresses is None else tuple(addresses)[:MAX_ADDRESSES]
        self._give(Announce(Alive(0, self._addresses, metas.encode(self._meta))))

    async def leave(self) -> None:
        """Says good-bye and waits until enough others were told, or some seconds. `close` follows."""
        self._told_all.clear()
        self._give(Leave())
        if self._swim.living and self._swim.telling:
            try:
                async with asyncio.timeout(_FAREWELL):
                    await self._told_all.wait()
            except TimeoutError:
                _logger.warning("not everybody may know that this node leaves")

    def close(self) -> None:
        for undo in self._undo:
            undo()
        self._undo = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What it knows.

    def on_change(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Called in the loop's turn, in order; returns the undo."""
        self._callbacks.append(callback)

        def undo() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return undo

    @property
    def reachable(self) -> frozenset[str]:
        """Others that nobody accuses."""
        return frozenset(node for node in self._swim.living if self._swim.status(node) == Status.ALIVE)

    @property
    def unreached(self) -> frozenset[str]:
        """Others that are failed, and of which this node has no answer, either: whom it can accuse by its own
        word, and not by hearsay."""
        failed = (node for node in self._swim.known if self._swim.status(node) == Status.FAILED)
        return frozenset(node for node in failed if self._swim.unanswered(node))

    def status(self, node: str) -> Status | None:
        """None: never heard of, or forgotten."""
        return self._swim.status(node)

    def addresses(self, node: str) -> tuple[Address, ...]:
        """Where it says that it is; the one that answered comes first."""
        alive = self._swim.alive(node)
        claimed = alive.addresses if alive else ()
        proven = self._proven.get(node)
        return claimed if proven is None else (proven, *(each for each in claimed if each != proven))

    def meta(self, node: str) -> Meta | None:
        alive = self._swim.alive(node)
        return metas.decode(alive.meta) if alive else None

    @property
    def health(self) -> int:
        """From 0, well, to 7: hears little of others, which may be its own fault."""
        return self._swim.awareness.score

    @property
    def coordinate(self) -> Coordinate:
        return self._vivaldi.coordinate

    def distance(self, a: str, b: str) -> float | None:
        """The expected round trip between two nodes in seconds; None when one of them is not known well enough."""
        one, other = self._coordinate(a), self._coordinate(b)
        return vivaldi.distance(one, other) if one and other else None

    def _coordinate(self, node: str) -> Coordinate | None:
        if node == self.node:
            return self._vivaldi.coordinate
        if node not in self._coordinates and (meta := self.meta(node)):
            return vivaldi.decode(meta.coordinate)
        return self._coordinates.get(node)

    # What comes in.

    def _on_datagram(self, source: Address, sender: str, message: bytes) -> None:
        if self._allowed(sender):
            self._heard_from[sender] = source
            self._give(Received(sender, message), source)

    def _on_message(self, sender: str, message: bytes) -> None:
        self._give(Received(sender, message))

    def _on_connection(self, node: str, connected: bool) -> None:
        if not connected:
            self._give(Doubt(node))
        elif self._swim.status(node) != Status.ALIVE:
            self.meet([node])

    def _on_time(self) -> None:
        self._timer = None
        self._give(Tick())

    def _give(self, event: Input, source: Address | None = None) -> None:
        """To the machine, and whatever follows from it. What callbacks cause waits for its turn."""
        self._events.append((event, source))
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                next_event, self._source = self._events.popleft()
                for effect in self._swim.handle(next_event, self._now()):
                    self._perform(effect)
        finally:
            self._busy = False
            self._arm()
        if not self._swim.telling:
            self._told_all.set()

    def _now(self) -> Micros:
        return round(asyncio.get_running_loop().time() * SECOND)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._swim.deadline() if self._undo else None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(math.ceil(due) / SECOND, self._on_time)

    # What it does.

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._send(effect)
        elif isinstance(effect, SendReliably):
            self._peers.send(effect.to, SERVICE, effect.message)
        elif isinstance(effect, Measured):
            self._measured(effect)
        else:
            self._changed(effect)

    def _send(self, send: Send) -> None:
        if send.to in self._proven:
            targets: tuple[Address, ...] = (self._proven[send.to],)
        else:
            alive = self._swim.alive(send.to)
            heard = self._heard_from.get(send.to)
            targets = (*(alive.addresses if alive else ()), *((heard,) if heard else ()))
        for target in dict.fromkeys(targets):
            try:
                self._datagrams.send(target, KIND, send.message)
            except (HivemindError, OSError) as error:
                _logger.debug("a datagram could not be sent", extra={"to": send.to, "error": str(error)})

    def _measured(self, measured: Measured) -> None:
        if self._source is not None:
            self._proven[measured.node] = self._source
        if (other := vivaldi.decode(measured.coordinate)) is None:
            return
        self._coordinates[measured.node] = other
        if self._vivaldi.observe(measured.node, measured.round_trip / SECOND, other):
            self._give(Locate(vivaldi.encode(self._vivaldi.coordinate)))
            self._tell_coordinate()

    def _tell_coordinate(self) -> None:
        told = vivaldi.decode(self._meta.coordinate)
        now = self._now()
        moved = told is None or math.dist(told.position, self._vivaldi.coordinate.position) > _MOVED
        if moved and now - self._told_at >= _MOVED_EVERY:
            self._told_at = now
            self.announce()

    def _changed(self, change: Change) -> None:
        if isinstance(change, Joined | Returned | Updated):
            self._moved(change.node, change.alive)
        elif isinstance(change, Failed) or (isinstance(change, Suspected) and change.by == self.node):
            self._proven.pop(change.node, None)
        elif isinstance(change, Left):
            self._forget(change.node)
        for callback in tuple(self._callbacks):
            try:
                callback(change)
            except Exception:
                _logger.exception("what is told of a member was not taken", extra={"node": change.node})

    def _moved(self, node: str, alive: Alive) -> None:
        if self._proven.get(node) not in alive.addresses:
            self._proven.pop(node, None)
        if alive.addresses:
            self._peers.learn(node, alive.addresses)

    def _forget(self, node: str) -> None:
        self._proven.pop(node, None)
        self._heard_from.pop(node, None)
        self._coordinates.pop(node, None)
        self._vivaldi.forget(node)
