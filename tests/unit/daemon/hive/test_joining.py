"""The door, from both sides: who is let in, what is handed over, and what is said to those who are not."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hivemind.daemon.hive import door, entry
from hivemind.daemon.hive.bringing import Nothing
from hivemind.daemon.hive.entry import Bringing, Entered
from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.seeking import Entrance
from hivemind.daemon.hive.sponsor import Sponsor
from hivemind.errors import Conflict, Forbidden, HivemindError, Invalid, Unavailable
from hivemind.ledger.hive import HiveLedger
from hivemind.ledger.trust import Handover
from hivemind.model.hive import NodeRole
from hivemind.model.project import Project
from hivemind.model.storage import StorageClass, StorageClassManifest
from hivemind.security.envelope import Envelope, seal
from hivemind.security.identity import Identity
from hivemind.security.joining import acquainted
from hivemind.state.adoption import pack
from hivemind.state.operations import (
    AdoptRecords,
    JoinHive,
    LeaveHive,
    Operation,
    PutJoinToken,
    PutStorageClass,
    RegisterNode,
    encode_operation,
)
from hivemind.state.state import Outcome, State
from hivemind.transport.contract import Address, Contact
from hivemind.transport.fake import SECRET
from tests.ledgers import HIVE, TOKEN, Hive, Node, hive_in, milliseconds

pytestmark = pytest.mark.anyio
KEY = bytes(range(7, 39))
NEWCOMER = Identity(b"n" * 32)
ADMINISTRATOR = Identity(b"a" * 32)


class Listed:
    """Entrances that are all known from the start."""

    over = True

    def __init__(self, addresses: list[Address]) -> None:
        self._left = [Entrance(address, "the test") for address in addresses]
        self.hurried = False

    def __aiter__(self) -> Listed:
        return self

    async def __anext__(self) -> Entrance:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    def hurry(self) -> None:
        self.hurried = True

    def tried(self) -> str:
        return "looked everywhere"


class House:
    """A hive of one, which lets others in."""

    def __init__(self, hive: Hive, first: Node) -> None:
        self.hive, self.first = hive, first
        self.vault = KEY
        self.reported: list[Operation] = []
        self.refuses: HivemindError | None = None
        self.knocked: list[Entrance] = []
        self.sponsor = Sponsor(
            node=first.id,
            ledger=first.ledger,
            report=self.report,
            vault=lambda: self.vault,
            peers=lambda: {first.id: (self.address,)},
        )
        first.peers.enter(HIVE, SECRET)
        first.peers.welcome(self.sponsor.welcome)
        self.peers = hive.network.peers(NEWCOMER.public, hive="own", secret=None)

    @property
    def address(self) -> Address:
        return self.hive.network.address(self.first.id)

    @property
    def state(self) -> State:
        return self.first.ledger.state

    async def report(self, operation: Operation) -> Outcome:
        self.reported.append(operation)
        if self.refuses:
            raise self.refuses
        return (await self.first.submit(operation, by=self.first.identity)).outcome

    def invitation(self, role: NodeRole = "member", seed: bytes = TOKEN.seed) -> Invitation:
        return Invitation(
            hive=HIVE, name="test", secret=SECRET, seed=seed, role=role, addresses=(self.address,)
        )

    async def enter(
        self,
        *,
        role: NodeRole = "member",
        bringing: Bringing | None = None,
        wish: Callable[[JoinHive], JoinHive] = lambda join: join,
        seed: bytes = TOKEN.seed,
        addresses: list[Address] | None = None,
    ) -> Entered:
        invitation = self.invitation(role, seed)
        join = wish(entry.wish(invitation, NEWCOMER, ADMINISTRATOR, "new"))
        self.admitted: list[door.Admitted] = []
        self.through: list[Entrance] = []
        self.entrances = Listed(addresses or [self.address])

        def admitted(answer: door.Admitted, entrance: Entrance) -> None:
            self.admitted.append(answer)
            self.through.append(entrance)

        async with asyncio.timeout(20):
            return await entry.enter(
                self.peers,
                invitation,
                join,
                bringing or Nothing(),
                entrances=self.entrances,
                knocking=self.knocked.append,
                admitted=admitted,
            )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with hive_in(tmp_path) as hive:
        yield House(hive, await hive.found())


class OneProject(Nothing):
    """A node that brings one project."""

    def __init__(self, name: str = "mine", signer: Identity = ADMINISTRATOR) -> None:
        self._name, self._signer = name, signer

    def as_it_is(self) -> AdoptRecords:  # type: ignore[override]
        project = Project(name=self._name)
        return AdoptRecords(node=NEWCOMER.public, records=pack({"projects": {self._name: project}}))

    def sealed_for(self, vault: bytes) -> Envelope:  # type: ignore[override]
        assert vault == KEY
        return seal(self._signer, HIVE, os.urandom(8).hex(), encode_operation(self.as_it_is()))


async def test_who_is_let_in_gets_the_key_the_others_and_what_was_agreed(house: House) -> None:
    entered = await house.enter()
    assert house.admitted == [entered.admitted]
    assert entered.admitted.vault == KEY and entered.admitted.name == "test"
    assert entered.admitted.peers == {house.first.id: (house.address,)}
    assert entered.handover.trust.hive == HIVE
    assert house.state.nodes[NEWCOMER.public].name == "new"


async def test_what_it_brings_is_agreed_before_anything_is_handed_over(house: House) -> None:
    await house.enter(bringing=OneProject())
    assert "mine" in house.state.projects and house.state.nodes[NEWCOMER.public].adopted


async def test_asked_again_it_goes_on_and_the_token_counts_once(house: House) -> None:
    await house.enter()
    used = house.state.join_tokens[TOKEN.public].used
    again = await house.enter()
    assert again.admitted.vault == KEY
    assert house.state.join_tokens[TOKEN.public].used == used
    assert sum(isinstance(operation, JoinHive) for operation in house.reported) == 1


async def test_a_sponsor_that_was_behind_hands_nothing_over_to_one_that_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.enter()
    ledger = house.first.ledger

    async def catches_up() -> Handover:
        made = await HiveLedger.handover(ledger)
        await house.first.submit(LeaveHive(node=NEWCOMER.public, force=True))
        return made

    monkeypatch.setattr(ledger, "handover", catches_up)
    with pytest.raises(Unavailable, match="let this node go again"):
        await house.enter()
    assert house.admitted and NEWCOMER.public not in house.state.nodes


async def test_a_witness_gets_no_key(house: House) -> None:
    token = Identity(b"w" * 32)
    later = milliseconds() + 10**9
    await house.first.submit(PutJoinToken(id=token.public, role="witness", uses=1, expires=later))
    entered = await house.enter(role="witness", seed=token.seed)
    assert entered.admitted.vault == b""


async def test_nor_when_it_asks_again_as_if_it_were_a_member(house: House) -> None:
    """Token and node sign who joins, not as what."""
    token = Identity(b"w" * 32)
    later = milliseconds() + 10**9
    await house.first.submit(PutJoinToken(id=token.public, role="witness", uses=2, expires=later))
    await house.enter(role="witness", seed=token.seed)
    for role in ("member", "worker"):
        with pytest.raises(Conflict, match="already, as the witness"):
            await house.enter(role=role, seed=token.seed)
        assert not house.admitted


async def test_a_sponsor_without_the_key_lets_in_nobody_who_needs_it(house: House) -> None:
    house.vault = b""
    with pytest.raises(Unavailable, match="does not have the key"):
        await house.enter()
    assert not house.reported and NEWCOMER.public not in house.state.nodes


def _of_another(join: JoinHive) -> JoinHive:
    return replace(join, node=Identity(b"x" * 32).public)


def _unsigned(join: JoinHive) -> JoinHive:
    return replace(join, proof=bytes(64))


def _for_somebody_else(join: JoinHive) -> JoinHive:
    return replace(join, administrator=Identity(b"y" * 32).public)


@pytest.mark.parametrize("wish", [_of_another, _unsigned, _for_somebody_else])
async def test_what_a_token_does_not_prove_never_comes_before_the_voters(
    house: House, wish: Callable[[JoinHive], JoinHive]
) -> None:
    with pytest.raises(Forbidden):
        await house.enter(wish=wish)
    assert not house.reported and not house.admitted


async def test_what_clashes_keeps_it_out_before_it_is_in(house: House) -> None:
    await house.first.submit(
        RegisterNode(id=house.first.id, name="new", cpus=1.0, memory=1, runtimes=()), by=house.first.identity
    )
    with pytest.raises(Conflict, match="new"):
        await house.enter()
    assert not house.reported and NEWCOMER.public not in house.state.nodes


class OneClass(Nothing):
    """A node that brings a storage class, and when it was let in somebody else makes one of that name."""

    def __init__(self, house: House) -> None:
        self._house = house

    def as_it_is(self) -> AdoptRecords:  # type: ignore[override]
        fast = StorageClass(name="fast", driver="local")
        return AdoptRecords(node=NEWCOMER.public, records=pack({"storage_classes": {"fast": fast}}))

    def sealed_for(self, vault: bytes) -> Envelope:  # type: ignore[override]
        return seal(ADMINISTRATOR, HIVE, os.urandom(8).hex(), encode_operation(self.as_it_is()))


async def test_what_clashes_since_it_was_let_in_keeps_it_out_too(house: House) -> None:
    bringing, letting_in = OneClass(house), house.report

    async def report(operation: Operation) -> Outcome:
        outcome = await letting_in(operation)
        other = StorageClassManifest(name="fast", driver="nfs", parameters={"server": "nas", "path": "/x"})
        await house.first.submit(PutStorageClass(manifest=other))
        return outcome

    house.sponsor._report = report
    with pytest.raises(Conflict, match="storage class fast"):
        await house.enter(bringing=bringing)
    assert house.admitted and NEWCOMER.public not in house.state.nodes
    house.sponsor._report = letting_in
    with pytest.raises(Conflict, match="storage class fast"):
        await house.enter(bringing=bringing)
    assert not house.admitted
    assert (await house.enter()).handover


async def test_only_its_own_administrator_says_what_it_brings(house: House) -> None:
    with pytest.raises(Forbidden, match="own administrator"):
        await house.enter(bringing=OneProject(signer=NEWCOMER))
    assert "mine" not in house.state.projects


class Another(OneProject):
    """It brings something in the name of a node that is in already."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def sealed_for(self, vault: bytes) -> Envelope:
        operation = replace(self.as_it_is(), node=self._node)
        return seal(ADMINISTRATOR, HIVE, os.urandom(8).hex(), encode_operation(operation))


