"""Circuits among runs: who waits, who probes, and what failures cost."""

from __future__ import annotations

from typing import Any

from hivemind.model.circuit import CircuitRecord
from hivemind.model.run import RunState, TaskState
from hivemind.state.operations import ForceCircuit
from jobs_hive import JobsHive

POLICY = {"db": {"failures": 2, "window": 60, "cooldown": 30}}


def hive_with(*jobs: str, **more: Any) -> JobsHive:
    hive = JobsHive()
    for job in jobs or ("job",):
        hive.put(job, circuits=POLICY, tasks={"load": {"run": "x", "circuits": ["db"], **more}})
    return hive


def db(hive: JobsHive, name: str = "db") -> CircuitRecord:
    return hive.state.circuits[f"default/{name}"]


def force(hive: JobsHive, state: str, **more: Any) -> None:
    hive.do(ForceCircuit(project="default", name="db", state=state, **more))  # type: ignore[arg-type]


def test_it_is_there_as_soon_as_a_job_names_it() -> None:
    assert db(hive_with()).state == "closed" and db(hive_with()).policy.failures == 2


def test_the_failure_that_opens_it_spends_no_retry_and_the_task_waits() -> None:
    hive = hive_with(retry={"max": 1, "delay": 0})
    run = hive.start()
    hive.end(hive.attempt(run, "load"), 1)
    assert hive.task(run, "load").spent == 1
    hive.end(hive.attempt(run, "load"), 1)  # its last, but that opened the circuit
    task = hive.task(run, "load")
    assert db(hive).state == "open" and task.spent == 1 and task.state is TaskState.QUEUED
    assert task.attempts[-1].cause == "circuit" and hive.attempts() == []
    hive.until(db(hive).due)
    assert hive.task(run, "load").circuit == "db" and db(hive).state == "half-open"
    hive.succeed(run, "load")
    assert db(hive).state == "closed" and hive.run(run).state is RunState.SUCCEEDED


def test_without_retries_only_the_failure_that_opens_it_is_forgiven() -> None:
    hive = hive_with()
    first, second = hive.start(), hive.start()
    hive.end(hive.attempt(first, "load"), 1)
    assert hive.run(first).state is RunState.FAILED
    hive.end(hive.attempt(second, "load"), 1)
    assert hive.run(second).state is RunState.RUNNING


def opened(hive: JobsHive) -> None:
    """The circuit is open, nobody waits for it."""
    for _ in range(2):
        run = hive.start()
        hive.end(hive.attempt(run, "load"), 1)
    hive.cancel(run)
    assert db(hive).state == "open" and not hive.attempts()


def test_exactly_one_of_all_that_wait_probes_and_success_lets_all_go() -> None:
    hive = hive_with("job", "other")
    opened(hive)
    runs = [hive.start(job) for job in ("job", "other", "job", "other")]
    assert not hive.attempts()
    hive.until(db(hive).due - 1)
    assert not hive.attempts()
    hive.until(db(hive).due)
    assert len(hive.attempts()) == 1
    hive.restart()
    hive.wait(1)
    [probe] = hive.attempts()
    hive.end(probe)
    assert len(hive.attempts()) == 3 and db(hive).state == "closed"
    hive.all_well()
    assert all(hive.run(run).state is RunState.SUCCEEDED for run in runs)


def test_a_probe_that_fails_makes_all_wait_again_and_the_next_is_another() -> None:
    hive = hive_with()
    opened(hive)
    for _ in range(3):
        hive.start()
    probed = []
    for _ in range(3):
        hive.until(db(hive).due)
        [probe] = hive.attempts()
        probed.append(probe.run)
        hive.end(probe, 1)
        assert db(hive).state == "open" and not hive.attempts()
    assert len(set(probed)) == 3, "what failed queues up behind the others"


def test_a_probe_that_is_canceled_or_lost_gives_its_place_to_another() -> None:
    hive = hive_with()
    opened(hive)
    first, second = hive.start(), hive.start()
    hive.until(db(hive).due)
    [probe] = hive.attempts()
    assert probe.run == first.id
    hive.cancel(first)
    hive.stop_done()
    [probe] = hive.attempts()
    assert probe.run == second.id and db(hive).state == "half-open"
    hive.tell(probe, state=6, cause="lost")
    [again] = hive.attempts()
    assert again.run == second.id and again.attempt == 2
    hive.end(again)
    assert db(hive).state == "closed"


def test_one_that_waits_and_is_canceled_is_no_probe() -> None:
    hive = hive_with()
    opened(hive)
    first, second = hive.start(), hive.start()
    hive.cancel(first)
    hive.until(db(hive).due)
    [probe] = hive.attempts()
    assert probe.run == second.id


