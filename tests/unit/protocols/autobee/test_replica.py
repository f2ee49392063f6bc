"""The machine of the shared store: several of them in one simulated world."""

from __future__ import annotations

import msgspec
import pytest

from hive_of_replicas import HIVE, START, Node, Stamp, World, name, nodes_of, verify
from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.attesting import Certified, certified
from hivemind.protocols.autobee.entry import Ack, Body, Head, Notary, Seen, encode_body, read
from hivemind.protocols.autobee.evidence import convicted
from hivemind.protocols.autobee.log import BODY, Piece, cleared, fold
from hivemind.protocols.autobee.replica import Replica
from hivemind.protocols.autobee.tree import Peaks
from hivemind.protocols.machine import Received
from hivemind.security.statement import Statement


def test_a_write_is_everywhere_after_a_group_and_a_message() -> None:
    world = World(3)
    world.run(1)
    world.all[0].write({"a": b"1"})
    assert world.all[0].contents() == {"a": b"1"}
    world.run(0.06)
    assert world.agree() == {"a": b"1"}


def test_what_saw_the_other_counts_whoever_wrote_it() -> None:
    world = World(3)
    for turn, writer in enumerate([0, 2, 1, 0, 1]):
        world.all[writer].write({"name": b"%d" % turn})
        world.run(1)
    assert world.agree() == {"name": b"4"}
    world.all[2].write({"name": None})
    world.run(1)
    assert world.agree() == {}


def test_writes_at_once_end_alike_and_the_loser_takes_its_own_back() -> None:
    world = World(3)
    world.run(1)
    for index, node in enumerate(world.all):
        node.write({"name": b"%d" % index})
    world.run(10)
    [value] = world.agree().values()
    assert value in (b"0", b"1", b"2")
    for node in world.all:
        assert [len(list(node.replica.order.newest(w))) for w in node.replica.writers].count(1) == 1
        assert node.replica.final > 0


def test_deletions_are_forgotten_once_everyone_is_past_them() -> None:
    world = World(3)
    world.all[0].write({f"k/{i}": b"x" for i in range(100)})
    world.run(1)
    world.all[0].write({f"k/{i}": None for i in range(100)})
    world.run(20)
    assert world.agree() == {}
    for node in world.all:
        assert list(node.replica.order.newest(world.admitted[0])) == []
        node.compact()
        assert node.disk.bodies(world.admitted[0]) == 0
        assert nodes_of(node.disk.logs[world.admitted[0]].pieces) <= 8


def test_what_was_deleted_never_shows_again_though_an_older_entry_comes_late() -> None:
    world = World(4)
    first, apart = world.all[0], world.all[3]
    first.write({"a": b"1"})
    world.run(2)
    world.part([apart])
    apart.write({"a": b"2"})
    for _ in range(3):
        first.write({"b": b"x"})
        world.run(1)
    first.write({"a": None})
    world.run(10)
    world.heal()
    for _ in range(100):
        world.run(0.001)
        assert "a" not in first.contents()
    world.run(10)
    assert world.agree() == {"b": b"x"}


def test_apart_and_together_again_nothing_is_wrong_after_one_exchange() -> None:
    world = World(5)
    world.all[0].write({"name/web": b"old", "name/db": b"one"})
    world.run(2)
    world.part(world.all[:2])
    world.all[0].write({"name/web": b"new"})
    world.all[1].write({"left": b"1"})
    world.all[4].write({"right": b"1", "name/db": None})
    world.run(30)
    assert world.all[0].contents()["name/web"] == b"new"
    assert world.all[4].contents()["name/web"] == b"old"
    world.heal()
    world.run(0.1)
    assert world.agree() == {"name/web": b"new", "left": b"1", "right": b"1"}


def test_a_node_that_was_down_gets_what_lives_and_little_else() -> None:
    world = World(3)
    late = world.all[2]
    late.write({"late": b"1"})
    world.run(5)
    late.crash()
    for turn in range(500):
        world.all[0].write({f"k/{turn % 5}": b"%d" % turn})
        world.run(0.06)
    for node in world.all[:2]:
        node.compact()
        assert node.disk.bodies(world.admitted[0]) <= 6
    late.start()
    world.run(1)
    assert len(world.agree()) == 6
    assert late.disk.bodies(world.admitted[0]) <= 6


