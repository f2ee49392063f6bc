"""Who wants something ordered and is no voter: asks the primary, after a timeout all, and believes f+1 voters that
say the same. A reply always is to an executed, durable batch; there are no tentative ones.

`Replica` has one inside for as long as its node is a learner. It stands alone where there is no replica at all.
"""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import Micros, Received, Send, Signer, Tick
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Refused, Settled, Submitted
from hivemind.protocols.pbft.quorum import weak
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.wire import (
    Malformed,
    Reply,
    Request,
    Said,
    Several,
    Wish,
    decode,
    decode_body,
    encode,
)

_LONGEST = 8
"""How many times the first timeout a client waits at most before it asks again."""


class _Asked(msgspec.Struct):
    request: Request
    again: Micros
    """When all voters are asked."""
    waits: Micros
    replies: dict[str, bytes]
    """Voter -> its result, in the current epoch."""


class Client:
    """`epochs` may be shared with a replica: it asks whoever votes in the current one."""

    def __init__(self, *, signer: Signer, epochs: Epochs, settings: Settings | None = None) -> None:
        self._me = signer.public
        self._epochs = epochs
        self._settings = settings or Settings()
        self._view = 0
        """Where the primary probably is; as f+1 voters said."""
        self._number = epochs.current.number
        self._asked: dict[str, _Asked] = {}
        self._now: Micros = 0

    def __len__(self) -> int:
        return len(self._asked)

    def handle(self, event: Received | Tick | Submitted, now: Micros) -> list[Send | Settled | Refused]:
        self._now = now
        self._follow()
        if isinstance(event, Submitted):
            return self._submit(event.request)
        if isinstance(event, Tick):
            return self._tick()
        return self._received(event.message)

    def _received(self, message: bytes, *, alone: bool = True) -> list[Send | Settled | Refused]:
        try:
            packet = decode(message)
        except Malformed:
            return []
        if isinstance(packet, Several) and alone and len(packet.messages) <= limits.TOGETHER:
            return [effect for part in packet.messages for effect in self._received(part, alone=False)]
        if not isinstance(packet, Said) or packet.epoch != self._epochs.current.number:
            return []
        return self.on_reply(packet)

    def deadline(self) -> Micros | None:
        return min((asked.again for asked in self._asked.values()), default=None)

    def check(self) -> None:
        assert len(self._asked) <= self._settings.pending_requests
        voters = self._epochs.current.voters
        if self._number == self._epochs.current.number:
            assert all(voter in voters for asked in self._asked.values() for voter in asked.replies)

    def on_reply(self, said: Said) -> list[Send | Settled | Refused]:
        """A REPLY, in the current epoch."""
        epoch, statement = self._epochs.current, said.statement
        self._follow()
        try:
            body = decode_body(statement)
        except Malformed:
            return []
        if not isinstance(body, Reply) or body.client != self._me or statement.signer not in epoch.voters:
            return []
        if len(body.results) > limits.REQUESTS or not any(id in self._asked for id, _ in body.results):
            return []
        if not self._epochs.signatures.genuine(epoch.number, statement):
            return []
        settled: list[Send | Settled | Refused] = []
        for id, result in body.results:
            asked = self._asked.get(id)
            if asked is None or len(result) > limits.RESULT_SIZE:
                continue
            asked.replies.setdefault(statement.signer, result)
            if list(asked.replies.values()).count(result) >= weak(len(epoch.voters)):
                del self._asked[id]
                self._view = max(body.view, 0)
                settled.append(Settled(request=id, result=result))
        return settled

    def settle(self, id: str) -> bool:
        """This node has executed it itself: no reply is needed. Whether it was asked for."""
        return self._asked.pop(id, None) is not None

    def surrender(self) -> list[Request]:
        """What is still asked for, to be ordered by this node itself, which has become a voter."""
        asked, self._asked = self._asked, {}
        return [entry.request for entry in asked.values()]

    def _submit(self, request: Request) -> list[Send | Settled | Refused]:
        if request.id in self._asked:
            return []
        if len(self._asked) >= self._settings.pending_requests:
            return [Refused(request=request.id, reason="too many requests are pending")]
        if len(request.body) > limits.REQUEST_SIZE or not 0 < len(request.id) <= limits.IDENTIFIER:
            return [Refused(request=request.id, reason="it is too large")]
        mine = Request(request.id, self._me, request.body)
        waits = self._settings.request_timeout // 2
        self._asked[request.id] = _Asked(mine, self._now + waits, waits, {})
        return [Send(primary(self._epochs.current, self._view), encode(Wish(mine)))]

    def _tick(self) -> list[Send | Settled | Refused]:
        sent: list[Send | Settled | Refused] = []
        for asked in self._asked.values():
            if asked.again > self._now:
                continue
            asked.waits = min(2 * asked.waits, _LONGEST * self._settings.request_timeout)
            asked.again = self._now + asked.waits
            message = encode(Wish(asked.request))
            sent += [Send(voter, message) for voter in self._epochs.current.voters if voter != self._me]
        return sent

    def _follow(self) -> None:
        """Other voters, other replies."""
        if self._number != self._epochs.current.number:
            self._number, self._view = self._epochs.current.number, 0
            for asked in self._asked.values():
                asked.replies.clear()
                asked.again = min(asked.again, self._now)