class Senseless(Nothing):
    def sealed_for(self, vault: bytes) -> str:  # type: ignore[override]
        return "senseless"


async def test_nothing_is_brought_in_the_name_of_another_node_or_without_sense(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Forbidden, match="its own"):
        await house.enter(bringing=Another(house.first.id))
    with pytest.raises(Invalid, match="understand"):
        await house.enter(bringing=Senseless())  # type: ignore[arg-type]
    assert "mine" not in house.state.projects and "Traceback" not in caplog.text


async def test_why_it_is_refused_is_heard_also_when_the_voters_refuse(house: House) -> None:
    house.refuses = Conflict("this token is used up", hint="make another one")
    with pytest.raises(Conflict, match="used up") as refusal:
        await house.enter()
    assert refusal.value.hint == "make another one"


async def test_the_next_address_is_tried_where_nobody_answers(house: House) -> None:
    entered = await house.enter(addresses=[("10.9.9.9", 1), house.address])
    assert entered.admitted.name == "test"


async def test_where_nobody_answers_every_address_is_named(house: House) -> None:
    with pytest.raises(Unavailable, match=r"10\.9\.9\.9:1.*10\.9\.9\.8:2"):
        await house.enter(addresses=[("10.9.9.9", 1), ("10.9.9.8", 2)])


