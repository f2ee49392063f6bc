"""How this node's address looks from outside, by what several others say; and whether it may carry for others.

Who hears at the address at which it is seen does at once. Behind a translated address a node first has to stay the
same for long, and to be reached by somebody that it had not sent to: until then it does not name its id, and nobody's
table depends on it."""

from __future__ import annotations

from collections import Counter, OrderedDict

from hivemind.protocols.kademlia.events import Translation
from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.machine import Micros

_WITNESSES = 16


class OutsideView:
    def __init__(self, own: Address, settled_after: Micros) -> None:
        self._own, self._settled_after = own, settled_after
        self._said: OrderedDict[str, Address] = OrderedDict()
        """By whom: one voice each."""
        self.translation = Translation.UNKNOWN
        self.address: Address | None = None
        self._since: Micros = 0
        self._reached_unasked = False

    def said(self, by: str, address: Address, now: Micros, *, unasked: bool) -> bool:
        """Whether anything is different now."""
        self._said.pop(by, None)
        self._said[by] = address
        if len(self._said) > _WITNESSES:
            self._said.popitem(last=False)
        before = (self.translation, self.address)
        self._judge()
        if self.address != before[1]:
            self._since, self._reached_unasked = now, False
        if unasked and address == self.address:
            self._reached_unasked = True
        return (self.translation, self.address) != before

    def forget(self) -> None:
        """The network is another one."""
        self._said.clear()
        self.translation, self.address, self._reached_unasked = Translation.UNKNOWN, None, False

    def persistent(self, now: Micros) -> bool:
        if self.translation is Translation.OPEN:
            return True
        settled = now - self._since >= self._settled_after
        return self.translation is Translation.CONSISTENT and self._reached_unasked and settled

    def _judge(self) -> None:
        """By more than half of them: one liar changes nothing where there are three."""
        address, voices = Counter(self._said.values()).most_common(1)[0]
        if voices * 2 <= len(self._said):
            few = len(self._said) < 3
            self.translation = self.translation if few else Translation.RANDOM
            self.address = self.address if few else None
        elif address == self._own:
            self.translation, self.address = Translation.OPEN, address
        elif voices < 2:
            self.translation, self.address = Translation.UNKNOWN, None
        else:
            self.translation, self.address = Translation.CONSISTENT, address
