"""Who wants something ordered and is no voter: asks the primary, after a timeout all, and believes f+1 voters that
say the same. A reply always is to an executed, durable batch; there are no tentative ones.

`Replica` has one inside for as long as its node is a learner. It stands alone where there is no replica at all.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros, Received, Send, Signer, Tick
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Refused, Settled, Submitted
from hivemind.protocols.pbft.settings import Settings


class Client:
    """`epochs` may be shared with a replica: it asks whoever votes in the current one."""

    def __init__(self, *, signer: Signer, epochs: Epochs, settings: Settings | None = None) -> None:
        raise NotImplementedError

    def handle(self, event: Received | Tick | Submitted, now: Micros) -> list[Send | Settled | Refused]:
        raise NotImplementedError

    def deadline(self) -> Micros | None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError
