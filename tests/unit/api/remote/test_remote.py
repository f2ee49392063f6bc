"""What runs on another node is looked into as if it ran here; whoever asks proves who they are to that node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hivemind.api.remote.wire import SERVICE, Event, Events, Opening, encode_opening
from hivemind.drivers.runtimes.contract import ExecSpec, LogLine
from hivemind.errors import (
    Conflict,
    Forbidden,
    HivemindError,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from hivemind.model.answers import PROBLEM_FORMAT, ExecChannel, Problem
from hivemind.model.base import decode
from hivemind.model.principal import Principal, Role
from hivemind.security.delegation import Delegation, delegate
from hivemind.security.identity import Identity
from hivemind.security.statement import Statement
from hivemind.state.operations import RegisterPrincipal, RevokePrincipal
from tests.unit.api.backend import ADMIN, NODE, OPERATOR, STRANGER, VIEWER, Command
from tests.unit.api.remote.conftest import FAR, Pair


def test_what_runs_there_is_seen_here(pair: Pair) -> None:
    [only] = pair.deploy()
    allocations = pair.near.local.allocations
    (process,) = allocations.processes("web.0")
    assert process.command == "sleep 9"
    assert allocations.changes(only)[0].path == "/etc/hosts"
    assert allocations.stats(only).memory == 1000
    assert allocations.checks(only)[0].check == "liveness"
    with pytest.raises(NotFound):
        allocations.processes("nothing")
    pair.near.do(pair.far.running.discard, only)
    with pytest.raises(Conflict, match="does not run"):
        allocations.processes(only)


def test_files_go_there_and_come_back_in_pieces(pair: Pair) -> None:
    [only] = pair.deploy()
    allocations = pair.near.local.allocations
    large = bytes(range(256)) * 12_000
    allocations.write_files(only, "/tmp/x y", iter([large, b"b"]))
    assert pair.far.looking.files["/tmp/x y"] == large + b"b"
    assert b"".join(allocations.read_files(only, "/tmp/x y")) == large + b"b"
    with pytest.raises(NotFound):
        list(allocations.read_files(only, "/nothing"))


def test_a_command_runs_there(pair: Pair) -> None:
    [only] = pair.deploy()
    with pair.near.local.allocations.exec(only, ["cat"], stdin=True) as session:
        assert session.read() == ("stdout", b"cat\n")
        for number in range(100):
            session.write(b"line %d" % number)
            assert session.read() == ("stdout", b"LINE %d" % number)
        session.close_stdin()
        assert session.read() is None and session.exit_code == 0
    with pair.near.local.allocations.attach(only) as session:
        assert session.read() == ("stdout", b"main\n")
    pair.near.run(pair.far.commands[-1].closed.wait())


def test_a_port_is_forwarded_from_there(pair: Pair) -> None:
    [only] = pair.deploy()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data[::-1])
        writer.close()

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        pair.far.looking.port = server.sockets[0].getsockname()[1]
        return server

    server = pair.near.run(listen())
    with pair.near.local.allocations.forward(only, 80) as socket:
        socket.send(bytes((ExecChannel.STDIN,)) + b"abc")
        assert socket.receive() == bytes((ExecChannel.STDOUT,)) + b"cba"
    pair.near.do(server.close)


def test_the_role_is_what_that_node_knows_of_it(pair: Pair) -> None:
    [only] = pair.deploy()
    assert pair.near.remote(VIEWER).allocations.processes(only)
    assert list(pair.near.remote(OPERATOR).allocations.read_files(only, "/etc/hosts"))
    with pytest.raises(Forbidden):
        list(pair.near.remote(VIEWER).allocations.read_files(only, "/etc/hosts"))
    with pytest.raises(Unauthenticated):
        pair.near.remote(STRANGER).allocations.processes(only)


def test_a_terminal_ends_when_its_token_is_revoked(pair: Pair) -> None:
    [only] = pair.deploy()
    temp = Identity(b"t" * 32)
    person = Principal(id=temp.public, name="temp", kind="person", role=Role.OPERATOR)
    pair.near.do(pair.near.backend.apply, RegisterPrincipal(principal=person), ADMIN)
    with pair.near.remote(temp).allocations.exec(only, ["cat"], stdin=True) as session:
        session.read()
        pair.near.do(pair.near.backend.apply, RevokePrincipal(name="temp"), ADMIN)
        with pytest.raises(HivemindError):
            session.read()


def test_a_node_that_is_not_there_is_named_and_since_when(pair: Pair) -> None:
    [only] = pair.deploy()
    pair.near.local.allocations.processes(only)
    pair.cut()
    with pytest.raises(Unavailable, match=r"node far cannot be reached from here since 20\d\d-.* UTC"):
        pair.near.local.allocations.processes(only)
    with pytest.raises(Unavailable, match="node far cannot be reached"):
        pair.near.local.allocations.attach(only).read()
    pair.mend()
    assert pair.near.local.allocations.processes(only)


def test_a_terminal_there_breaks_with_its_connection(pair: Pair) -> None:
    [only] = pair.deploy()
    with pair.near.local.allocations.exec(only, ["cat"], stdin=True) as session:
        session.read()
        pair.cut()
        with pytest.raises(Unavailable):
            session.read()
    pair.near.run(pair.far.commands[-1].closed.wait())


def test_who_leaves_ends_what_was_begun_there(pair: Pair) -> None:
    [only] = pair.deploy()
    session = pair.near.local.allocations.exec(only, ["cat"], stdin=True)
    session.read()
    session.close()
    pair.near.run(pair.far.commands[-1].closed.wait())


def test_the_next_container_is_attached_to_wherever_it_starts(pair: Pair) -> None:
    with pair.near.local.apps.attach_next("soon", columns=90, rows=20) as session:
        command = pair.near.do(Command, ExecSpec(args=("first words",), stdin=True))
        pair.near.do(pair.far.looking.expected["default", "soon"].set_result, command)
        assert session.read() == ("stdout", b"first words\n")
        assert session.read() == ("stdout", b"90x20")
        session.write(b"hello")
        assert session.read() == ("stdout", b"HELLO")
        session.close_stdin()
        assert session.read() is None and session.exit_code == 0
    assert pair.near.backend.looking.expected == {}
    with pair.near.local.apps.attach_next("refused") as session:
        looking = pair.far.looking
        pair.near.do(looking.expected["default", "refused"].set_exception, Conflict("no terminals here"))
        with pytest.raises(Conflict, match="no terminals"):
            session.read()


def test_what_starts_here_is_not_expected_there_any_more(pair: Pair) -> None:
    with pair.near.local.apps.attach_next("soon") as session:
        command = pair.near.do(Command, ExecSpec(args=("here",), stdin=True))
        pair.near.do(pair.near.backend.looking.expected["default", "soon"].set_result, command)
        assert session.read() == ("stdout", b"here\n")
    pair.near.run(pair.far.looking.left.wait())
    assert pair.far.looking.expected == {}


def test_a_node_that_is_not_there_keeps_nobody_from_being_attached(pair: Pair) -> None:
    pair.cut()
    with pair.near.local.apps.attach_next("soon") as session:
        command = pair.near.do(Command, ExecSpec(args=("here",), stdin=True))
        pair.near.do(pair.near.backend.looking.expected["default", "soon"].set_result, command)
        assert session.read() == ("stdout", b"here\n")


# -- proofs ------------------------------------------------------------------------------------------------------


async def ask(pair: Pair, shown: Statement) -> tuple[int, Problem | None]:
    """What `far` answers when `near` shows it that."""
    links = pair.near.backend.remote._links
    assert links
    stream = await links.open(FAR.public, SERVICE, timeout=1)
    try:
        await stream.send(encode_opening(Opening(shown)))
        events = Events(stream, client=True)
        head = await events.receive()
        assert head
        body = b""
        while event := await events.receive():
            body += event.get("body", b"")
        await stream.finish()
        told = dict(head["headers"])[b"content-type"] == PROBLEM_FORMAT.encode()
        return head["status"], decode(body, Problem) if told else None
    finally:
        await stream.close()


def wish(pair: Pair, only: str, **changed: object) -> Delegation:
    asked = {
        "method": "GET", "target": f"/v1/projects/default/allocations/{only}/processes", "asker": NODE.public,
        "asked": FAR.public, "time": pair.far.remote._clock(), "nonce": "once", **changed,
    }  # fmt: skip
    return Delegation(**asked)  # type: ignore[arg-type]


def test_each_proof_is_good_once(pair: Pair) -> None:
    [only] = pair.deploy()
    shown = delegate(VIEWER, "testhive", wish(pair, only))
    assert pair.near.run(ask(pair, shown)) == (200, None)
    status, why = pair.near.run(ask(pair, shown))
    assert status == 401 and why and "shown before" in why.detail


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"asked": NODE.public}, "for other nodes"),
        ({"asker": FAR.public}, "for other nodes"),
        ({"time": 1}, "too long ago"),
    ],
)
def test_a_proof_of_something_else_is_none(pair: Pair, changed: dict[str, object], why: str) -> None:
    [only] = pair.deploy()
    status, said = pair.near.run(ask(pair, delegate(VIEWER, "testhive", wish(pair, only, **changed))))
    assert status == 401 and said and why in said.detail


def test_the_word_of_the_asking_node_counts_for_nothing(pair: Pair) -> None:
    [only] = pair.deploy()
    good = delegate(VIEWER, "testhive", wish(pair, only))
    own = delegate(NODE, "testhive", wish(pair, only))
    for shown, status in (
        (Statement(ADMIN.public, good.body, good.signature), 401),
        (Statement(ADMIN.public, own.body, own.signature), 401),
        (delegate(VIEWER, "otherhive", wish(pair, only)), 401),
        (delegate(STRANGER, "testhive", wish(pair, only)), 401),
        (own, 403),
        (Statement(VIEWER.public, b"\xc1", b""), 401),
    ):
        answered, said = pair.near.run(ask(pair, shown))
        assert answered == status, said


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "200 OK\r\nx: y"},
        {"status": 99},
        {"status": True},
        {"headers": [(b"x: y\r\nset-cookie", b"a")]},
        {"headers": [(b"x", b"y\r\n\r\nHTTP/1.1 200 OK")]},
        {"headers": [(b"X", b"y")]},
        {"headers": [(b"transfer-encoding", b"chunked")]},
        {"headers": [(b"set-cookie", b"a=b")]},
        {"headers": [("x", "y")]},
        {"headers": [(b"x",)]},
        {"headers": 7},
    ],
)
def test_what_a_node_answers_ends_no_line_and_is_about_no_connection(pair: Pair, changed: Event) -> None:
    """Behind a proxy that several people share it could answer somebody else's request."""
    [only] = pair.deploy()

    async def liar(scope: object, receive: object, send: Callable[[Event], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], **changed})
        await send({"type": "http.response.body", "body": b"[]"})

    pair.far.remote.application = liar
    with pytest.raises(Invalid, match="nobody asked for"):
        pair.near.local.allocations.processes(only)


