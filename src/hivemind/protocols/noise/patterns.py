"""Handshake patterns as data: section 7 of the specification.

A message is the tokens of one line; the initiator sends the first. `premessages` are the static keys that a side
knows of the other beforehand.
"""

from __future__ import annotations

import msgspec

SUITE = "25519_ChaChaPoly_BLAKE2b"


class Pattern(msgspec.Struct, frozen=True):
    name: str
    messages: tuple[tuple[str, ...], ...]
    initiator_known: bool = False
    responder_known: bool = False

    @property
    def protocol_name(self) -> bytes:
        return f"Noise_{self.name}_{SUITE}".encode()

    @property
    def psks(self) -> int:
        """How many pre-shared keys it mixes in."""
        return sum(message.count("psk") for message in self.messages)


NN = Pattern("NN", (("e",), ("e", "ee")))
XX = Pattern("XX", (("e",), ("e", "ee", "s", "es"), ("s", "se")))
XX_PSK0 = Pattern("XXpsk0", (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se")))
XX_PSK0_PSK3 = Pattern("XXpsk0+psk3", (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se", "psk")))
IK = Pattern("IK", (("e", "es", "s", "ss"), ("e", "ee", "se")), responder_known=True)

PATTERNS = {pattern.name: pattern for pattern in (NN, XX, XX_PSK0, XX_PSK0_PSK3, IK)}
"""Channels use IK and XXpsk0; published vectors reach every line of the rest through the others."""