def test_only_the_failures_that_are_meant_count() -> None:
    hive = JobsHive()
    policy = {"db": {"failures": 1, "on": ["exit:75"]}}
    hive.put(circuits=policy, tasks={"load": {"run": "x", "circuits": ["db"]}})
    run = hive.start()
    hive.end(hive.attempt(run, "load"), 1)
    assert db(hive).state == "closed" and hive.run(run).state is RunState.FAILED
    run = hive.start()
    hive.end(hive.attempt(run, "load"), 75)
    assert db(hive).state == "open" and hive.run(run).state is RunState.RUNNING
    hive.until(db(hive).due)
    hive.end(hive.attempt(run, "load"), 1)
    assert hive.run(run).state is RunState.FAILED, "its own fault, says nothing about the circuit"
    assert hive.state.circuits["default/db"].probe == ""


def test_by_hand() -> None:
    hive = hive_with()
    force(hive, "open", reason="maintenance")
    run = hive.start()
    hive.until(hive.time + 3_600_000)
    assert not hive.attempts() and db(hive).reason == "by admin: maintenance"
    force(hive, "closed")
    for _ in range(5):
        hive.end(hive.attempt(run, "load"), 1)
        run = hive.start()
    assert db(hive).state == "closed"
    force(hive, "auto")
    assert not db(hive).forced
    hive.do(ForceCircuit(project="default", name="nothing", state="open"), refused=True)


def test_what_needs_none_goes_on() -> None:
    hive = hive_with()
    hive.put("free", tasks={"a": {"run": "x"}})
    opened(hive)
    assert hive.attempts(hive.start("free"))


# -- detected -------------------------------------------------------------------------------------------------


def detecting() -> JobsHive:
    hive = JobsHive()
    for job in ("etl", "report"):
        hive.put(job, tasks={"pull": {"run": "x", "retry": {"max": 20, "delay": 0}}, "local": {"run": "x"}})
    return hive


def fail(hive: JobsHive, run: Any, path: str = "pull", *said: str) -> None:
    hive.end(hive.attempt(run, path), 1, unreachable=said or ("db.example.org:5432 refused",))


def test_what_tasks_could_not_reach_becomes_a_circuit_of_its_own() -> None:
    hive = detecting()
    run = hive.start("etl")
    for spent in range(1, 5):
        fail(hive, run)
        assert hive.task(run, "pull").spent == spent
    fail(hive, run)
    it = db(hive, "db.example.org:5432")
    assert it.detected and it.state == "open" and it.reason == "db.example.org:5432: refused"
    assert hive.task(run, "pull").spent == 4
    assert [a.path for a in hive.attempts()] == ["local"]
    hive.until(it.due)
    assert db(hive, it.name).state == "half-open"
    hive.end(hive.attempt(run, "pull"))
    assert db(hive, it.name).state == "closed"


def test_it_stops_the_tasks_that_were_seen_to_fail_for_it_in_all_runs_and_no_others() -> None:
    hive = detecting()
    run = hive.start("etl")
    for _ in range(5):
        fail(hive, run)
    again, other = hive.start("etl"), hive.start("report")
    assert sorted(a.path for a in hive.attempts(again)) == ["local"]
    assert sorted(a.path for a in hive.attempts(other)) == ["local", "pull"]
    fail(hive, other)
    assert sorted(a.path for a in hive.attempts(other)) == ["local"], "it fails for it, too: it waits, too"
    assert hive.task(other, "pull").spent == 0
    hive.restart()
    hive.until(db(hive, "db.example.org:5432").due)
    assert len([a for a in hive.attempts() if a.path == "pull"]) == 1


def test_members_of_a_fan_out_are_one_task_to_it() -> None:
    hive = JobsHive()
    hive.put(
        tasks={
            "pull": {"run": "x", "for_each": [1, 2, 3], "retry": {"max": 9, "delay": 0}, "fail_fast": False}
        }
    )
    run = hive.start()
    for _ in range(2):
        for index in range(3):
            if any(a.path == f"pull[{index}]" for a in hive.attempts()):
                fail(hive, run, f"pull[{index}]")
    assert db(hive, "db.example.org:5432").state == "open"
    assert db(hive, "db.example.org:5432").tasks == (f"{run.job}/pull",)


def test_a_success_is_no_failure_of_anybody() -> None:
    hive = detecting()
    run = hive.start("etl")
    hive.end(hive.attempt(run, "pull"), unreachable=("x:1 refused",))
    assert not hive.state.circuits


def test_who_knocks_everywhere_fills_nothing() -> None:
    hive = JobsHive()
    hive.put(tasks={"scan": {"run": "x", "retry": {"max": 1000, "delay": 0}}})
    run = hive.start()
    for number in range(60):
        fail(hive, run, "scan", *(f"h{number}:{port} refused" for port in range(100)))
    assert 0 < len(hive.state.circuits) <= 500
