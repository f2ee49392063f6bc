"""Jobs and runs through the public client, a real server and the real state."""

from __future__ import annotations

import threading

import pytest

from hivemind.client.jobs import Change
from hivemind.drivers.runtimes.contract import LogLine
from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Stale
from hivemind.model.job import PRIORITIES, Input, JobManifest, JobSpec, Routine, Task
from hivemind.model.routine import RoutineManifest
from hivemind.model.run import input_context
from tests.unit.api.backend import OPERATOR, VIEWER
from tests.unit.api.conftest import Running
from tests.unit.api.jobs import allow, end, job, task

ETL = {
    "get": {"run": "echo get"},
    "clean": {"run": "echo clean", "needs": ["get"]},
    "page": {"run": "echo page", "needs": {"get": "failure"}},
}


@pytest.fixture
def open_project(running: Running) -> Running:
    running.do(allow, running.backend)
    return running


def test_is_put_changed_read_and_removed(open_project: Running) -> None:
    hive = open_project.local
    made = hive.jobs.put(job("etl", tasks=ETL))
    assert (made.name, made.number, made.state, made.tasks, made.last) == ("etl", 1, "active", 3, "")
    again = hive.jobs.put(job("etl", tasks=ETL), if_version=made.version)
    assert (again.number, again.version) == (1, made.version)
    changed = hive.jobs.put(job("etl", tasks={"get": {"run": "echo other"}}))
    assert (changed.number, changed.tasks) == (2, 1)
    assert hive.jobs.definitions("etl")[-1].number == 2
    with pytest.raises(Stale):
        hive.jobs.put(job("etl", tasks=ETL), if_version=made.version)
    with pytest.raises(Conflict):
        hive.jobs.create(job("etl", tasks=ETL))
    hive.jobs.delete("etl")
    with pytest.raises(NotFound, match="no job 'etl'"):
        hive.jobs.get("etl")


def test_nothing_invalid_is_put(open_project: Running) -> None:
    hive = open_project.local
    bad = JobManifest(
        name="bad",
        spec=JobSpec(tasks={"a": Task(run="x", needs={"b": "success"}), "c": Task(uses="nowhere")}),
    )
    with pytest.raises(Invalid) as refused:
        hive.jobs.put(bad)
    assert "b" in refused.value.message
    assert "nowhere" in refused.value.message
    assert hive.jobs.list() == []


def test_a_dry_run_changes_nothing(open_project: Running) -> None:
    hive = open_project.local
    assert [(s.action, s.object) for s in hive.jobs.plan(job("etl", tasks=ETL))] == [("create", "job etl")]
    assert hive.jobs.list() == []
    hive.jobs.put(job("etl", tasks=ETL))
    assert hive.jobs.plan(job("etl", tasks=ETL)) == ()
    changed = job("etl", tasks={"get": {"run": "echo other"}})
    assert [(s.action, s.detail) for s in hive.jobs.plan(changed)] == [("change", "to definition 2")]
    assert [(s.action, s.object) for s in hive.jobs.plan_delete("etl")] == [("delete", "job etl")]
    assert [j.number for j in hive.jobs.list()] == [1]


def test_what_is_written_is_judged_without_being_put(open_project: Running) -> None:
    hive = open_project.local
    good = hive.jobs.validate(b'{"name": "etl", "tasks": {"a": {"run": "x"}}}', "application/json")
    assert good.findings == ()
    assert good.manifest is not None
    assert good.manifest["spec"]["tasks"]["a"]["run"] == "x"
    bad = hive.jobs.validate(
        b'{"name": "etl", "tasks": {"a": {"rum": "x"}, "b": {"run": "y", "needs": ["z"]}}}',
        "application/json",
    )
    assert len(bad.findings) >= 2
    assert bad.manifest is None
    assert any("rum" in f.message + f.path for f in bad.findings)
    yaml = hive.jobs.validate(b"name: etl\ntasks:\n  a:\n    rum: x\n", "application/yaml")
    assert [(f.line, f.column) for f in yaml.findings][:1] in ([(4, 5)], [(3, 3)])
    with pytest.raises(Invalid, match="2 documents"):
        hive.jobs.validate(b"name: a\n---\nname: b\n", "application/yaml")


