"""Jobs come to be, change and go; runs are started, found and kept."""

from __future__ import annotations

import pytest

from hivemind.model.content import Piece
from hivemind.model.job import Input, JobManifest, JobSpec, Routine, Step, Task
from hivemind.model.mount import VolumeMount
from hivemind.model.project import ProjectManifest
from hivemind.model.routine import RoutineManifest
from hivemind.model.run import RunState, TaskState
from hivemind.model.template import EnvFrom
from hivemind.state.jobs.orders import order_of
from hivemind.state.operations import (
    CancelRun,
    DeleteContent,
    DeleteJob,
    DeleteProject,
    DeleteRoutine,
    DeleteVolume,
    PutContent,
    PutJob,
    PutProject,
    PutRoutine,
    RetryRun,
    StartRun,
)
from jobs_hive import JobsHive

RUN = {"run": "true"}


def put(hive: JobsHive, refused: bool = False, project: str = "default", **spec: object) -> str:
    tasks = spec.pop("tasks", {"a": Task(run="true")})
    manifest = JobManifest(name="job", spec=JobSpec(tasks=tasks, **spec))  # type: ignore[arg-type]
    return hive.do(PutJob(project=project, manifest=manifest), refused=refused).message


def test_only_a_change_makes_a_definition_and_runs_keep_theirs() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": RUN})
    hive.put(tasks={"a": RUN})
    job = hive.state.find_job("default", "job")
    assert job and (job.number, job.version) == (1, 1)
    run = hive.start()
    hive.put(tasks={"a": RUN, "b": RUN})
    hive.put(tasks={"a": RUN, "c": RUN})
    job = hive.state.find_job("default", "job")
    assert job and job.number == 3
    assert hive.state.work.definition_numbers(job.id) == [1, 3], "nobody needs the second"
    assert hive.state.definition_of(hive.run(run)).number == 1
    hive.all_well()
    assert sorted(hive.state.work.families.paths(run.id)) == ["a"]


def test_versions_and_names_are_guarded() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": RUN})
    manifest = JobManifest(name="job", spec=JobSpec(tasks={"b": Task(run="true")}))
    assert (
        "version" in hive.do(PutJob(project="default", manifest=manifest, if_version=7), refused=True).message
    )
    assert (
        "already"
        in hive.do(PutJob(project="default", manifest=manifest, create_only=True), refused=True).message
    )
    assert "no project" in hive.do(PutJob(project="none", manifest=manifest), refused=True).message


def test_what_the_project_does_not_allow_is_refused() -> None:
    hive = JobsHive()
    hive.do(PutProject(manifest=ProjectManifest(name="team")))
    assert "plain commands" in put(hive, refused=True, project="team")
    assert put(hive, project="team", tasks={"a": Task(image="busybox:1", command=("true",))}) == ""
    slurm = {"a": Task(image="busybox:1", command=("true",), executor="slurm")}
    assert "plain commands" in put(hive, refused=True, project="team", tasks=slurm)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (Task(run="true", needs={"zzz": "success"}), "zzz"),
        (Task(run="true", executor="cloud"), "cloud"),
        (Task(run="true", constraints=("what",)), "what"),
        (Task(run="true", env_from=(EnvFrom(secret="db"),)), "no secret 'db'"),
        (Task(image="UPPER CASE", command=("true",)), "UPPER"),
        (Task(uses="nothing"), "nothing"),
    ],
)
def test_what_could_never_run_is_refused(task: Task, why: str) -> None:
    assert why in put(JobsHive(), refused=True, tasks={"a": task})


def test_inputs_are_checked_and_made_complete() -> None:
    hive = JobsHive()
    inputs = {
        "n": Input(type="integer", required=True),
        "name": Input(default="x", choices=("x", "y")),
        "key": Input(secret=True),
    }
    put(hive, inputs=inputs)
    run = hive.start(inputs={"n": "5"}, sealed={"key": b"box"})
    assert run.inputs == {"n": 5, "name": "x"} and run.sealed == {"key": b"box"}
    for bad, why in (
        ({}, "needs the input n"),
        ({"n": 1, "m": 2}, "no input 'm'"),
        ({"n": "five"}, "its type is integer"),
        ({"n": 1, "name": "z"}, "the input name"),
        ({"n": 1, "key": "plain"}, "is secret"),
    ):
        refused = hive.do(StartRun(project="default", job="job", inputs=bad), refused=True)
        assert why in refused.message


def test_the_same_idempotency_key_gives_the_same_run() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": RUN})
    one, two, three = hive.start(key="order-7"), hive.start(key="order-7"), hive.start(key="order-8")
    assert one.id == two.id != three.id and hive.start().number == 3


