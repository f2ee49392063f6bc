"""Notices: whom to tell what about a run, which node does it, and what became of it.

A notice is agreed together with what it tells, so none is lost. One node at a time has it to deliver; after a failure,
or when that node is gone, it is another's turn. Delivery is at least once: whoever gets it twice knows it by its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from hivemind.errors import Forbidden
from hivemind.jobs.plan import Plan
from hivemind.jobs.workflow.turn import MARKS
from hivemind.model.names import derive_id
from hivemind.model.node import Node
from hivemind.model.notice import Notice
from hivemind.model.principal import Principal
from hivemind.model.run import Mark, Run, TaskRun, task_key
from hivemind.state.operations import NoticeReport, ReportNotices
from hivemind.state.state import Outcome, State

TRIES = 12
"""Failures after which nobody is told any more: by then most of a day has passed."""
_FIRST_WAIT = 10_000
_LONGEST_WAIT = 4 * 3_600_000
"""Milliseconds between tries; each wait is twice the one before."""
_FAILURES_TOLD = 20
_REASON_LIMIT = 1000


def notify(state: State, run: Run, on: str, why: str) -> None:
    """An occasion of `Notify.on` has come: a notice to each addressee that wants to hear of it. The same occasion of
    the same run is told once."""
    wanted = [(n, to) for n, to in enumerate(state.definition_of(run).spec.notify) if on in to.on]
    if not wanted:
        return
    payload = _payload(state, run, on, why)
    for n, to in wanted:
        id = derive_id("notice", run.id, on, n, run.started, run.ended, why)
        if id not in state.notices:
            notice = Notice(
                id=id,
                project=run.project,
                run=run.id,
                run_name=run.name,
                on=on,
                to=to,
                payload={"id": id, **payload},
                due=state.time,
                created=state.time,
            )
            _put(state, replace(notice, node=_postman(state, notice)))


def report(state: State, operation: ReportNotices, who: Principal) -> Outcome:
    """What is not known is late, not wrong: it was delivered by another, or given up."""
    if who.id != operation.node:
        raise Forbidden("a node reports only its own deliveries")
    for said in operation.notices:
        notice = state.notices.get(said.id)
        if notice is not None and said.delivered:
            state.tables.remove(state.notices, notice.id)
        elif notice is not None and notice.node == operation.node:
            _failed(state, notice, said)
    return Outcome(id=operation.node)


def reassign(state: State) -> None:
    """After a change of the nodes: what was given to one that is gone, or that no node could have, is another's."""
    for id in state.notices:
        notice = state.notices[id]
        if notice.node not in state.nodes or not _fit(state.nodes[notice.node]):
            _put(state, replace(notice, node=_postman(state, notice)))


def _failed(state: State, notice: Notice, said: NoticeReport) -> None:
    reason = said.reason[:_REASON_LIMIT]
    tries = notice.tries + 1
    if tries >= TRIES:
        _give_up(state, notice, reason)
        return
    later = replace(notice, tries=tries, reason=reason, due=state.time + _wait(tries))
    _put(state, replace(later, node=_postman(state, later)))


def _wait(tries: int) -> int:
    return min(_FIRST_WAIT << (tries - 1), _LONGEST_WAIT)


def _give_up(state: State, notice: Notice, reason: str) -> None:
    """Its run remembers that somebody was not told."""
    state.tables.remove(state.notices, notice.id)
    run = state.runs.get(notice.run)
    if run is not None:
        why = f"nobody could be told that it is {notice.on}, in {TRIES} tries: {reason}"
        marks = (*run.marks, Mark(state.time, run.state.value, why))[-MARKS:]
        state.tables.put(state.runs, run.id, replace(run, marks=marks))


def _put(state: State, notice: Notice) -> None:
    state.tables.put(state.notices, notice.id, notice)


def _postman(state: State, notice: Notice) -> str:
    """The node that is to deliver it: everyone computes the same, each failure makes it the next one's turn, and
    different notices are spread over all."""
    fit = [node.id for node in state.nodes.values() if _fit(node)] or list(state.nodes)
    if not fit:
        return ""
    order = sorted(fit, key=lambda node: derive_id("postman", notice.id, node))
    return order[notice.tries % len(order)]


def _fit(node: Node) -> bool:
    there = not (node.away or node.restarting)
    return there and node.schedulable and not node.drained and node.role != "witness"


# -- what is told --------------------------------------------------------------------------------------------


def _payload(state: State, run: Run, on: str, why: str) -> dict[str, Any]:
    return {
        "event": f"run.{on.replace(' ', '-')}",
        "project": run.project,
        "job": run.job_name,
        "run": run.name,
        "run_id": run.id,
        "state": run.state.value,
        "reason": (why or run.reason)[:_REASON_LIMIT],
        "started_by": run.start.told,
        "due": run.start.time,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "time": state.time,
        "failed_tasks": list(_failures(state, run)),
        "link": f"/v1/projects/{run.project}/runs/{run.name}",
    }


def _failures(state: State, run: Run) -> Iterator[dict[str, Any]]:
    """The first few tasks that failed; groups failed because of them."""
    plan = Plan.of(state.definition_of(run).spec)
    failed = (
        task
        for task in _tasks(state, run)
        if task.state.failure and plan.role(task.path) not in ("group", "fan-out")
    )
    for _, task in zip(range(_FAILURES_TOLD), failed, strict=False):
        yield {
            "path": task.path,
            "state": task.state.value,
            "reason": task.reason[:_REASON_LIMIT],
            "exit_code": task.exit_code,
            "attempts": task.attempt,
        }


def _tasks(state: State, run: Run) -> Iterator[TaskRun]:
    for path in sorted(state.work.families.paths(run.id)):
        yield state.task_runs[task_key(run.id, path)]