def test_restarts_find_everything_and_go_on() -> None:
    world = World(3)
    for turn in range(4):
        for index, node in enumerate(world.all):
            node.write({f"{index}/{turn}": b"x", "shared": b"%d%d" % (turn, index)})
            world.run(0.3)
    before = world.agree()
    for node in world.all:
        node.crash()
    for node in world.all:
        node.start()
    assert world.agree() == before
    world.all[1].write({"more": b"1"})
    world.run(1)
    assert world.agree() == before | {"more": b"1"}
    assert not any(node.convicted for node in world.all)


def test_a_node_that_lost_its_disk_begins_anew_and_is_no_liar() -> None:
    world = World(3)
    lost = world.all[0]
    lost.write({"old": b"1", "kept": b"1"})
    world.run(2)
    lost.crash()
    lost.disk.logs.clear()
    world.run(5)
    lost.start()
    lost.write({"kept": b"2"})
    world.run(5)
    assert world.agree() == {"kept": b"2"}
    assert not any(node.convicted for node in world.all)


def test_a_node_set_back_to_an_older_disk_notices_before_it_contradicts_itself() -> None:
    world = World(3)
    node = world.all[0]
    node.write({"a": b"1"})
    world.run(2)
    copy = dict(node.disk.logs)
    node.write({"a": b"2"})
    world.run(2)
    node.crash()
    node.disk.logs = copy
    node.start()
    world.run(2)
    assert node.replica.counters["own log lost"] == 1
    node.write({"a": b"3"})
    world.run(2)
    assert world.agree() == {"a": b"3"}
    assert not any(each.convicted for each in world.all)


def test_who_left_the_hive_is_forgotten_and_not_listened_to() -> None:
    world = World(3)
    gone = world.all[2]
    gone.write({"gone": b"1", "both": b"1"})
    world.run(1)
    world.all[0].write({"both": b"2"})
    world.run(1)
    for node in world.all[:2]:
        node.tell(steps.Admit(tuple(world.admitted[:2])))
        assert gone.public not in node.disk.logs
    gone.write({"later": b"1"})
    world.run(3)
    assert all(node.contents() == {"both": b"2"} for node in world.all[:2])
    with pytest.raises(ValueError, match="last"):
        world.all[0].replica.handle(steps.Admit(()), world.now)


def test_batches_are_seen_whole_or_not_at_all() -> None:
    world = World(3, seed=5)
    world.loss = 0.4
    for turn in range(60):
        node = world.all[turn % 3]
        node.write({f"{turn}/{part}": b"x" for part in range(7)})
        world.run(0.05)
        for each in world.all:
            for other in range(turn + 1):
                found = sum(key.startswith(f"{other}/") for key in each.contents())
                assert found in (0, 7)
    world.heal()
    world.run(5)
    assert len(world.agree()) == 420


def test_many_nodes_tell_only_some_and_all_hear() -> None:
    world = World(24, settings=steps.Settings(fan_out=8))
    world.run(1.5)  # amid two comparisons
    before = world.sent
    world.all[3].write({"a": b"1"})
    world.run(0.1)
    assert world.agree() == {"a": b"1"}
    assert world.sent - before < 24 * 6


def test_a_silent_link_between_two_is_made_up_for_by_the_third() -> None:
    world = World(3)
    a, b = world.admitted[:2]
    world.run(1)
    world.cut.add((a, b))
    for one, other in ((a, b), (b, a)):
        world.nodes[one].tell(steps.Linked(other, False))
    world.all[0].write({"a": b"1"})
    world.run(2)
    assert world.agree() == {"a": b"1"}


# -- liars -------------------------------------------------------------------------------------------------------