def test_runs_are_found_by_their_names() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": RUN})
    run = hive.start()
    hive.do(CancelRun(project="default", run="job-1"))
    hive.stop_done()
    assert hive.run(run).state is RunState.CANCELED
    assert "no run 'job-9'" in hive.do(CancelRun(project="default", run="job-9"), refused=True).message


def test_a_removed_job_cancels_its_runs_and_leaves_their_records() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": RUN})
    run = hive.start()
    hive.do(DeleteJob(project="default", name="job"))
    assert hive.state.find_job("default", "job") is None
    hive.stop_done()
    assert hive.run(run).state is RunState.CANCELED
    assert hive.state.definition_of(hive.run(run)).number == 1
    refused = hive.do(RetryRun(project="default", run=run.id), refused=True)
    assert "was removed" in refused.message
    hive.put(tasks={"a": RUN})
    again = hive.start()
    assert again.number == 1 and again.id != run.id
    assert hive.state.work.runs_named("default", "job-1") == [run.id, again.id]


def test_ended_runs_are_kept_by_number_and_age() -> None:
    hive = JobsHive()
    hive.put(keep={"runs": 2, "age": 1000}, tasks={"each": {"run": "true", "for_each": list(range(5))}})
    ids = []
    for _ in range(4):
        ids.append(hive.start().id)
        hive.all_well()
    assert [id in hive.state.runs for id in ids] == [False, False, True, True]
    hive.until(hive.time + 200)
    assert {t.run for t in hive.state.task_runs.values()} == set(ids[2:])
    assert {i.run for i in hive.state.items.values()} <= set(ids[2:])
    hive.until(hive.time + 1_000_100)
    assert not len(hive.state.runs) and not len(hive.state.task_runs) and not len(hive.state.items)


def test_a_large_run_is_forgotten_little_by_little() -> None:
    hive = JobsHive()
    hive.put(
        keep={"runs": 1}, tasks={"each": {"run": "true", "for_each": list(range(700)), "max_parallel": 700}}
    )
    first = hive.start()
    hive.cancel(first)
    hive.stop_done()
    second = hive.start()
    hive.cancel(second)
    hive.stop_done()
    assert first.id not in hive.state.runs
    hive.restart()
    hive.until(hive.time + 1000)
    assert not [t for t in hive.state.task_runs.values() if t.run == first.id]


def test_a_call_of_the_library_means_the_newest_of_when_the_job_was_put() -> None:
    hive = JobsHive()

    def routine(command: str) -> None:
        manifest = RoutineManifest(name="fetch", spec=Routine(run=command))
        hive.do(PutRoutine(project="default", manifest=manifest))

    routine("one"), routine("one"), routine("two")
    assert hive.state.routines["default/fetch"].number == 2
    put(hive, tasks={"a": Task(uses="fetch"), "b": Task(uses="fetch@1")})
    routine("three")
    spec = hive.state.definition(hive.state.find_job("default", "job").id, 1).spec  # type: ignore[union-attr]
    assert (spec.tasks["a"].uses, spec.tasks["b"].uses) == ("fetch@2", "fetch@1")
    assert spec.routines["fetch@2"].run == "two" and spec.routines["fetch@1"].run == "one"
    hive.restart()
    refused = hive.do(DeleteRoutine(project="default", name="fetch"), refused=True)
    assert "called by job job" in refused.message
    put(hive, tasks={"a": Task(uses="fetch"), "b": Task(uses="fetch@1")})
    job = hive.state.find_job("default", "job")
    assert job and job.number == 2, "putting it again takes the newest"
    hive.do(DeleteJob(project="default", name="job"))
    hive.do(DeleteRoutine(project="default", name="fetch"))


def test_routines_that_would_call_themselves_are_refused() -> None:
    hive = JobsHive()

    def routine(name: str, uses: str | None, refused: bool = False) -> str:
        steps = (Step(uses=uses),) if uses else (Step(run="true"),)
        manifest = RoutineManifest(name=name, spec=Routine(steps=steps))
        return hive.do(PutRoutine(project="default", manifest=manifest), refused=refused).message

    routine("a", None), routine("b", "a")
    assert "call itself, by way of b" in routine("a", "b", refused=True)
    assert "no routine 'c'" in routine("a", "c", refused=True)