def test_nothing_is_changed_through_another_node(pair: Pair) -> None:
    pair.deploy()
    for method, target in (
        ("DELETE", "/v1/projects/default/apps/web"),
        ("GET", "/v1/projects/default/apps"),
        ("POST", "/v2/library/x/blobs/uploads/"),
        ("POST", "/v1/cluster/force-recover"),
    ):
        shown = delegate(ADMIN, "testhive", wish(pair, "", method=method, target=target, nonce=target))
        status, _ = pair.near.run(ask(pair, shown))
        assert status == 403


def test_who_proves_nothing_is_not_answered(pair: Pair) -> None:
    async def babble() -> bytes | None:
        links = pair.near.backend.remote._links
        assert links
        stream = await links.open(FAR.public, SERVICE, timeout=1)
        await stream.send(b"\xc1\xc1")
        return await stream.receive()

    with pytest.raises(Unavailable):
        pair.near.run(babble())


# -- put together ------------------------------------------------------------------------------------------------


def test_the_log_of_an_app_is_that_of_all_its_nodes(pair: Pair) -> None:
    [here] = pair.deploy("front", on="node-1")
    [there] = pair.deploy("back")
    for number in range(6):
        on, id = (("node-1", here), ("far", there))[number % 2]
        pair.write(id, 10 + number, f"line {number}", on=on)
    apps = pair.near.local.apps
    assert [e.text for e in apps.logs("front")] == ["line 0", "line 2", "line 4"]
    assert [e.text for e in apps.logs("back")] == ["line 1", "line 3", "line 5"]
    assert [e.text for e in apps.logs("back", grep="[13]")] == ["line 1", "line 3"]
    assert [e.text for e in apps.logs("back", tail=1)] == ["line 5"]
    assert [e.text for e in apps.logs("back", since=13, until=14)] == ["line 3"]
    assert [e.text for e in pair.near.local.allocations.logs(there)] == ["line 1", "line 3", "line 5"]