class Liar:
    """Holds a real key, and writes whatever log it likes."""

    def __init__(self, node: Node) -> None:
        self.node, self.notary = node, Notary(HIVE, verify)
        self.pieces: list[Piece] = []

    def head(self, pieces: list[Piece], fork: int = START) -> Statement:
        peaks = Peaks()
        assert fold(peaks, pieces)
        return self.notary.sign(Stamp(self.node.public), Head(fork, peaks.length, peaks.root()))

    def chunk(self, keys: list[str], since: list[Piece] = [], **said: int) -> wire.Chunk:  # noqa: B006
        clock = said.get("clock", 1)
        new = [
            Piece(at, BODY, encode_body(Body(at + 1, clock + at, key, b"lie", 0)))
            for at, key in enumerate(keys, len(since))
        ]
        self.pieces = [*since, *new]
        return wire.Chunk(self.head(self.pieces), tuple(new))

    def tell(self, to: Node, message: wire.Message) -> None:
        to.tell(Received(self.node.public, wire.encode(message)))


def lies(world: World) -> Liar:
    world.run(1)
    world.all[-1].crash()
    return Liar(world.all[-1])


def test_two_logs_of_one_length_convict_their_writer_everywhere() -> None:
    world = World(4)
    world.all[0].write({"true": b"1"})
    liar = lies(world)
    liar.tell(world.all[0], liar.chunk(["x", "a"]))
    liar.tell(world.all[1], liar.chunk(["x", "b"]))
    world.run(3)
    assert world.agree() == {"true": b"1"}
    for node in world.all[:3]:
        assert node.convicted == [liar.node.public]
        evidence = node.replica.convicts()[liar.node.public]
        assert convicted(evidence, Notary(HIVE, verify)) == liar.node.public
        assert convicted(evidence, Notary("another", verify)) == ""
    liar.tell(world.all[0], liar.chunk(["later"], liar.pieces))
    assert world.agree() == {"true": b"1"}
    world.all[0].crash()
    world.all[0].start()
    assert list(world.all[0].replica.convicts()) == [liar.node.public]


def test_a_longer_log_that_does_not_continue_the_shorter_convicts_too() -> None:
    world = World(4)
    liar = lies(world)
    liar.tell(world.all[0], liar.chunk(["x", "a", "c"]))
    liar.tell(world.all[1], liar.chunk(["x", "b"]))
    liar.tell(world.all[1], liar.chunk(["d", "e", "f"], liar.pieces))
    world.run(3)
    assert [node.convicted for node in world.all[:3]] == [[liar.node.public]] * 3
    assert world.agree() == {}


def test_nobody_can_be_made_a_liar_by_those_who_pass_things_on() -> None:
    world = World(4)
    world.all[0].write({"true": b"1"})
    world.run(1)
    liar = lies(world)
    victim = world.all[0]
    kept = victim.disk.logs[victim.public]
    assert kept.head is not None
    other = Piece(0, BODY, encode_body(Body(1, 1, "true", b"2", 0)))
    liar.tell(world.all[1], wire.Chunk(kept.head, (other,)))
    liar.tell(world.all[1], wire.Chunk(kept.head, (), (Piece(0, 0, bytes(32)),), (Piece(0, 0, bytes(32)),)))
    forged = Statement(victim.public, kept.head.body, bytes(32))
    liar.tell(world.all[1], wire.Chunk(forged, (Piece(1, BODY, other.data),)))
    liar.tell(world.all[1], wire.Accuse(b"nonsense"))
    world.run(3)
    assert world.agree() == {"true": b"1"}
    assert not any(node.convicted for node in world.all)


def test_a_clock_far_ahead_is_not_followed() -> None:
    world = World(3)
    liar = lies(world)
    liar.tell(world.all[0], liar.chunk(["ahead"], clock=1 << 61))
    world.run(2)
    assert world.agree() == {}
    world.all[0].write({"a": b"1"})
    [entry] = world.all[0].entries()
    assert entry.clock < START


