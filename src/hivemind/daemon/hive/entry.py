"""Asking a hive to be let in, at whichever of its nodes opens: the new node's side of the door."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

import hivemind
from hivemind.daemon.hive import door
from hivemind.daemon.hive.addresses import show
from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.seeking import Entrance
from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger.trust import Handover
from hivemind.model.base import UNREADABLE
from hivemind.model.hive import PROTOCOL
from hivemind.security.envelope import Envelope
from hivemind.security.identity import Identity
from hivemind.security.joining import acquainted, joining
from hivemind.state.operations import JoinHive, Operation, encode_operation
from hivemind.transport.contract import Address, Contact

_CONTACT = 5.0
_DIALOGUE = 90.0
_AGAIN = 1.0
"""Seconds."""
_AT_ONCE = 8
"""Doors that are knocked at."""
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


class Entrances(Protocol):
    """As `seeking.Search` finds them."""

    over: bool
    """Nobody else will be found."""

    def __aiter__(self) -> AsyncIterator[Entrance]: ...

    def hurry(self) -> None:
        """Somebody has said no, and only that."""

    def tried(self) -> str:
        """For people."""


async def enter(
    peers: Contacts,
    invitation: Invitation,
    join: JoinHive,
    bringing: Bringing,
    *,
    entrances: Entrances,
    knocking: Callable[[Entrance], None],
    admitted: Callable[[door.Admitted, Entrance], None],
) -> Entered:
    """Tries the entrances as they are found, until somebody behind one is its sponsor. Raises what the hive refuses it
    with; `Unavailable` when nobody lets it in.

    `admitted` is called when the hive has agreed, before anything is handed over."""
    visit = _Visit(peers, invitation, join, bringing, knocking, admitted)
    everywhere = asyncio.get_running_loop().create_task(visit.knock_everywhere(entrances))
    try:
        await asyncio.wait((everywhere, visit.entered), return_when=asyncio.FIRST_COMPLETED)
        if visit.entered.done():
            return visit.entered.result()
        everywhere.result()
    finally:
        visit.entered.cancel()
        everywhere.cancel()
        await asyncio.gather(everywhere, return_exceptions=True)
    if visit.refusal:
        raise visit.refusal
    problems = "; ".join(f"{show(address)}: {problem}" for address, problem in visit.problems.items())
    raise Unavailable(
        f"no node of the hive {invitation.name!r} lets this one in ({problems or 'none was found'}); "
        f"{entrances.tried()}",
        hint="check that its nodes run and that this machine reaches them over TCP and UDP; or name one that does:"
        " hivemind cluster join --seed HOST:PORT TOKEN",
    )


class _Visit:
    """Who is slow to open holds up nobody; but only one at a time, who has shown that it knows the token, is talked to.
    `refusal`: the first word of somebody who has not shown that."""

    def __init__(
        self,
        peers: Contacts,
        invitation: Invitation,
        join: JoinHive,
        bringing: Bringing,
        knocking: Callable[[Entrance], None],
        admitted: Callable[[door.Admitted, Entrance], None],
    ) -> None:
        self._peers, self._invitation, self._join, self._bringing = peers, invitation, join, bringing
        self._knocking, self._admitted = knocking, admitted
        self._doors, self._turn = asyncio.Semaphore(_AT_ONCE), asyncio.Lock()
        self.entered: asyncio.Future[Entered] = asyncio.get_running_loop().create_future()
        self.problems: dict[Address, str] = {}
        self.refusal: HivemindError | None = None

    async def knock_everywhere(self, entrances: Entrances) -> None:
        async with asyncio.TaskGroup() as group:
            async for entrance in entrances:
                group.create_task(self._knock_again_and_again(entrance, entrances))

    async def _knock_again_and_again(self, entrance: Entrance, entrances: Entrances) -> None:
        """Who does not open now may be busy with others, or about to start."""
        while True:
            try:
                async with self._doors:
                    await self._knock(entrance)
                return
            except (Unavailable, TimeoutError) as error:
                self.problems[entrance.address] = str(error) or "it took too long"
            except HivemindError as error:
                self.refusal = self.refusal or error
                entrances.hurry()
                return
            if not entrances.over:
                await asyncio.sleep(_AGAIN)
            if entrances.over:
                return

    async def _knock(self, entrance: Entrance) -> None:
        """Returns when it is settled; raises why nothing came of it."""
        hive, secret = self._invitation.hive, self._invitation.secret
        self._knocking(entrance)
        contact = await self._peers.contact(entrance.address, hive, secret, timeout=_CONTACT)
        try:
            async with asyncio.timeout(_CONTACT):
                await _recognise(contact, self._join.token)
            async with self._turn, asyncio.timeout(_DIALOGUE):
                await self._ask(contact, entrance)
        finally:
            await contact.close()

    async def _ask(self, contact: Contact, entrance: Entrance) -> None:
        def admitted(answer: door.Admitted) -> None:
            self._admitted(answer, entrance)

        try:
            entered = await _talk(contact, self._invitation, self._join, self._bringing, admitted)
        except Unavailable:
            raise
        except HivemindError as refusal:
            if not self.entered.done():
                self.entered.set_exception(refusal)
        else:
            if not self.entered.done():
                self.entered.set_result(entered)


async def _recognise(contact: Contact, token: str) -> None:
    """Whether the other side knows the token: see `security.joining`. Nothing is told to one that does not."""
    await door.say(contact, door.Knock(acquainted(token, "newcomer", contact.binding)))
    answer = await door.hear(contact)
    if not isinstance(answer, door.Known):
        raise _nonsense()
    if not hmac.compare_digest(answer.proof, acquainted(token, "sponsor", contact.binding)):
        raise Unavailable("it is not of the hive, although it has the hive's secret")


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
