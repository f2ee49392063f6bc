"""A channel between two nodes over one stream of bytes: the handshake, then sealed records.

The initiator begins with `hm`, the version and the pattern: IK to a node whose id it knows, XXpsk0 for a first contact
with a secret that both hold. All after that is length (2 bytes) and message. The prologue binds the handshake to the
protocol, its version and the hive: what was meant for another one does not open. In the handshake itself each side
names its id (see `keys`); a channel is `confirmed` once the other side has proved that it takes part now, and is no
recording: with IK the responder learns that only from the first record.

Both directions change their keys after a fixed number of records or bytes, counted by both sides alike.
"""

from __future__ import annotations

import msgspec

from hivemind.protocols.noise.aead import TAG_BYTES
from hivemind.protocols.noise.cipher import CipherState, Refused
from hivemind.protocols.noise.handshake import LARGEST, HandshakeState
from hivemind.protocols.noise.keys import ID_BYTES, static_private, static_public
from hivemind.protocols.noise.patterns import IK, XX_PSK0, Pattern

VERSION = 1
LARGEST_PLAINTEXT = LARGEST - TAG_BYTES
_MAGIC = b"hm"
_PROLOGUE = b"hivemind/channel"
_LARGEST_HANDSHAKE = 512
_PATTERNS = {1: IK, 2: XX_PSK0}
_NUMBERS = {pattern.name: number for number, pattern in _PATTERNS.items()}
_PREAMBLE = len(_MAGIC) + 2
_LENGTH = 2
"""Bytes of the length before each message."""


class Rekeying(msgspec.Struct, frozen=True):
    """After how many records, or bytes in them, a direction changes its key. Both sides must have the same."""

    records: int = 1 << 16
    size: int = 1 << 30


class _Direction:
    """One of the two keys, changed when it is due."""

    __slots__ = ("_cipher", "_records_left", "_rekeying", "_size_left")

    def __init__(self, cipher: CipherState, rekeying: Rekeying) -> None:
        self._cipher, self._rekeying = cipher, rekeying
        self._records_left, self._size_left = rekeying.records, rekeying.size

    def seal(self, plaintext: bytes) -> bytes:
        sealed = self._cipher.seal(b"", plaintext)
        self._count(len(plaintext))
        return sealed

    def open(self, sealed: bytes) -> bytes:
        plaintext = self._cipher.open(b"", sealed)
        self._count(len(plaintext))
        return plaintext

    def _count(self, size: int) -> None:
        self._records_left -= 1
        self._size_left -= size
        if self._records_left <= 0 or self._size_left <= 0:
            self._cipher.rekey()
            self._records_left, self._size_left = self._rekeying.records, self._rekeying.size


