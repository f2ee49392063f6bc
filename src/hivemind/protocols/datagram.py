"""Datagrams between nodes of a hive: signed by their sender, sealed for who has the hive's secret, each good once.

    nonce (24) ‖ XChaCha20-Poly1305( sender (32) ‖ signature (64) ‖ stamp (8) ‖ length of kind (1) ‖ kind ‖ message )

The key is derived from the secret and the hive's id. The signature is that of a statement whose protocol is
`datagram/<kind>`: nothing that is signed elsewhere passes for a datagram, nor one kind for another. The stamp is the
sender's clock in microseconds, raised if need be so that it never repeats. Of each sender the newest stamps are known,
and nothing older than these is taken: no datagram is taken twice, though some may overtake each other. Of a sender
of which nothing is known (any more) it counts how far its clock is from one's own. The sender is known by its
signature only: who holds the secret cannot speak for another node.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, deque
from typing import NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError

from hivemind.protocols.machine import SECOND, Micros, Signer, Verifier
from hivemind.security.statement import Domain

LARGEST_MESSAGE = 1_200
"""With all that is around it a datagram stays below 1,400 bytes, which pass through tunnels over Ethernet whole."""
LONGEST_KIND = 16
_NONCE, _SENDER, _SIGNATURE, _STAMP, _TAG = 24, 32, 64, 8, 16
_HEAD = _SENDER + _SIGNATURE
_SMALLEST = _NONCE + _TAG + _HEAD + _STAMP + 1
_LARGEST = _SMALLEST + LONGEST_KIND + LARGEST_MESSAGE
_PURPOSE = b"hivemind/datagram/1"


class Datagram(NamedTuple):
    sender: str
    kind: str
    message: bytes


class Window:
    """The stamps of one sender that were taken."""

    __slots__ = ("_floor", "_newest", "_seen")
    SIZE = 256

    def __init__(self) -> None:
        self._floor = -1
        self._newest: deque[int] = deque()
        self._seen: set[int] = set()

    def fresh(self, stamp: int) -> bool:
        return stamp > self._floor and stamp not in self._seen

    def take(self, stamp: int) -> None:
        self._newest.append(stamp)
        self._seen.add(stamp)
        if len(self._newest) > self.SIZE:
            oldest = self._newest.popleft()
            self._seen.discard(oldest)
            self._floor = max(self._floor, oldest)


class Sealer:
    """Of one node in one hive. `dropped` counts by reason what was not taken."""

    def __init__(
        self,
        signer: Signer,
        verify: Verifier,
        hive: str,
        secret: bytes,
        *,
        skew: Micros = 600 * SECOND,
        senders: int = 1_024,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._signer, self._verify, self._hive = signer, verify, hive
        self._key = hashlib.blake2b(_PURPOSE + hive.encode(), digest_size=32, key=secret).digest()
        self._skew, self._senders = skew, senders
        self._stamp = 0
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def seal(self, kind: str, message: bytes, wall: Micros, nonce: bytes) -> bytes:
        """`nonce`: 24 random bytes."""
        encoded = kind.encode()
        assert 0 < len(encoded) <= LONGEST_KIND and len(message) <= LARGEST_MESSAGE
        self._stamp = max(self._stamp + 1, wall)
        body = self._stamp.to_bytes(_STAMP, "big") + bytes([len(encoded)]) + encoded + message
        signature = self._signer.sign(self._domain(kind).covered(body))
        plain = bytes.fromhex(self._signer.public) + signature + body
        return nonce + bytes(
            bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, _PURPOSE, nonce, self._key)
        )

    def open(self, packet: bytes, wall: Micros) -> Datagram | None:
        """None: it was dropped."""
        opened = self._open(packet, wall)
        if isinstance(opened, Datagram):
            return opened
        self.dropped[opened] += 1
        return None

    def _open(self, packet: bytes, wall: Micros) -> Datagram | str:
        """Or why not. What costs least is looked at first."""
        if not _SMALLEST <= len(packet) <= _LARGEST:
            return "size"
        try:
            plain = bytes(
                bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                    packet[_NONCE:], _PURPOSE, packet[:_NONCE], self._key
                )
            )
        except (CryptoError, ValueError):
            return "sealed for others"
        sender, signature, body = plain[:_SENDER].hex(), plain[_SENDER:_HEAD], plain[_HEAD:]
        stamp, length = int.from_bytes(body[:_STAMP], "big"), body[_STAMP]
        kind = body[_STAMP + 1 : _STAMP + 1 + length].decode("ascii", "replace")
        if len(kind) != length or not 0 < length <= LONGEST_KIND or sender == self._signer.public:
            return "malformed"
        if reason := self._stale(sender, stamp, wall):
            return reason
        if not self._verify(sender, self._domain(kind).covered(body), signature):
            return "forged"
        self._remember(sender, stamp)
        return Datagram(sender, kind, body[_STAMP + 1 + length :])

    def _stale(self, sender: str, stamp: int, wall: Micros) -> str:
        window = self._windows.get(sender)
        if window is None:
            return "clock" if abs(stamp - wall) > self._skew else ""
        return "" if window.fresh(stamp) else "replayed"

    def _remember(self, sender: str, stamp: int) -> None:
        window = self._windows.setdefault(sender, Window())
        self._windows.move_to_end(sender)
        window.take(stamp)
        if len(self._windows) > self._senders:
            self._windows.popitem(last=False)

    def _domain(self, kind: str) -> Domain:
        return Domain(f"datagram/{kind}", self._hive)
