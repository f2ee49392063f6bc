"""What members sign: each statement counts the same whoever passes it on.

`Alive` and `Leaving` are about their signer, `Suspect` and `Dead` about the one they name. None can be altered, and
one that is repeated later changes nothing: an incarnation is only ever followed by a higher one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from hivemind.protocols.machine import Signer, Verifier
from hivemind.security.statement import Domain, Statement

Node = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Incarnation = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Port = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
Host = Annotated[str, msgspec.Meta(max_length=64)]
MAX_META = 256
MAX_ADDRESSES = 4


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The signer is there. Each new one has a higher incarnation: that is how it refutes, moves or changes."""

    incarnation: Incarnation
    addresses: Annotated[tuple[tuple[Host, Port], ...], msgspec.Meta(max_length=MAX_ADDRESSES)] = ()
    """Where it hears datagrams, the likeliest first; a claim, that only an answer from there proves."""
    meta: Annotated[bytes, msgspec.Meta(max_length=MAX_META)] = b""
    """What else all should know, see `transport.membership`; opaque here."""


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The signer goes, on purpose. It outweighs an `Alive` of the same incarnation and all accusations."""

    incarnation: Incarnation


class Suspect(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The accused did not answer the signer, whoever tried."""

    accused: Node
    incarnation: Incarnation


class Dead(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The signer holds the accused to be failed: the time of suspicion has passed, and others said so, too."""

    accused: Node
    incarnation: Incarnation


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The signer was pinged for `asker`, by a helper: proof of life for that one ping."""

    asker: Node
    sequence: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


Body = Alive | Leaving | Suspect | Dead | Answer
Accusation = Suspect | Dead

_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)
_encoder = msgspec.msgpack.Encoder()


class Notary:
    """Signs as this node, and reads what others signed for the same hive."""

    def __init__(self, signer: Signer, verify: Verifier, hive: str) -> None:
        self._signer = signer
        self._verify = verify
        self._domain = Domain(protocol="swim", hive=hive)

    def sign(self, body: Body) -> Statement:
        encoded = _encoder.encode(body)
        return Statement(self._signer.public, encoded, self._signer.sign(self._domain.covered(encoded)))

    def genuine(self, statement: Statement) -> bool:
        """Whether the signer really signed it. The dear check: do the others first."""
        return self._verify(statement.signer, self._domain.covered(statement.body), statement.signature)


def read(statement: Statement) -> Body | None:
    """What it says, if its signer signed it; None for what is no body at all."""
    try:
        return _decoder.decode(statement.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


Allowed = Callable[[str], bool]
"""Whether a node belongs to the hive now, as was agreed."""
