"""`SymmetricState` and `HandshakeState` of Noise, sections 5.2 and 5.3."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.errors import Invalid
from hivemind.protocols.noise.aead import KEY_BYTES, TAG_BYTES
from hivemind.protocols.noise.cipher import (
    HASH_BYTES,
    CipherState,
    Refused,
    agree,
    blake2b,
    derive,
    public_key,
)
from hivemind.protocols.noise.patterns import Pattern

LARGEST = 65_535
"""Bytes of any message of Noise."""


class SymmetricState:
    """The chaining key, the hash of all that was said, and the key that both give."""

    __slots__ = ("_chaining_key", "_cipher", "hash")

    def __init__(self, protocol_name: bytes) -> None:
        short = len(protocol_name) <= HASH_BYTES
        self.hash = protocol_name.ljust(HASH_BYTES, b"\0") if short else blake2b(protocol_name)
        self._chaining_key = self.hash
        self._cipher = CipherState()

    @property
    def has_key(self) -> bool:
        return self._cipher.has_key

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = derive(self._chaining_key, material, 2)
        self._cipher.set_key(key[:KEY_BYTES])

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2b(self.hash + data)

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, hashed, key = derive(self._chaining_key, material, 3)
        self.mix_hash(hashed)
        self._cipher.set_key(key[:KEY_BYTES])

    def seal_and_hash(self, plaintext: bytes) -> bytes:
        sealed = self._cipher.seal(self.hash, plaintext)
        self.mix_hash(sealed)
        return sealed

    def open_and_hash(self, ciphertext: bytes) -> bytes:
        opened = self._cipher.open(self.hash, ciphertext)
        self.mix_hash(ciphertext)
        return opened

    def split(self) -> tuple[CipherState, CipherState]:
        """For what the initiator sends, for what the responder sends."""
        first, second = derive(self._chaining_key, b"", 2)
        return CipherState(first[:KEY_BYTES]), CipherState(second[:KEY_BYTES])


class HandshakeState:
    """One side of a handshake. `static` and `ephemeral` are private keys; `remote_static` is what is known, or
    becomes known, of the other side's public one. After a `Refused` it is good for nothing any more."""

    def __init__(
        self,
        pattern: Pattern,
        *,
        initiator: bool,
        prologue: bytes,
        ephemeral: bytes,
        static: bytes | None = None,
        remote_static: bytes | None = None,
        psks: Sequence[bytes] = (),
    ) -> None:
        if len(psks) != pattern.psks or any(len(psk) != KEY_BYTES for psk in psks):
            raise Invalid(f"{pattern.name} takes {pattern.psks} pre-shared keys, each of {KEY_BYTES} bytes")
        self._pattern, self._initiator = pattern, initiator
        self._static, self._ephemeral, self._psks = static, ephemeral, list(psks)
        self.remote_static = remote_static
        self._remote_ephemeral: bytes | None = None
        self._symmetric = SymmetricState(pattern.protocol_name)
        self._symmetric.mix_hash(prologue)
        self._next = 0
        self._mix_premessages()

    @property
    def finished(self) -> bool:
        return self._next == len(self._pattern.messages)

    @property
    def writes(self) -> bool:
        """Whether it is this side's turn."""
        return not self.finished and (self._next % 2 == 0) == self._initiator

    @property
    def gives_static(self) -> bool:
        """Whether the message that is next contains its writer's static key, and what follows is sealed."""
        return not self.finished and "s" in self._pattern.messages[self._next]

    @property
    def hash(self) -> bytes:
        """64 bytes, the same for both sides of this handshake and no other (section 11.2). Only once it finished."""
        assert self.finished
        return self._symmetric.hash

    def write(self, payload: bytes = b"") -> bytes:
        assert self.writes
        message = bytearray()
        for token in self._pattern.messages[self._next]:
            if token == "e":
                key = public_key(self._ephemeral)
                message += key
                self._mix_ephemeral(key)
            elif token == "s":
                assert self._static is not None
                message += self._symmetric.seal_and_hash(public_key(self._static))
            else:
                self._mix(token)
        message += self._symmetric.seal_and_hash(payload)
        if len(message) > LARGEST:
            raise Invalid("a message of a handshake is too long")
        self._next += 1
        return bytes(message)

    def read(self, message: bytes) -> bytes:
        """The payload. Raises `Refused`."""
        assert not self.finished and not self.writes
        if len(message) > LARGEST:
            raise Refused("a message of a handshake is too long")
        rest = message
        for token in self._pattern.messages[self._next]:
            if token == "e":
                key, rest = _cut(rest, KEY_BYTES)
                self._remote_ephemeral = key
                self._mix_ephemeral(key)
            elif token == "s":
                sealed, rest = _cut(rest, KEY_BYTES + (TAG_BYTES if self._symmetric.has_key else 0))
                self.remote_static = self._symmetric.open_and_hash(sealed)
            else:
                self._mix(token)
        payload = self._symmetric.open_and_hash(rest)
        self._next += 1
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """For sending, for receiving."""
        assert self.finished
        initiators, responders = self._symmetric.split()
        return (initiators, responders) if self._initiator else (responders, initiators)

    def _mix_premessages(self) -> None:
        for known, ours in (
            (self._pattern.initiator_known, self._initiator),
            (self._pattern.responder_known, not self._initiator),
        ):
            if known:
                assert self._static is not None
                key = public_key(self._static) if ours else self.remote_static
                assert key is not None, "the pattern says that it is known"
                self._symmetric.mix_hash(key)

    def _mix_ephemeral(self, key: bytes) -> None:
        self._symmetric.mix_hash(key)
        if self._pattern.psks:  # Section 9.2.
            self._symmetric.mix_key(key)

    def _mix(self, token: str) -> None:
        if token == "psk":
            self._symmetric.mix_key_and_hash(self._psks.pop(0))
            return
        mine, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        private = self._ephemeral if mine == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        assert private is not None and public is not None, "the pattern comes to a key before it is used"
        self._symmetric.mix_key(agree(private, public))


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise Refused("a message of a handshake is too short")
    return data[:length], data[length:]
