"""Attempts of tasks on nodes that are lost, drained hard, expelled."""

from __future__ import annotations

from typing import Any

import pytest

from grown_hive import GrownHive
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.run import TaskState
from hivemind.state.operations import DrainNode, ExpelNode, LeaveHive
from jobs_hive import JobsHive


class Both(GrownHive, JobsHive):
    """Jobs in a hive of several."""

    def __init__(self, *names: str) -> None:
        GrownHive.__init__(self, *names)
        self.allow("default")


def running(hive: Both, **spec: Any) -> Any:
    hive.put(tasks={"one": {"run": "true", **spec}})
    return hive.start()


GOING = {
    "lost": lambda hive, name: hive.lose(name),
    "left": lambda hive, name: hive.do(LeaveHive(node=name, force=True)),
    "expelled": lambda hive, name: hive.do(ExpelNode(node=name)),
}


@pytest.mark.parametrize("goes", GOING.values(), ids=GOING.keys())
def test_the_next_attempt_begins_elsewhere_at_once_and_no_retry_is_spent(goes: Any) -> None:
    hive = Both(*"bcde")
    hive.do(DrainNode(name="node-0"))
    run = running(hive)
    before = hive.attempt(run, "one")
    goes(hive, hive.name(before.node))
    after = hive.attempt(run, "one")
    assert after.attempt > before.attempt and after.node not in ("", before.node)
    assert before.id not in hive.state.allocations
    task = hive.task(run, "one")
    assert [attempt.cause for attempt in task.attempts][-1] == "lost"
    hive.all_well()
    assert hive.state_of(run, "one") is TaskState.SUCCEEDED


def test_what_the_lost_node_says_of_it_later_changes_nothing() -> None:
    hive = Both(*"bcd")
    hive.do(DrainNode(name="node-0"))
    run = running(hive)
    before = hive.attempt(run, "one")
    name = hive.name(before.node)
    hive.lose(name)
    hive.register(name)
    hive.end(before, code=1)
    assert hive.attempt(run, "one").attempt == before.attempt + 1
    hive.all_well()
    assert hive.state_of(run, "one") is TaskState.SUCCEEDED


def test_what_was_canceled_there_is_canceled() -> None:
    hive = Both(*"bcd")
    hive.do(DrainNode(name="node-0"))
    run = running(hive)
    attempt = hive.attempt(run, "one")
    hive.cancel(run)
    assert hive.state.allocations[attempt.id].desired is Desired.STOP
    hive.lose(hive.name(attempt.node))
    assert not hive.attempts() and hive.run(run).state.ended
    assert hive.state_of(run, "one") is TaskState.CANCELED


def test_all_of_a_gang_begins_anew_when_one_of_it_is_lost() -> None:
    hive = Both(*"bcd")
    hive.do(DrainNode(name="node-0"))
    run = running(hive, nodes=2)
    gang = hive.attempts(run)
    assert len(gang) == 2
    hive.lose(hive.name(gang[0].node))
    hive.stop_done()
    again = hive.attempts(run)
    assert len(again) == 2 and {a.attempt for a in again} == {gang[0].attempt + 1}
    assert hive.ids[hive.name(gang[0].node)] not in {a.node for a in again}


def test_who_decides_only_runs_no_task() -> None:
    hive = Both()
    hive.admit("x", role="witness")
    hive.begun()
    hive.do(DrainNode(name="node-0"))
    run = running(hive)
    assert hive.state_of(run, "one") is TaskState.QUEUED and not hive.attempts()


@pytest.mark.parametrize("hurry", [{"force": True}, {"deadline": 30_000}])
def test_attempts_are_killed_where_it_is_too_late(hurry: dict[str, Any]) -> None:
    hive = Both()
    run = running(hive)
    hive.do(DrainNode(name="node-0", **hurry))
    if "deadline" in hurry:
        assert not hive.attempt(run, "one").kill
        hive.wait(30)
    attempt = hive.attempt(run, "one")
    assert attempt.kill and attempt.desired is Desired.STOP and attempt.halted == "lost"
    hive.tell(attempt, state=AllocationState.STOPPED)
    assert hive.state_of(run, "one") is TaskState.QUEUED