def test_runs_to_its_end_and_is_on_record(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks=ETL))
    run = hive.jobs.run("etl", priority=PRIORITIES["high"])
    assert (run.name, run.state, run.priority, run.start.by) == ("etl-1", "running", 75, "ada")
    assert {t.path: t.state for t in hive.runs.tasks("etl")} == {
        "clean": "pending", "get": "running", "page": "pending",
    }  # fmt: skip
    waiting = hive.runs.task("etl-1", "clean")
    assert "get" in waiting.reason
    assert waiting.needs == ("get",)
    assert hive.runs.task("etl-1", "get").nodes == ("node-1",)
    open_project.do(end, backend, "etl-1", "get", outputs={"rows": "3"})
    open_project.do(end, backend, "etl-1", "clean")
    ended = hive.runs.get("etl")
    assert (ended.state, ended.progress) == ("succeeded", "3/3")
    assert {t.path: t.state for t in hive.runs.tasks(ended.id[:6])}["page"] == "skipped"
    [only] = hive.runs.tasks("etl-1", states=("skipped",))
    assert only.path == "page"
    entries = list(hive.runs.history("etl-1"))
    assert [e.time for e in entries] == sorted(e.time for e in entries)
    assert (entries[0].path, entries[0].by) == ("", "ada")
    assert {"get", "clean", "page", ""} == {e.path for e in entries}
    assert {e.path for e in hive.runs.history("etl-1", path="get")} == {"get"}
    assert hive.jobs.get("etl").last_state == "succeeded"
    assert [r.name for r in hive.runs.of("etl")] == ["etl-1"]
    assert hive.runs.of("etl", states=("failed",)) == []
    assert hive.runs.definition("etl-1").spec.tasks["get"].run == "echo get"


def test_the_same_key_starts_one_run(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("etl", tasks=ETL))
    first, second = hive.jobs.run("etl", key="monday"), hive.jobs.run("etl", key="monday")
    assert first.id == second.id
    assert hive.jobs.run("etl", key="tuesday").name == "etl-2"
    assert len(hive.runs.of("etl")) == 2


def test_secret_inputs_are_sealed_where_they_enter(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(
        job(
            "etl", inputs={"day": {"type": "string"}, "password": {"secret": True}}, tasks={"a": {"run": "x"}}
        )
    )
    run = hive.jobs.run("etl", inputs={"day": "mon", "password": "hunter2"})
    assert run.inputs == {"day": "mon", "password": "***"}
    kept = backend.state.runs[run.id]
    assert b"hunter2" not in kept.sealed["password"]
    context = input_context("default", "etl", "password")
    assert backend.vault.open(kept.sealed["password"], context) == b"hunter2"
    with pytest.raises(Invalid, match="no input"):
        hive.jobs.run("etl", inputs={"dya": "mon"})


def test_fails_and_goes_on_from_what_failed(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks={"a": {"run": "x"}, "b": {"run": "y", "needs": ["a"]}}))
    hive.jobs.run("etl")
    open_project.do(end, backend, "etl-1", "a")
    open_project.do(end, backend, "etl-1", "b", exit_code=3)
    failed = hive.runs.get("etl-1")
    assert failed.state == "failed"
    assert hive.runs.task("etl-1", "b").exit_code == 3
    with pytest.raises(NotFound, match="no task"):
        hive.runs.retry("etl-1", paths=("c",))
    assert hive.runs.retry("etl-1").state == "running"
    assert hive.runs.task("etl-1", "a").state == "succeeded"
    assert hive.runs.task("etl-1", "b").attempt == 2
    open_project.do(end, backend, "etl-1", "b")
    assert hive.runs.get("etl-1").state == "succeeded"
    with pytest.raises(Conflict):
        hive.runs.retry("etl-1")


def test_is_canceled_and_paused(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks=ETL))
    hive.jobs.run("etl")
    assert hive.runs.pause("etl-1").paused
    open_project.do(end, backend, "etl-1", "get")
    assert hive.runs.task("etl-1", "clean").state in ("blocked", "queued")
    assert not hive.runs.unpause("etl-1").paused
    assert hive.runs.task("etl-1", "clean").state == "running"
    hive.runs.cancel("etl-1", reason="wrong data")
    open_project.do(end, backend, "etl-1", "clean", cause="canceled", exit_code=143)
    ended = hive.runs.get("etl-1")
    assert ended.state == "canceled"
    assert any("wrong data" in mark.why and mark.by == "ada" for mark in ended.marks)


def test_an_approval_is_given_or_refused(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("release", tasks={"gate": {"approval": {"message": "really?"}}}))
    hive.jobs.run("release")
    assert hive.runs.task("release", "gate").role == "approval"
    hive.runs.approve("release-1", comment="fine")
    assert hive.runs.get("release-1").state == "succeeded"
    with pytest.raises(Conflict, match="waits for an approval"):
        hive.runs.approve("release-1")
    hive.jobs.run("release")
    hive.runs.approve("release-2", approved=False)
    assert hive.runs.get("release-2").state == "failed"