class Channel:
    """One side. Give it what comes with `receive`; send what `outgoing` gives, until it gives nothing.

    `remote`: the id of the node that is called; None for a first contact and for who is called. `psk`: the secret of
    first contacts; without one who is called refuses them. After a `Refused` nothing more can be done with it.
    """

    def __init__(
        self,
        seed: bytes,
        node: str,
        hive: str,
        *,
        initiator: bool,
        ephemeral: bytes,
        remote: str | None = None,
        psk: bytes | None = None,
        rekeying: Rekeying = Rekeying(),  # noqa: B008 - it is frozen
        version: int = VERSION,
    ) -> None:
        self.node = node
        self.peer = remote or ""
        """The other side's id, once it is known."""
        self.binding = b""
        """The hash of the handshake, once that is finished."""
        self.confirmed = False
        self.first_contact = initiator and remote is None
        self._initiator, self._version, self._hive = initiator, version, hive
        self._seed, self._ephemeral, self._psk = seed, ephemeral, psk
        self._rekeying = rekeying
        self._handshake: HandshakeState | None = None
        self._sending: _Direction | None = None
        self._receiving: _Direction | None = None
        self._came = b""
        """Of what came, what is not whole."""
        self._going = bytearray()
        self._refused: Refused | None = None
        if initiator:
            self._call()

    @property
    def established(self) -> bool:
        """The handshake is finished: records can be sealed."""
        return self._sending is not None

    def seal(self, plaintext: bytes) -> bytes:
        """A record of it, with its length before it. At most `LARGEST_PLAINTEXT` bytes."""
        assert self._sending is not None and len(plaintext) <= LARGEST_PLAINTEXT
        return _framed(self._sending.seal(plaintext))

    def outgoing(self) -> bytes:
        """What the handshake wants to be sent."""
        going, self._going = bytes(self._going), bytearray()
        return going

    def receive(self, data: bytes) -> list[bytes]:
        """The plaintexts of the records that are complete now. Raises `Refused` as soon as anything is wrong; what
        was whole before that is lost with it."""
        if self._refused:
            raise self._refused
        came = self._came + data if self._came else data
        self._came = b""
        try:
            at = self._shake_hands(came) if self._receiving is None else 0
            return self._open(came, at) if self._receiving else []
        except Refused as error:
            self._refused, self._came = error, b""
            raise

    def _open(self, came: bytes, at: int) -> list[bytes]:
        """The records of what came, from there on; a part of one waits for the rest."""
        assert self._receiving is not None
        opened: list[bytes] = []
        size = len(came)
        while (begin := at + _LENGTH) <= size:
            end = begin + (came[at] << 8 | came[at + 1])
            if end > size:
                break
            opened.append(self._receiving.open(came[begin:end]))
            at = end
        if opened:
            self.confirmed = True
        if at < size:
            self._came = came[at:]
        return opened

    def _shake_hands(self, came: bytes) -> int:
        """How much of what came belongs to the handshake."""
        at = 0 if self._handshake else self._greet(came)
        while self._handshake and (begin := at + _LENGTH) <= len(came):
            length = int.from_bytes(came[at:begin], "big")
            if length > _LARGEST_HANDSHAKE:
                raise Refused("a message of a handshake is too long")
            if begin + length > len(came):
                break
            self._shake(came[begin : begin + length])
            at = begin + length
        if self._receiving is None:
            self._came = came[at:]
        return at

    def _call(self) -> None:
        pattern = XX_PSK0 if self.first_contact else IK
        preamble = _MAGIC + bytes([self._version, _NUMBERS[pattern.name]])
        self._going += preamble
        self._begin(pattern, preamble)

    def _greet(self, came: bytes) -> int:
        """How much of what came was the preamble."""
        preamble = came[:_PREAMBLE]
        if not (_MAGIC.startswith(preamble) or preamble.startswith(_MAGIC)):
            raise Refused("who called is no node")
        if len(preamble) < _PREAMBLE:
            return 0
        if preamble[2] != self._version:
            raise Refused(f"who called speaks version {preamble[2]} of the channel, not {self._version}")
        pattern = _PATTERNS.get(preamble[3])
        if pattern is None or (pattern.psks and self._psk is None):
            raise Refused("this kind of handshake is not taken")
        self.first_contact = pattern is XX_PSK0
        self._begin(pattern, preamble)
        return _PREAMBLE

    def _begin(self, pattern: Pattern, preamble: bytes) -> None:
        fields = (_PROLOGUE, preamble, self._hive.encode())
        self._handshake = HandshakeState(
            pattern,
            initiator=self._initiator,
            prologue=b"".join(len(field).to_bytes(8, "big") + field for field in fields),
            ephemeral=self._ephemeral,
            static=static_private(self._seed, self.node),
            remote_static=static_public(self.peer) if self.peer else None,
            psks=[self._psk] if pattern.psks and self._psk is not None else [],
        )
        self._answer()

    def _shake(self, message: bytes) -> None:
        assert self._handshake is not None
        if self._handshake.finished or self._handshake.writes:
            raise Refused("a message came out of turn")
        payload = self._handshake.read(message)
        if self._handshake.remote_static and not self.peer:
            self._meet(payload, self._handshake.remote_static)
        elif payload:
            raise Refused("a message of the handshake says too much")
        self._answer()

    def _meet(self, payload: bytes, static: bytes) -> None:
        """The other side names itself in the message in which it gives its key."""
        peer = payload.hex()
        if len(payload) != ID_BYTES or static_public(peer) != static:
            raise Refused("the other side's key is not that of the node it claims to be")
        if peer == self.node:
            raise Refused("this node has called itself")
        self.peer = peer

    def _answer(self) -> None:
        handshake = self._handshake
        assert handshake is not None
        if handshake.writes:
            payload = bytes.fromhex(self.node) if handshake.gives_static else b""
            self._going += _framed(handshake.write(payload))
        if handshake.finished:
            sending, receiving = handshake.split()
            self._sending = _Direction(sending, self._rekeying)
            self._receiving = _Direction(receiving, self._rekeying)
            self.binding = handshake.hash
            self.confirmed = self._initiator or self.first_contact
            self._handshake, self._psk, self._seed, self._ephemeral = None, None, b"", b""


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(_LENGTH, "big") + message
