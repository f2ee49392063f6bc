"""Two multiplexers and a wire between them that is as slow, and as unfair, as it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.protocols.machine import SECOND
from hivemind.protocols.mux.events import Answered, Asked, Broke, Changed, Heard, Opened
from hivemind.protocols.mux.frame import FRAGMENT, Failure, Kind, encode, encode_service
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.mux.machine import Mux
from hivemind.protocols.mux.stream import LARGEST_MESSAGE, WINDOW
from hivemind.protocols.noise.cipher import Refused


class Pair:
    """Carries frames only when it is told to; frames under way stay in their order."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008
        self.a = Mux(initiator=True, now=0, limits=limits)
        self.b = Mux(initiator=False, now=0, limits=limits)
        self.happened: dict[str, list[Any]] = {"a": [], "b": []}
        self.frames = 0

    def carry(self, sender: str) -> bool:
        one, other, name = (self.a, self.b, "b") if sender == "a" else (self.b, self.a, "a")
        if (frame := one.next_frame()) is None:
            return False
        self.frames += 1
        assert len(frame) <= FRAGMENT + 64
        other.receive(frame, 0)
        self.collect(name, other)
        self.collect(sender, one)
        one.check()
        other.check()
        return True

    def collect(self, name: str, mux: Mux) -> None:
        self.happened[name] += mux.events()

    def settle(self) -> None:
        while self.carry("a") or self.carry("b"):
            pass


def test_a_long_message_delays_nobody_by_more_than_fragments() -> None:
    pair = Pair()
    pair.a.message("store", b"x" * LARGEST_MESSAGE)
    number = pair.a.ask("api", b"quick")
    while not any(isinstance(event, Asked) for event in pair.happened["b"]):
        assert pair.carry("a")
    assert pair.frames <= 3
    pair.settle()
    assert Heard("store", b"x" * LARGEST_MESSAGE) in pair.happened["b"]
    assert Asked(number or 0, "api", b"quick") in pair.happened["b"]


@pytest.mark.parametrize("around", [-1, 0, 1])
@pytest.mark.parametrize("fragments", [0, 1, 2])
def test_a_message_is_cut_into_as_few_frames_as_carry_it(fragments: int, around: int) -> None:
    service = encode_service("store")
    message = bytes(max(0, fragments * FRAGMENT - len(service) + around))
    mux = Mux(initiator=True, now=0)
    assert mux.message("store", message) and mux.message("store", b"next")
    whole = service + message
    parts = [whole[at : at + FRAGMENT] for at in range(0, len(whole), FRAGMENT)]
    for part in parts[:-1]:
        assert mux.next_frame() == encode(Kind.MESSAGE, 1, part)
        mux.check()
    assert mux.next_frame() == encode(Kind.MESSAGE, 0, parts[-1])
    assert mux.next_frame() == encode(Kind.MESSAGE, 0, service + b"next")
    assert mux.next_frame() is None
    mux.check()


def test_streams_take_turns() -> None:
    pair = Pair()
    numbers = [pair.a.open("logs") for _ in range(3)]
    for number in numbers:
        assert number is not None
        for _ in range(3):
            pair.a.write(number, b"y" * FRAGMENT)
    order = []
    while (frame := pair.a.next_frame()) is not None:
        if frame[0] in (Kind.DATA, Kind.LAST):
            order.append(int.from_bytes(frame[1:5], "big"))
    assert order[:6] == numbers * 2


def test_a_call_is_answered_or_fails_and_leaves_nothing_behind() -> None:
    pair = Pair()
    good, bad, none = (pair.a.ask("api", question) for question in (b"good", b"bad", b""))
    assert good and bad and none
    pair.settle()
    assert pair.happened["b"] == [
        Asked(good, "api", b"good"),
        Asked(bad, "api", b"bad"),
        Asked(none, "api", b""),
    ]
    pair.b.reply(none, b"")
    pair.b.fail(bad, Failure("forbidden", "no", "ask"))
    pair.b.reply(good, b"z" * LARGEST_MESSAGE)
    pair.settle()
    assert set(map(repr, pair.happened["a"])) == {
        repr(Answered(none, b"")),
        repr(Broke(bad, Failure("forbidden", "no", "ask"))),
        repr(Answered(good, b"z" * LARGEST_MESSAGE)),
    }
    for mux in (pair.a, pair.b):
        assert not mux._streams and not mux._turns and mux.idle


def test_whoever_asked_may_lose_interest() -> None:
    pair = Pair()
    number = pair.a.ask("api", b"question")
    assert number
    pair.settle()
    pair.a.fail(number, Failure("unavailable", "too late"))
    pair.b.reply(number, b"the answer, under way already")
    pair.settle()
    assert pair.happened["b"][-1] == Broke(number, Failure("unavailable", "too late"))
    assert pair.happened["a"] == []
    assert not pair.a._streams and not pair.b._streams


