"""The multiplexer: a machine that turns frames into events, and what is asked of it into frames.

It holds no more than its limits: whoever drives it takes a frame (`next_frame`) whenever the connection can carry one
more, so what cannot be sent waits here, where it is counted. Control frames go first; messages and streams take turns,
and so do streams among each other, by fragments: nobody waits for somebody else's long message.

Frames of a channel are neither lost nor reordered. Whatever breaks the rules raises `Refused`: the connection has to
be given up. All collections keep the order in which things were put in: equal calls give equal frames.
"""

from __future__ import annotations

from collections import deque

from hivemind.protocols.machine import Micros
from hivemind.protocols.mux.events import Answered, Asked, Broke, Changed, Event, Opened
from hivemind.protocols.mux.frame import (
    Failure,
    Kind,
    decode,
    decode_failure,
    decode_service,
    encode,
    encode_failure,
    encode_service,
)
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.mux.liveness import Liveness
from hivemind.protocols.mux.messages import Messages
from hivemind.protocols.mux.stream import Stream
from hivemind.protocols.noise.cipher import Refused

_HIGHEST = 2**32 - 1


class Mux:
    """One side of a connection. Numbers of streams are odd if the initiator opened them."""

    def __init__(self, *, initiator: bool, now: Micros, limits: Limits = Limits()) -> None:  # noqa: B008
        self.limits = limits
        self._initiator = initiator
        self._next = 1 if initiator else 2
        self._newest_of_theirs = 0
        self._streams: dict[int, Stream] = {}
        self._turns: deque[int] = deque()
        """Streams that may have something to send, each once; the first is next."""
        self._control: deque[bytes] = deque()
        self._messages = Messages(limits)
        self._messages_turn = True
        self._liveness = Liveness(limits, now)
        self._events: list[Event] = []

    # Time.

    def deadline(self) -> Micros:
        return self._liveness.deadline

    def tick(self, now: Micros) -> bool:
        """Whether the other side is still thought to be there."""
        if now < self._liveness.deadline:
            return True
        if self._liveness.asked:
            return False
        self._liveness.ask()
        self._say(Kind.PING, 0)
        return True

    def probe(self, now: Micros, within: Micros) -> None:
        """There is doubt: it has to say something until then."""
        if not self._liveness.probed:
            self._liveness.probe(now + within)
            self._say(Kind.PING, 0)

    # What is asked of it.

    def message(self, service: str, message: bytes) -> bool:
        """False: it was dropped."""
        return self._messages.put(service, message)

    def ask(self, service: str, question: bytes) -> int | None:
        """The number under which the answer comes; None: there are too many questions under way."""
        stream = self._begin(service, call=True)
        if stream is None:
            return None
        stream.write(question)
        stream.finish()
        return stream.id

    def open(self, service: str) -> int | None:
        """None: there are too many streams."""
        stream = self._begin(service, call=False)
        return stream.id if stream else None

    def accept(self, number: int) -> None:
        if stream := self._streams.get(number):
            stream.accepted = True
            self._say(Kind.ACCEPT, number)

    def reply(self, number: int, answer: bytes) -> None:
        if stream := self._streams.get(number):
            stream.write(answer)
            stream.finish()
            self._turn(stream)

    def fail(self, number: int, failure: Failure) -> None:
        """Breaks the stream for both sides."""
        if self._drop(number):
            self._say(Kind.RESET, number, encode_failure(failure))

    def write(self, number: int, message: bytes) -> None:
        stream = self._streams[number]
        stream.write(message)
        self._turn(stream)

    def finish(self, number: int) -> None:
        if (stream := self._streams.get(number)) and not stream.finishing:
            stream.finish()
            self._turn(stream)

    def read(self, number: int) -> bytes | None:
        stream = self._streams[number]
        message = stream.read()
        self._grant(stream)
        self._end(stream)
        return message

    def get(self, number: int) -> Stream | None:
        """None: it has ended, or broke."""
        return self._streams.get(number)

    # What goes out.

    @property
    def dropped(self) -> int:
        """Messages that found the queue full."""
        return self._messages.dropped

    @property
    def idle(self) -> bool:
        """Everything was sent that can be."""
        return not self._control and not self._messages and not any(map(self._ready, self._turns))

    @property
    def settled(self) -> bool:
        """There is nothing left to be sent, nor anything that waits for the other side to read."""
        return self.idle and not any(stream.outgoing for stream in self._streams.values())

    def next_frame(self) -> bytes | None:
        if self._control:
            return self._control.popleft()
        self._messages_turn = not self._messages_turn
        if self._messages and (self._messages_turn or not self._turns):
            return self._messages.next_frame()
        return self._from_streams() or (self._messages.next_frame() if self._messages else None)

    def _from_streams(self) -> bytes | None:
        while self._turns:
            stream = self._streams.get(self._turns.popleft())
            if stream is None or not stream.ready:
                continue
            was_full = stream.full
            kind, payload = stream.next_frame()
            if stream.ready:
                self._turns.append(stream.id)
            if was_full and not stream.full and not stream.call:
                self._events.append(Changed(stream.id))
            self._end(stream)
            return encode(kind, stream.id, payload)
        return None

    # What comes in.

    def receive(self, frame: bytes, now: Micros) -> None:
        """Raises `Refused`. What came of it are `events`."""
        kind, number, payload = decode(frame)
        self._liveness.heard(now)
        if kind is Kind.MESSAGE:
            if heard := self._messages.take(payload, more=number == 1):
                self._events.append(heard)
        elif kind is Kind.PING:
            self._reply_at_once(Kind.PONG, 0)
        elif kind in (Kind.ASK, Kind.OPEN):
            self._take_opening(kind, number, payload)
        elif kind is not Kind.PONG:
            self._take_of_stream(kind, number, payload)

    def events(self) -> list[Event]:
        """What has happened since this was asked last."""
        happened, self._events = self._events, []
        return happened

    def check(self) -> None:
        mine = sum(stream.mine for stream in self._streams.values())
        assert mine <= self.limits.streams and len(self._streams) - mine <= self.limits.streams
        assert len(self._turns) == len(set(self._turns))
        self._messages.check()
        turns = set(self._turns)
        for stream in self._streams.values():
            assert not stream.ready or stream.id in turns, "who may send has a turn"

    def _take_opening(self, kind: Kind, number: int, payload: bytes) -> None:
        service, rest = decode_service(payload)
        if rest or number % 2 == self._initiator or number <= self._newest_of_theirs:
            raise Refused("a stream is opened wrongly")
        self._newest_of_theirs = number
        theirs = [stream for stream in self._streams.values() if not stream.mine]
        if len(theirs) >= self.limits.streams or self._buffered() > self.limits.buffered:
            busy = Failure("unavailable", "that node has too much to do", "try again later")
            self._reply_at_once(Kind.RESET, number, encode_failure(busy))
            return
        self._streams[number] = Stream(number, service, call=kind is Kind.ASK, mine=False)
        if kind is Kind.OPEN:
            self._events.append(Opened(number, service))

    def _take_of_stream(self, kind: Kind, number: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            # It was broken or has ended here while that was under way.
            unused = self._next if self._is_mine(number) else self._newest_of_theirs + 1
            if number == 0 or number >= unused:
                raise Refused("there never was such a stream")
            return
        if kind is Kind.ACCEPT:
            if not stream.mine or stream.call or stream.accepted:
                raise Refused("a stream is accepted wrongly")
            stream.accepted = True
        elif kind is Kind.CREDIT:
            stream.credited(int.from_bytes(payload[:4], "big"))
            self._turn(stream)
            return
        elif kind is Kind.FINISH:
            if stream.call or stream.finished:
                raise Refused("a stream is finished wrongly")
            stream.finished = True
        elif kind is Kind.RESET:
            failure = decode_failure(payload)
            self._drop(number)
            self._events.append(Broke(number, failure))
            return
        else:
            self._take_data(stream, payload, last=kind is Kind.LAST)
            return
        self._events.append(Changed(number))
        self._end(stream)

    def _take_data(self, stream: Stream, payload: bytes, *, last: bool) -> None:
        message = stream.take(payload, last)
        if message is not None and stream.call:
            stream.finished = True
            self._events.append(
                Answered(stream.id, message) if stream.mine else Asked(stream.id, stream.service, message)
            )
            self._end(stream)
            return
        self._grant(stream)
        if message is not None:
            self._events.append(Changed(stream.id))

    # Keeping the books.

    def _is_mine(self, number: int) -> bool:
        return (number % 2 == 1) == self._initiator

    def _ready(self, number: int) -> bool:
        return (stream := self._streams.get(number)) is not None and stream.ready

    def _buffered(self) -> int:
        return sum(stream.buffered for stream in self._streams.values())

    def _begin(self, service: str, *, call: bool) -> Stream | None:
        mine = sum(stream.mine for stream in self._streams.values())
        if mine >= self.limits.streams or self._next + 2 > _HIGHEST:
            return None
        stream = self._streams[self._next] = Stream(self._next, service, call=call, mine=True)
        self._next += 2
        self._say(Kind.ASK if call else Kind.OPEN, stream.id, encode_service(service))
        self._turns.append(stream.id)
        return stream

    def _turn(self, stream: Stream) -> None:
        if stream.ready and stream.id not in self._turns:
            self._turns.append(stream.id)

    def _grant(self, stream: Stream) -> None:
        if amount := stream.grant():
            self._say(Kind.CREDIT, stream.id, amount.to_bytes(4, "big"))

    def _end(self, stream: Stream) -> None:
        """Both sides have finished, and everything was read."""
        if stream.done and stream.finished and not stream.readable:
            self._drop(stream.id)

    def _drop(self, number: int) -> bool:
        if number in self._turns:
            self._turns.remove(number)
        return self._streams.pop(number, None) is not None

    def _say(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        self._control.append(encode(kind, number, payload))

    def _reply_at_once(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        """To what the other side can say as often as it likes."""
        if len(self._control) >= self.limits.control:
            raise Refused("the other side makes us say more than it listens to")
        self._say(kind, number, payload)