def test_a_log_there_is_followed(pair: Pair) -> None:
    [there] = pair.deploy()
    pair.write(there, 10, "first")
    for entries in (
        pair.near.local.apps.logs_follow("web"),
        pair.near.local.allocations.logs_follow(there),
    ):
        assert next(entries).text == "first"
        pair.write(there, 11, "second")
        assert next(entries).text == "second"
        entries.close()  # type: ignore[attr-defined]
        pair.far.log_lines[there].pop()


def test_a_log_whose_node_goes_away_says_so_and_goes_on_without_a_line_twice(pair: Pair) -> None:
    [there] = pair.deploy()
    pair.write(there, 10, "first")
    entries = pair.near.local.apps.logs_follow("web")
    assert next(entries).text == "first"
    pair.write(there, 11, "second")
    assert next(entries).text == "second"
    pair.cut()
    said = next(entries)
    assert said.stream == "notice" and "node far cannot be reached" in said.text
    pair.write(there, 11, "third")
    pair.mend()
    assert next(entries).text == "third"


def test_a_log_that_cannot_be_had_is_named_in_what_can(pair: Pair) -> None:
    [there] = pair.deploy(replicas=1)
    pair.write(there, 10, "first")
    pair.cut()
    [said] = pair.near.local.apps.logs("web")
    assert said.stream == "notice" and "node far" in said.text


def test_the_earlier_log_comes_from_its_node(pair: Pair) -> None:
    [there] = pair.deploy()
    with pytest.raises(NotFound):
        list(pair.near.local.apps.logs("web", previous=True))
    pair.far.looking.earlier[there] = [LogLine(1, "stdout", "last words")]
    assert [e.text for e in pair.near.local.apps.logs("web", previous=True)] == ["last words"]


def test_figures_are_those_of_all_nodes_that_can_be_asked(pair: Pair) -> None:
    [here], [there] = pair.deploy("front", on="node-1"), pair.deploy("back")
    assert {s.allocation for s in pair.near.local.stats()} == {here, there}
    assert {s.allocation for s in pair.near.local.stats(app="back")} == {there}
    pair.cut()
    sample = pair.near.local.sample()
    assert [s.allocation for s in sample.items] == [here]
    [missing] = sample.unreached
    assert "node far cannot be reached" in missing
