"""Suspicion, awareness, news and messages, each for itself; and what a lying helper can do."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.protocols.machine import SECOND, Received, Send, Tick
from hivemind.protocols.swim import meta, wire
from hivemind.protocols.swim.awareness import Awareness
from hivemind.protocols.swim.events import Joined, Leave, Meet, SendReliably, Suspected
from hivemind.protocols.swim.news import News
from hivemind.protocols.swim.settings import Settings
from hivemind.protocols.swim.statements import Alive, Answer, Body, Dead, Leaving, Notary, Suspect
from hivemind.protocols.swim.suspicion import Suspicion
from hivemind.protocols.swim.swim import Swim
from hivemind.security.identity import Identity, verify
from hivemind.security.statement import Statement
from unit.protocols.swim.network import HIVE, CheapSigner, cheap_verify


def signed(signer: str, body: Body) -> Statement:
    return Notary(CheapSigner(signer), cheap_verify, HIVE).sign(body)


def suspicion(*accusers: str, wanted: int = 2, at: int = 0) -> Suspicion:
    made = Suspicion(0, 10, 30, 2)
    for accuser in accusers:
        body = Suspect("x", 1)
        made.accuse(signed(accuser, body), body)
    made.want(wanted, at)
    return made


# Suspicion: max(min, max - (max - min) * log(c + 1) / log(k + 1)), Lifeguard section IV-B.


def test_each_confirmation_shortens_the_suspicion() -> None:
    assert suspicion("a", wanted=1).deadline() == 30
    assert suspicion("a", "b", wanted=1).deadline() == 17
    assert suspicion("a", "b", "c").deadline() == 10
    assert suspicion("a", "b", "c", "d").deadline() == 10
    assert suspicion("a", "a", "a", wanted=1).deadline() == 30


def test_too_few_accusers_never_suffice() -> None:
    assert suspicion("a").deadline() is None


def test_who_was_long_accused_by_one_has_time_when_there_are_two() -> None:
    assert suspicion("a", "b", "c", at=1_000).deadline() == 1_005


def test_more_may_be_wanted_later_but_never_fewer() -> None:
    made = suspicion("a", wanted=1)
    made.want(2, 5)
    assert made.deadline() is None
    made.want(1, 6)
    assert made.deadline() is None


def test_verdicts_of_enough_others_leave_half_of_the_time() -> None:
    made = suspicion("a", "b", wanted=2, at=3)
    for accuser in ("a", "b"):
        made.accuse(signed(accuser, Dead("x", 1)), Dead("x", 1))
    assert made.deadline() == 3 + 5


def test_an_own_stall_delays_it() -> None:
    made = suspicion("a", "b", "c")
    made.delay(100)
    assert made.deadline() == 110


def test_awareness_stays_between_nothing_and_the_worst() -> None:
    awareness = Awareness(7)
    awareness.add(-1)
    assert (awareness.score, awareness.scaled(SECOND)) == (0, SECOND)
    awareness.add(100)
    assert (awareness.score, awareness.scaled(SECOND)) == (7, 8 * SECOND)
    awareness.relieve()
    assert awareness.score == 3


# News.


def test_news_is_told_so_often_and_the_least_told_first() -> None:
    news = News()
    first, second = signed("a", Alive(1)), signed("b", Alive(1))
    news.put("a", first)
    assert news.take("x", 1_000, 2) == [first]
    news.put("b", second)
    assert news.take("x", wire.size(second), 2) == [second]
    assert news.take("x", 1_000, 2) in ([first, second], [second, first])
    assert not news


def test_what_a_node_says_drives_out_what_was_said_of_it() -> None:
    news = News()
    news.put("a", signed("b", Suspect("a", 1)))
    news.put("a", signed("c", Suspect("a", 1)))
    assert len(news) == 2
    news.put("a", signed("a", Alive(2)))
    assert news.take("x", 1_000, 9) == [signed("a", Alive(2))]
    assert news.take("a", 1_000, 9) == []


def test_news_that_does_not_fit_waits() -> None:
    news = News()
    news.put("a", signed("a", Alive(1)))
    assert news.take("x", 10, 9) == []
    assert len(news) == 1


# Messages.


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(encoded: bytes) -> None:
    wire.decode(encoded)
    meta.decode(encoded)


@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from([1, 2, 3, 4, 5, 6, 7]))
def test_an_altered_message_harms_nobody(place: int, byte: int, kind: int) -> None:
    alive = signed("b", Alive(1, (("10.0.0.1", 7),), b"meta"))
    messages: list[wire.Message] = [
        wire.Ping(1, "a", statements=(alive,)),
        wire.Ack(1, b"x", alive, (alive,)),
        wire.PingRequest(1, "c", (alive,)),
        wire.Nack(1, (alive,)),
        wire.Vouch(1, alive, (alive,)),
        wire.Gossip((alive, signed("c", Suspect("a", 1)))),
        wire.Summary((wire.Known("b", 1, 0),)),  # type: ignore[arg-type]
    ]
    encoded = bytearray(wire.encode(messages[kind - 1]))
    encoded[place % len(encoded)] = byte
    member = started("a")
    member.handle(Received("b", bytes(encoded)), 1)
    member.check()
    assert set(member.known) <= {"b"}
    assert (found := member.alive("b")) is None or found.incarnation == 1


def test_limits_are_kept() -> None:
    alive = signed("b", Alive(1))
    assert wire.decode(wire.encode(wire.Gossip((alive,) * 513))) is None
    assert wire.decode(bytes(wire.MAX_MESSAGE + 1)) is None
    bloated = msgspec.structs.replace(alive, body=bytes(wire.MAX_BODY + 1))
    assert wire.decode(wire.encode(wire.Gossip((bloated,)))) is None
    assert wire.decode(wire.encode(wire.Vouch(1, bloated))) is None


def test_much_is_compared_in_several_messages() -> None:
    statements = [signed(f"n{each}", Alive(1, (), bytes(256))) for each in range(400)]
    batches = wire.batches(statements)
    assert len(batches) > 2
    assert all(len(each) <= wire.BATCH + 1_000 for each in batches)
    read = [wire.decode(each) for each in batches]
    assert [one for each in read if isinstance(each, wire.Gossip) for one in each.statements] == statements


def test_who_says_too_much_of_itself_is_told_so() -> None:
    with pytest.raises(Invalid, match="too much"):
        started("a", Alive(1, (), bytes(257)))
    with pytest.raises(Invalid):
        started("a", Alive(1, (("x", 1),) * 5))
    started("a", Alive(1, (("x" * 64, 65_535),) * 4, bytes(256)))


def test_what_members_say_of_themselves_may_grow() -> None:
    newer = msgspec.msgpack.encode([2, "witness", b"", "something new"])
    assert meta.decode(newer) == meta.Meta(protocol=2, role="witness")


# Helpers.


def started(name: str, me: Alive | None = None) -> Swim:
    member = Swim(me or Alive(1), CheapSigner(name), cheap_verify, random.Random(1), Settings(), HIVE)
    member.handle(Tick(), 0)
    return member


def probing(member: Swim, target: str) -> tuple[int, int]:
    """Everybody joins, `target` is pinged: when, and the number of the ping."""
    statements = tuple(signed(each, Alive(1)) for each in ("b", "c", "d"))
    member.handle(Received("b", wire.encode(wire.Gossip(statements))), 1)
    for _ in range(100):
        now = member.deadline()
        assert now is not None
        for effect in member.handle(Tick(), now):
            read = wire.decode(effect.message) if isinstance(effect, Send | SendReliably) else None
            if isinstance(read, wire.Ping) and isinstance(effect, Send):
                if effect.to == target:
                    return now, read.sequence
                member.handle(Received(effect.to, wire.encode(wire.Ack(read.sequence))), now)
    raise AssertionError("it was never pinged")


def accused_after(member: Swim, now: int) -> set[str]:
    accused = set()
    while (due := member.deadline()) is not None and due <= now + SECOND:
        accused |= {each.node for each in member.handle(Tick(), due) if isinstance(each, Suspected)}
    return accused


@pytest.mark.parametrize(
    ("case", "spared"),
    [
        ("true", True),
        ("forged", False),
        ("of another ping", False),
        ("for another", False),
        ("by another", False),
    ],
)
def test_only_the_accused_itself_proves_that_it_answered_a_helper(case: str, spared: bool) -> None:
    member = started("a")
    now, sequence = probing(member, "c")
    proofs = {
        "true": signed("c", Answer("a", sequence)),
        "forged": msgspec.structs.replace(signed("d", Answer("a", sequence)), signer="c"),
        "of another ping": signed("c", Answer("a", sequence ^ 1)),
        "for another": signed("c", Answer("b", sequence)),
        "by another": signed("d", Answer("a", sequence)),
    }
    vouch = wire.Vouch(sequence, proofs[case])
    member.handle(Received("d", wire.encode(vouch)), now + 300_000)
    assert ("c" not in accused_after(member, now)) == spared


def test_an_answer_of_somebody_else_counts_for_nothing() -> None:
    member = started("a")
    now, sequence = probing(member, "c")
    member.handle(Received("d", wire.encode(wire.Ack(sequence))), now + 1)
    assert "c" in accused_after(member, now)


# Signatures.


def test_real_keys_and_statements_of_another_hive() -> None:
    a, b = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)

    def member(signer: Identity, hive: str) -> Swim:
        return Swim(Alive(1), signer, verify, random.Random(1), Settings(), hive)

    def introduce(hive: str) -> list[object]:
        speaker, hearer = member(b, hive), member(a, "one")
        speaker.handle(Meet((a.public,)), 0)
        summary = wire.encode(wire.Summary((), final=True))
        told: list[object] = []
        for effect in speaker.handle(Received(a.public, summary), 1):
            if isinstance(effect, SendReliably):
                told += hearer.handle(Received(b.public, effect.message), 1)
        assert hearer.refused == (hive != "one")
        return [each for each in told if isinstance(each, Joined)]

    assert introduce("one") == [Joined(b.public, Alive(1))]
    assert introduce("another") == []


def test_after_a_forged_statement_the_rest_is_not_read() -> None:
    member = started("a")
    forged = msgspec.structs.replace(signed("b", Alive(1)), signer="c")
    member.handle(Received("b", wire.encode(wire.Gossip((forged, signed("d", Alive(1)))))), 1)
    assert member.refused == 1
    assert member.known == ()


def test_who_left_and_who_knows_it_do_not_answer_each_other_for_ever() -> None:
    """Its last incarnation is one above that of its last `alive`, of which the other one never heard."""
    left, other = started("a", Alive(2)), started("b")
    left.handle(Leave(), 1)
    left_first = signed("a", Alive(1))
    knows = wire.encode(wire.Gossip((left_first, signed("a", Leaving(2)))))
    other.handle(Received("c", knows), 1)
    messages = [("b", knows)]
    for turn in range(20):
        if not messages:
            return
        sender, message = messages.pop(0)
        member, name = (left, "a") if sender == "b" else (other, "b")
        effects = member.handle(Received(sender, message), 2 + turn)
        messages += [(name, one.message) for one in effects if isinstance(one, Send) and one.to in ("a", "b")]
    raise AssertionError("they still talk")
