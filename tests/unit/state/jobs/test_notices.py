"""Who is told what of a run, by which node, and when nobody is told any more."""

from __future__ import annotations

from typing import Any

from hivemind.model.notice import Notice
from hivemind.model.run import RunState
from hivemind.state.jobs.notices import TRIES
from hivemind.state.operations import DrainNode, NoticeReport, ReportNotices
from jobs_hive import JobsHive


def hive_with(*notify: dict[str, Any], nodes: int = 1, **more: Any) -> JobsHive:
    hive = JobsHive(nodes)
    hive.put(
        notify=list(notify) or [{"webhook": "https://x.example.com/h"}], tasks={"a": {"run": "x"}}, **more
    )
    return hive


def failed(hive: JobsHive, **said: Any) -> list[Notice]:
    run = hive.start()
    hive.end(hive.attempt(run, "a"), 3, **said)
    assert hive.run(run).state is RunState.FAILED
    return notices(hive)


def notices(hive: JobsHive) -> list[Notice]:
    return sorted(hive.state.notices.values(), key=lambda n: n.created)


def tell(hive: JobsHive, notice: Notice, *, delivered: bool = False, reason: str = "", by: str = "") -> None:
    report = NoticeReport(id=notice.id, delivered=delivered, reason=reason)
    node = by or notice.node
    hive.do(ReportNotices(node=node, notices=(report,)), by=node)


def test_whoever_wants_to_hear_of_it_is_told() -> None:
    hive = hive_with(
        {"webhook": "https://x.example.com/h"},
        {"slack": "https://s.example.com/h", "on": ["succeeded", "failed"]},
        {"email": ["a@b.c"], "smtp": "smtp://m.example.com", "on": ["started"]},
    )
    found = failed(hive)
    assert sorted(n.on for n in found) == ["failed", "failed", "started"]
    assert len({n.id for n in found}) == 3 and all(n.node == "node-0" for n in found)


def test_what_is_told() -> None:
    hive = hive_with()
    [notice] = failed(hive, reason="exit code 3: no such table")
    told = notice.payload
    assert (told["event"], told["project"], told["job"], told["run"]) == (
        "run.failed",
        "default",
        "job",
        "job-1",
    )
    assert told["state"] == "failed" and told["started_by"] == "admin" and told["id"] == notice.id
    [task] = told["failed_tasks"]
    assert (task["path"], task["state"], task["exit_code"]) == ("a", "failed", 3)
    assert told["link"] == "/v1/projects/default/runs/job-1"


def test_a_run_that_is_late() -> None:
    hive = hive_with({"webhook": "https://x.example.com/h", "on": ["late"]}, deadline=60)
    run = hive.start()
    hive.until(hive.time + 61_000)
    [notice] = notices(hive)
    assert notice.on == "late" and notice.payload["state"] == "running"
    hive.until(hive.time + 600_000)
    hive.succeed(run, "a")
    assert len(notices(hive)) == 1, "told once"


def test_an_approval() -> None:
    hive = JobsHive()
    hive.put(
        notify=[{"slack": "https://s.example.com", "on": ["approval"]}],
        tasks={"ok": {"approval": {"message": "go?"}}},
    )
    hive.start()
    [notice] = notices(hive)
    assert notice.on == "approval" and "ok" in notice.payload["reason"]


def test_what_was_delivered_is_gone() -> None:
    hive = hive_with()
    [notice] = failed(hive)
    hive.restart()
    assert notices(hive) == [notice]
    tell(hive, notice, delivered=True)
    assert notices(hive) == []
    tell(hive, notice, delivered=True)  # late, not wrong


def test_failures_are_tried_again_ever_more_seldom_and_then_given_up_on_record() -> None:
    hive = hive_with()
    [notice] = failed(hive)
    waits = []
    for _ in range(TRIES - 1):
        tell(hive, notice, reason="x.org answered 503")
        [notice] = notices(hive)
        waits.append(notice.due - hive.time)
    assert waits == sorted(waits) and waits[0] == 10_000 and sum(waits) > 4 * 3_600_000
    tell(hive, notice, reason="x.org answered 503")
    assert notices(hive) == []
    [run] = hive.state.runs.values()
    assert "nobody could be told" in run.marks[-1].why and "503" in run.marks[-1].why


def test_each_failure_makes_it_another_nodes_turn() -> None:
    hive = hive_with(nodes=3)
    [notice] = failed(hive)
    seen = [notice.node]
    for _ in range(3):
        tell(hive, notice, reason="no")
        [notice] = notices(hive)
        seen.append(notice.node)
    assert len(set(seen[:3])) == 3 and seen[3] == seen[0]


def test_a_node_speaks_only_for_itself_and_of_its_own() -> None:
    hive = hive_with(nodes=2)
    [notice] = failed(hive)
    other = "node-1" if notice.node == "node-0" else "node-0"
    report = ReportNotices(node=notice.node, notices=(NoticeReport(id=notice.id, delivered=True),))
    hive.do(report, by=other, refused=True)
    tell(hive, notice, reason="no", by=other)
    assert notices(hive) == [notice], "it was not that node's to deliver"


def test_notices_of_a_node_that_leaves_are_given_to_another() -> None:
    hive = hive_with(nodes=2)
    [notice] = failed(hive)
    hive.do(DrainNode(name=notice.node))
    [moved] = notices(hive)
    assert moved.node != notice.node and moved.tries == 0