def test_a_stream_stops_at_its_window_until_it_is_read() -> None:
    pair = Pair()
    number = pair.a.open("logs")
    assert number
    for _ in range(100):
        pair.a.write(number, b"w" * 10_000)
    pair.settle()
    stream = pair.b.get(number)
    assert stream
    assert WINDOW - 20_000 < stream.buffered <= WINDOW
    assert pair.a.idle, "it waits without being asked"
    read = 0
    while pair.b.read(number):
        read += 1
        pair.settle()
    assert read == 100
    assert Changed(number) in pair.happened["a"], "there is room again"


def test_a_stream_ends_when_both_have_finished_and_all_is_read() -> None:
    pair = Pair()
    number = pair.a.open("logs")
    assert number
    pair.settle()
    assert pair.happened["b"] == [Opened(number, "logs")]
    pair.b.accept(number)
    pair.b.write(number, b"last words")
    pair.b.finish(number)
    pair.a.finish(number)
    pair.settle()
    assert pair.b.get(number) is None
    stream = pair.a.get(number)
    assert stream and stream.accepted and stream.finished
    assert pair.a.read(number) == b"last words"
    assert pair.a.get(number) is None


def test_messages_beyond_the_queue_are_dropped_and_counted() -> None:
    mux = Mux(initiator=True, now=0, limits=Limits(queued_messages=3, queued_bytes=1000))
    assert [mux.message("store", b"m") for _ in range(5)] == [True, True, True, False, False]
    assert mux.dropped == 2
    while mux.next_frame():
        pass
    assert mux.message("store", b"x" * 900)
    assert not mux.message("store", b"x" * 900)


def test_too_many_streams_are_refused_on_both_sides() -> None:
    pair = Pair(Limits(streams=3))
    assert [pair.a.open("logs") is not None for _ in range(4)] == [True, True, True, False]
    greedy = Mux(initiator=True, now=0)
    modest = Mux(initiator=False, now=0, limits=Limits(streams=2))
    for _ in range(3):
        greedy.open("logs")
        modest.receive(greedy.next_frame() or b"", 0)
    assert len(modest.events()) == 2
    greedy.receive(modest.next_frame() or b"", 0)
    broke = greedy.events()
    assert isinstance(broke[0], Broke) and broke[0].failure.code == "unavailable"


def test_quiet_is_asked_about_and_then_is_death() -> None:
    pair = Pair()
    a = pair.a
    assert a.deadline() == 5 * SECOND
    assert a.tick(4 * SECOND) and a.next_frame() is None
    assert a.tick(5 * SECOND)
    ping = a.next_frame()
    assert ping and ping[0] == Kind.PING
    assert a.deadline() == 15 * SECOND
    pair.b.receive(ping, 0)
    pong = pair.b.next_frame()
    assert pong
    a.receive(pong, 6 * SECOND)
    assert a.deadline() == 11 * SECOND
    assert a.tick(11 * SECOND)
    assert not a.tick(21 * SECOND)


def test_a_probe_shortens_the_wait_and_any_word_ends_it() -> None:
    a = Mux(initiator=True, now=0)
    a.probe(0, SECOND)
    assert a.deadline() == SECOND
    assert not a.tick(SECOND)
    a.receive(encode(Kind.PONG, 0), SECOND)
    assert a.tick(SECOND)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\x01"],
        [b"\xff\0\0\0\0"],
        [encode(Kind.DATA, 1, b"x")],
        [encode(Kind.DATA, 0, b"x")],
        [encode(Kind.OPEN, 2, encode_service("logs"))],
        [encode(Kind.OPEN, 1, encode_service("logs"))] * 2,
        [encode(Kind.OPEN, 1, b"\x04lo")],
        [encode(Kind.OPEN, 1, b"\x02\xff\xfe")],
        [encode(Kind.OPEN, 1, encode_service("logs") + b"more")],
        [encode(Kind.MESSAGE, 0, b"")],
        [encode(Kind.MESSAGE, 0, bytes(50_000))],
        [encode(Kind.MESSAGE, 1, encode_service("store") + bytes(30_000))] * 40,
        [encode(Kind.OPEN, 1, encode_service("logs"))] + [encode(Kind.LAST, 1)] * 9_000,
        [encode(Kind.OPEN, 1, encode_service("logs"))] + [encode(Kind.DATA, 1, bytes(30_000))] * 40,
        [encode(Kind.OPEN, 1, encode_service("logs")), encode(Kind.CREDIT, 1, b"\0\0\0\1")],
        [encode(Kind.OPEN, 1, encode_service("logs")), encode(Kind.ACCEPT, 1)],
        [encode(Kind.OPEN, 1, encode_service("logs"))] + [encode(Kind.FINISH, 1)] * 2,
        [encode(Kind.OPEN, 1, encode_service("logs")), encode(Kind.FINISH, 1), encode(Kind.LAST, 1, b"x")],
        [encode(Kind.OPEN, 1, encode_service("logs")), encode(Kind.RESET, 1, b"\xc1")],
        [encode(Kind.ASK, 1, encode_service("api"))] + [encode(Kind.LAST, 1, b"x")] * 2,
        [encode(Kind.ASK, 1, encode_service("api")), encode(Kind.FINISH, 1)],
        [encode(Kind.PING, 0)] * 1_025,
    ],
)
def test_whatever_breaks_the_rules_is_refused(frames: list[bytes]) -> None:
    mux = Mux(initiator=False, now=0)
    with pytest.raises(Refused):
        for frame in frames:
            mux.receive(frame, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=40))
