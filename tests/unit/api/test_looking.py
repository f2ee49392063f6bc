"""Looking at what runs, through the API: attached, files, ports, earlier logs, all figures at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hivemind.drivers.runtimes.contract import ExecSpec, LogLine
from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from hivemind.model.answers import ExecChannel
from tests.unit.api.backend import VIEWER, Command
from tests.unit.api.conftest import Running
from tests.unit.api.test_streams import deploy, texts, write


def test_attached_to_what_runs(running: Running) -> None:
    [only] = deploy(running, 1)
    with running.local.allocations.attach(only, columns=100, rows=30) as session:
        assert session.read() == ("stdout", b"main\n")
        assert session.read() == ("stdout", b"100x30")
        session.write(b"hello")
        assert session.read() == ("stdout", b"HELLO")
        session.close_stdin()
        assert session.read() is None and session.exit_code == 0
    running.do(running.backend.running.discard, only)
    with running.local.allocations.attach(only) as session, pytest.raises(Conflict):
        session.read()


def test_attached_to_the_next_container_of_an_app_that_is_not_there_yet(running: Running) -> None:
    looking = running.backend.looking
    with running.local.apps.attach_next("soon", columns=90, rows=20) as session:
        command = running.do(Command, ExecSpec(args=("first words",), stdin=True))
        running.do(looking.expected["default", "soon"].set_result, command)
        assert session.read() == ("stdout", b"first words\n")
        assert session.read() == ("stdout", b"90x20")
    running.run(command.closed.wait())
    assert looking.expected == {}


def test_who_expects_and_leaves_is_forgotten(running: Running) -> None:
    looking = running.backend.looking
    running.local.apps.attach_next("never").close()

    running.run(looking.left.wait())
    assert looking.expected == {}


def test_who_expects_is_told_when_the_node_stops_and_when_it_cannot_be(running: Running) -> None:
    looking = running.backend.looking
    with running.local.apps.attach_next("refused") as session:
        running.do(looking.expected["default", "refused"].set_exception, Conflict("no terminals here"))
        with pytest.raises(Conflict, match="no terminals"):
            session.read()
    with running.local.apps.attach_next("stopped") as session:
        stopping = threading.Thread(target=lambda: running.run(running.server.stop()))
        stopping.start()
        with pytest.raises(Unavailable):
            session.read()
        stopping.join()


def test_processes_and_changes(running: Running) -> None:
    [only] = deploy(running, 1)
    (process,) = running.local.allocations.processes(only)
    assert (process.pid, process.command) == (7, "sleep 9")
    (change,) = running.local.allocations.changes("web.0")
    assert (change.kind, change.path) == ("added", "/etc/hosts")


def test_files_out_and_in(running: Running) -> None:
    [only] = deploy(running, 1)
    allocations = running.local.allocations
    assert b"".join(allocations.read_files(only, "/etc/hosts")).startswith(b"127.0.0.1")
    allocations.write_files(only, "/tmp/x y", iter([b"a" * 100_000, b"b"]))
    assert running.backend.looking.files["/tmp/x y"] == b"a" * 100_000 + b"b"
    with pytest.raises(NotFound):
        list(allocations.read_files(only, "/nothing"))
    with pytest.raises(Invalid):
        list(allocations.read_files(only, "relative"))


def test_only_operators_reach_inside(running: Running) -> None:
    [only] = deploy(running, 1)
    viewer = running.remote(VIEWER).allocations
    assert viewer.processes(only)
    with pytest.raises(Forbidden):
        list(viewer.read_files(only, "/etc/hosts"))
    with pytest.raises(Forbidden):
        viewer.write_files(only, "/etc", iter([b""]))
    with pytest.raises(Forbidden):
        viewer.attach(only)
    with pytest.raises(Forbidden):
        viewer.forward(only, 80)


def test_all_figures_at_once(running: Running) -> None:
    ids = deploy(running, 3)
    assert {s.allocation for s in running.local.stats()} == set(ids)
    assert running.local.stats(project="other") == []
    assert len(running.local.stats(project="default", app="web")) == 3


def test_a_port_both_ways_with_both_ends(running: Running) -> None:
    [only] = deploy(running, 1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(-1)).upper())
        await writer.drain()
        writer.close()

    server = running.run(asyncio.start_server(answer, "127.0.0.1", 0))
    with running.local.allocations.forward(only, 80) as tunnel, pytest.raises(Conflict):
        raise _problem(tunnel.receive())
    running.backend.looking.port = server.sockets[0].getsockname()[1]
    with running.local.allocations.forward(only, 80) as tunnel:
        for _ in range(50):
            tunnel.send(bytes((ExecChannel.STDIN,)) + b"x" * 10_000)
        tunnel.send(bytes((ExecChannel.STDIN_END,)))
        got = b""
        while (frame := tunnel.receive()) is not None and frame[0] == ExecChannel.STDOUT:
            got += frame[1:]
        assert got == b"X" * 500_000 and frame == bytes((ExecChannel.STDOUT_END,))
        assert tunnel.receive() is None
    running.do(server.close)


def _problem(frame: bytes | None) -> Exception:
    from hivemind.client.connection import understood
    from hivemind.model.answers import Problem

    assert frame is not None and frame[0] == ExecChannel.EXIT
    return understood(frame[1:], Problem).error()


def test_logs_by_pattern(running: Running) -> None:
    one, two = deploy(running, 2)
    write(running, one, (1, "start"), (3, "ERROR 1"), (5, "fine"))
    write(running, two, (2, "warn"), (4, "ERROR 2"))
    logs = running.local.apps.logs
    assert texts(logs("web", grep="ERROR|warn")) == ["warn", "ERROR 1", "ERROR 2"]
    assert texts(logs("web", grep="(?i)error", tail=1)) == ["ERROR 2"]
    with pytest.raises(Invalid, match="cannot be used"):
        texts(logs("web", grep="(oops"))
    following = running.local.allocations.logs_follow(one, grep="ERR")
    assert next(following).text == "ERROR 1"
    write(running, one, (6, "nothing"), (7, "ERR later"))
    assert next(following).text == "ERR later"


def test_logs_of_what_ended_before(running: Running) -> None:
    one, _ = deploy(running, 2)
    with pytest.raises(NotFound):
        texts(running.local.apps.logs("web", previous=True))
    running.backend.looking.earlier[one] = [LogLine(1, "stdout", "last words"), LogLine(2, "stdout", "aargh")]
    assert texts(running.local.apps.logs("web", previous=True)) == ["last words", "aargh"]
    assert texts(running.local.allocations.logs("web.0", previous=True, grep="aa")) == ["aargh"]


def test_events_within_a_time(running: Running) -> None:
    for number in range(1, 6):
        level = "warning" if number == 3 else "info"
        running.do(running.backend.happen, number, level=level, name=f"web.{number % 2}")
    events = running.local.events
    assert [e.time for e in events(since=2, until=4)] == [2, 3, 4]
    assert [e.time for e in events(level="warning")] == [3]
    assert [e.time for e in events(name="web.0", limit=1)] == [4]


def test_a_log_of_a_container_that_never_is_is_refused(running: Running) -> None:
    [only] = deploy(running, 1)
    with pytest.raises(NotFound, match="no container 'nope'"):
        list(running.local.allocations.logs(only, container="nope"))
