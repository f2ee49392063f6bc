"""`Peers` and `Datagrams` of several nodes in one event loop, in memory: for tests of whatever talks over them.

    network = FakeNetwork()
    a, b = network.peers("a"), network.peers("b")
    network.introduce()
    b.on_message("store", print)
    a.send("b", "store", b"hello")

Everything that is sent arrives in a later turn of the loop, in the order in which it was sent; there is no other
clock and no dice but those of `loss`. A cut breaks connections at once, where a real one would have to notice first.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hivemind.errors import Unavailable, from_code
from hivemind.transport.contract import Address, Contact, Stream
from hivemind.transport.fake_datagrams import FakeDatagrams
from hivemind.transport.fake_stream import FakeStream, broken, serve, streams
from hivemind.transport.services import Answer, Hear, Serve, Services, Watch, Welcome, not_served, told
from hivemind.transport.stream import measured

HIVE = "hive"
SECRET = bytes(32)
_QUEUE = 1_024


class FakeNetwork:
    """`loss`: which part of the datagrams is lost."""

    def __init__(self, *, seed: int = 0, loss: float = 0.0) -> None:
        self.loss = loss
        self.dice = random.Random(seed)
        self._peers: dict[str, FakePeers] = {}
        self._datagrams: dict[Address, FakeDatagrams] = {}
        self._addresses: dict[str, Address] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._cut: set[tuple[str, str]] = set()

    def peers(
        self,
        node: str,
        *,
        hive: str = HIVE,
        secret: bytes | None = SECRET,
        allowed: Callable[[str], bool] = lambda node: True,
    ) -> FakePeers:
        """A node's new life: one that it had before is closed."""
        if before := self._peers.get(node):
            before.stop()
        made = self._peers[node] = FakePeers(self, node, hive, secret, allowed)
        return made

    def datagrams(self, node: str, *, hive: str = HIVE, secret: bytes | None = SECRET) -> FakeDatagrams:
        made = self._datagrams[self.address(node)] = FakeDatagrams(self, node, hive, secret)
        return made

    def address(self, node: str) -> Address:
        """The same for a node's connections and datagrams, and after it was started anew."""
        number = len(self._addresses) + 1
        return self._addresses.setdefault(node, (f"10.0.{number >> 8}.{number & 255}", 7000))

    def introduce(self) -> None:
        """Everybody learns where everybody else is."""
        for one in self._peers.values():
            for other in self._peers:
                if other != one.node:
                    one.learn(other, [self.address(other)])

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Nothing gets from `a` to `b` any more, nor back unless `one_way`; no connection outlives either."""
        self._cut.add((a, b))
        if not one_way:
            self._cut.add((b, a))
        if link := self._links.get(_pair(a, b)):
            link.break_off()

    def part(self, *groups: Sequence[str]) -> None:
        """Cuts between the groups."""
        for number, group in enumerate(groups):
            for a in group:
                for other in groups[number + 1 :]:
                    for b in other:
                        self.cut(a, b)

    def mend(self) -> None:
        """No cuts any more."""
        self._cut.clear()

    def disconnect(self, a: str, b: str) -> None:
        """Their connection breaks; they may make another one."""
        if link := self._links.get(_pair(a, b)):
            link.break_off()

    def passes(self, sender: str, to: str) -> bool:
        return (sender, to) not in self._cut

    def at(self, address: Address) -> FakePeers | None:
        return next((one for one in self._peers.values() if one.address == address), None)

    def carry(self, sender: FakeDatagrams, to: Address, kind: str, message: bytes) -> None:
        receiver = self._datagrams.get(to)
        lost = self.loss and self.dice.random() < self.loss
        if receiver is None or lost or not self.passes(sender.node, receiver.node):
            sender.lost += 1
            return
        asyncio.get_running_loop().call_soon(receiver.take, sender, kind, message)

    def link(self, dialer: FakePeers, to: str) -> _Link:
        """The connection between the two, made when there is none. Raises `Unavailable`."""
        pair = _pair(dialer.node, to)
        if (link := self._links.get(pair)) and not link.broken:
            return link
        at = (self.at(address) for address in dialer.known.get(to, ()))
        other = next((one for one in at if one and one.node == to), None)
        if (
            other is None
            or other.closed
            or dialer.closed
            or other.hive != dialer.hive
            or not (dialer.allowed(to) and other.allowed(dialer.node))
            or not (self.passes(dialer.node, to) and self.passes(to, dialer.node))
        ):
            raise Unavailable(f"there is no way to node {to[:8]}", hint="see whether it runs")
        link = self._links[pair] = _Link(dialer, other)
        asyncio.get_running_loop().call_soon(link.come_up)
        return link


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


class _Link:
    """A connection of two nodes."""

    def __init__(self, a: FakePeers, b: FakePeers) -> None:
        self.ends = (a, b)
        self.up = self.broken = False
        self.waiting: Counter[str] = Counter()
        """Messages under way, by their sender."""
        self.calls: set[asyncio.Future[bytes]] = set()
        self.streams: list[FakeStream] = []

    def other(self, node: str) -> FakePeers:
        return self.ends[1] if self.ends[0].node == node else self.ends[0]

    def come_up(self) -> None:
        if not self.broken:
            self.up = True
            for one in self.ends:
                one.found(self.other(one.node).node, True)

    def break_off(self) -> None:
        if self.broken:
            return
        was_up, self.up, self.broken = self.up, False, True
        for call in self.calls:
            if not call.done():
                call.set_exception(broken())
        for stream in self.streams:
            stream.break_off()
        for one in self.ends if was_up else ():
            one.found(self.other(one.node).node, False)

    def deliver(self, sender: str, service: str, message: bytes) -> None:
        self.waiting[sender] -= 1
        receiver = self.other(sender)
        if not self.broken:
            receiver.hear(sender, service, message)


class FakePeers:
    def __init__(
        self, network: FakeNetwork, node: str, hive: str, secret: bytes | None, allowed: Callable[[str], bool]
    ) -> None:
        self.node, self.hive, self.secret, self.allowed = node, hive, secret, allowed
        self.known: dict[str, tuple[Address, ...]] = {}
        self.closed = False
        self.dropped = 0
        """Messages that found a full queue, or nobody who serves them."""
        self._network = network
        self._services = Services()
        self._connected: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        return self._network.address(self.node)

    @property
    def connected(self) -> frozenset[str]:
        return frozenset(self._connected)

    def enter(self, hive: str, secret: bytes | None) -> None:
        changed = hive != self.hive
        self.hive, self.secret = hive, secret
        for node in sorted(self._connected) if changed else ():
            self._network.disconnect(self.node, node)

    def review(self) -> None:
        for node in sorted(self._connected):
            if not self.allowed(node):
                self._network.disconnect(self.node, node)

    def learn(self, node: str, addresses: Sequence[Address]) -> None:
        if node != self.node:
            self.known[node] = tuple(addresses)

    def on_connection(self, callback: Watch) -> Callable[[], None]:
        return self._services.on_connection(callback)

    def on_message(self, service: str, handler: Hear) -> Callable[[], None]:
        return self._services.on_message(service, handler)

    def answer(self, service: str, handler: Answer) -> Callable[[], None]:
        return self._services.answer(service, handler)

    def accept(self, service: str, handler: Serve) -> Callable[[], None]:
        return self._services.accept(service, handler)

    def welcome(self, handler: Welcome) -> Callable[[], None]:
        return self._services.welcome(handler)

    def send(self, to: str, service: str, message: bytes) -> bool:
        measured(message)
        try:
            link = self._network.link(self, to)
        except Unavailable:
            # A real one would try, and lose it.
            return bool(self.known.get(to)) and self.allowed(to) and not self.closed
        if link.waiting[self.node] >= _QUEUE:
            self.dropped += 1
            return False
        link.waiting[self.node] += 1
        asyncio.get_running_loop().call_soon(link.deliver, self.node, service, message)
        return True

    async def call(self, to: str, service: str, message: bytes, *, timeout: float) -> bytes:
        measured(message)
        link = self._network.link(self, to)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        link.calls.add(future)
        other = link.other(self.node)
        other.run(other.reply(link, self.node, service, message, future))
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise Unavailable(f"node {to[:8]} gave no answer within {timeout:g} s") from None
        finally:
            link.calls.discard(future)

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        link = self._network.link(self, to)
        await asyncio.sleep(0)
        if link.broken:
            raise broken()
        other = link.other(self.node)
        if (handler := other._services.serving.get(service)) is None:
            raise not_served(service)
        mine, theirs = streams(self.node, to)
        link.streams = [stream for stream in link.streams if not stream.over] + [mine, theirs]
        other.run(serve(handler, theirs))
        return mine

    async def contact(self, address: Address, hive: str, secret: bytes, *, timeout: float) -> Contact:
        await asyncio.sleep(0)
        other = self._network.at(address)
        if (
            other is None
            or other.closed
            or other.hive != hive
            or other.secret != secret
            or not (handler := other._services.welcoming.get(""))
            or not (
                self._network.passes(self.node, other.node) and self._network.passes(other.node, self.node)
            )
        ):
            raise Unavailable(f"nobody answers at {address[0]}:{address[1]} for that hive and secret")
        mine, theirs = streams(self.node, other.node)
        mine.binding = theirs.binding = self._network.dice.randbytes(64)
        other.run(serve(handler, theirs))
        return mine

    async def close(self) -> None:
        self.stop()
        for task in tuple(self._tasks):
            await asyncio.gather(task, return_exceptions=True)

    def stop(self) -> None:
        """As a crash would."""
        self.closed = True
        for node in sorted(self._connected):
            self._network.disconnect(self.node, node)
        for task in self._tasks:
            task.cancel()

    def found(self, node: str, connected: bool) -> None:
        (self._connected.add if connected else self._connected.discard)(node)
        self._services.tell(node, connected)

    def hear(self, sender: str, service: str, message: bytes) -> None:
        if handler := self._services.hearing.get(service):
            handler(sender, message)
        else:
            self.dropped += 1

    async def reply(
        self, link: _Link, caller: str, service: str, message: bytes, future: asyncio.Future[bytes]
    ) -> None:
        try:
            if (handler := self._services.answering.get(service)) is None:
                raise not_served(service)
            answer = await handler(caller, message)
            measured(answer)
        except Exception as error:
            if not future.done():
                shown = told(error)
                future.set_exception(from_code(shown.code, shown.message, shown.hint))
        else:
            if not future.done():
                future.set_result(answer)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