def test_what_a_job_uses_cannot_go() -> None:
    hive = JobsHive()
    data = {"password": Piece(value=b"s", digest="d")}
    hive.do(PutContent(kind="secret", project="default", name="db", data=data))
    task = Task(
        run="true",
        env_from=(EnvFrom(secret="db", key="password"),),
        mounts=(VolumeMount(source="data", target="/data"),),
    )
    put(hive, tasks={"a": task})
    run = hive.start()
    attempt = hive.attempt(run, "a")
    assert hive.state.volumes["default/data"].node == attempt.node
    assert hive.state.content(attempt, "secret/db").data == data
    assert hive.state.spec_of(attempt).runtime == "process"
    assert order_of(hive.state, attempt).template.env["HIVEMIND_RUN"] == "job-1"
    assert "job-1.a" in hive.do(DeleteVolume(project="default", name="data"), refused=True).message
    gone = PutContent(
        kind="secret",
        project="default",
        name="db",
        keep=True,
        remove=("password",),
        data={"x": data["password"]},
    )
    assert "job 'job' uses the key" in hive.do(gone, refused=True).message
    assert "job" in hive.do(DeleteContent(kind="secret", project="default", name="db"), refused=True).message
    hive.all_well()
    assert "the job job" in hive.do(DeleteVolume(project="default", name="data"), refused=True).message
    hive.do(DeleteJob(project="default", name="job"))
    hive.do(DeleteVolume(project="default", name="data"))
    hive.do(DeleteContent(kind="secret", project="default", name="db"))


def test_a_project_with_jobs_stays_and_takes_ended_runs_with_it() -> None:
    hive = JobsHive()
    hive.allow("team")
    hive.put(project="team", tasks={"a": RUN})
    hive.start(project="team")
    assert "1 job: job" in hive.do(DeleteProject(name="team"), refused=True).message
    hive.do(DeleteJob(project="team", name="job"))
    assert "has not ended" in hive.do(DeleteProject(name="team"), refused=True).message
    hive.stop_done()
    hive.do(DeleteProject(name="team"))
    hive.until(hive.time + 1000)
    assert not len(hive.state.runs) and not len(hive.state.task_runs) and not len(hive.state.definitions)


def test_a_job_may_run_another_and_wait_for_it() -> None:
    hive = JobsHive()
    hive.put("inner", tasks={"x": RUN})
    hive.put("outer", tasks={"call": {"job": "inner"}, "after": {"run": "true", "needs": ["call"]}})
    run = hive.start("outer")
    inner = hive.task(run, "call").child
    assert hive.run(inner).parent == f"{run.id}/call" and hive.run(inner).depth == 1
    hive.succeed(inner, "x")
    assert hive.state_of(run, "after") is TaskState.RUNNING
    hive.put("self", tasks={"again": {"job": "self"}})
    circle = hive.start("self")
    hive.until(hive.time + 100_000)
    assert hive.run(circle).state is RunState.FAILED and not hive.attempts(circle)
    hive.cancel(run)
    hive.stop_done()
    assert hive.run(run).state is RunState.CANCELED


def test_the_run_of_another_job_is_as_urgent_as_the_task_that_calls_it() -> None:
    hive = JobsHive()
    hive.put("inner", tasks={"x": RUN})
    hive.put(
        "outer", priority=20, tasks={"call": {"job": "inner"}, "urgent": {"job": "inner", "priority": 90}}
    )
    run = hive.start("outer")
    called = {name: hive.run(hive.task(run, name).child).priority for name in ("call", "urgent")}
    assert called == {"call": 20, "urgent": 90}


def test_canceling_reaches_the_runs_that_it_waits_for() -> None:
    hive = JobsHive()
    hive.put("inner", tasks={"x": RUN})
    hive.put("outer", tasks={"call": {"job": "inner"}})
    run = hive.start("outer")
    hive.cancel(run)
    hive.stop_done()
    assert {r.state for r in hive.state.runs.values()} == {RunState.CANCELED}


def test_what_an_operation_would_do_is_told_beforehand() -> None:
    from hivemind.state.forecast import forecast
    from hivemind.state.operations import DrainNode

    hive = JobsHive(nodes=2)
    manifest = JobManifest(name="job", spec=JobSpec(tasks={"a": Task(run="true")}))
    put_job = PutJob(project="default", manifest=manifest)
    assert [(s.action, s.object) for s in forecast(hive.state, put_job, "admin-key")] == [
        ("create", "job job")
    ]
    hive.do(put_job)
    start = StartRun(project="default", job="job")
    steps = forecast(hive.state, start, "admin-key")
    assert [(s.action, s.object, s.detail) for s in steps] == [
        ("start", "run job-1", ""),
        ("start", "job-1/a", "attempt 1"),
    ]
    run = hive.start()
    node = hive.attempt(run, "a").node
    digest = hive.state.digest()
    steps = forecast(hive.state, DrainNode(name=node), "admin-key")
    assert [(s.action, s.object) for s in steps] == [("stop", "job-1/a")]
    assert hive.state.digest() == digest
