"""Section 4.1: the client waits for f+1 replies with the same result; "if the client does not receive replies soon
enough, it broadcasts the request to all replicas"."""

from __future__ import annotations

import itertools

import pytest

from hivemind.protocols.machine import SECOND, Received, Send, Tick
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.client import Client
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Refused, Settled, Submitted
from hivemind.protocols.pbft.settings import Settings
from unit.protocols.pbft import liar
from unit.protocols.pbft.world import Key, epoch, signatures


@pytest.fixture
def client() -> Client:
    client = Client(signer=Key("Z"), epochs=Epochs(epoch("ABCD"), signatures=signatures()))
    sent = client.handle(Submitted(wire.Request("p/1", "", b"x")), 0)
    assert [effect.to for effect in sent if isinstance(effect, Send)] == ["A"], "first the primary"
    return client


def reply(signer: str, result: bytes, *, client: str = "Z", id: str = "p/1", epoch: int = 0) -> Received:
    statement = liar.signed(signer, wire.Reply(2, client, ((id, result),)), epoch=epoch)
    message = wire.encode(wire.Said(epoch, statement))
    assert wire.for_client(message)
    return Received(signer, message)


def test_f_plus_1_equal_replies_settle(client: Client) -> None:
    assert client.handle(reply("A", b"1"), 1) == []
    assert client.handle(reply("B", b"2"), 1) == []
    assert client.handle(reply("A", b"2"), 1) == [], "a voter has one word"
    assert client.handle(reply("C", b"1"), 1) == [Settled(request="p/1", result=b"1")]
    assert client.handle(reply("D", b"1"), 1) == [], "once"
    assert len(client) == 0
    [sent] = client.handle(Submitted(wire.Request("p/2", "", b"x")), 2)
    assert isinstance(sent, Send) and sent.to == "C", "to the primary of the view that they named"


def test_replies_that_come_with_others_count(client: Client) -> None:
    other = wire.encode(wire.Recall(0))
    [message] = wire.together([other, reply("B", b"1").message])
    assert wire.for_client(message) and not wire.for_client(other)
    [nested] = wire.together([other, message])
    assert not wire.for_client(nested) and client.handle(Received("B", nested), 1) == []
    assert client.handle(reply("A", b"1"), 1) == []
    assert client.handle(Received("B", message), 1) == [Settled(request="p/1", result=b"1")]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(reply("Y", b"1"), id="a stranger's"),
        pytest.param(reply("B", b"1", client="Y"), id="to another client"),
        pytest.param(reply("B", b"1", id="p/2"), id="to another request"),
        pytest.param(reply("B", b"1", epoch=1), id="of another epoch"),
        pytest.param(Received("B", b"nonsense"), id="unreadable"),
        pytest.param(reply("B", b"1" * 300), id="too large"),
    ],
)
def test_what_is_no_reply_to_it_does_not_count(client: Client, message: Received) -> None:
    client.handle(reply("A", b"1"), 1)
    assert client.handle(message, 1) == []
    client.check()


def test_on_timeout_it_asks_all_and_ever_more_seldom(client: Client) -> None:
    times = []
    for _ in range(8):
        at = client.deadline()
        assert at is not None
        sent = client.handle(Tick(), at)
        assert [effect.to for effect in sent if isinstance(effect, Send)] == ["A", "B", "C", "D"]
        times.append(at)
    waits = [(later - at) // SECOND for at, later in itertools.pairwise(times)]
    assert waits == [2, 4, 8, 16, 16, 16, 16]


def test_it_takes_on_only_so_much() -> None:
    settings = Settings(pending_requests=1)
    client = Client(signer=Key("Z"), epochs=Epochs(epoch("ABCD"), signatures=signatures()), settings=settings)
    client.handle(Submitted(wire.Request("p/1", "", b"x")), 0)
    [refused] = client.handle(Submitted(wire.Request("p/2", "", b"x")), 0)
    assert isinstance(refused, Refused)
    assert client.handle(Submitted(wire.Request("p/1", "", b"x")), 0) == [], "the same is the same"
