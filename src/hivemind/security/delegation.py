"""Delegations: what a person has one node ask another.

The key of whoever asks signs it, where that key is: on the node that was asked, for the time of the request. The node
that is asked next believes that signature and nothing that the other node says: it names the hive, both nodes, what is
asked, and when. A nonce makes each good once.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Annotated

import msgspec

from hivemind.errors import Unauthenticated, Unavailable
from hivemind.model.base import UNREADABLE
from hivemind.security.identity import Identity, verify
from hivemind.security.statement import Domain, Statement

_PROTOCOL = "api"
_AGE = 60_000
"""Milliseconds that a delegation is good for, and by which clocks of nodes may differ."""
_LARGEST = 16 * 2**10
_REMEMBERED = 100_000
_OF_ONE = 25_000
"""Of those, shown by one node: no node can keep all others from asking."""


class Delegation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`method`: as of the endpoint, `WEBSOCKET` too; `target`: path and query, as they are sent. `asker` and `asked`:
    ids of nodes. `time`: milliseconds since 1970."""

    method: str
    target: str
    asker: str
    asked: str
    time: int
    nonce: Annotated[str, msgspec.Meta(max_length=64)]


_decoder = msgspec.msgpack.Decoder(Delegation)


def delegate(by: Identity, hive: str, wish: Delegation) -> Statement:
    body = msgspec.msgpack.encode(wish)
    return Statement(by.public, body, by.sign(Domain(_PROTOCOL, hive).covered(body)))


class Delegations:
    """Those that one node is shown. It remembers each as long as it could be shown again."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._seen: set[tuple[str, str]] = set()
        self._order: deque[tuple[int, str, tuple[str, str]]] = deque()
        """When each was shown, and by which node."""
        self._shown_by: Counter[str] = Counter()

    def accept(self, shown: Statement, *, hive: str, asker: str, now: int) -> Delegation:
        """`asker`: who shows it, as its channel proves. Raises `Unauthenticated`; `Unavailable` when so many were
        shown lately that no more can be remembered."""
        if len(shown.body) > _LARGEST:
            raise _refused("it is too large")
        try:
            wish = _decoder.decode(shown.body)
        except (*UNREADABLE, ValueError):
            raise _refused("it cannot be read") from None
        if wish.asker != asker or wish.asked != self._node:
            raise _refused("it is for other nodes")
        if abs(now - wish.time) > _AGE:
            raise Unauthenticated(
                "what the other node was told to ask was told too long ago, or its clock is wrong",
                hint="compare the clocks of the nodes: they may differ by less than a minute",
            )
        if not verify(shown.signer, Domain(_PROTOCOL, hive).covered(shown.body), shown.signature):
            raise _refused("it was not signed by whom it names, for this hive")
        self._remember((shown.signer, wish.nonce), asker, now)
        return wish

    def _remember(self, key: tuple[str, str], asker: str, now: int) -> None:
        while self._order and self._order[0][0] < now - 2 * _AGE:
            self._forget()
        if key in self._seen:
            raise _refused("it was shown before")
        if len(self._order) >= _REMEMBERED or self._shown_by[asker] >= _OF_ONE:
            raise Unavailable("other nodes ask this one too much", hint="ask again in a minute")
        self._seen.add(key)
        self._shown_by[asker] += 1
        self._order.append((now, asker, key))

    def _forget(self) -> None:
        """The oldest."""
        _, asker, key = self._order.popleft()
        self._seen.discard(key)
        self._shown_by[asker] -= 1
        if not self._shown_by[asker]:
            del self._shown_by[asker]


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"what the other node was told to ask does not count: {why}", hint="ask again; its log may say more"
    )