def test_schedules_tell_their_times_and_pause(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("nightly", triggers={"schedule": {"cron": "0 2 * * *"}}, tasks={"a": {"run": "x"}}))
    [schedule] = hive.jobs.schedules("nightly", count=3)
    assert len(schedule.next) == 3
    assert schedule.next[1] - schedule.next[0] == 86_400_000
    assert hive.jobs.get("nightly").next == schedule.next[0]
    assert hive.jobs.pause("nightly").paused
    assert hive.jobs.schedules("nightly")[0].paused
    assert hive.jobs.get("nightly").next == 0
    assert not hive.jobs.resume("nightly").paused
    day = 86_400_000
    told = hive.jobs.backfill("nightly", 0, 3 * day, dry_run=True)
    assert [t // day for t in told.times] == [0, 1, 2]
    assert hive.runs.of("nightly") == []
    assert len(hive.jobs.backfill("nightly", 0, 3 * day).times) == 3
    assert len(hive.runs.of("nightly")) == 3
    assert hive.jobs.backfill("nightly", 0, 3 * day, dry_run=True).times == ()
    with pytest.raises(Invalid, match="not after"):
        hive.jobs.backfill("nightly", 5, 5)


def test_the_queue_tells_who_is_next_and_can_be_paused(open_project: Running) -> None:
    hive = open_project.local
    assert hive.queue.pause("").paused
    hive.jobs.put(job("etl", tasks={"a": {"run": "x"}}))
    hive.jobs.run("etl", priority=10)
    hive.jobs.run("etl", priority=90)
    waiting = hive.queue.list()
    assert [(w.run, w.path, w.priority) for w in waiting] == [("etl-2", "", 90), ("etl-1", "", 10)]
    assert all("paused" in w.reason for w in waiting)
    assert "paused" in hive.runs.get("etl-1").reason
    assert hive.queue.resume("").paused is False
    assert hive.queue.list() == []


def test_tasks_that_find_no_place_stand_in_the_queue(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("wide", tasks={"a": {"run": "x", "resources": {"cpus": 3}}}))
    for priority in (10, 90, 50):
        hive.jobs.run("wide", priority=priority)
    waiting = hive.queue.list()
    assert [(w.position, w.run, w.path, w.priority) for w in waiting] == [
        (1, "wide-2", "a", 90),
        (2, "wide-3", "a", 50),
    ]
    assert waiting[0].rank < waiting[1].rank
    assert "cpus" in waiting[0].reason or "core" in waiting[0].reason
    assert [w.run for w in hive.queue.list(limit=1)] == ["wide-2"]


def test_watching_tells_everything_and_then_each_change(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks=ETL))
    hive.jobs.run("etl")
    seen: list[Change] = []
    ready = threading.Event()

    def watch() -> None:
        for change in open_project.local.runs.watch("etl-1"):
            seen.append(change)
            if change.kind == "ready":
                ready.set()

    thread = threading.Thread(target=watch)
    thread.start()
    assert ready.wait(10)
    assert {c.task.path for c in seen if c.task} == {"get", "clean", "page"}
    open_project.do(end, backend, "etl-1", "get")
    open_project.do(end, backend, "etl-1", "clean")
    thread.join(10)
    assert not thread.is_alive()
    assert seen[-1].kind == "end"
    last = {c.task.path: c.task.state for c in seen if c.task}
    assert last == {"get": "succeeded", "clean": "succeeded", "page": "skipped"}
    assert [c.run.state for c in seen if c.run][-1] == "succeeded"
    assert backend.listening == []


def test_logs_of_all_tasks_stand_in_order_of_time(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks={"a": {"run": "x"}, "b": {"run": "y"}}))
    hive.jobs.run("etl")

    def write() -> None:
        base = backend.state.time * 10**6
        [first] = task(backend, "etl-1", "a").allocations
        [second] = task(backend, "etl-1", "b").allocations
        backend.log_lines[first] = [LogLine(base + 1, "stdout", "one"), LogLine(base + 3, "stdout", "three")]
        backend.log_lines[second] = [LogLine(base + 2, "stderr", "two")]

    open_project.do(write)
    open_project.do(end, backend, "etl-1", "a", exit_code=1)
    entries = list(hive.runs.logs("etl-1"))
    assert [(e.path, e.attempt, e.text) for e in entries] == [
        ("a", 1, "one"),
        ("b", 1, "two"),
        ("a", 1, "three"),
    ]
    assert [e.text for e in hive.runs.logs("etl-1", task="b")] == ["two"]
    assert [e.text for e in hive.runs.logs("etl-1", tail=1)] == ["three"]
    assert [e.text for e in hive.runs.logs("etl-1", grep="^t")] == ["two", "three"]
    assert list(hive.runs.logs("etl-1", attempt=2)) == []
    with pytest.raises(NotFound, match="no task"):
        list(hive.runs.logs("etl-1", task="c"))


