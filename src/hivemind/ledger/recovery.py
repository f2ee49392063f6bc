"""Taking a hive's agreed state along in a file, and going on from one, or from what a node has, as a new lineage.

A new lineage is what a person wants when too many voters are gone for good: one node decides alone from then on, and
what voters of the old lineage may still say does not count any more (see `Hive.domain`). It is never begun but by
an explicit wish: if the others are only out of reach, there are two hives afterwards.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from hivemind.errors import Conflict, Corrupt, HivemindError, Invalid, NotFound, Unsupported
from hivemind.ledger import chain
from hivemind.ledger.journal import Journal
from hivemind.ledger.replay import signed
from hivemind.ledger.trust import Trust
from hivemind.model.base import UNREADABLE
from hivemind.model.hive import Epoch, Term
from hivemind.model.principal import Role
from hivemind.state import leaving, voters
from hivemind.state.partition import hash32
from hivemind.state.reconcile import reconcile
from hivemind.state.state import State

_FORMAT = 1
_MAGIC = b"hivemind snapshot\n"


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The content of such a file, behind a line that says what it is, and a checksum."""

    format: int
    snapshot: bytes
    head: bytes
    trust: Trust | None = None
    """None: it is of a node that decided alone."""
    proof: bytes = b""
    """The voters' certificate of the snapshot."""
    batches: tuple[tuple[bytes, bytes], ...] = ()
    """What was decided after the snapshot: each batch, encoded, and its certificate."""


async def save(journal: Journal) -> bytes:
    """All that is agreed by now: as a certified checkpoint and what came after it, where several decide."""
    if await journal.in_thread(journal.log.read, "SELECT 1 FROM epoch LIMIT 1"):
        saved = await _certified(journal)
    else:
        picture, head = journal.state.picture(), journal.head
        snapshot = await journal.in_thread(picture.encode)
        saved = Saved(format=_FORMAT, snapshot=snapshot, head=head)
    body = msgspec.msgpack.encode(saved)
    return _MAGIC + hash32(body) + body


async def _certified(journal: Journal) -> Saved:
    from hivemind.ledger.agreed.beginning import handover

    found = await handover(journal)
    sequence = msgspec.json.decode(found.snapshot, type=_Sequence).sequence
    rows = await journal.in_thread(
        journal.log.read,
        "SELECT batch.body, coalesce(certificate.body, x'') FROM batch LEFT JOIN certificate USING (sequence)"
        " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
        sequence,
        journal.state.sequence,
    )
    return Saved(
        format=_FORMAT,
        snapshot=found.snapshot,
        head=found.head,
        trust=found.trust,
        proof=found.proof,
        batches=tuple((bytes(body), bytes(certificate)) for body, certificate in rows),
    )


class _Sequence(msgspec.Struct):
    sequence: int


def opened(data: bytes) -> tuple[State, bytes]:
    """The state that a file holds, and the chain's hash there. Raises `Invalid`, `Corrupt`, `Unsupported`."""
    saved = _read(data)
    if saved.trust:
        from hivemind.ledger.agreed.beginning import checked
        from hivemind.ledger.trust import Handover

        checked(Handover(trust=saved.trust, snapshot=saved.snapshot, head=saved.head, proof=saved.proof))
    try:
        state, head = State.restore(saved.snapshot), saved.head
        for body, _ in saved.batches:
            batch = chain.decode(body)
            if batch.previous != head:
                raise Corrupt(
                    f"batch {batch.sequence} of the snapshot does not follow from the one before it"
                )
            state.apply(batch.sequence, batch.time, signed(batch))
            head = chain.link(body)
    except (*UNREADABLE, ValueError, TypeError, KeyError, AssertionError) as error:
        raise Corrupt(f"the snapshot cannot be read: {error}") from None
    return state, head


def _read(data: bytes) -> Saved:
    if not data.startswith(_MAGIC):
        raise Invalid(
            "this is not a snapshot of a hive", hint="make one with `hivemind cluster snapshot save`"
        )
    checksum, body = data[len(_MAGIC) :][:32], data[len(_MAGIC) + 32 :]
    if checksum != hash32(body):
        raise Corrupt("the snapshot is damaged or cut off", hint="take another copy of it")
    try:
        saved = msgspec.msgpack.decode(body, type=Saved)
    except (*UNREADABLE, ValueError) as error:
        raise Corrupt(f"the snapshot cannot be read: {error}") from None
    if saved.format > _FORMAT:
        raise Unsupported("a newer Hivemind made this snapshot", hint="install that version")
    return saved


def recovered(state: State, head: bytes, node: str, own: State) -> tuple[bytes, bytes]:
    """Snapshot and head of a new lineage of what `state` holds, in which `node` is alone and decides. Of other nodes
    nothing stays but what they left to do: they join again. `own`: what `node` knew until now; it, and who
    administers it, belong to the new lineage. Raises `Conflict`, `NotFound`. `state` is used up."""
    hive = state.hive_record
    if hive is None:
        raise NotFound("this is no hive of several nodes: there is nothing to recover")
    _bring(state, node, own)
    epoch = Epoch(number=hive.epoch.number + 1, since=state.sequence + 1, voters=(node,))
    begun = replace(
        hive,
        lineage=hive.lineage + 1,
        epoch=epoch,
        next=None,
        change="",
        since=state.time,
        version=hive.version + 1,
    )
    state.tables.put(state.hives, hive.id, begun)
    name = state.nodes[node].name
    term = Term(epoch=epoch, time=state.time, reason=f"{name} went on alone, by force")
    voters.remember(state, term)
    seated = replace(
        state.nodes[node],
        ready=state.time,
        served=state.time,
        lost=0,
        leaving=0,
        expected=False,
        role="member",
    )
    state.tables.put(state.nodes, node, seated)
    for id in sorted(state.nodes):
        if id != node:
            leaving.forsake(state, state.nodes[id])
    reconcile(state, ())
    return state.snapshot(), hash32(b"hivemind/lineage/1", head, state.digest())


def _bring(state: State, node: str, own: State) -> None:
    if node not in state.nodes:
        if node not in own.nodes:
            raise NotFound("this node is not registered yet", hint="try again in a moment")
        if any(other.name == own.nodes[node].name for other in state.nodes.values()):
            raise Conflict(
                f"another node of that hive is called {own.nodes[node].name!r}",
                hint="start this daemon with --node-name OTHER",
            )
        state.tables.put(state.nodes, node, own.nodes[node])
    names = {principal.name for principal in state.principals.values()}
    for id, principal in own.principals.items():
        administers = principal.kind == "person" and principal.role is Role.ADMIN
        if id in state.principals or not (id == node or administers):
            continue
        unique = (
            principal
            if principal.name not in names
            else replace(principal, name=f"{principal.name}-{id[:8]}")
        )
        state.tables.put(state.principals, id, unique)


def own_state(journal: Journal) -> State:
    """A copy of what this node has, to be changed."""
    try:
        return State.restore(journal.state.snapshot())
    except (HivemindError, ValueError) as error:
        raise Corrupt(f"what this node has cannot be read: {error}") from None