async def test_who_opens_slowly_holds_up_nobody(house: House) -> None:
    inner, slow, opened = house.peers, ("10.9.9.9", 1), asyncio.Event()

    class SlowAtOne:
        async def contact(self, address: Address, hive: str, secret: bytes, *, timeout: float) -> Contact:
            if address == slow:
                await opened.wait()
            return await inner.contact(address, hive, secret, timeout=timeout)

    house.peers = SlowAtOne()  # type: ignore[assignment]
    entered = await house.enter(addresses=[slow, house.address])
    assert entered.admitted.name == "test" and not opened.is_set()
    assert [each.address for each in house.knocked] == [slow, house.address]
    assert house.through == [Entrance(house.address, "the test")]


async def _silent(contact: Contact) -> None:
    await contact.receive()


async def _nonsense(contact: Contact) -> None:
    await contact.receive()
    await contact.send(b"\xc1 what")
    await contact.receive()


async def _knows_it(contact: Contact) -> None:
    await contact.receive()
    await door.say(contact, door.Known(acquainted(TOKEN.public, "sponsor", contact.binding)))
    await contact.receive()


async def _another_hive(contact: Contact) -> None:
    await _knows_it(contact)
    await door.say(contact, door.Admitted("test", KEY, {}))
    await contact.receive()
    await door.hand_over(contact, msgspec.msgpack.encode({"trust": None}))


