"""Logs, events, commands and images: answers and bodies that come piece by piece."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from hivemind.drivers.runtimes.contract import LogLine, LogQuery
from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from hivemind.model.answers import LogEntry
from hivemind.model.app import AppManifest, AppSpec
from tests.unit.api.backend import STRANGER, VIEWER
from tests.unit.api.conftest import Running


def deploy(running: Running, replicas: int = 2) -> list[str]:
    """Ids of the allocations, by slot, all running."""
    spec = AppSpec(image="x", update={"max_parallel": 100})  # type: ignore[arg-type]
    running.local.apps.deploy(AppManifest(name="web", replicas=replicas, spec=spec))
    ids = [a.id for a in running.local.allocations.list(app="web")]
    for id in ids:
        running.do(running.backend.run, id)
    return ids


def write(running: Running, allocation: str, *lines: tuple[int, str]) -> None:
    for time, text in lines:
        running.run(running.backend.write_line(allocation, time, text))


def texts(entries: Iterator[LogEntry], count: int | None = None) -> list[str]:
    return [entry.text for entry in itertools.islice(entries, count)]


# -- logs -------------------------------------------------------------------------------------------------------


def test_logs_of_all_replicas_are_merged_by_time(running: Running) -> None:
    first, second = deploy(running)
    write(running, first, (1, "a"), (3, "c"), (5, "e"))
    write(running, second, (2, "b"), (4, "d"))
    running.run(running.backend.end(second))  # dead ones too
    hive = running.local
    assert texts(hive.apps.logs("web")) == ["a", "b", "c", "d", "e"]
    assert texts(hive.apps.logs("web", tail=2)) == ["d", "e"]
    assert texts(hive.apps.logs("web", tail=0)) == []
    assert texts(hive.apps.logs("web", since=2, until=4)) == ["b", "c", "d"]
    assert texts(hive.allocations.logs(second)) == ["b", "d"]
    entry = next(hive.allocations.logs(second))
    assert (entry.time, entry.stream, entry.allocation, entry.slot) == (2, "stdout", second, 1)


def test_logs_that_break_off_are_noticed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(running, 1)

    async def broken(allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        for number in range(query.tail or 3):
            yield LogLine(number, "stdout", "x")
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(running.backend, "logs", broken)
    entries = running.local.apps.logs("web")
    assert texts(entries, 3) == ["x", "x", "x"]
    with pytest.raises(Unavailable, match="closed before the answer was complete"):
        next(entries)
    with pytest.raises(Unavailable, match="the disk is gone"):
        next(running.local.apps.logs("web", tail=1))  # known before the answer starts


def test_following_shows_the_past_then_what_comes_and_lets_new_replicas_join(running: Running) -> None:
    first, second = deploy(running)
    write(running, first, (1, "a"), (3, "c"), (3, "c again"))
    write(running, second, (2, "b"))
    following = running.local.apps.logs_follow("web")
    assert texts(following, 4) == ["a", "b", "c", "c again"]
    write(running, first, (3, "c once more"))
    assert texts(following, 1) == ["c once more"]
    write(running, second, (4, "d"))
    assert texts(following, 1) == ["d"]
    running.local.apps.scale("web", 3)
    third = running.local.allocations.get("web.2").id
    write(running, third, (9, "from the new one"))
    running.do(running.backend.run, third)
    assert texts(following, 1) == ["from the new one"]
    following.close()  # type: ignore[attr-defined]


def test_following_with_a_tail(running: Running) -> None:
    [only] = deploy(running, 1)
    write(running, only, (1, "a"), (2, "b"), (2, "b2"))
    following = running.local.apps.logs_follow("web", tail=1)
    assert texts(following, 1) == ["b2"]
    write(running, only, (5, "c"))
    assert "c" in texts(following, 2)
    following.close()  # type: ignore[attr-defined]


def test_following_one_allocation_ends_with_it(running: Running) -> None:
    [only] = deploy(running, 1)
    write(running, only, (1, "a"))
    following = running.local.allocations.logs_follow(only)
    assert texts(following, 1) == ["a"]
    running.run(running.backend.end(only))
    assert texts(following) == []
    assert running.do(lambda: running.backend.store.subscribers) == 0


def test_following_needs_a_token_and_a_thing_to_follow(running: Running) -> None:
    deploy(running, 1)
    with pytest.raises(Unauthenticated):
        next(running.remote(STRANGER).apps.logs_follow("web"))
    with pytest.raises(NotFound, match="no app 'nothing'"):
        next(running.local.apps.logs_follow("nothing"))


def test_a_stopping_server_ends_what_follows(running: Running) -> None:
    [only] = deploy(running, 1)
    write(running, only, (1, "a"))
    logs, events = running.local.apps.logs_follow("web"), running.local.events_follow(after="0")
    running.do(running.backend.happen, 1)
    assert texts(logs, 1) == ["a"] and next(events).message == "event 1"
    stopping = threading.Thread(target=running.run, args=(running.server.stop(),))
    stopping.start()
    with pytest.raises(Unavailable):
        next(logs)
    with pytest.raises(Unavailable):
        next(events)
    stopping.join(20)
    assert not stopping.is_alive()


# -- events -----------------------------------------------------------------------------------------------------


def test_events_are_listed_and_filtered(running: Running) -> None:
    for number in range(1, 8):
        running.do(running.backend.happen, number, app="web" if number % 2 else "db", project="default")
    running.do(running.backend.happen, 8, type="node.cordoned")
    hive = running.local
    assert [e.time for e in hive.events()] == list(range(1, 9))
    assert [e.time for e in hive.events(limit=2)] == [7, 8]
    assert [e.time for e in hive.events(app="db")] == [2, 4, 6]
    assert [e.time for e in hive.events(type="node")] == [8]
    assert [e.time for e in hive.events(project="default", type="allocation.started", limit=1)] == [7]


def test_events_come_live_and_resume_behind_the_last_one(running: Running) -> None:
    for number in (1, 2, 3):
        running.do(running.backend.happen, number)
    following = running.local.events_follow(after="000000000000001-0000")
    assert [next(following).time, next(following).time] == [2, 3]
    running.do(running.backend.happen, 4)
    assert next(following).time == 4
    # The connection breaks: the client comes back by itself, behind the last one that it saw.
    running.do(lambda: [c.transport.abort() for c in running.server._clients.connections])
    running.do(running.backend.happen, 5)
    assert next(following).time == 5
    following.close()  # type: ignore[attr-defined]


def test_events_from_now_on(running: Running) -> None:
    running.do(running.backend.happen, 1)
    connection = running.local._connection
    with connection.open("GET", "/v1/events?type=allocation.exited") as exchange:
        assert exchange.headers["content-type"].startswith("text/event-stream")
        lines = exchange.lines()
        assert next(lines) == b"id: 000000000000001-0000"
        running.do(running.backend.happen, 2)
        running.do(running.backend.happen, 3, type="allocation.exited")
        while (line := next(lines)) in (b": alive", b""):
            pass
        assert line == b"id: 000000000000003-0000"
        assert next(lines) == b"event: allocation.exited"
        data = next(lines)
        assert data.startswith(b"data: {") and b'"id":"000000000000003-0000"' in data


# -- exec -------------------------------------------------------------------------------------------------------


def test_a_command_runs_inside(running: Running) -> None:
    [only] = deploy(running, 1)
    with running.local.allocations.exec(
        only, ["echo", "hello"], env={"A": "b"}, user="root", workdir="/"
    ) as session:
        assert session.read() == ("stdout", b"echo hello\n")
        assert session.read() is None and session.exit_code == 0
    with running.local.allocations.exec("web.0", ["false"]) as session:
        assert [session.read(), session.read(), session.read()] == [
            ("stdout", b"false\n"),
            ("stderr", b"no\n"),
            None,
        ]
        assert session.exit_code == 1
    spec = running.backend.commands[0].spec
    assert (spec.env, spec.user, spec.workdir, spec.tty) == ({"A": "b"}, "root", "/", False)
    assert all(command.closed.is_set() for command in running.backend.commands)


def test_a_command_is_spoken_to(running: Running) -> None:
    [only] = deploy(running, 1)
    with running.local.allocations.exec(only, ["sh"], tty=True, stdin=True, columns=100, rows=30) as session:
        assert session.read() == ("stdout", b"sh\n")
        session.write(b"hello")
        assert session.read() == ("stdout", b"HELLO")
        session.resize(120, 40)
        assert session.read() == ("stdout", b"120x40")
        session.write(b"x" * 3_000_000)
        read = 0
        while read < 3_000_000:
            stream, data = session.read() or ("", b"")
            assert stream == "stdout" and set(data) == {ord("X")}
            read += len(data)
        session.close_stdin()
        assert session.read() is None and session.exit_code == 0


def test_leaving_a_command_ends_it(running: Running) -> None:
    [only] = deploy(running, 1)
    session = running.local.allocations.exec(only, ["sh"], stdin=True)
    assert session.read() == ("stdout", b"sh\n")
    session.close()
    running.run(running.backend.commands[0].closed.wait())


def test_commands_that_cannot_run(running: Running) -> None:
    [only] = deploy(running, 1)
    with pytest.raises(Invalid, match="no command"):
        running.local.allocations.exec(only, []).read()
    with pytest.raises(NotFound):
        running.local.allocations.exec("nothing", ["sh"])
    with pytest.raises(Forbidden, match="operator"):
        running.remote(VIEWER).allocations.exec(only, ["sh"])
    running.run(running.backend.end(only))
    with pytest.raises(Conflict, match="does not run"):
        running.local.allocations.exec(only, ["sh"]).read()


def test_stats(running: Running) -> None:
    [only] = deploy(running, 1)
    stats = running.local.allocations.stats(only)
    assert (stats.allocation, stats.cpu_seconds, stats.memory, stats.net_tx) == (only, 1.5, 1000, 5)


def test_checks(running: Running) -> None:
    [only] = deploy(running, 1)
    [found] = running.local.allocations.checks(only)
    assert (found.check, found.outcome, found.latency, found.output) == (
        "liveness",
        "slow",
        1.5,
        "GET /: 200",
    )


# -- images -----------------------------------------------------------------------------------------------------


def test_an_archive_is_loaded_in_a_stream(running: Running) -> None:
    sent: list[int] = []
    [image] = running.local.images.load(io.BytesIO(b"t" * 5_000_000), sent.append)
    assert (image.name, image.size, sent[-1]) == ("loaded:1", 5_000_000, 5_000_000)
    assert len(sent) > 5
    assert running.local.images.get("loaded:1").id == image.id
    assert running.local.images.get(image.id).name == "loaded:1"
    running.local.images.delete("loaded:1")
    assert running.local.images.list() == []


def test_an_archive_that_is_none(running: Running) -> None:
    with pytest.raises(Invalid, match="not an image archive"):
        running.local.images.load(io.BytesIO(b"junk"))


def test_an_image_is_pulled_with_progress(running: Running) -> None:
    seen = list(running.local.images.pull("registry.example.com/team/app:1"))
    assert (seen[0].stage, seen[0].done, seen[0].total) == ("downloading", 1, 2)
    assert seen[-1].image and seen[-1].image.name == "registry.example.com/team/app:1"
    assert [i.name for i in running.local.images.list()] == ["registry.example.com/team/app:1"]
    running.local.images.delete("registry.example.com/team/app:1")


def test_pulls_that_fail(running: Running) -> None:
    with pytest.raises(NotFound, match="no image") as refused:
        list(running.local.images.pull("missing"))
    assert refused.value.hint == "check its name"
    with pytest.raises(Unavailable):
        list(running.local.images.pull("down"))
    with pytest.raises(Invalid, match="not an image reference"):
        list(running.local.images.pull("Not An Image"))


def test_an_image_in_use_stays(running: Running) -> None:
    running.do(running.backend.images.hold, "busy:1")
    with pytest.raises(Conflict, match="uses it"):
        running.local.images.delete("busy:1")
