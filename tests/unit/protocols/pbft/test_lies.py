"""What nobody honest says: it changes nothing, and whoever said it is convicted where that can be proved."""

from __future__ import annotations

import msgspec
import pytest

from hivemind.protocols.machine import SECOND, Received
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.events import Convict
from hivemind.protocols.pbft.evidence import proven
from hivemind.security.statement import Domain, Statement
from unit.protocols.pbft import liar
from unit.protocols.pbft.world import HIVE, Key, World, epoch, verify

P1, P2 = liar.proposal("p/1"), liar.proposal("p/2")
NULL = wire.NULL_DIGEST


@pytest.fixture
def world() -> World:
    world = World("ABCD")
    world.start()
    world.settle()
    return world


def convicted(world: World, by: str) -> list[str]:
    told = [effect for name, effect in world.notices if name == by and isinstance(effect, Convict)]
    for effect in told:
        proof = wire.encode(effect.evidence)
        assert proven(proof, HIVE, verify, world.first) == effect.culprit
        assert proven(proof, "another/0", verify, world.first) is None
    return [effect.culprit for effect in told]


def dropped(world: World, name: str) -> dict[str, int]:
    replica = world.nodes[name].replica
    assert replica is not None
    return dict(replica.standing().dropped)


def view(world: World, name: str) -> tuple[int, bool]:
    replica = world.nodes[name].replica
    assert replica is not None
    return replica.standing().view, replica.standing().active


def number(world: World, name: str) -> int:
    replica = world.nodes[name].replica
    assert replica is not None
    return replica.standing().epoch.number


# Who may say what.


def test_pre_prepare_counts_from_the_primary_only(world: World) -> None:
    statement = liar.signed("B", wire.PrePrepare(0, 1, wire.digest(P1)))
    liar.tell(world, "C", statement, attached=P1)
    assert dropped(world, "C") == {"pre-prepare of another than the primary": 1}
    world.settle()
    assert not world.history


def test_prepare_counts_from_backups_only(world: World) -> None:
    liar.tell(world, "C", liar.signed("A", wire.Prepare(0, 1, wire.digest(P1))))
    assert dropped(world, "C") == {"prepare of the primary": 1}


def test_strangers_do_not_vote(world: World) -> None:
    liar.tell(world, "C", liar.signed("Z", wire.Prepare(0, 1, wire.digest(P1))))
    assert dropped(world, "C") == {"not a voter's vote": 1}


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"hive": "hive/1"}, id="another lineage"),
        pytest.param({"epoch": 1}, id="another epoch"),
        pytest.param({"key": "C"}, id="another key"),
    ],
)
def test_a_signature_counts_where_it_was_made_for(world: World, forged: dict[str, object]) -> None:
    body = wire.PrePrepare(0, 1, wire.digest(P1))
    made = wire.encode(body)
    domain = Domain("pbft", str(forged.get("hive", HIVE)), int(str(forged.get("epoch", 0))))
    signature = Key(str(forged.get("key", "A"))).sign(domain.covered(made))
    liar.tell(world, "B", Statement("A", made, signature), attached=P1)
    assert dropped(world, "B") == {"signature": 1}


def test_messages_of_other_epochs_are_dropped(world: World) -> None:
    liar.tell(world, "B", liar.signed("A", wire.PrePrepare(0, 1, NULL), epoch=7), epoch=7)
    assert dropped(world, "B") == {"another epoch": 1}


def test_only_the_one_encoding_counts(world: World) -> None:
    """msgpack has several for a number; a certificate has room for one."""
    body = wire.encode(wire.Prepare(0, 1, NULL))
    loose = body.replace(b"\x02\x00\x01", b"\x02\xcc\x00\x01", 1)
    assert loose != body
    signature = Key("B").sign(Domain("pbft", HIVE, 0).covered(loose))
    liar.tell(world, "C", Statement("B", loose, signature))
    assert dropped(world, "C") == {"malformed": 1}


@pytest.mark.parametrize(
    "message",
    [b"", b"\xc1", b"\x00" * 100, b"x" * (2**20 + 1), b"\x91" * 5000, wire.encode([1, 0])],
    ids=["empty", "reserved", "zeros", "too large", "deep", "short"],
)
def test_what_cannot_be_read_is_dropped_and_counted(world: World, message: bytes) -> None:
    world.nodes["B"].feed(Received("A", message))
    assert dropped(world, "B") == {"malformed": 1}


# Proposals.


def offered(world: World, data: bytes, *, to: str = "B", sequence: int = 1) -> None:
    statement = liar.signed("A", wire.PrePrepare(0, sequence, wire.digest(data)))
    liar.tell(world, to, statement, attached=data)