@pytest.mark.parametrize("sponsor", [_silent, _nonsense, _knows_it, _another_hive])
async def test_a_sponsor_that_makes_no_sense_is_none(house: House, sponsor: Callable[..., object]) -> None:
    liar = _liar(house, sponsor)
    with pytest.raises(Unavailable):
        await house.enter(addresses=[liar])
    await house.enter(addresses=[liar, house.address])


def _liar(house: House, sponsor: Callable[..., object]) -> Address:
    """It has the hive's secret and is not of the hive."""
    house.hive.network.peers("liar", hive=HIVE, secret=SECRET).welcome(sponsor)  # type: ignore[arg-type]
    return house.hive.network.address("liar")


async def test_who_only_has_the_secret_learns_nothing_and_decides_nothing(house: House) -> None:
    heard: list[bytes | None] = []
    left = asyncio.Event()

    async def pretends(contact: Contact) -> None:
        heard.append(await contact.receive())
        await door.say(contact, door.Known(acquainted(NEWCOMER.public, "sponsor", contact.binding)))
        with contextlib.suppress(Unavailable):
            heard.append(await contact.receive())
        left.set()

    liar = _liar(house, pretends)
    with pytest.raises(Unavailable, match="not of the hive, although it has"):
        await house.enter(addresses=[liar], bringing=OneProject())
    await left.wait()
    first = heard[0]
    assert first and isinstance(msgspec.msgpack.decode(first, type=door.Word), door.Knock)
    assert bytes.fromhex(TOKEN.public) not in first and TOKEN.public.encode() not in first
    assert not any(heard[1:]) and not house.admitted


async def test_who_stands_between_has_nothing_of_it(house: House) -> None:
    """It passes on what the newcomer shows to somebody who is of the hive."""
    answers: list[type] = []
    between = house.hive.network.peers("between", hive=HIVE, secret=SECRET)

    async def passes_on(contact: Contact) -> None:
        inner = await between.contact(house.address, HIVE, SECRET, timeout=5)
        knock = await contact.receive()
        assert knock
        await inner.send(knock)
        answer = await inner.receive()
        assert answer
        answers.append(type(msgspec.msgpack.decode(answer, type=door.Word)))
        await contact.send(answer)
        await contact.receive()

    between.welcome(passes_on)
    with pytest.raises(Forbidden):
        await house.enter(addresses=[house.hive.network.address("between")], bringing=OneProject())
    assert answers == [door.Refused] and not house.admitted and not house.reported


async def test_a_no_of_somebody_unknown_counts_only_where_nobody_says_yes(house: House) -> None:
    said = asyncio.Event()

    async def refuses(contact: Contact) -> None:
        await contact.receive()
        await door.say(contact, door.Refused("forbidden", "you are not wanted"))
        said.set()
        await contact.receive()

    liar, sponsor = _liar(house, refuses), house.sponsor

    async def after_the_liar(contact: Contact) -> None:
        await said.wait()
        await sponsor.welcome(contact)

    with pytest.raises(Forbidden, match="not wanted"):
        await house.enter(addresses=[liar])
    assert house.entrances.hurried
    said.clear()
    late = house.hive.network.peers("late", hive=HIVE, secret=SECRET)
    late.welcome(after_the_liar)
    entered = await house.enter(addresses=[liar, house.hive.network.address("late")])
    assert entered.admitted.name == "test"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (door.Knock(b"guessed"), "expired, or was revoked, or is of another hive"),
        (door.Ask(b"join"), "knocks first"),
    ],
)
async def test_who_knows_no_token_is_not_even_asked_what_it_wants(
    house: House, word: door.Word, why: str
) -> None:
    contact = await house.peers.contact(house.address, HIVE, SECRET, timeout=5)
    await door.say(contact, word)
    with pytest.raises(HivemindError, match=why):
        await door.hear(contact)
    await contact.close()
    assert not house.reported


async def test_one_token_is_not_knocked_with_to_join_with_another(house: House) -> None:
    other = Identity(b"o" * 32)
    await house.first.submit(PutJoinToken(id=other.public, uses=1, expires=milliseconds() + 10**9))
    contact = await house.peers.contact(house.address, HIVE, SECRET, timeout=5)
    await door.say(contact, door.Knock(acquainted(other.public, "newcomer", contact.binding)))
    assert isinstance(await door.hear(contact), door.Known)
    join = entry.wish(house.invitation(), NEWCOMER, ADMINISTRATOR, "new")
    await door.say(contact, door.Ask(encode_operation(join)))
    with pytest.raises(Forbidden, match="knocked with"):
        await door.hear(contact)
    await contact.close()
