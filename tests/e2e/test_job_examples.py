"""The worked examples, each run as its first lines tell people to, and looked at for what it did."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hivemind.model.run import RunDocument
from tests.e2e.daemon import Daemon, Said
from tests.e2e.eventually import eventually
from tests.e2e.test_jobs import ended, tasks

pytestmark = pytest.mark.real
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"
BERLIN = ZoneInfo("Europe/Berlin")


class Hive:
    """The shared daemon, and the examples on it."""

    def __init__(self, node: Daemon) -> None:
        self.node, self.client = node, node.client

    def run(self, name: str, *words: str, code: int = 0) -> Said:
        """`job run` of a file, until its end."""
        return self.node.cli("job", "run", str(EXAMPLES / name), *words, code=code)

    def begin(self, name: str, *words: str) -> str:
        """The name of a run that was started and not waited for."""
        return self.run(name, "--detach", *words).out.split()[-1]

    def put(self, name: str) -> None:
        self.node.cli("job", "put", str(EXAMPLES / name))

    def end_of(self, run: str) -> RunDocument:
        return ended(self.node, run)

    def states(self, run: str) -> dict[str, str]:
        return {path: task.state for path, task in tasks(self.node, run).items()}

    def said(self, run: str, task: str = "") -> list[str]:
        return [line.text for line in self.client.runs.logs(run, task=task)]


@pytest.fixture
def hive(node: Daemon) -> Iterator[Hive]:
    node.cli("project", "allow", "default", "processes")
    yield Hive(node)
    for job in node.client.jobs.list(None):
        node.client.jobs.delete(job.name, job.project)
    eventually(lambda: not node.client.allocations.list(None), "no attempt left")
    node.traces.must_be_clean()


def test_each_example_is_run_here_and_named_in_the_list() -> None:
    names = {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".py")}
    assert len(names) == 12
    assert {name.replace("-", "_") for name in names} == {
        name.removeprefix("test_the_") for name in globals() if name.startswith("test_the_")
    }
    listed = re.findall(r"^- \[`([\w-]+)\.(?:yaml|py)`\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == names


def test_the_approval_gate(hive: Hive) -> None:
    yes = hive.begin("approval-gate.yaml", "--input", "version=2.1")
    eventually(lambda: hive.states(yes).get("gate") == "blocked", "the gate waits")
    assert "Ship app-2.1.tar?" in hive.client.runs.task(yes, "gate").reason
    assert hive.states(yes)["ship"] == "pending"
    hive.node.cli("job", "approve", "approval-gate", "gate", "-m", "go")
    assert hive.end_of(yes).state == "succeeded"
    assert hive.said(yes, "ship") == ["shipping app-2.1.tar"]
    no = hive.begin("approval-gate.yaml")
    eventually(lambda: hive.states(no).get("gate") == "blocked", "the gate waits")
    hive.node.cli("job", "approve", no, "gate", "--reject")
    assert hive.end_of(no).state == "failed"
    assert hive.states(no) == {"build": "succeeded", "gate": "failed", "ship": "skipped"}


def test_the_circuit_breaker(hive: Hive) -> None:
    """The database is down for four seconds; that must not cost a task its retries."""
    database = hive.node.home / "orders.db"
    run = hive.begin("circuit-breaker.yaml", "--input", f"database={database}")
    eventually(lambda: circuit(hive) == "open", "the circuit open")
    assert "orders-db" in hive.node.cli("circuit", "ls").out
    assert hive.end_of(run).state == "succeeded"
    assert circuit(hive) == "closed"
    found = tasks(hive.node, run)
    days = [f"query[{index}]" for index in range(5)]
    assert [found[day].state for day in days] == ["succeeded"] * 5
    assert sorted(hive.said(run, "query"))[-5:] == [
        f"orders of {day}" for day in ("fri", "mon", "thu", "tue", "wed")
    ]
    failures = [a for day in days for a in found[day].attempts if a.exit_code == 69]
    assert 3 <= len(failures) <= 9, "closed it fails three times; then only probes try"
    assert not database.exists(), "finally has tidied up"


def circuit(hive: Hive) -> str:
    return next((c.state for c in hive.client.circuits.list() if c.name == "orders-db"), "")


def test_the_clean_up(hive: Hive) -> None:
    scratch = hive.node.home / "scratch"
    place = ("--input", f"scratch={scratch}")
    with alerts(hive.node) as heard:
        hive.run("clean-up.yaml", *place)
        assert hive.states("clean-up-1")["finally.tidy"] == "succeeded" and not scratch.exists()
        assert not any("work came to" in line for line in hive.said("clean-up-1"))
        hive.run("clean-up.yaml", *place, "--input", "break=true", code=1)
        eventually(lambda: heard, "somebody is told")
    assert [(told["run"], told["event"]) for told in heard] == [("clean-up-2", "run.failed")]
    states = hive.states("clean-up-2")
    assert (states["work"], states["on_failure.page"], states["finally.tidy"]) == (
        "failed", "succeeded", "succeeded",
    )  # fmt: skip
    assert hive.said("clean-up-2", "on_failure.page") == ["work came to: failure"]
    assert not scratch.exists()
    out = hive.node.home / "fetched"
    for run in ("clean-up-1", "clean-up-2"):
        hive.node.cli("job", "artifacts", run, "work", "--out", str(out / run))
        [file] = [path for path in (out / run).rglob("*") if path.is_file()]
        assert file.read_text() == "prepared\n"


@contextmanager
def alerts(node: Daemon) -> Iterator[list[Any]]:
    """What is posted to the place that the example names."""
    heard: list[Any] = []

    class Alerts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = node.within(lambda: HTTPServer(("127.0.0.1", 8089), Alerts))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_etl_branch(hive: Hive) -> None:
    hive.run("etl-branch.yaml")
    hive.run("etl-branch.yaml", "--input", "rows=1200")
    few, many = hive.states("etl-branch-1"), hive.states("etl-branch-2")
    assert (few["full"], few["partial"], few["report"]) == ("succeeded", "skipped", "succeeded")
    assert (many["full"], many["partial"], many["report"]) == ("skipped", "succeeded", "succeeded")
    ways = [hive.client.runs.get(f"etl-branch-{number}").outputs for number in (1, 2)]
    assert ways == [{"way": "full"}, {"way": "partial"}]
    assert hive.said("etl-branch-2", "partial") == ["too much for one load: the last 1000 of 1200"]


def test_the_fan_out_1000(hive: Hive) -> None:
    hive.run("fan-out-1000.yaml")
    run = hive.client.runs.get("fan-out-1000")
    assert run.outputs == {"total": sum(n * n for n in range(1, 1001))}
    found = tasks(hive.node, run.name)
    members = [found[f"square[{index}]"] for index in range(1000)]
    assert [member.outputs["square"] for member in members] == [n * n for n in range(1, 1001)]
    assert {len(member.attempts) for member in members} == {1}
    assert most_at_once([(m.attempts[0].started, m.attempts[0].ended) for m in members]) <= 50


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """Of spans of time; an end comes before a beginning in the same millisecond."""
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def test_the_gang(hive: Hive) -> None:
    hive.run("gang.yaml")
    assert sorted(hive.said("gang", "solve")) == [f"member {rank} of 3" for rank in range(3)]
    [attempt] = tasks(hive.node, "gang")["solve"].attempts
    assert len(set(attempt.allocations)) == 3
    assert hive.said("gang", "done") == ["all members have ended well"]


def test_the_matrix_build(hive: Hive) -> None:
    hive.run("matrix-build.yaml")
    assert hive.client.runs.get("matrix-build").outputs == {"count": 4}
    found = tasks(hive.node, "matrix-build")
    built = [found[f"build[{index}]"] for index in range(4)]
    files = ["app-gcc-debug", "app-gcc-release", "app-clang-release", "app-tcc-release"]
    assert [member.outputs["file"] for member in built] == files
    assert hive.said("matrix-build", "summary") == [f"built: {' '.join(files)}"]
    assert most_at_once([(m.attempts[0].started, m.attempts[0].ended) for m in built]) <= 2


def test_the_nightly_backup(hive: Hive) -> None:
    """Three nights, in one of which 02:30 comes twice in Berlin: a backup for each, one after the other."""
    hive.put("nightly-backup.yaml")
    assert "Europe/Berlin" in hive.node.cli("job", "schedules", "nightly-backup").out
    nights = ("job", "backfill", "nightly-backup", "--since", "2026-10-24", "--until", "2026-10-27")
    hive.node.cli(*nights, "--dry-run")
    assert hive.client.runs.of("nightly-backup") == []
    hive.node.cli(*nights)
    runs = eventually(lambda: all_ended(hive.client.runs.of("nightly-backup")), "all nights made up for")
    assert [run.state for run in runs] == ["succeeded"] * 3
    due = [datetime.fromtimestamp(run.start.time / 1000, UTC).astimezone(BERLIN) for run in runs]
    assert [f"{time:%d %H:%M}" for time in due] == ["24 02:30", "25 02:30", "26 02:30"]
    assert most_at_once([(run.started, run.ended) for run in runs]) == 1, "never twice at once"
    for run in runs:
        assert hive.said(run.name, "backup.verify") == [f"backup-{run.name} can be read"]
        assert hive.said(run.name, "backup.dump") == [f"dumping at {run.start.time}"]
    assert "0 runs of nightly-backup made" in hive.node.cli(*nights).err, "each ran already"
    assert len(hive.client.runs.of("nightly-backup")) == 3


def all_ended(runs: list[RunDocument]) -> list[RunDocument]:
    return runs if runs and all(run.ended for run in runs) else []


def test_the_python_authored(hive: Hive) -> None:
    hive.run("python_authored.py", "--input", 'days=["mon","tue"]')
    run = hive.client.runs.get("python-authored")
    assert run.outputs == {"text": "6 words, beginning with mon-0"}
    found = tasks(hive.node, run.name)
    assert [found[f"fetch[{n}]"].outputs["result"] for n in range(2)] == [
        [f"{day}-{number}" for number in range(3)] for day in ("mon", "tue")
    ]
    assert hive.said(run.name, "publish") == ["6 words, beginning with mon-0", "published"]
    assert found["alert"].state == "skipped"
    assert hive.said(run.name, "finally.tidy") == ["done"]


def test_the_retry_by_exit_code(hive: Hive) -> None:
    hive.run("retry-by-exit-code.yaml")
    found = tasks(hive.node, "retry-by-exit-code")
    assert [attempt.exit_code for attempt in found["flaky"].attempts] == [75, 75, 0]
    first, second, third = found["flaky"].attempts
    assert second.started - first.ended >= 80 and third.started - second.ended >= 160, "delays grow"
    assert (found["hopeless"].state, len(found["hopeless"].attempts)) == ("failed", 1)
    assert hive.said("retry-by-exit-code", "after") == ["both are decided"]
    assert "exit code 75" in hive.node.cli("job", "history", "retry-by-exit-code").out


def test_the_sub_workflow(hive: Hive) -> None:
    hive.put("sub-workflow.yaml")
    hive.node.cli("job", "run", "sub-workflow")
    parent = hive.client.runs.get("sub-workflow")
    assert parent.outputs == {"total": len("north") + len("south") + len("east")}
    children = hive.client.runs.of("region-report")
    assert sorted(child.inputs["region"] for child in children) == ["east", "north", "south"]
    assert {(child.start.kind, child.state) for child in children} == {("parent", "succeeded")}
    assert [child.outputs["rows"] for child in children] == [len(c.inputs["region"]) for c in children]


def test_the_webhook_driven(hive: Hive) -> None:
    key = "top-s3cret"
    hive.node.cli("secret", "create", "push-hook", "--from-file", "key=-", stdin=key)
    hive.put("webhook-driven.yaml")
    hostile = "ann; $(touch /tmp/pwned) `id` ${{ inputs.commit }}"
    push = {"ref": "refs/heads/main", "after": "4f2a9c", "who": hostile}
    status, answer = post(hive.node, push, key)
    assert status == 202, answer
    [started] = answer["runs"]
    assert hive.end_of(started["name"]).state == "succeeded"
    assert hive.said(started["name"], "build") == [f"building 4f2a9c, pushed by {hostile}"]
    assert post(hive.node, push | {"ref": "refs/heads/dev"}, key)[1].get("runs") == []
    assert post(hive.node, push, "guessed")[0] == 401
    assert len(hive.client.runs.of("webhook-driven")) == 1
    hive.client.jobs.delete("webhook-driven")
    hive.node.cli("secret", "rm", "push-hook")


def post(node: Daemon, event: dict[str, Any], key: str) -> tuple[int, Any]:
    """As the forge does: signed in the header that it uses."""
    body = json.dumps(event).encode()

    def ask() -> tuple[int, Any]:
        from http.client import HTTPConnection

        connection = HTTPConnection("127.0.0.1", 3000, timeout=10)
        mac = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={mac}"}
        connection.request("POST", "/v1/hooks/default/webhook-driven/push", body, headers)
        answer = connection.getresponse()
        try:
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return node.within(ask)