def votes(world: World, name: str) -> int:
    """PREPAREs that are on their way."""
    return sum(sender == name and _is_prepare(message) for sender, _, message in world.wire)


def _is_prepare(message: bytes) -> bool:
    packet = wire.decode(message)
    return isinstance(packet, wire.Said) and isinstance(wire.decode_body(packet.statement), wire.Prepare)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(liar.proposal("p/1", "p/1"), id="the same request twice"),
        pytest.param(
            wire.encode(wire.Proposal(1_000_000, (wire.Request("p/1", "", b"forged"),))),
            id="a request that nobody signed",
        ),
        pytest.param(liar.proposal("p/1", time=1_006_000), id="a time far ahead"),
        pytest.param(liar.proposal("p/1", time=994_000), id="a time far behind"),
        pytest.param(b"\x91", id="what cannot be read"),
        pytest.param(liar.proposal("p/" + "1" * 300), id="an id too long"),
    ],
)
def test_nobody_prepares_what_is_not_sound(world: World, data: bytes) -> None:
    offered(world, data)
    assert votes(world, "B") == 0


def test_nobody_prepares_what_is_executed(world: World) -> None:
    world.submit("A", "p/1")
    world.settle()
    offered(world, P1, sequence=2)
    assert votes(world, "B") == 0


def test_sequences_are_not_skipped(world: World) -> None:
    """A faulty primary might otherwise exhaust the sequence numbers (section 4.2)."""
    offered(world, P1, sequence=2)
    assert votes(world, "B") == 0
    offered(world, P2, sequence=1)
    assert votes(world, "B") == 6


def test_nothing_is_prepared_beyond_the_watermarks_or_the_pipeline(world: World) -> None:
    offered(world, P1, sequence=65)
    assert dropped(world, "B") == {"outside view or watermarks": 1}
    for sequence in range(1, 20):
        offered(world, liar.proposal(f"p/{sequence}"), sequence=sequence)
    assert votes(world, "B") == 3 * world.settings.pipeline


def test_time_does_not_go_back_in_a_view(world: World) -> None:
    offered(world, liar.proposal("p/1", time=1_002_000))
    offered(world, liar.proposal("p/2", time=1_001_000), sequence=2)
    assert votes(world, "B") == 3


# Contradictions.


@pytest.mark.parametrize("kind", [wire.PrePrepare, wire.Prepare, wire.Commit])
def test_two_votes_for_one_sequence_convict(world: World, kind: type[wire.PrePrepare]) -> None:
    signer = "A" if kind is wire.PrePrepare else "B"
    for data in (P1, P2):
        liar.tell(world, "C", liar.signed(signer, kind(0, 1, wire.digest(data))))
    assert convicted(world, "C") == [signer]
    world.settle()
    assert convicted(world, "D") == [signer], "evidence is passed on"


def test_two_checkpoints_convict(world: World) -> None:
    for digest in (b"1" * 32, b"2" * 32):
        liar.tell(world, "C", liar.signed("B", wire.Checkpoint(32, digest)))
    assert convicted(world, "C") == ["B"]


def test_a_forged_contradiction_convicts_nobody(world: World) -> None:
    """Passed on by somebody else, with a signature that is none; and it does not take the true one's place."""
    true = liar.signed("B", wire.Prepare(0, 1, wire.digest(P1)))
    false = msgspec.structs.replace(
        liar.signed("B", wire.Prepare(0, 1, wire.digest(P2))), signature=b"\0" * 64
    )
    liar.tell(world, "C", false, over="D")
    liar.tell(world, "C", true)
    liar.tell(world, "C", false, over="D")
    assert convicted(world, "C") == []
    assert dropped(world, "C") == {"signature": 2}


def test_evidence_that_proves_nothing_convicts_nobody(world: World) -> None:
    one = liar.signed("B", wire.Prepare(0, 1, wire.digest(P1)))
    other = liar.signed("B", wire.Prepare(1, 1, wire.digest(P2)))
    change = liar.view_change("B", 1)
    for evidence in (
        wire.Evidence(0, one, other),
        wire.Evidence(0, one, one),
        wire.Evidence(0, one),
        wire.Evidence(0, change),
        wire.Evidence(0, one, liar.signed("C", wire.Prepare(0, 1, wire.digest(P2)))),
    ):
        world.nodes["C"].feed(Received("D", wire.encode(wire.Accused(evidence))))
        assert proven(wire.encode(evidence), HIVE, verify, world.first) is None
    assert convicted(world, "C") == []
    assert proven(b"nonsense", HIVE, verify, world.first) is None
    no_text = wire.encode(wire.Evidence(0, one, other)).replace(b"\xa1B", b"\xa1\xff")
    assert proven(no_text, HIVE, verify, world.first) is None


