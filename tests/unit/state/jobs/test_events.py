"""What starts jobs from outside, and what happens in the hive itself."""

from __future__ import annotations

from typing import Any

from hivemind.model.allocation import AllocationState
from hivemind.model.run import Run, RunState
from hivemind.state.operations import DeleteApp, PauseJob, RaiseEvent
from hivemind.state.state import Outcome
from jobs_hive import JobsHive


def hive_with(triggers: dict[str, Any], **more: Any) -> JobsHive:
    hive = JobsHive()
    hive.put("job", triggers=triggers, tasks={"a": {"run": "x"}}, **more)
    return hive


def post(hive: JobsHive, type: str = "order", **more: Any) -> Outcome:
    return hive.do(RaiseEvent(project="default", type=type, **more))


def hook(hive: JobsHive, *, refused: bool = False, **more: Any) -> Outcome:
    more = {"type": "webhook", "job": "job", "source": "default", **more}
    return hive.do(RaiseEvent(project="default", **more), by="node-0", refused=refused)


def started(hive: JobsHive, outcome: Outcome) -> list[Run]:
    return [hive.state.runs[id] for id in outcome.id.split(",") if id]


ORDER = {
    "event": [
        {
            "type": "order",
            "if": "event.total > 10",
            "inputs": {"total": "${{ event.total }}", "who": "for ${{ event.who }}"},
        }
    ]
}
INPUTS = {"total": {"type": "integer"}, "who": {}}


def test_an_event_starts_every_job_that_waits_for_its_type() -> None:
    hive = hive_with(ORDER, inputs=INPUTS)
    hive.put("other", triggers={"event": [{"type": "order"}]}, tasks={"a": {"run": "x"}})
    hive.put("deaf", triggers={"event": [{"type": "else"}]}, tasks={"a": {"run": "x"}})
    runs = started(hive, post(hive, payload={"total": 11, "who": "ada"}))
    assert sorted(run.job_name for run in runs) == ["job", "other"]
    [run] = [run for run in runs if run.job_name == "job"]
    assert run.inputs == {"total": 11, "who": "for ada"} and run.state is RunState.RUNNING
    assert (run.start.kind, run.start.source, run.start.event) == (
        "event",
        "order",
        {"total": 11, "who": "ada"},
    )


def test_a_condition_that_does_not_hold_starts_nothing() -> None:
    hive = hive_with(ORDER, inputs=INPUTS)
    assert started(hive, post(hive, payload={"total": 10, "who": "ada"})) == []
    assert started(hive, post(hive, "unheard-of")) == []


def test_the_same_key_is_the_same_event_and_without_one_all_are_different() -> None:
    hive = hive_with({"event": [{"type": "order"}]})
    first, again = post(hive, key="7", payload=1), post(hive, key="7", payload=1)
    assert first.id == again.id and len(hive.state.runs) == 1
    assert post(hive).id != post(hive).id and len(hive.state.runs) == 3
    hive.restart()
    assert post(hive, key="7").id == first.id


def test_what_is_wrong_with_one_job_is_told_and_keeps_no_other_from_starting() -> None:
    hive = hive_with(
        {"event": [{"type": "order", "inputs": {"n": "${{ event.n }}"}}]}, inputs={"n": {"type": "integer"}}
    )
    hive.put("other", triggers={"event": [{"type": "order"}]}, tasks={"a": {"run": "x"}})
    outcome = post(hive, payload={"n": "many"})
    assert [run.job_name for run in started(hive, outcome)] == ["other"]
    assert "job was not started: " in outcome.message


def test_changing_the_job_changes_what_it_waits_for() -> None:
    hive = hive_with({"event": [{"type": "order"}]})
    hive.put("job", triggers={"event": [{"type": "else"}]}, tasks={"a": {"run": "x"}})
    assert started(hive, post(hive)) == []
    assert len(started(hive, post(hive, "else"))) == 1


def test_nothing_but_people_starts_a_paused_job() -> None:
    hive = hive_with({"event": [{"type": "order"}]})
    hive.do(PauseJob(project="default", name="job"))
    assert started(hive, post(hive)) == []
    hive.do(PauseJob(project="default", name="job", paused=False))
    assert len(started(hive, post(hive))) == 1


def test_people_post_no_webhooks_and_nodes_nothing_else() -> None:
    hive = hive_with({"event": [{"type": "order"}]})
    hive.do(RaiseEvent(project="default", type="webhook", job="job", source="default"), refused=True)
    hive.do(RaiseEvent(project="default", type="order"), by="node-0", refused=True)
    hive.do(RaiseEvent(project="default", type="file"), by="node-0", refused=True)
    assert hook(hive, refused=True).code == "not-found"
    assert hook(hive, job="nothing", refused=True).code == "not-found"