def test_what_refers_to_what_is_nowhere_waits_and_holds_up_nobody_else() -> None:
    world = World(3)
    liar = lies(world)
    seen = (Seen(bytes.fromhex(world.admitted[0]), START, 99),)
    pieces = [Piece(0, BODY, encode_body(Body(1, 1, "early", b"x", 0, seen=seen)))]
    liar.tell(world.all[0], wire.Chunk(liar.head(pieces), tuple(pieces)))
    world.all[0].write({"a": b"1"})
    world.run(3)
    assert world.agree() == {"a": b"1"}


def test_one_liar_cannot_fill_the_others() -> None:
    world = World(3, settings=steps.Settings(rate=1000, burst=100_000, largest_log=150_000))
    liar = lies(world)
    since: list[Piece] = []
    for turn in range(20):
        chunk = liar.chunk([f"{turn}/{i}-{'x' * 400}" for i in range(40)], since)
        since = liar.pieces
        liar.tell(world.all[0], chunk)
        world.run(10)
    assert world.all[0].replica.counters["too much at once"] > 0
    assert sum(len(p.data) for p in world.all[0].disk.logs[liar.node.public].pieces) < 150_000


def test_what_others_say_in_its_name_keeps_no_writer_from_being_heard() -> None:
    world = World(3, settings=steps.Settings(rate=1000, burst=100_000, largest_log=150_000))
    liar, owner = lies(world), world.all[0]
    owner.write({"a": b"1"})
    world.run(1)
    kept = owner.disk.logs[owner.public]
    assert kept.head is not None
    unsigned = Statement(owner.public, liar.head([Piece(0, BODY, b"x")]).body, bytes(64))
    garbage = Piece(len(kept.pieces), BODY, b"x" * 50_000)
    for head in (unsigned, kept.head):
        for pieces in ((*kept.pieces, garbage), (garbage,), tuple(kept.pieces)):
            for _ in range(10):
                liar.tell(world.all[1], wire.Chunk(head, pieces))
    owner.write({"b": b"2"})
    world.run(1)
    assert world.all[1].contents() == {"a": b"1", "b": b"2"}
    assert not world.all[1].replica.counters["too much at once"]


def test_which_entries_live_is_heard_only_from_who_was_asked() -> None:
    world = World(3)
    liar, owner = lies(world), world.all[0]
    owner.write({f"k/{i}": b"x" for i in range(5)})
    world.run(20)
    other = world.all[1]
    ack = other.disk.logs[owner.public].ack
    assert ack is not None and read(ack)
    for sequences in ([], [1, 2], [1] * 100_000):
        liar.tell(other, wire.Living(ack, wire.pack(sequences)))
    assert not other.replica.counters["malformed"] and len(other.contents()) == 5


def _numbered(number: int) -> list[bytes]:
    """Messages with that number wherever one stands, as no honest node makes them."""
    encode, signed = msgspec.msgpack.encode, ("a" * 64, b"", b"")
    return [
        encode((3, signed, [(number, BODY, b"x")])),
        encode((3, signed, [(0, number, b"x" * 32)])),
        encode((1, [(b"x" * 32, number, 1, b"")])),
        encode((1, [(b"x" * 32, 1, number, b"")])),
        encode((4, b"x" * 32, 1, number)),
        encode((6, b"x" * 32, number, b"")),
    ]


@pytest.mark.parametrize("number", [-2, 1 << 62, (1 << 64) - 1])
def test_numbers_that_not_everybody_can_compute_with_are_none(number: int) -> None:
    """A node of the tree of that level would stand over more entries than fit into any memory."""
    world = World(2)
    messages = _numbered(number)
    for message in messages:
        world.all[0].tell(Received(name(1), message))
    assert world.all[0].replica.counters["unreadable"] == len(messages)
    for said in (
        Head(number, 1, b""),
        Head(1, number, b""),
        Ack(1, 1, number, 0, b""),
        Ack(1, 1, 1, number, b""),
    ):
        assert read(Notary(HIVE, verify).sign(Stamp(name(1)), said)) is None
    assert wire.unpack(b"\xff" * 7 + b"\x7f") == []


