"""Ways for datagrams through translated addresses. A third node that hears both tells each where the other one is seen;
both send to there at once, so that each one's translator takes what comes for an answer.

It works where at least one of the two is seen by everybody at the same address. For others a third node has to carry
what they say: see `transport.relay`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from hivemind.protocols.kademlia.events import Reach, Reached
from hivemind.protocols.kademlia.exchange import Answered, Given
from hivemind.protocols.kademlia.ids import Address, usable
from hivemind.protocols.kademlia.wire import Answer, Ask, Bring, Knock, Ping
from hivemind.protocols.machine import SECOND, Micros

_FRESH: Micros = 60 * SECOND
"""So long somebody that was heard may be brought."""
_KNOWN = 4_096


class Node(Protocol):
    now: Micros

    def admits(self, node: str) -> bool: ...

    def put(
        self, address: Address, ask: Ask, answered: Answered, failed: Given = ..., late: Given = ...
    ) -> None: ...

    def reached(self, reached: Reached) -> None: ...

    def ended(self, number: int, nodes: int, refusal: str = "") -> None: ...


class _Wish:
    def __init__(self, number: int, left: int) -> None:
        self.number, self.left = number, left
        """Third nodes, and attempts, that may still bring it about."""
        self.refusal = "nobody answers"


class Punching:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen: OrderedDict[str, tuple[Address, Micros]] = OrderedDict()
        """Where a node was heard last."""
        self._wishes: dict[str, _Wish] = {}

    def heard(self, sender: str, source: Address) -> None:
        """A question of a node of the hive came, from wherever it is seen: if that node is wanted, it is there."""
        self._seen.pop(sender, None)
        self._seen[sender] = (source, self._node.now)
        if len(self._seen) > _KNOWN:
            self._seen.popitem(last=False)
        self._arrived(sender, source)

    def reach(self, wish: Reach) -> None:
        through = [address for address in dict.fromkeys(wish.through) if usable(address)]
        if not through or wish.node in self._wishes:
            self._node.ended(wish.number, 0, "nobody can bring it" if not through else "under way")
            return
        self._wishes[wish.node] = _Wish(wish.number, len(through))
        for address in through:
            self._ask(wish.node, address)

    def _ask(self, node: str, third: Address) -> None:
        def answered(_: str, answer: Answer) -> None:
            if answer.closer and not answer.refusal and usable(answer.closer[0]):
                self._send_there(node, answer.closer[0])
            else:
                self._failed(node, answer.refusal or "nobody can bring it")

        self._node.put(
            third, Bring(bytes.fromhex(node)), answered, lambda: self._failed(node, "nobody answers")
        )

    def _send_there(self, node: str, address: Address) -> None:
        def answered(signer: str, _: Answer) -> None:
            if signer == node:
                self._arrived(node, address)
            else:
                self._failed(node, "somebody else is there")

        self._node.put(address, Ping(), answered, lambda: self._failed(node, "nothing gets through"))

    def _arrived(self, node: str, address: Address) -> None:
        wish = self._wishes.pop(node, None)
        if wish:
            self._node.reached(Reached(node, address))
            self._node.ended(wish.number, 1)

    def _failed(self, node: str, refusal: str) -> None:
        wish = self._wishes.get(node)
        if wish is None:
            return
        wish.left -= 1
        wish.refusal = refusal
        if wish.left <= 0:
            del self._wishes[node]
            self._node.ended(wish.number, 0, wish.refusal)

    # -- as the third node, and as the one that is wanted ------------------------------------------------------

    def bring(self, ask: Bring, sender: str, source: Address) -> tuple[str, Address | None]:
        """Why not, or where it is seen."""
        node = ask.node.hex()
        address, since = self._seen.get(node, (None, 0))
        if address is None or self._node.now - since > _FRESH or not self._node.admits(node):
            return "unknown", None
        self._node.put(address, Knock(bytes.fromhex(sender), source), _nothing)
        return "", address

    def knock(self, ask: Knock) -> str:
        if not usable(ask.address) or not self._node.admits(ask.node.hex()):
            return "stranger"
        self._node.put(ask.address, Ping(), _nothing)
        return ""


def _nothing(_: str, __: Answer) -> None:
    """What matters was that something was sent."""