def test_a_payload_has_a_limit_and_a_key_too() -> None:
    hive = hive_with({"event": [{"type": "order"}]})
    long = RaiseEvent(project="default", type="order", payload="x" * 70_000)
    assert hive.do(long, refused=True).code == "too-large"
    assert (
        hive.do(RaiseEvent(project="default", type="order", key="x" * 300), refused=True).code == "too-large"
    )


def test_a_file_that_arrived() -> None:
    hive = JobsHive()
    files = {"file": [{"path": "in/*.csv", "volume": "inbox", "inputs": {"path": "${{ event.path }}"}}]}
    hive.put("job", triggers=files, inputs={"path": {}}, tasks={"a": {"run": "x"}})
    said = {"type": "file", "source": "inbox:in/*.csv", "payload": {"path": "in/a.csv"}, "key": "k"}
    [run] = started(hive, hook(hive, **said))
    assert run.inputs == {"path": "in/a.csv"} and run.start.kind == "file"
    assert hook(hive, **said).id == run.id
    assert hook(hive, **{**said, "source": "inbox:out/*"}, refused=True).code == "not-found"


# -- what happens in the hive -----------------------------------------------------------------------------------


def test_the_end_of_another_jobs_run() -> None:
    hive = JobsHive()
    hive.put("first", tasks={"a": {"run": "x"}})
    after = {"job": [{"name": "first", "states": ["failed"], "inputs": {"run": "${{ event.run }}"}}]}
    hive.put("job", triggers=after, inputs={"run": {}}, tasks={"a": {"run": "x"}})
    run = hive.start("first")
    hive.succeed(run, "a")
    assert len(hive.state.runs) == 1
    failing = hive.start("first")
    hive.end(hive.attempt(failing, "a"), 1)
    [follower] = [run for run in hive.state.runs.values() if run.job_name == "job"]
    assert follower.inputs == {"run": "first-2"} and follower.start.event["state"] == "failed"
    assert follower.state is RunState.RUNNING, "in the very batch"
    hive.restart()
    hive.wait(1)
    assert len(hive.state.runs) == 3


def test_who_cannot_be_started_is_noted() -> None:
    hive = JobsHive()
    hive.put("first", tasks={"a": {"run": "x"}})
    hive.put("job", triggers={"job": [{"name": "first"}]}, inputs={"n": {}}, tasks={"a": {"run": "x"}})
    after = {"job": [{"name": "first", "inputs": {"n": "${{ event.outputs }}"}}]}
    hive.put("other", triggers=after, inputs={"n": {"type": "integer"}}, tasks={"a": {"run": "x"}})
    run = hive.start("first")
    hive.succeed(run, "a")
    [(project, job, why)] = hive.state.work.unstarted
    assert (project, job) == ("default", "other") and "n" in why
    hive.wait(1)
    assert hive.state.work.unstarted == []


def test_jobs_that_start_each_other_come_to_an_end() -> None:
    hive = JobsHive()
    for name, other in (("a", "b"), ("b", "a")):
        hive.put(name, triggers={"job": [{"name": other}]}, tasks={"x": {"run": "x", "if": "false"}})
    hive.start("a")
    assert 20 < len(hive.state.runs) < 40
    assert all(run.state.ended for run in hive.state.runs.values())


def test_what_happens_to_apps() -> None:
    hive = JobsHive()
    every = ["deployed", "deployment-failed", "replica-failed", "removed"]
    app = {"app": [{"name": "web", "events": every, "inputs": {"what": "${{ event.event }}"}}]}
    hive.put("job", triggers=app, inputs={"what": {}}, tasks={"a": {"run": "x"}})
    hive.deploy("web")
    assert hive.state.runs == {}
    hive.settle()
    assert [run.inputs["what"] for run in hive.state.runs.values()] == ["deployed"]
    hive.report(lambda a: bool(a.app), AllocationState.FAILED, reason="it crashed")
    happened = {run.inputs["what"]: run for run in hive.state.runs.values()}
    assert happened["replica-failed"].start.event["reason"] == "it crashed"
    hive.do(DeleteApp(project="default", name="web"))
    assert sorted(run.inputs["what"] for run in hive.state.runs.values()) == [
        "deployed",
        "removed",
        "replica-failed",
    ]