def test_who_commits_may_not_leave_it_out_of_its_view_change(world: World) -> None:
    """More than f of them could undo a decision that way; it shows."""
    liar.tell(world, "C", liar.commit("B", 0, 1, P1))
    liar.tell(world, "C", liar.view_change("B", 1))
    assert convicted(world, "C") == ["B"]


# VIEW-CHANGE.


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(liar.prepared("AZB", 0, 1, P1), id="a stranger prepared"),
        pytest.param(liar.prepared("AAB", 0, 1, P1), id="the primary prepared"),
        pytest.param(liar.prepared("AB", 0, 1, P1), id="too few"),
        pytest.param(liar.prepared("ABCD", 0, 1, P1), id="too many"),
        pytest.param(liar.prepared("BCD", 0, 1, P1), id="not the primary's proposal"),
        pytest.param(liar.prepared("BCD", 1, 1, P1), id="of a view that comes"),
        pytest.param(
            msgspec.structs.replace(liar.prepared("ABC", 0, 1, P1), digest=wire.digest(P2)), id="altered"
        ),
        pytest.param(liar.prepared("ABC", 0, 0, P1), id="below the watermark"),
        pytest.param(liar.prepared("ABC", 0, 300, P1), id="above the watermark"),
    ],
)
def test_a_fabricated_p_convicts_and_does_not_count(
    world: World, certificate: wire.PreparedCertificate
) -> None:
    liar.tell(world, "C", liar.view_change("D", 1, certificate))
    assert convicted(world, "C") == ["D"]
    liar.tell(world, "C", liar.view_change("B", 1))
    assert view(world, "C") == (0, True), "one honest voter is not f+1"


def test_f_plus_1_make_others_join_the_smallest_view(world: World) -> None:
    """Section 4.5.2: "it sends a view-change message for the smallest view in the set, even if its timer has not
    expired"."""
    liar.tell(world, "C", liar.view_change("D", 7))
    assert view(world, "C") == (0, True)
    liar.tell(world, "C", liar.view_change("B", 3))
    assert view(world, "C") == (3, False)


def test_between_views_nobody_votes(world: World) -> None:
    """Section 4.4: it "does not accept messages (other than checkpoint, view-change, and new-view messages)"."""
    for name in "BD":
        liar.tell(world, "C", liar.view_change(name, 1))
    offered(world, P1, to="C")
    assert votes(world, "C") == 0
    assert view(world, "C") == (1, False)


# NEW-VIEW.


CHANGES = tuple(liar.view_change(name, 1, liar.prepared("ABC", 0, 2, P2)) for name in "BCD")


@pytest.mark.parametrize(
    ("changes", "offers"),
    [
        pytest.param(CHANGES, [(1, NULL)], id="omits a prepared request"),
        pytest.param(CHANGES, [(1, NULL), (2, NULL)], id="nulls a prepared request"),
        pytest.param(CHANGES, [(1, NULL), (2, wire.digest(P1))], id="alters a prepared request"),
        pytest.param(CHANGES, [(1, wire.digest(P1)), (2, wire.digest(P2))], id="fills a gap with its own"),
        pytest.param(CHANGES, [(2, wire.digest(P2))], id="leaves a gap"),
        pytest.param(CHANGES, [(1, NULL), (2, wire.digest(P2)), (3, NULL)], id="adds one"),
        pytest.param(CHANGES, [(2, wire.digest(P2)), (1, NULL)], id="changes the order"),
        pytest.param(CHANGES[:2], [(1, NULL), (2, wire.digest(P2))], id="too few view changes"),
        pytest.param(
            (CHANGES[0], CHANGES[0], CHANGES[1]), [(1, NULL), (2, wire.digest(P2))], id="one of them twice"
        ),
        pytest.param(
            tuple(liar.view_change(name, 2, liar.prepared("ABC", 0, 2, P2)) for name in "BCD"),
            [(1, NULL), (2, wire.digest(P2))],
            id="reuses V of another view",
        ),
        pytest.param(
            (*CHANGES[:2], liar.view_change("D", 1, liar.prepared("AZB", 0, 2, P2))),
            [(1, NULL), (2, wire.digest(P2))],
            id="V with a fabricated P",
        ),
    ],
)
def test_a_new_view_that_does_not_follow_from_v_is_refused(
    world: World, changes: tuple[Statement, ...], offers: list[tuple[int, bytes]]
) -> None:
    for name in "BD":
        liar.tell(world, "C", liar.view_change(name, 1))
    assert view(world, "C") == (1, False)
    liar.tell(world, "C", liar.new_view("B", 1, changes, offers))
    assert view(world, "C") == (2, False), "a bad new-view: on to the next view"
    assert convicted(world, "C") == ["B"]


