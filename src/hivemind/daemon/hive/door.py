"""What a node that wants in, or that may be out, and a node of the hive say to each other, over a first contact: a
channel that only holders of the discovery secret can open, and in which each has proved its key.

    node                                sponsor
    Knock(proof)                →       finds the join token that it is about
                                ←       Known(proof), or Refused
    Ask(join, adopt)            →       tries both on a copy of state; has `join` agreed
                                ←       Admitted(vault key, peers), or Refused
    Adopt(envelope)             →       has it agreed, so that what the hive hands over includes it
                                ←       Given(size), then the handover in pieces, or Refused

Or, of a node that nobody talks to any more:

    Inquire(epoch)              →       looks whether the hive still has that node
                                ←       Belongs, or Removed

All of it is MessagePack, one tagged union; each side may break off, and the node may ask again from the beginning.
"""

from __future__ import annotations

import msgspec

from hivemind.errors import HivemindError, Unavailable, from_code
from hivemind.model.base import UNREADABLE
from hivemind.transport.contract import Address, Contact

PIECE = 512 * 1024
"""Bytes of a handover in one message."""


class Knock(msgspec.Struct, frozen=True, array_like=True, tag="knock"):
    """`proof`, here and in the answer: `security.joining.acquainted`."""

    proof: bytes


class Known(msgspec.Struct, frozen=True, array_like=True, tag="known"):
    proof: bytes


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    join: bytes
    """`JoinHive`, as `encode_operation` gives it."""
    adopt: bytes = b""
    """`AdoptRecords` with what the node had agreed with itself, its secrets still sealed by its own key: to find out
    what clashes before anybody is let in. Empty: it brings nothing."""
    version: str = ""


class Admitted(msgspec.Struct, frozen=True, array_like=True, tag="admitted"):
    """The hive has agreed."""

    name: str
    vault: bytes
    """The key that opens the hive's secrets; empty for a witness."""
    peers: dict[str, tuple[Address, ...]]


class Adopt(msgspec.Struct, frozen=True, array_like=True, tag="adopt"):
    envelope: bytes = b""
    """A sealed `AdoptRecords`, its secrets sealed for the hive; empty: there is nothing."""


class Given(msgspec.Struct, frozen=True, array_like=True, tag="given"):
    """`ledger.trust.Handover` follows, in messages of at most `PIECE` bytes."""

    size: int


class Inquire(msgspec.Struct, frozen=True, array_like=True, tag="inquire"):
    """What became of me? `epoch`: the number of the last one that it knows."""

    epoch: int


class Belongs(msgspec.Struct, frozen=True, array_like=True, tag="belongs"):
    """It is a node of the hive, as far as is known here."""

    sequence: int
    """Of the state by which that is so."""


class Removed(msgspec.Struct, frozen=True, array_like=True, tag="removed"):
    """It is none. True when enough voters say so, see `inquiry`."""

    sequence: int
    """Of the state by which that is so."""
    expulsion: bytes = b""
    """The record `Expulsion`; empty: it was let go."""
    chain: tuple[bytes, ...] = ()
    """Encoded links of the chain of epochs from the one that it knows: who votes now."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    code: str
    message: str
    hint: str = ""

    def error(self) -> HivemindError:
        return from_code(self.code, self.message, self.hint)


Word = Knock | Known | Ask | Admitted | Adopt | Given | Inquire | Belongs | Removed | Refused
_decoder: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


async def say(contact: Contact, word: Word) -> None:
    await contact.send(msgspec.msgpack.encode(word))


async def hear(contact: Contact) -> Word:
    """Raises what the other side refused with, `Unavailable` when it broke off or makes no sense."""
    message = await contact.receive()
    if message is None:
        raise Unavailable("the other node broke off", hint="its log says why; try again")
    try:
        word = _decoder.decode(message)
    except UNREADABLE:
        raise Unavailable("the other node does not make sense", hint="it may run another version") from None
    if isinstance(word, Refused):
        raise word.error()
    return word


async def hand_over(contact: Contact, data: bytes) -> None:
    await say(contact, Given(len(data)))
    for start in range(0, len(data), PIECE):
        await contact.send(data[start : start + PIECE])
    await contact.finish()
    await contact.receive()  # its end: whoever closes a stream before both have finished breaks it


async def receive(contact: Contact, largest: int) -> bytes:
    """What `hand_over` sends."""
    word = await hear(contact)
    if not isinstance(word, Given) or word.size > largest:
        raise Unavailable("the other node does not make sense", hint="it may run another version")
    taken = bytearray()
    while len(taken) < word.size:
        piece = await contact.receive()
        if not piece:
            raise Unavailable("the other node broke off", hint="its log says why; try again")
        taken += piece
    await contact.finish()
    return bytes(taken)
