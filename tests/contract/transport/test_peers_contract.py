"""What `Peers` promise, whoever keeps the promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hivemind.errors import Conflict, Forbidden, NotFound, TooLarge, Unavailable
from hivemind.transport.contract import Contact, Stream

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def echo(sender: str, question: bytes) -> bytes:
    return sender.encode() + b" " + question


async def test_messages_arrive_once_and_in_order(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    heard: list[tuple[str, bytes]] = []
    b.on_message("store", lambda sender, message: heard.append((sender, message)))
    for number in range(100):
        assert a.send(b.node, "store", b"%d" % number)
    await until(lambda: len(heard) == 100)
    assert heard == [(a.node, b"%d" % number) for number in range(100)]
    assert a.connected == {b.node}
    assert b.connected == {a.node}


async def test_the_largest_message_arrives_and_a_larger_one_is_refused(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    heard: list[bytes] = []
    b.on_message("store", lambda sender, message: heard.append(message))
    largest = bytes(range(256)) * 4096
    assert a.send(b.node, "store", largest)
    await until(lambda: bool(heard))
    assert heard == [largest]
    with pytest.raises(TooLarge):
        a.send(b.node, "store", largest + b"!")


async def test_a_node_whose_address_nobody_knows_is_not_sent_to(hive: Any) -> None:
    a = await hive.peers("a")
    assert not a.send(hive.id("b"), "store", b"hello")
    with pytest.raises(Unavailable):
        await a.call(hive.id("b"), "store", b"hello", timeout=5)
    with pytest.raises(Unavailable):
        await a.open(hive.id("b"), "store", timeout=5)


async def test_who_did_not_learn_the_address_answers_on_the_connection_that_is_there(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    a.learn(b.node, [b.address])
    heard: list[bytes] = []
    a.on_message("store", lambda sender, message: heard.append(message))
    b.answer("api", echo)
    await a.call(b.node, "api", b"", timeout=5)
    assert b.send(a.node, "store", b"back")
    await until(lambda: heard == [b"back"])


async def test_any_of_its_addresses_will_do(hive: Any) -> None:
    a, b, c = [await hive.peers(name) for name in "abc"]
    b.answer("api", echo)
    a.learn(a.node, [a.address])
    a.learn(b.node, [await hive.nowhere(), c.address, b.address])
    assert await a.call(b.node, "api", b"hi", timeout=5) == a.node.encode() + b" hi"
    assert c.connected == frozenset()


async def test_questions_are_answered_each_with_its_own_answer(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    b.answer("api", echo)
    a.answer("api", echo)
    asked = [a.call(b.node, "api", b"%d" % number, timeout=5) for number in range(50)]
    asked += [b.call(a.node, "api", b"%d" % number, timeout=5) for number in range(50)]
    answers = await asyncio.gather(*asked)
    assert answers[:50] == [b"%s %d" % (a.node.encode(), number) for number in range(50)]
    assert answers[50:] == [b"%s %d" % (b.node.encode(), number) for number in range(50)]


async def test_the_other_sides_error_is_raised_here(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()

    async def refuse(sender: str, question: bytes) -> bytes:
        if question == b"defect":
            raise ZeroDivisionError("of b's own")
        raise Forbidden("not for you", hint="ask an administrator")

    b.answer("api", refuse)
    with pytest.raises(Forbidden) as refused:
        await a.call(b.node, "api", b"", timeout=5)
    assert (refused.value.message, refused.value.hint) == ("not for you", "ask an administrator")
    with pytest.raises(Exception, match="ZeroDivisionError") as failed:
        await a.call(b.node, "api", b"defect", timeout=5)
    assert "of b's own" not in str(failed.value)
    with pytest.raises(NotFound):
        await a.call(b.node, "nothing", b"", timeout=5)
    with pytest.raises(NotFound):
        await a.open(b.node, "nothing", timeout=5)


async def test_no_answer_in_time_is_unavailable(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()

    async def never(sender: str, question: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    b.answer("api", never)
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=0.05)


async def test_a_stream_carries_whole_messages_both_ways_and_ends(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()

    async def upper(stream: Stream) -> None:
        assert stream.peer == a.node
        while (message := await stream.receive()) is not None:
            await stream.send(message.upper())
        await stream.send(b"DONE")
        await stream.finish()

    b.accept("logs", upper)
    stream = await a.open(b.node, "logs", timeout=5)
    assert stream.peer == b.node
    for message in (b"one", b"", b"x" * (1 << 20)):
        await stream.send(message)
        assert await stream.receive() == message.upper()
    await stream.finish()
    assert await stream.receive() == b"DONE"
    assert await stream.receive() is None
    assert await stream.receive() is None
    with pytest.raises(Unavailable):
        await stream.send(b"after the end")
    await stream.close()
    await stream.close()


async def test_a_stream_waits_for_a_slow_reader(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    reading, seen = asyncio.Event(), list[bytes]()

    async def slow(stream: Stream) -> None:
        await reading.wait()
        while (message := await stream.receive()) is not None:
            seen.append(message)

    b.accept("logs", slow)
    b.answer("api", echo)
    stream = await a.open(b.node, "logs", timeout=5)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for number in range(200):
            await stream.send(b"%d" % number + b"." * 65_536)
            sent += 1
        await stream.finish()

    flooding = asyncio.create_task(flood())
    await until(lambda: sent > 0)
    for _ in range(20):  # The connection goes on for everything else.
        await a.call(b.node, "api", b"", timeout=5)
    assert sent < 200
    reading.set()
    await flooding
    await until(lambda: len(seen) == 200)
    assert [message.partition(b".")[0] for message in seen] == [b"%d" % number for number in range(200)]


async def test_closing_breaks_a_stream_for_both(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    ended = asyncio.get_running_loop().create_future()

    async def wait(stream: Stream) -> None:
        try:
            ended.set_result(await stream.receive())
        except Unavailable as error:
            ended.set_exception(error)

    b.accept("logs", wait)
    stream = await a.open(b.node, "logs", timeout=5)
    await stream.close()
    with pytest.raises(Unavailable):
        await stream.receive()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await ended


async def test_a_stream_is_closed_when_its_handler_ends(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()

    async def leave(stream: Stream) -> None:
        await stream.receive()

    b.accept("logs", leave)
    stream = await a.open(b.node, "logs", timeout=5)
    await stream.send(b"go")
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await stream.receive()


async def test_a_broken_connection_breaks_what_ran_over_it_and_is_told(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    told: list[tuple[str, bool]] = []
    undo = a.on_connection(lambda node, connected: told.append((node, connected)))
    asked = asyncio.Event()

    async def never(sender: str, question: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    async def hold(stream: Stream) -> None:
        await stream.receive()

    b.answer("api", never)
    b.accept("logs", hold)
    stream = await a.open(b.node, "logs", timeout=5)
    call = asyncio.create_task(a.call(b.node, "api", b"", timeout=30))
    await asked.wait()
    hive.disconnect("a", "b")
    with pytest.raises(Unavailable):
        await call
    with pytest.raises(Unavailable):
        await stream.receive()
    await until(lambda: told[:2] == [(b.node, True), (b.node, False)])
    undo()
    heard: list[bytes] = []
    b.on_message("store", lambda sender, message: heard.append(message))

    def try_again() -> bool:
        a.send(b.node, "store", b"again")
        return bool(heard)

    await until(try_again)
    assert told[2:] == []


async def test_who_is_not_allowed_is_refused_and_who_is_no_longer_is_cut(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b")
    hive.introduce()
    b.answer("api", echo)
    await a.call(b.node, "api", b"", timeout=5)
    hive.banned.add(a.node)
    b.review()
    await until(lambda: not a.connected and not b.connected)
    assert not b.send(a.node, "store", b"to whoever that is now")
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=5)
    hive.banned.clear()
    async with asyncio.timeout(10):
        while True:
            try:
                await a.call(b.node, "api", b"", timeout=5)
                break
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_nodes_of_two_hives_do_not_meet_until_one_enters_the_others(hive: Any) -> None:
    a, b = await hive.peers("a", "one"), await hive.peers("b", "two", OTHER_SECRET)
    hive.introduce()
    b.answer("api", echo)
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=5)
    b.enter("one", SECRET)
    assert await a.call(b.node, "api", b"hi", timeout=5) == a.node.encode() + b" hi"
    b.enter("two", OTHER_SECRET)
    await until(lambda: not a.connected and not b.connected)


async def test_a_first_contact_with_the_secret(hive: Any) -> None:
    a, b = await hive.peers("a", "alone"), await hive.peers("b")
    met: list[tuple[str, bytes]] = []

    async def sponsor(contact: Contact) -> None:
        met.append((contact.peer, contact.binding))
        assert await contact.receive() == b"let me in"
        await contact.send(b"welcome")
        assert await contact.receive() is None
        await contact.finish()

    with pytest.raises(Unavailable):  # Nobody welcomes yet.
        await a.contact(b.address, "hive", SECRET, timeout=5)
    b.welcome(sponsor)
    contact = await a.contact(b.address, "hive", SECRET, timeout=5)
    assert contact.peer == b.node
    await contact.send(b"let me in")
    assert await contact.receive() == b"welcome"
    await contact.finish()
    assert await contact.receive() is None
    await contact.close()
    assert met == [(a.node, contact.binding)]
    assert len(contact.binding) == 64
    assert not a.connected
    assert not b.connected


@pytest.mark.parametrize(("name", "secret"), [("hive", OTHER_SECRET), ("other", SECRET)])
async def test_a_first_contact_without_the_secret_or_for_another_hive(
    hive: Any, name: str, secret: bytes
) -> None:
    a, b = await hive.peers("a", "alone"), await hive.peers("b")
    met: list[str] = []

    async def sponsor(contact: Contact) -> None:
        met.append(contact.peer)

    b.welcome(sponsor)
    with pytest.raises(Unavailable):
        await a.contact(b.address, name, secret, timeout=5)
    with pytest.raises(Unavailable):
        await a.contact(await hive.nowhere(), "hive", SECRET, timeout=5)
    assert met == []


async def test_without_a_secret_nobody_may_make_a_first_contact(hive: Any) -> None:
    a, b = await hive.peers("a"), await hive.peers("b", secret=None)

    async def sponsor(contact: Contact) -> None:
        await contact.send(b"welcome")

    b.welcome(sponsor)
    with pytest.raises(Unavailable):
        await a.contact(b.address, "hive", SECRET, timeout=5)


async def test_one_handler_for_each_service(hive: Any) -> None:
    a = await hive.peers("a")
    undo = a.on_message("store", lambda sender, message: None)
    with pytest.raises(Conflict):
        a.on_message("store", lambda sender, message: None)
    undo()
    undo()
    a.on_message("store", lambda sender, message: None)


async def test_one_that_does_not_answer_delays_nobody_else(hive: Any) -> None:
    a, b, c = [await hive.peers(name) for name in "abc"]
    hive.introduce()
    blocked = asyncio.Event()

    async def stuck(sender: str, question: bytes) -> bytes:
        await blocked.wait()
        return b"late"

    b.answer("api", stuck)
    c.answer("api", echo)
    laggards = [asyncio.create_task(a.call(b.node, "api", b"", timeout=30)) for _ in range(20)]
    for _ in range(20):
        await a.call(c.node, "api", b"", timeout=5)
    assert not any(task.done() for task in laggards)
    blocked.set()
    assert await asyncio.gather(*laggards) == [b"late"] * 20


async def test_both_dial_at_once_and_have_one_connection(hive: Any) -> None:
    nodes = [await hive.peers(name) for name in "abcd"]
    hive.introduce()
    heard: list[tuple[str, str]] = []
    for one in nodes:
        one.on_message("store", lambda sender, message: heard.append((sender, message.decode())))
    expected = [(one.node, other.node) for one in nodes for other in nodes if one is not other]
    for one in nodes:
        for other in nodes:
            if one is not other:
                assert one.send(other.node, "store", other.node.encode())
    await until(lambda: len(heard) == len(expected))
    assert sorted(heard) == sorted(expected)
    for one in nodes:
        assert one.connected == {other.node for other in nodes if other is not one}