def test_a_new_view_that_follows_is_entered_and_all_of_o_prepared(world: World) -> None:
    """ "even if executed": who has not voted in this view votes on every sequence of O."""
    statement = liar.new_view("B", 1, CHANGES, [(1, NULL), (2, wire.digest(P2))])
    liar.tell(world, "C", statement)
    assert view(world, "C") == (1, True)
    assert votes(world, "C") == 3, "the null request; the other body is not here"
    world.nodes["C"].feed(Received("D", wire.encode(wire.Bodies((P2,)))))
    assert votes(world, "C") == 6


def test_a_new_view_counts_from_its_primary_only(world: World) -> None:
    liar.tell(world, "C", liar.new_view("D", 1, CHANGES, [(1, NULL), (2, wire.digest(P2))]))
    assert view(world, "C") == (0, True)


def test_two_new_views_convict(world: World) -> None:
    for changes in (CHANGES, (liar.view_change("A", 1, liar.prepared("ABC", 0, 2, P2)), *CHANGES[1:])):
        liar.tell(world, "C", liar.new_view("B", 1, changes, [(1, NULL), (2, wire.digest(P2))]))
    assert convicted(world, "C") == ["B"]


def test_a_false_new_view_far_ahead_moves_nobody(world: World) -> None:
    liar.tell(world, "C", liar.new_view("B", 1001, (), []))
    assert view(world, "C") == (0, True)


# Catching up.


def test_decisions_prove_themselves_or_do_not_count(world: World) -> None:
    key = wire.digest(P1)
    names = "ABC"
    pairs = tuple((name, liar.signed(name, wire.Commit(0, 1, key)).signature) for name in names)
    good = wire.CommitCertificate(0, 0, 1, key, pairs)
    for certificate, data in [
        (good, P2),
        (msgspec.structs.replace(good, signatures=pairs[:2]), P1),
        (msgspec.structs.replace(good, signatures=(pairs[0], pairs[0], pairs[1])), P1),
        (msgspec.structs.replace(good, view=1), P1),
        (msgspec.structs.replace(good, epoch=1), P1),
        (msgspec.structs.replace(good, signatures=(*pairs[:2], ("D", pairs[2][1]))), P1),
    ]:
        decided = wire.Decided(certificate, data)
        world.nodes["D"].feed(Received("A", wire.encode(wire.Decisions(1, (decided,)))))
    world.settle()
    assert not world.nodes["D"].ledger
    world.nodes["D"].feed(Received("Z", wire.encode(wire.Decisions(1, (wire.Decided(good, P1),)))))
    world.settle()
    assert world.nodes["D"].ledger, "who sends it does not matter"


def test_an_epoch_begins_by_a_quorum_of_the_one_before_only(world: World) -> None:
    following = wire.Next.of(epoch("XYZ", number=1, since=33))
    body = wire.Checkpoint(32, b"s" * 32, following)
    for names in ("AB", "XYZ"):
        pairs = tuple((name, liar.signed(name, body).signature) for name in names)
        chain = wire.Chain((wire.Boundary(wire.CheckpointCertificate(0, body, pairs)),))
        world.nodes["D"].feed(Received("A", wire.encode(chain)))
        assert number(world, "D") == 0
    pairs = tuple((name, liar.signed(name, body).signature) for name in "ABC")
    chain = wire.Chain((wire.Boundary(wire.CheckpointCertificate(0, body, pairs)),))
    world.nodes["D"].feed(Received("A", wire.encode(chain)))
    assert number(world, "D") == 1


def test_flooding_with_status_is_answered_within_a_budget(world: World) -> None:
    for _ in range(8):
        world.submit("A", f"p/{len(world.history)}", b"y" * 400_000)
        world.settle()
    for _ in range(1000):
        world.nodes["B"].feed(Received("D", wire.encode(wire.FetchDecided(1))))
    size = sum(len(message) for sender, to, message in world.wire if (sender, to) == ("B", "D"))
    assert size < 20 * 2**20
    assert dropped(world, "B")["asks too much"] > 900


def test_one_signer_that_floods_crowds_out_only_itself(world: World) -> None:
    for number in range(2000):
        wish = wire.Wish(wire.Request(f"loud/{number}", "", b"x"))
        world.nodes["B"].feed(Received("Z", wire.encode(wish)))
    assert dropped(world, "B")["a request: too many requests of this signer are pending"] == 976
    world.submit("B", "quiet/1")
    world.run(2 * SECOND, until=lambda: "quiet/1" in world.nodes["B"].settled)
    order = world.nodes["B"].executions
    assert order.index("quiet/1") < 1000, "signers take turns: only what was proposed already is before it"
