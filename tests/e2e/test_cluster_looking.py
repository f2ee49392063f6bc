"""A hive of real daemons: what runs on one of them is looked into from any other; who is cut off does what the app
says."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import pytest

from hivemind.errors import HivemindError, Unavailable
from hivemind.model.allocation import AllocationDocument
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.network import Port
from tests.e2e.cluster import Hatch, Member, Rig
from tests.e2e.daemon import running
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real
SPEAK = ("sh", "-c", "echo I am $HIVEMIND_NODE; exec sleep 100000")


@pytest.fixture(scope="module")
def grown(hatch: Hatch) -> list[Member]:
    members = Rig(hatch).hive(3)
    for member in members[:1]:
        member.cli("project", "allow", "default", "processes")
    return members


@pytest.fixture
def hive(grown: list[Member]) -> Iterator[list[Member]]:
    """All three there before and after each test, and nothing runs."""
    yield grown
    for member in grown:
        eventually(lambda m=member: whole(m), "all there")
    for app in grown[0].client.apps.list(None):
        grown[0].client.apps.delete(app.name, app.project)
    eventually(lambda: not grown[0].client.allocations.list(None), "nothing is left")


def whole(member: Member) -> bool:
    status = member.status()
    there = all(m.agreed == "ready" and m.reach in ("self", "alive") for m in status.members)
    return there and status.can_decide


def deploy(member: Member, name: str, replicas: int, *command: str, **spec: object) -> None:
    made = AppSpec(runtime="process", command=command, **spec)  # type: ignore[arg-type]
    member.client.apps.deploy(AppManifest(name=name, replicas=replicas, spec=made))


def spoken(hive: list[Member]) -> dict[str, AllocationDocument]:
    """An app that said where it is, with a replica on each node; by node."""
    deploy(hive[0], "speaker", 3, *SPEAK)
    found = {a.node: a for a in hive[0].ready("speaker", 3)}
    assert sorted(found) == ["n1", "n2", "n3"]
    for member in hive:
        eventually(lambda m=member: len(m.ready("speaker", 3)) == 3, "everybody knows")
    return found


def test_every_replica_is_looked_into_from_every_node(hive: list[Member]) -> None:
    found = spoken(hive)
    for member, (node, replica) in itertools.product(hive, found.items()):
        seen = member.client.allocations
        assert [e.text for e in seen.logs(replica.id)] == [f"I am {node}"]
        assert [p.pid for p in seen.processes(replica.id)] == [replica.status.pid]
        assert seen.stats(replica.id).pids == 1
        assert member.cli("exec", replica.id, "echo", "inside").out == "inside\n"
        assert member.cli("exec", replica.id, "sh", "-c", "exit 7", code=7)
    for member in hive:
        assert {e.text for e in member.client.apps.logs("speaker")} == {"I am n1", "I am n2", "I am n3"}
        assert {s.allocation for s in member.client.stats()} >= {a.id for a in found.values()}
        assert member.cli("top").err == "" and "speaker" in member.cli("stats", "--no-stream").out


def test_a_port_there_is_reached_from_here(hive: list[Member]) -> None:
    deploy(
        hive[0], "site", 1, "sh", "-c", f"exec {sys.executable} -m http.server $PORT",
        ports=(Port(container=8080),), constraints=("node.name==n3",),
    )  # fmt: skip
    [replica] = hive[0].ready("site", 1)
    assert replica.node == "n3"

    def serves() -> bool:
        with hive[1].client.allocations.forward(replica.id, 8080) as socket:
            socket.send(b"\0GET / HTTP/1.0\r\n\r\n")
            return (socket.receive() or b"").startswith(b"\1HTTP/1.0 200")

    eventually(serves, "it serves")


def test_a_published_port_answers_on_every_node(hive: list[Member]) -> None:
    deploy(
        hive[0], "open", 1, "sh", "-c", f"exec {sys.executable} -m http.server $PORT",
        ports=(Port(container=8080, host=8090),), constraints=("node.name==n3",),
    )  # fmt: skip
    hive[0].ready("open", 1)
    for member in hive:
        eventually(lambda m=member: m.fetch("http://127.0.0.1:8090/"), f"it answers on {member.name}")
    hive[0].client.apps.stop("open")
    for member in hive:
        eventually(lambda m=member: refuses(m), f"nothing answers on {member.name}")


def refuses(member: Member) -> bool:
    try:
        member.fetch("http://127.0.0.1:8090/")
    except OSError:
        return True
    return False


def test_what_a_job_left_there_is_had_from_here(hive: list[Member]) -> None:
    from hivemind.model.job import Artifact, JobManifest, JobSpec, Task

    task = Task(
        run="echo done by $HIVEMIND_NODE; echo result > out.txt",
        artifacts=(Artifact(path="out.txt", name="out"),),
    )
    spec = JobSpec(tasks={"work": task})
    hive[0].client.jobs.put(JobManifest(name="far", spec=spec))
    run = hive[0].client.jobs.run("far")
    eventually(lambda: hive[0].client.runs.get(run.name).ended, "it has run")
    for member in hive:
        eventually(lambda m=member: m.client.runs.get(run.name).ended, "everybody knows")
        [left] = member.client.runs.artifacts(run.name)
        assert left.name == "out"
        assert b"result" in b"".join(member.client.runs.read_artifact(run.name, "work", "out"))
        [line] = member.client.runs.logs(run.name)
        assert line.text == f"done by {left.node}"


def test_who_cannot_be_asked_is_named(hive: list[Member]) -> None:
    found = spoken(hive)
    near, far = hive[0], hive[2]
    following = near.client.apps.logs_follow("speaker")
    assert {next(following).text for _ in hive} == {"I am n1", "I am n2", "I am n3"}
    far.cut()
    try:
        said = next(entry for entry in following if entry.stream == "notice")
        assert "node n3 cannot be reached from here" in said.text
        with pytest.raises(Unavailable, match="node n3 cannot be reached from here since 20"):
            near.client.allocations.processes(found["n3"].id)
        with pytest.raises(HivemindError, match="node n1 cannot be reached"):
            far.client.allocations.processes(found["n1"].id)
        [own] = far.client.allocations.processes(found["n3"].id)
        assert own.pid == found["n3"].status.pid
    finally:
        far.mend()
    following.close()  # type: ignore[attr-defined]


def test_what_must_not_run_twice_stops_where_it_is_cut_off_before_another_one_starts(
    hive: list[Member],
) -> None:
    deploy(hive[0], "twin", 3, *SPEAK, on_partition="stop")
    deploy(hive[0], "free", 3, *SPEAK, on_partition="keep")
    twins = {a.node: a for a in hive[0].ready("twin", 3)}
    frees = {a.node: a for a in hive[0].ready("free", 3)}
    alone, left = hive[2], hive[:2]
    pid = twins["n3"].status.pid
    alone.cut()
    try:
        eventually(lambda: left[0].seen("n3").agreed == "lost", "it counts as lost")
        assert len(left[0].ready("free", 3)) == 3, "what may go on is replaced at once"
        assert sum(a.status.ready for a in left[0].replicas("twin")) == 2
        assert running(pid)

        def other() -> list[AllocationDocument]:
            return [
                a for a in left[0].replicas("twin") if a.id not in {t.id for t in twins.values()} and a.node
            ]

        eventually(lambda: other() or not running(pid), "either of them", 60)
        assert not other() and not running(pid), "the old one has ended first"
        assert running(frees["n3"].status.pid)
        eventually(other, "another one is started", 60)
        left[0].ready("twin", 3)
    finally:
        alone.mend()
    eventually(lambda: alone.seen("n3").agreed == "ready", "it is back")
    eventually(lambda: not running(frees["n3"].status.pid), "what was taken from it has ended")
    assert len(alone.ready("twin", 3)) == 3
