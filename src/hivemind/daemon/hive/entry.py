"""Asking a hive to be let in, at whichever of its nodes answers: the new node's side of the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

import hivemind
from hivemind.daemon.hive import door
from hivemind.daemon.hive.addresses import show
from hivemind.daemon.hive.invitation import Invitation
from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger.trust import Handover
from hivemind.model.base import UNREADABLE
from hivemind.model.hive import PROTOCOL
from hivemind.security.envelope import Envelope
from hivemind.security.identity import Identity
from hivemind.security.joining import joining
from hivemind.state.operations import JoinHive, Operation, encode_operation
from hivemind.transport.contract import Address, Contact

_CONTACT = 5.0
_DIALOGUE = 90.0
"""Seconds."""
_LARGEST = 2**30
"""Bytes of a handover."""


class Contacts(Protocol):
    async def contact(self, address: Address, hive: str, secret: bytes, *, timeout: float) -> Contact: ...


class Bringing(Protocol):
    """What the node had agreed with itself, as an operation for the hive."""

    def as_it_is(self) -> Operation | None:
        """None: there is nothing to bring along."""

    def sealed_for(self, vault: bytes) -> Envelope | None:
        """The same with its secrets sealed by that key, signed for the hive."""


class Entered(msgspec.Struct, frozen=True):
    admitted: door.Admitted
    handover: Handover


def wish(invitation: Invitation, key: Identity, administrator: Identity, name: str) -> JoinHive:
    token = Identity(invitation.seed)
    said = joining(invitation.hive, key.public, administrator.public)
    return JoinHive(
        node=key.public,
        name=name,
        role=invitation.role,
        administrator=administrator.public,
        token=token.public,
        proof=token.sign(said),
        consent=key.sign(said),
        protocol=PROTOCOL,
    )


async def enter(
    peers: Contacts,
    invitation: Invitation,
    join: JoinHive,
    bringing: Bringing,
    *,
    addresses: Sequence[Address],
    admitted: Callable[[door.Admitted], None],
) -> Entered:
    """Tries the addresses in turn. Raises what the hive refuses it with; `Unavailable` when nobody answers.

    `admitted` is called when the hive has agreed, before anything is handed over."""
    problems: list[str] = []
    for address in addresses:
        try:
            contact = await peers.contact(address, invitation.hive, invitation.secret, timeout=_CONTACT)
        except Unavailable as error:
            problems.append(f"{show(address)}: {error.message}")
            continue
        try:
            async with asyncio.timeout(_DIALOGUE):
                return await _talk(contact, invitation, join, bringing, admitted)
        except TimeoutError:
            problems.append(f"{show(address)}: it took too long")
        except Unavailable as error:
            problems.append(f"{show(address)}: {error.message}")
        finally:
            await contact.close()
    raise Unavailable(
        f"no node of the hive {invitation.name!r} lets this one in ({'; '.join(problems) or 'no address is known'})",
        hint="check that its nodes run, that this machine reaches them, and that the token is of that hive",
    )


async def _talk(
    contact: Contact,
    invitation: Invitation,
    join: JoinHive,
    bringing: Bringing,
    admitted: Callable[[door.Admitted], None],
) -> Entered:
    own = bringing.as_it_is()
    adopt = encode_operation(own) if own else b""
    await door.say(contact, door.Ask(encode_operation(join), adopt, hivemind.__version__))
    answer = await door.hear(contact)
    if not isinstance(answer, door.Admitted):
        raise _nonsense()
    admitted(answer)
    envelope = bringing.sealed_for(answer.vault)
    await door.say(contact, door.Adopt(msgspec.msgpack.encode(envelope) if envelope else b""))
    data = await door.receive(contact, _LARGEST)
    try:
        handover = msgspec.msgpack.decode(data, type=Handover)
    except UNREADABLE:
        raise _nonsense() from None
    if handover.trust.hive != invitation.hive:
        raise _nonsense()
    return Entered(answer, handover)


def _nonsense() -> HivemindError:
    return Unavailable("the other node does not make sense", hint="it may run another version")
