"""By what names containers know addresses outside, as far as our name server has told them."""

from __future__ import annotations

from collections import OrderedDict

from hivemind.protocols.dns.message import Malformed
from hivemind.protocols.dns.reply import addresses

_KEPT = 8192
"""Pairs of client and address. Whoever asks for more names than that is told of addresses again."""


class Lookups:
    """Only forwarded replies are noted: they take milliseconds anyway. Names of the hive stand in its zone."""

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, str], str] = OrderedDict()

    def note(self, client: str, reply: bytes) -> None:
        try:
            name, found = addresses(reply)
        except Malformed:
            return
        for address in found:
            self._names[client, address] = name
            self._names.move_to_end((client, address))
        while len(self._names) > _KEPT:
            self._names.popitem(last=False)

    def name_of(self, client: str, address: str) -> str:
        """Empty: it did not ask us."""
        return self._names.get((client, address), "")