def test_following_lets_new_attempts_join_and_ends_with_the_run(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(job("etl", tasks={"a": {"run": "x"}, "b": {"run": "y", "needs": ["a"]}}))
    hive.jobs.run("etl")
    texts: list[str] = []
    first = threading.Event()

    def follow() -> None:
        for entry in open_project.local.runs.logs_follow("etl-1"):
            texts.append(f"{entry.path}: {entry.text}")
            first.set()

    def write(path: str, text: str, *, live: bool = True) -> None:
        [id] = task(backend, "etl-1", path).allocations
        if live:
            backend.running.add(id)
        backend.log_lines[id] = [LogLine(backend.state.time * 10**6, "stdout", text)]

    open_project.do(write, "a", "hello")
    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(10)
    [id] = open_project.do(lambda: task(backend, "etl-1", "a").allocations)
    open_project.run(
        backend.write_line(id, (open_project.do(lambda: backend.state.time) + 1) * 10**6, "more")
    )
    open_project.run(backend.end(id))
    open_project.do(end, backend, "etl-1", "a")
    open_project.do(write, "b", "late", live=False)
    open_project.do(end, backend, "etl-1", "b")
    thread.join(10)
    assert not thread.is_alive()
    assert texts == ["a: hello", "a: more", "b: late"]
    assert backend.listening == []


def test_artifacts_are_listed_and_fetched(open_project: Running) -> None:
    hive, backend = open_project.local, open_project.backend
    hive.jobs.put(
        job(
            "etl", tasks={"a": {"run": "x", "artifacts": [{"path": "out", "name": "out"}]}, "b": {"run": "y"}}
        )
    )
    hive.jobs.run("etl")
    [id] = open_project.do(lambda: task(backend, "etl-1", "a").allocations)
    open_project.do(end, backend, "etl-1", "a")
    backend.attempts.kept[id] = {"out": b"a tar"}
    [entry] = hive.runs.artifacts("etl-1")
    assert (entry.path, entry.name, entry.size, entry.attempt, entry.node) == ("a", "out", 5, 1, "node-1")
    assert b"".join(hive.runs.read_artifact("etl-1", "a", "out")) == b"a tar"
    with pytest.raises(NotFound, match="no artifact"):
        list(hive.runs.read_artifact("etl-1", "a", "other"))


def test_an_attempt_is_an_allocation(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("etl", tasks={"a": {"run": "x"}}))
    hive.jobs.run("etl")
    [attempt] = hive.allocations.list()
    assert attempt.name == "etl-1/a"
    assert hive.runs.task("etl-1", "a").allocations == (attempt.id,)


def test_routines_are_put_in_versions(open_project: Running) -> None:
    hive = open_project.local
    fetch = RoutineManifest(name="fetch", spec=Routine(inputs={"url": Input()}, run="curl $url"))
    assert hive.routines.put(fetch).number == 1
    hive.jobs.put(JobManifest(name="etl", spec=JobSpec(tasks={"a": Task(uses="fetch", with_={"url": "u"})})))
    assert hive.routines.get("fetch").used_by == ("etl",)
    with pytest.raises(Conflict):
        hive.routines.delete("fetch")
    with pytest.raises(Invalid, match="routine"):
        hive.routines.put(RoutineManifest(name="empty", spec=Routine()))


def test_who_may_do_what(open_project: Running) -> None:
    open_project.local.jobs.put(job("etl", tasks=ETL))
    viewer, operator = open_project.remote(VIEWER), open_project.remote(OPERATOR)
    assert viewer.jobs.get("etl").name == "etl"
    with pytest.raises(Forbidden):
        viewer.jobs.run("etl")
    assert operator.jobs.run("etl").start.by == "otto"


def test_names_lead_to_runs(open_project: Running) -> None:
    hive = open_project.local
    hive.jobs.put(job("etl", tasks=ETL))
    with pytest.raises(NotFound, match="has not run yet"):
        hive.runs.get("etl")
    first, second = hive.jobs.run("etl"), hive.jobs.run("etl")
    assert hive.runs.get("etl").name == second.name == "etl-2"
    assert hive.runs.get("etl-1").id == first.id
    assert hive.runs.get(first.id[:6]).name == "etl-1"
    with pytest.raises(NotFound):
        hive.runs.get("etl-3")
