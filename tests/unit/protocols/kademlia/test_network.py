"""Many machines together: they find each other, whatever is lost, whoever comes, goes and lies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.protocols.kademlia import wire
from hivemind.protocols.kademlia.events import (
    Get,
    Got,
    Join,
    Look,
    Meet,
    Moved,
    Part,
    Put,
    PutMutable,
    Review,
    Translation,
)
from hivemind.protocols.kademlia.ids import Address, distance, node_id
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.kademlia.signing import immutable_key, mutable_key
from hivemind.protocols.kademlia.tokens import digested
from hivemind.protocols.machine import SECOND
from tests.unit.protocols.kademlia.net import TOPIC, WALL, Net, Node, begin, meshed

BRIEF = Settings(record_time=20 * SECOND, announce_every=8 * SECOND, token_every=5 * SECOND)


def grown(count: int, seed: int = 0, settings: Settings | None = None) -> tuple[Net, list[Node]]:
    net = Net(seed, settings)
    nodes = net.many(count)
    begin(nodes, nodes[:1])
    assert net.run(5, lambda: meshed(nodes))
    net.run(2)
    return net, nodes


@pytest.mark.parametrize("seed", range(5))
def test_ten_that_begin_at_the_same_moment_know_each_other_in_less_than_two_seconds(seed: int) -> None:
    net = Net(seed)
    nodes = net.many(10)
    begin(nodes, nodes[:1])
    assert net.run(2, lambda: meshed(nodes))
    assert net.largest <= wire.LARGEST


def test_they_do_so_with_a_quarter_of_all_datagrams_lost() -> None:
    net = Net(3)
    net.loss = 0.25
    nodes = net.many(10)
    begin(nodes, nodes[:1])
    assert net.run(10, lambda: meshed(nodes))


def test_who_is_so_slow_that_all_patience_ends_is_found_soon_after() -> None:
    net = Net(4)
    nodes = net.many(10)
    slow = nodes[4]
    net.tap = lambda node, to, message: (
        None if net.now < 7 * SECOND and slow.address in (node.address, to) else message
    )
    begin(nodes, nodes[:1])
    assert not net.run(6.9, lambda: meshed(nodes))
    assert net.run(30, lambda: meshed(nodes))


def test_any_node_will_do_to_begin_with() -> None:
    net, nodes = grown(6)
    net.fall(nodes[0])
    late = net.node("late")
    begin([late], nodes[0:1] + nodes[4:5])
    assert net.run(5, lambda: len(late.found) == 6)
    assert net.run(5, lambda: all(late.id in node.found for node in nodes[1:]))


def test_whoever_begins_before_all_others_is_found_once_they_come() -> None:
    net = Net()
    first, second = net.node("first"), net.node("second")
    net.fall(second)
    begin([first], [second])
    net.run(60)
    net.rise(second)
    begin([second], [])
    assert net.run(40, lambda: bool(first.found and second.found))


def test_a_lookup_among_many_asks_few_and_finds_what_is_announced() -> None:
    net = Net(5, Settings(k=6, alpha=3))
    nodes = net.many(40)
    for number, node in enumerate(nodes):
        node.give(Meet((nodes[number // 2].address,)))
        net.run(0.02)
    net.run(4)
    begin(nodes[20:23], [])
    net.run(3)
    before = net.sent
    nodes[37].give(Look(TOPIC, 1))
    assert net.run(3, lambda: nodes[37].ended(1) is not None)
    assert nodes[37].found.keys() == {node.id for node in nodes[20:23]}
    assert net.sent - before < 60


def test_what_is_taken_back_is_not_found_any_more_nor_what_its_node_forgot() -> None:
    net, nodes = grown(6, settings=BRIEF)
    nodes[1].give(Part(TOPIC, 9))
    assert net.run(5, lambda: nodes[1].ended(9) is not None)
    net.fall(nodes[2])
    asking = net.node("asking")
    asking.give(Meet((nodes[0].address,)))
    asking.give(Look(TOPIC, 1))
    net.run(3)
    assert nodes[1].id not in asking.found and nodes[3].id in asking.found
    assert nodes[2].id in asking.found, "it crashed and nobody knows yet"
    net.run(25)
    asking.told.clear()
    asking.give(Look(TOPIC, 2))
    net.run(8)
    assert asking.found.keys() == {nodes[n].id for n in (0, 3, 4, 5)}


def test_announcements_are_kept_by_hashes_and_without_signatures() -> None:
    net, nodes = grown(4, settings=BRIEF)
    kinds: list[type] = []

    def tap(node: Node, to: Address, message: bytes) -> bytes:
        read = wire.decode(message)
        if isinstance(read, wire.Question):
            kinds.append(type(read.ask))
        return message

    net.tap = tap
    net.run(60)
    assert kinds.count(wire.Refresh) > 10 * kinds.count(wire.Announce)
    asking = net.node("asking")
    asking.give(Meet((nodes[0].address,)))
    asking.give(Look(TOPIC, 1))
    net.run(3)
    assert len(asking.found) == 4


def test_a_node_that_is_elsewhere_is_found_there() -> None:
    net, nodes = grown(5)
    net.fall(nodes[3])
    net.run(1)
    net.rise(nodes[3], ("10.9.9.9", 7_946))
    begin([nodes[3]], nodes[1:2])
    assert net.run(3, lambda: nodes[0].found[nodes[3].id].addresses == (("10.9.9.9", 7_946),))


def test_a_node_whose_network_changed_says_where_it_is_now() -> None:
    net, nodes = grown(4)
    del net.at_address[nodes[3].address]
    nodes[3].address = ("10.8.8.8", 7_946)
    net.at_address[nodes[3].address] = nodes[3]
    nodes[3].give(Moved())
    nodes[3].give(Join(TOPIC, (nodes[3].address,)))
    assert net.run(3, lambda: nodes[0].found[nodes[3].id].addresses == (("10.8.8.8", 7_946),))


def test_sleep_is_noticed_by_the_clock_on_the_wall() -> None:
    net, nodes = grown(3)
    before = net.sent
    nodes[1].skew += 3_600 * SECOND
    net.run(0.001)
    nodes[1].give(Join(TOPIC, (nodes[1].address,)))
    assert net.sent - before >= 2, "it asks whether the others are still there"


def test_who_does_not_answer_leaves_the_table_and_those_who_name_it_hear_so() -> None:
    net, nodes = grown(8)
    gone = nodes[5]
    net.fall(gone)
    nodes[2].give(Look(TOPIC, 1))
    net.run(12)
    assert nodes[2].machine.table.get(gone.address) is None
    holding = [node for node in nodes if node is not gone and node.machine.table.get(gone.address)]
    assert len(holding) < 7, "a hint made some of them look"
    net.run(200)
    assert not [node for node in nodes if node is not gone and node.machine.table.get(gone.address)]


def test_who_is_not_of_the_hive_is_answered_and_nothing_more() -> None:
    net, nodes = grown(4)
    stranger = net.node("stranger", admitted=False)
    stranger.give(Join(TOPIC, (stranger.address,)))
    stranger.give(Meet((nodes[0].address,)))
    net.run(3)
    assert stranger.found.keys() == {node.id for node in nodes}
    assert all(stranger.id not in node.found for node in nodes)
    assert all(node.machine.table.of(stranger.id) is None for node in nodes)


def test_who_is_not_of_the_hive_is_shown_no_values() -> None:
    net, nodes = grown(4)
    nodes[1].give(Put(b"for the hive", 1))
    net.run(2)
    key = immutable_key(b"for the hive")
    member, stranger = net.node("member"), net.node("stranger", admitted=False)
    for asking in (member, stranger):
        asking.give(Meet((nodes[0].address,)))
        net.run(1)
        asking.give(Get(key, 2))
    net.run(10)
    assert [each.value for each in member.told if isinstance(each, Got)] == [b"for the hive"]
    assert [each.value for each in stranger.told if isinstance(each, Got)] == [None]


def test_who_wants_in_finds_the_only_one_there_is() -> None:
    """It has met nobody who could tell it how it looks from outside, and has no id."""
    net = Net()
    lone, stranger = net.node("lone"), net.node("stranger", admitted=False)
    lone.give(Join(TOPIC, (lone.address,)))
    net.run(7 * 3600)
    stranger.give(Meet((lone.address,)))
    stranger.give(Look(TOPIC, 1))
    assert net.run(1, lambda: bool(stranger.found))
    assert stranger.found[lone.id].addresses == (lone.address,)
    assert not lone.machine.id and not len(lone.machine.table)
    lone.give(Join(TOPIC, (("10.9.9.9", 9),)))
    stranger.told.clear()
    stranger.give(Look(TOPIC, 2))
    net.run(1)
    assert stranger.found[lone.id].addresses == (("10.9.9.9", 9),), "it says where it is now"


def test_who_is_put_out_of_the_hive_is_forgotten() -> None:
    net, nodes = grown(4)
    net.admitted.discard(nodes[1].id)
    for node in nodes:
        node.give(Review())
        assert node.machine.table.of(nodes[1].id) is None or node is nodes[1]
    asking = net.node("asking")
    asking.give(Meet((nodes[0].address,)))
    asking.give(Look(TOPIC, 1))
    net.run(2)
    assert asking.found.keys() == {nodes[n].id for n in (0, 2, 3)}


def test_values_are_what_their_keys_say_and_only_ever_replaced_by_later_ones() -> None:
    net, nodes = grown(6)
    writer, reader = nodes[1], nodes[4]

    def put(number: int, event: Put | PutMutable) -> tuple[int, str]:
        writer.give(event)
        assert net.run(5, lambda: writer.ended(number) is not None)
        ended = writer.ended(number)
        assert ended
        return ended.nodes, ended.refusal

    def got(key: bytes, number: int) -> bytes | None:
        reader.give(Get(key, number))
        assert net.run(5, lambda: any(isinstance(e, Got) and e.number == number for e in reader.told))
        return next(e.value for e in reader.told if isinstance(e, Got) and e.number == number)

    assert put(1, Put(b"bread", 1)) == (5, "")
    assert got(immutable_key(b"bread"), 1) == b"bread"
    assert put(2, PutMutable(b"one", 5, number=2)) == (5, "")
    assert put(3, PutMutable(b"two", 6, number=3)) == (5, "")
    key = mutable_key(writer.id, b"")
    assert got(key, 2) == b"two"
    assert put(4, PutMutable(b"three", 6, number=4)) == (0, "sequence reused")
    assert put(5, PutMutable(b"old", 3, number=5)) == (0, "sequence too low")
    assert got(key, 3) == b"two"
    assert got(b"x" * 32, 4) is None
    assert put(6, Put(b"x" * 801, 6)) == (0, "too large")


# -- lies ----------------------------------------------------------------------------------------------------


def announcement(liar: Node, node: Node, topic: bytes = TOPIC, **changes: object) -> wire.Answer:
    """What `node` answers when `liar` announces itself there, with something about it changed."""
    token = node.machine.server.tokens.token(liar.address[0])
    stamp = int(str(changes.get("stamp", WALL + liar.net.now)))
    peer = wire.encode_peer(wire.Peer(stamp, (liar.address,)))
    storer = changes.get("storer", node_id(node.address))
    assert isinstance(storer, bytes)
    signature = liar.machine.notary.announce(topic, digested(token), storer, peer)
    given = changes.get("token", token)
    assert isinstance(given, bytes)
    return asked(liar, node, wire.Announce(topic, given, peer, signature))


def asked(sender: Node, node: Node, ask: wire.Ask) -> wire.Answer:
    answers: list[wire.Answer] = []

    def tap(_: Node, to: Address, message: bytes) -> bytes:
        read = wire.decode(message)
        if isinstance(read, wire.Answer) and to == sender.address and read.number == 77:
            answers.append(read)
        return message

    sender.net.tap = tap
    question = wire.Question(77, node.address, b"", ask)
    sender.net.deliver(sender.address, sender.id, node.address, wire.encode(question))
    sender.net.run(0.1)
    assert answers
    return answers[0]


def test_an_announcement_counts_with_its_token_at_its_node_and_in_its_time() -> None:
    net, nodes = grown(3)
    liar = net.node("liar")
    assert announcement(liar, nodes[1]).refusal == ""
    assert announcement(liar, nodes[1], token=b"x" * 16).refusal == "token"
    assert announcement(liar, nodes[1], storer=node_id(nodes[2].address)).refusal == "forged"
    assert announcement(liar, nodes[1], stamp=WALL + net.now + 61 * SECOND).refusal == "clock"
    assert announcement(liar, nodes[1], stamp=WALL - 7 * 3_600 * SECOND).refusal == "clock"
    assert announcement(liar, nodes[1], stamp=WALL).refusal == "old"
    net.run(1_000)
    assert nodes[1].machine.server.refused.keys() == {"token", "forged", "clock", "old"}


def test_tokens_are_of_one_host_and_of_two_secrets() -> None:
    net, nodes = grown(2, settings=BRIEF)
    node = nodes[0].machine
    token = node.server.tokens.token("10.0.0.9")
    assert node.server.tokens.valid("10.0.0.9", token)
    assert not node.server.tokens.valid("10.0.0.8", token)
    node.server.tokens.rotate(net.now + 5 * SECOND)
    assert node.server.tokens.valid("10.0.0.9", token)
    node.server.tokens.rotate(net.now + 10 * SECOND)
    assert not node.server.tokens.valid("10.0.0.9", token)


def test_a_record_that_somebody_made_up_or_stored_elsewhere_is_not_believed() -> None:
    net, nodes = grown(4)
    liar, victim = nodes[1], Node(net, "victim", ("10.7.7.7", 1))
    net.admitted.add(victim.id)
    peer = wire.encode_peer(wire.Peer(WALL + net.now, (("203.0.113.1", 9),)))
    elsewhere = victim.machine.notary.announce(TOPIC, b"t" * 16, node_id(nodes[2].address), peer)
    made_up = liar.machine.notary.announce(TOPIC, b"t" * 16, node_id(liar.address), peer)
    lies = [wire.Record(bytes.fromhex(victim.id), b"t" * 16, peer, s) for s in (elsewhere, made_up)]
    told = 0

    def tap(node: Node, to: Address, message: bytes) -> bytes:
        nonlocal told
        read = wire.decode(message)
        if node is liar and isinstance(read, wire.Answer):
            told += 1
            return wire.fitted(read, [], lies)
        return message

    net.tap = tap
    nodes[3].give(Look(TOPIC, 1))
    net.run(3)
    assert told and victim.id not in nodes[3].found


def test_a_flood_replaces_only_the_flooders_own() -> None:
    small = Settings(max_of_signer=8, max_records=100)
    net, nodes = grown(3, settings=small)
    liar = net.node("liar")
    for number in range(150):
        announcement(liar, nodes[0], number.to_bytes(32, "big"))
    assert len(nodes[0].machine.server.records) <= 8 + 3
    asking = net.node("asking")
    net.tap = lambda node, to, message: message
    asking.give(Meet((nodes[0].address,)))
    asking.give(Look(TOPIC, 1))
    net.run(2)
    assert asking.found.keys() == {node.id for node in nodes}


def test_who_asks_too_much_is_not_answered_and_others_are() -> None:
    net, nodes = grown(2)
    liar = net.node("liar")
    before = net.sent
    for number in range(1_000):
        question = wire.Question(number, nodes[0].address, b"", wire.Ping())
        net.deliver(liar.address, liar.id, nodes[0].address, wire.encode(question))
    net.run(0.01)
    assert net.sent - before < 250
    assert nodes[0].machine.dropped["too many"] > 700
    assert asked(nodes[1], nodes[0], wire.Ping()).number == 77


def test_an_id_is_that_of_the_address_or_none() -> None:
    net, nodes = grown(2)
    liar = net.node("liar")
    question = wire.Question(1, nodes[0].address, b"i" * 32, wire.Find(TOPIC))
    net.deliver(liar.address, liar.id, nodes[0].address, wire.encode(question))
    net.run(1)
    assert nodes[0].machine.dropped["wrong id"] == 1
    assert nodes[0].machine.table.get(liar.address) is None


def test_nodes_that_do_not_exist_close_to_the_target_hide_nothing() -> None:
    """An eclipse: one of twelve names twenty others for whatever it is asked, closer than any real one."""
    net, nodes = grown(12)
    liar = nodes[4]
    invented = [("198.51.100.1", port) for port in range(1, 3_000)]
    near = sorted(invented, key=lambda each: distance(node_id(each), TOPIC))[:20]
    told = 0

    def tap(node: Node, to: Address, message: bytes) -> bytes:
        nonlocal told
        read = wire.decode(message)
        if node is liar and isinstance(read, wire.Answer) and read.closer:
            told += 1
            return wire.fitted(read, near, [])
        return message

    net.tap = tap
    asking = net.node("asking")
    asking.give(Meet((liar.address, nodes[2].address)))
    net.run(2)
    asking.give(Look(TOPIC, 1))
    assert net.run(5, lambda: len(asking.found) == 12)
    assert told
    assert all(asking.machine.table.get(address) is None for address in near)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 11), st.integers(0, 255))
def test_whatever_comes_nothing_breaks(noise: bytes, place: int, value: int) -> None:
    net = Net()
    node = net.node("one")
    real = wire.encode(wire.Question(1, node.address, b"", wire.Find(TOPIC, True)))
    bent = real[:place] + bytes([value]) + real[place + 1 :]
    for message in (noise, bent, real[:place], real + noise):
        net.deliver(("10.0.0.77", 7), "ab" * 32, node.address, message)
    net.run(1)


# -- from outside --------------------------------------------------------------------------------------------


def test_a_node_behind_a_translator_names_no_id_until_it_has_stood_long_and_been_reached() -> None:
    net, nodes = grown(4)
    hidden = net.node("hidden", ("100.64.0.1", 4_242))
    hidden.machine = type(hidden.machine)(
        hidden.key, lambda *_: True, net.dice, hive="hive", own=("192.168.0.2", 7_946),
        admits=net.admitted.__contains__, wall=lambda now: WALL + now,
    )  # fmt: skip
    begin([hidden], nodes[:1])
    net.run(5)
    assert hidden.machine.outside.translation is Translation.CONSISTENT
    assert hidden.machine.outside.address == ("100.64.0.1", 4_242)
    assert hidden.machine.id == b""
    assert all(node.machine.table.of(hidden.id) is None for node in nodes)
    net.run(1_300)
    assert hidden.machine.id == b"", "nobody has reached it unasked"
    stranger = net.node("stranger")
    question = wire.Question(1, hidden.address, b"", wire.Ping())
    net.deliver(stranger.address, stranger.id, hidden.address, wire.encode(question))
    net.run(1)
    assert hidden.machine.id == node_id(hidden.address)