def test_entries_that_somebody_left_out_are_mended_by_their_writer() -> None:
    world = World(4)
    owner = world.all[0]
    owner.write({f"k/{i}": b"x" for i in range(20)})
    world.all[3].crash()
    world.run(10)
    liar = lies(world)
    late = world.all[3] = world.nodes[world.admitted[3]]
    kept = owner.disk.logs[owner.public]
    assert kept.head is not None
    late.up = True
    late.start()
    world.part([late])
    hidden = wire.Chunk(kept.head, tuple(cleared(kept.pieces, lambda sequence: sequence % 2 == 0)))
    late.tell(Received(liar.node.public, wire.encode(hidden)))
    assert len(late.contents()) == 10
    world.heal()
    world.run(6)
    assert len(world.agree()) == 20
    assert late.replica.counters["mended"] > 0
    assert late.disk.bodies(owner.public) == 20


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x91\x63", b"x" * 2_000_000, b"\x93\x01\x90\xa1\xff"])
def test_what_cannot_be_read_is_counted_and_dropped(message: bytes) -> None:
    world = World(2)
    world.all[0].tell(Received(name(1), message))
    assert world.all[0].replica.counters["unreadable"] == 1


def test_strangers_are_not_heard() -> None:
    world = World(2)
    world.all[0].tell(Received(name(9), wire.encode(wire.Hello(()))))
    assert world.all[0].replica.counters == {"from strangers": 1}


def test_questions_are_answered_so_many_times_a_second() -> None:
    world = World(2)
    before = world.sent
    for _ in range(1000):
        world.all[0].tell(Received(name(1), wire.encode(wire.Hello(()))))
    assert world.sent - before < 500
    assert world.all[0].replica.counters["too many questions"] > 500


def test_outsiders_count_only_where_somebody_judges_them() -> None:
    world = World(2)
    guest = Liar(Node(world, name(9)))
    chunk = guest.chunk(["guest/good", "bad"])
    world.all[0].tell(Received(name(9), wire.encode(chunk)))
    assert world.all[0].contents() == {}
    open_one = Replica(
        hive=HIVE,
        signer=Stamp(name(0)),
        verify=verify,
        wall=lambda now: START,
        outsiders=lambda entry: entry.key.startswith("guest/"),
    )
    open_one.handle(Received(name(9), wire.encode(chunk)), 0)
    assert [entry.key for entry in open_one.order.view] == ["guest/good"]
    assert open_one.writers == (name(0),)


# -- checkpoints -------------------------------------------------------------------------------------------------


def test_superseded_entries_are_cleared_only_below_what_was_certified() -> None:
    world = World(3)
    owner = world.all[0]
    for turn in range(10):
        owner.write({"a": b"%d" % turn})
        world.run(1)
    point = certified({name(0): world.all[1].replica.attest(0)}, 1)
    for turn in range(10):
        owner.write({"a": b"%d" % turn})
        world.run(1)
    for node in world.all:
        node.tell(steps.Certify(point))
        node.compact()
        assert node.disk.bodies(owner.public) == 10
    assert world.agree() == {"a": b"9"}


def test_a_log_that_is_not_the_certified_one_is_fetched_again() -> None:
    world = World(4)
    liar = lies(world)
    liar.tell(world.all[0], liar.chunk(["x", "b"]))
    world.run(2)
    other = Liar(liar.node)
    right = other.chunk(["x", "a"])
    peaks = Peaks()
    fold(peaks, right.pieces)
    point = (Certified(liar.node.public, START, 2, peaks.root()),)
    world.all[0].tell(steps.Certify(point))
    assert world.all[0].contents() == {}
    assert world.all[0].replica.counters["not what was certified"] == 1


def test_entering_another_hive_takes_ones_own_entries_along() -> None:
    world = World(2)
    world.all[0].write({"mine": b"1"})
    world.all[1].write({"theirs": b"1"})
    world.run(1)
    world.all[0].tell(steps.Enter("another"))
    assert world.all[0].contents() == {"mine": b"1"}
    kept = world.all[0].disk.logs
    assert list(kept) == [world.admitted[0]]
    assert kept[world.admitted[0]].head is not None
    assert Notary("another", verify).genuine(kept[world.admitted[0]].head)
