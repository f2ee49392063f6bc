"""The sponsor: a node of the hive that another one turns to in order to join, or to hear that it is out."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from hivemind.daemon.hive import door
from hivemind.errors import Conflict, Forbidden, HivemindError, Invalid, Unavailable
from hivemind.ledger.contract import Receipt
from hivemind.ledger.trust import Handover
from hivemind.model.base import UNREADABLE, encode
from hivemind.model.hive import Hive
from hivemind.security.envelope import Envelope
from hivemind.security.identity import verify
from hivemind.security.joining import acquainted, joining
from hivemind.state.operations import AdoptRecords, JoinHive, Operation, decode_operation
from hivemind.state.state import Outcome, Signed, State
from hivemind.transport.contract import Address, Contact

log = logging.getLogger(__name__)
_PATIENCE = 60.0
"""Seconds for all of a join; whoever takes longer asks again."""
_FIRST = 10.0
"""Seconds until a first word: who only holds the door keeps others from it."""
_FAREWELL = 5.0
"""Seconds for hearing why not."""


class Ledger(Protocol):
    state: State

    async def submit(self, envelope: Envelope) -> Receipt: ...

    async def caught_up(self) -> None: ...

    async def handover(self) -> Handover: ...

    async def epochs_after(self, number: int) -> tuple[bytes, ...]: ...


class Sponsor:
    """`report` has a fact of this node agreed; `vault` is the key that opens the hive's secrets, or empty where this
    node does not have it; `peers` tells where the nodes of the hive are, this one included."""

    def __init__(
        self,
        *,
        node: str,
        ledger: Ledger,
        report: Callable[[Operation], Awaitable[Outcome]],
        vault: Callable[[], bytes],
        peers: Callable[[], dict[str, tuple[Address, ...]]],
    ) -> None:
        self._node, self._ledger, self._report = node, ledger, report
        self._vault, self._peers = vault, peers

    async def welcome(self, contact: Contact) -> None:
        """Serves one node. What stands in the way is told to it, and logged here."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._serve(contact)
        except HivemindError as error:
            log.warning("node %s may not join: %s", contact.peer[:12], error.message)
            await self._refuse(contact, error)
        except TimeoutError:
            log.warning("node %s took too long to join", contact.peer[:12])

    async def _refuse(self, contact: Contact, error: HivemindError) -> None:
        """Waits until the other side has heard: its word is lost when the stream is closed before."""
        with contextlib.suppress(HivemindError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await door.say(contact, door.Refused(error.code, error.message, error.hint))
                await contact.finish()
                await contact.receive()

    async def _serve(self, contact: Contact) -> None:
        hive = self._hive()
        try:
            async with asyncio.timeout(_FIRST):
                first = await door.hear(contact)
            if isinstance(first, door.Inquire):
                await self._tell(contact, first)
                return
            token = await self._recognised(contact, first)
            ask = await door.hear(contact)
        except Unavailable:
            log.debug("node %s has turned to another one", contact.peer[:12])
            return
        if not isinstance(ask, door.Ask):
            raise Invalid("a node that is known asks to be let in")
        join, adopt = _join_of(ask, contact), _adopt_of(ask)
        if join.token != token:
            raise Forbidden("a node asks with the token that it knocked with")
        if not proven(join, hive.id):
            raise Forbidden(
                "this join token is not of this hive, or is not whole", hint="hivemind cluster token create"
            )
        if join.node in self._ledger.state.nodes:
            await self._ledger.caught_up()  # it may have left since
        if not self._is_in(join):
            await self._try(join, adopt)
            await self._report(join)
            log.info("node %s is let in as a %s", join.name, join.role, extra={"node_id": join.node})
        key = b"" if join.role == "witness" else self._vault()
        await door.say(contact, door.Admitted(hive.name, key, self._peers()))
        bringing = await door.hear(contact)
        if not isinstance(bringing, door.Adopt):
            raise Invalid("a node that was let in says what it brings")
        await self._adopt(join, bringing)
        handover = await self._ledger.handover()
        if join.node not in self._ledger.state.nodes:
            # It was in only as far as was known here: it had left by then, and asked for more.
            raise Unavailable("the hive has let this node go again", hint="join again")
        await door.hand_over(contact, msgspec.msgpack.encode(handover))

    async def _tell(self, contact: Contact, inquiry: door.Inquire) -> None:
        state = self._ledger.state
        if contact.peer in state.nodes:
            await door.say(contact, door.Belongs(state.sequence))
        else:
            expulsion = state.expulsions.get(contact.peer)
            chain = await self._ledger.epochs_after(inquiry.epoch)
            said = encode(expulsion) if expulsion else b""
            await door.say(contact, door.Removed(state.sequence, said, chain))
        await contact.finish()
        await contact.receive()  # its end: see `door.hand_over`

    async def _recognised(self, contact: Contact, knock: door.Word) -> str:
        """The token that the other side has. It hears that this side knows that token, too."""
        if not isinstance(knock, door.Knock):
            raise Invalid("a node that wants in knocks first")
        state = self._ledger.state
        used = (node.token for node in state.nodes.values() if node.token)
        for token in (*state.join_tokens, *used):
            if hmac.compare_digest(knock.proof, acquainted(token, "newcomer", contact.binding)):
                await door.say(contact, door.Known(acquainted(token, "sponsor", contact.binding)))
                return token
        raise Forbidden(
            "this join token has expired, or was revoked, or is of another hive",
            hint="on a node of the hive: hivemind cluster token create",
        )

    def _hive(self) -> Hive:
        state = self._ledger.state
        if state.hive not in state.hives or self._node not in state.nodes:
            raise Conflict(
                "this node is of no hive that could be joined", hint="ask another node for a token"
            )
        return state.hives[state.hive]

    def _is_in(self, join: JoinHive) -> bool:
        """It asked before, was let in, and did not hear so. In another role it is not in: that is for the voters to
        refuse, since no signature says in which role a node joins."""
        known = self._ledger.state.nodes.get(join.node)
        if known is None or (known.token, known.role) != (join.token, join.role):
            return False
        if join.role == "witness" or self._vault():
            return True
        raise _blind()

    async def _try(self, join: JoinHive, adopt: AdoptRecords | None) -> None:
        """On a copy: nobody is let in who would be refused with what it brings."""
        if join.role != "witness" and not self._vault():
            raise _blind()
        state = self._ledger.state.fork()
        signed = [Signed(self._node, "try-join", join)]
        signed += [Signed(join.administrator, "try-adopt", adopt)] if adopt else []
        outcomes = await asyncio.to_thread(state.apply, state.sequence + 1, state.time, signed)
        for outcome in outcomes:
            _check(outcome)

    async def _adopt(self, join: JoinHive, bringing: door.Adopt) -> None:
        if not bringing.envelope:
            return
        try:
            envelope = msgspec.msgpack.decode(bringing.envelope, type=Envelope)
            operation = decode_operation(envelope.payload)
        except UNREADABLE:
            raise Invalid("this version does not understand what the node brings") from None
        if envelope.signer != join.administrator or not isinstance(operation, AdoptRecords):
            raise Forbidden("only a node's own administrator says what it brings")
        if operation.node != join.node:
            raise Forbidden("a node brings only what is its own")
        receipt = await self._ledger.submit(envelope)
        _check(receipt.outcome)


def _check(outcome: Outcome) -> None:
    """Raises what it was refused with, or why the node was not let in after all."""
    outcome.raise_for_error()
    if outcome.message:
        raise Conflict(outcome.message, hint=outcome.hint)


def _join_of(ask: door.Ask, contact: Contact) -> JoinHive:
    """What the channel's other end may ask for: itself, with the token's proof. Agreement checks all of it again; this
    keeps strangers from putting anything before the voters."""
    try:
        join = decode_operation(ask.join)
    except UNREADABLE:
        raise Invalid("this version does not understand how the node wants in") from None
    if not isinstance(join, JoinHive) or join.node != contact.peer:
        raise Forbidden("a node joins only itself")
    return join


def _adopt_of(ask: door.Ask) -> AdoptRecords | None:
    if not ask.adopt:
        return None
    try:
        adopt = decode_operation(ask.adopt)
    except UNREADABLE:
        raise Invalid("this version does not understand what the node brings") from None
    if not isinstance(adopt, AdoptRecords):
        raise Invalid("this is not what a node brings")
    return adopt


def proven(join: JoinHive, hive: str) -> bool:
    """Token and node have both signed."""
    said = joining(hive, join.node, join.administrator)
    return verify(join.token, said, join.proof) and verify(join.node, said, join.consent)


def _blind() -> HivemindError:
    return Unavailable(
        "this node does not have the key that opens the hive's secrets",
        hint="join through another node: make the token on a member or a worker",
    )