def test_noise_never_raises_anything_else(frames: list[bytes]) -> None:
    mux = Mux(initiator=False, now=0)
    for frame in frames:
        try:
            mux.receive(frame, 0)
        except Refused:
            return
        mux.check()


sizes = st.one_of(st.integers(0, 100), st.integers(FRAGMENT - 2, FRAGMENT + 2), st.integers(0, 3 * WINDOW))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.sampled_from("ab"), sizes),
        st.tuples(st.just("ask"), st.sampled_from("ab"), sizes),
        st.tuples(st.just("open"), st.sampled_from("ab"), st.lists(sizes, max_size=4)),
        st.tuples(st.just("carry"), st.sampled_from("ab"), st.integers(1, 30)),
        st.tuples(st.just("read"), st.sampled_from("ab"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_interleaving_gives_the_same_messages(plan: list[tuple[str, str, Any]]) -> None:
    """Whatever is sent arrives once, whole, and in the order of its stream or service; every answer belongs to its
    question; and when all is said there is nothing left."""
    pair = Pair()
    muxes = {"a": pair.a, "b": pair.b}
    heard: dict[str, list[bytes]] = {"a": [], "b": []}
    expected: dict[str, list[bytes]] = {"a": [], "b": []}
    questions: dict[tuple[str, int], bytes] = {}
    answers: dict[tuple[str, int], bytes] = {}
    written: dict[tuple[str, int], list[bytes]] = {}
    read: dict[tuple[str, int], list[bytes]] = {}
    count = 0

    def body(size: int) -> bytes:
        nonlocal count
        count += 1
        return (b"%d." % count).ljust(size, b"-")

    def take(name: str) -> None:
        mux, other = muxes[name], "b" if name == "a" else "a"
        happened, pair.happened[name] = pair.happened[name], []
        for event in happened:
            if isinstance(event, Heard):
                heard[name].append(event.message)
            elif isinstance(event, Asked):
                mux.reply(event.stream, event.question[::-1])
            elif isinstance(event, Answered):
                answers[name, event.stream] = event.answer
            elif isinstance(event, Opened):
                mux.accept(event.stream)
                mux.finish(event.stream)
                read[other, event.stream] = []
            else:
                assert isinstance(event, Changed)

    def empty(name: str) -> bool:
        other, any_read = "b" if name == "a" else "a", False
        for (opener, number), messages in read.items():
            while (
                opener == other and muxes[name].get(number) and (got := muxes[name].read(number)) is not None
            ):
                messages.append(got)
                any_read = True
        return any_read

    for what, name, argument in plan:
        mux = muxes[name]
        if what == "message":
            message = body(argument)
            if mux.message("store", message):
                expected["b" if name == "a" else "a"].append(message)
        elif what == "ask":
            question = body(argument)
            if (number := mux.ask("api", question)) is not None:
                questions[name, number] = question
        elif what == "open":
            number = mux.open("logs")
            assert number is not None
            written[name, number] = [body(size) for size in argument]
            for message in written[name, number]:
                mux.write(number, message)
            mux.finish(number)
        elif what == "carry":
            for _ in range(argument):
                pair.carry(name)
        else:
            empty(name)
        take("a")
        take("b")

    progress: Callable[[], bool] = lambda: any([pair.carry("a"), pair.carry("b"), empty("a"), empty("b")])  # noqa: E731
    while progress():
        take("a")
        take("b")
    assert heard == expected
    assert answers == {key: question[::-1] for key, question in questions.items()}
    assert read == written
    for mux in muxes.values():
        assert not mux._streams and not mux._turns and not mux._control


def test_equal_calls_give_equal_frames() -> None:
    def frames() -> deque[bytes]:
        mux = Mux(initiator=True, now=0)
        for number in range(5):
            mux.message("store", b"m%d" % number)
            mux.ask("api", b"q%d" % number)
        said: deque[bytes] = deque()
        while (frame := mux.next_frame()) is not None:
            said.append(frame)
        return said

    assert frames() == frames()
