"""`hivemind job …` against a real server and the real state: what people see, and how commands end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hivemind.cli.main import main
from hivemind.cli.terminal import Terminal
from hivemind.drivers.runtimes.contract import LogLine
from tests.unit.api.conftest import Running, running, short_dir
from tests.unit.api.jobs import allow, end, job, task
from tests.unit.cli.conftest import Result

__all__ = ["running", "short_dir"]
ETL = """
name: etl
inputs:
  day: {type: string, default: mon}
  sizes: {type: list, default: [1]}
tasks:
  get: {run: echo get}
  clean: {run: echo clean, needs: [get]}
"""

Run = Callable[..., Result]


@pytest.fixture
def hm(running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    for name in ("HIVEMIND_TOKEN", "HIVEMIND_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HIVEMIND_HOST", f"unix://{running.settings.socket}")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    Path("etl.yaml").write_text(ETL)
    running.do(allow, running.backend)

    def run(*words: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        code = main(list(words), Terminal(out, err))
        return Result(code, out.getvalue(), err.getvalue())

    return run


def finish(running: Running, run: str, *paths: str, exit_code: int = 0) -> threading.Thread:
    """As the node does by and by: each of these tasks ends once it runs."""

    def work() -> None:
        for path in paths:
            until = time.monotonic() + 10
            while not _runs(running, run, path):
                assert time.monotonic() < until, f"{path} of {run} never ran"
                time.sleep(0.01)
            running.do(end, running.backend, run, path, exit_code=exit_code)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _runs(running: Running, run: str, path: str) -> bool:
    try:
        return running.do(lambda: bool(task(running.backend, run, path).allocations))
    except KeyError:
        return False


def test_a_file_is_put_and_run_to_its_end(hm: Run, running: Running) -> None:
    node = finish(running, "etl-1", "get", "clean")
    done = hm("job", "run", "etl.yaml", "--input", "day=tue", "-i", "sizes=[2, 3]")
    node.join()
    assert (done.code, done.out.split("  ")[:3]) == (0, ["etl-1", "succeeded", "2/2 tasks"])
    assert "job/etl created" in done.err
    assert "get: succeeded" in done.err
    assert msgspec.json.decode(hm("get", "run", "etl", "-o", "json").out)["inputs"] == {
        "day": "tue", "sizes": [2, 3],
    }  # fmt: skip
    again = hm("job", "run", "etl.yaml", "-d")
    assert (again.code, again.out, again.err) == (0, "etl-2\n", "")
    Path("etl.yaml").write_text(ETL.replace("echo get", "echo other"))
    assert "definition 2" in hm("job", "run", "etl.yaml", "-d").err


def test_a_failure_ends_with_1_and_shows_what_was_written(hm: Run, running: Running) -> None:
    hm("job", "put", "etl.yaml")

    def write() -> None:
        [id] = task(running.backend, "etl-1", "get").allocations
        running.backend.log_lines[id] = [LogLine(running.backend.state.time * 10**6, "stderr", "no disk")]

    begun = hm("job", "run", "etl", "-d")
    assert begun.out == "etl-1\n"
    running.do(write)
    node = finish(running, "etl-1", "get", exit_code=3)
    watched = hm("job", "status", "etl", "-w")
    node.join()
    assert watched.code == 1
    assert "get: failed" in watched.err
    assert "| no disk" in watched.err
    assert "hivemind job retry etl-1" in watched.err
    status = hm("job", "status", "etl-1")
    assert (status.code, status.err) == (0, "")
    assert "✗ get" in status.out
    assert "exit code 3" in status.out
    assert "get: failed" not in status.out
    waited = hm("wait", "run/etl-1", "--for=state=succeeded", "--timeout", "5s")
    assert waited.code == 5
    assert "etl-1 has ended and is failed" in waited.err
    assert hm("wait", "run/etl-1", "--for=state=failed").code == 0


def test_a_canceled_run_ends_with_130(hm: Run, running: Running) -> None:
    hm("job", "run", "etl.yaml", "-d")

    def work() -> None:
        running.local.runs.cancel("etl-1", reason="not now")
        running.do(end, running.backend, "etl-1", "get", cause="canceled", exit_code=143)

    thread = threading.Timer(0.3, work)
    thread.start()
    assert hm("job", "status", "etl", "--watch").code == 130
    thread.join()
    assert "had ended: canceled" in hm("job", "cancel", "etl-1").out
    assert "not now" in hm("job", "history", "etl-1").out


def test_logs_begin_with_their_task(hm: Run, running: Running) -> None:
    hm("job", "run", "etl.yaml", "-d")

    def write() -> None:
        [id] = task(running.backend, "etl-1", "get").allocations
        running.backend.log_lines[id] = [LogLine(running.backend.state.time * 10**6, "stdout", "hello")]

    running.do(write)
    assert hm("job", "logs", "etl").out == "get | hello\n"
    assert hm("job", "logs", "etl", "get", "--no-prefix").out == "hello\n"
    missing = hm("job", "logs", "etl", "gte")
    assert (missing.code, "did you mean get?" in missing.err) == (4, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job", "run", "etl.yaml", "--input", "dya=tue"), "did you mean 'day'?"),
        (("job", "run", "etl.yaml", "--input", "sizes=many"), "as JSON"),
        (("job", "run", "etl.yaml", "--input", "day"), "is not K=V"),
        (("job", "run", "etl.yaml", "--priority", "urgent"), "high, medium, low"),
        (("job", "run", "etl.yaml", "-d", "-f"), "give one of them"),
        (("job", "run", "nowhere.yaml"), "cannot be read"),
        (("job", "run", "nowhere"), "there is no job"),
        (("job", "status", "-w"), "needs a RUN"),
        (("job", "pause"), "name a job or a run"),
        (("job", "backfill", "etl"), "needs --since"),
        (("job", "graph", "nowhere"), "no job or run"),
        (("get", "cronjobs"), "here it is called jobs"),
    ],
)
def test_what_is_wrong_is_said_with_the_next_step(hm: Run, words: tuple[str, ...], said: str) -> None:
    refused = hm(*words)
    assert refused.code in (2, 4)
    assert said in refused.err, refused.err
    assert "hint:" in refused.err


def test_mistakes_in_a_file_stand_with_their_lines(hm: Run) -> None:
    Path("etl.yaml").write_text(ETL.replace("run: echo get", "rum: echo get"))
    refused = hm("job", "run", "etl.yaml")
    assert refused.code == 2
    assert "etl.yaml:7" in refused.err
    assert hm("job", "ls").out == ""


def test_pauses_what_is_named(hm: Run) -> None:
    hm("job", "run", "etl.yaml", "-d")
    assert hm("job", "pause", "etl").out == "job/etl paused\n"
    assert "paused" in hm("job", "ls").out
    assert hm("job", "resume", "etl").out == "job/etl resumed\n"
    assert hm("job", "pause", "etl-1").out == "run/etl-1 paused\n"
    assert "running (paused)" in hm("get", "runs").out
    assert hm("job", "unpause", "etl-1").out == "run/etl-1 resumed\n"
    assert hm("job", "pause", "--queue", "").out == "queue of all of the project paused\n"
    hm("job", "run", "etl", "-d")
    assert "etl-2/" in hm("job", "queue").out or "etl-2" in hm("job", "queue").out


def test_what_get_prints_can_be_applied(hm: Run) -> None:
    hm("job", "put", "etl.yaml")
    Path("again.yaml").write_text(hm("get", "job", "etl", "-o", "yaml").out)
    assert hm("apply", "-f", "again.yaml").out == "job/etl unchanged\n"
    assert hm("apply", "-f", "etl.yaml").out == "job/etl unchanged\n"
    assert "job/etl deleted" in hm("delete", "job", "etl").out


def test_pictures_of_files_jobs_and_runs(hm: Run, running: Running) -> None:
    assert "□ get" in hm("job", "graph", "etl.yaml").out
    hm("job", "run", "etl.yaml", "-d")
    assert "□ get" in hm("job", "graph", "etl").out
    assert "● get" in hm("job", "graph", "etl-1").out
    assert "* get" in hm("job", "graph", "etl-1", "--ascii").out
    assert hm("job", "graph", "etl", "--format", "mermaid").out.startswith("flowchart TD")
    node = finish(running, "etl-1", "get", "clean")
    watched = hm("job", "graph", "etl-1", "--watch")
    node.join()
    assert watched.code == 0
    assert "✓ clean" in watched.out
    assert "*get" in hm("job", "gantt", "etl").out


def test_an_attempt_is_a_target(hm: Run, running: Running) -> None:
    hm("job", "run", "etl.yaml", "-d")
    [id] = running.do(lambda: task(running.backend, "etl-1", "get").allocations)
    running.do(running.backend.run, id)
    assert "etl-1/get" not in hm("ps").out
    assert "etl-1/get" in hm("ps", "--jobs").out
    assert msgspec.json.decode(hm("inspect", "etl-1/get").out)[0]["allocations"] == [id]
    refused = hm("exec", "etl-1/clean", "--", "sh")
    assert (refused.code, "does not run" in refused.err) == (5, True)


def test_describes_jobs_and_runs(hm: Run, running: Running) -> None:
    running.local.jobs.put(
        job("nightly", triggers={"schedule": {"cron": "0 2 * * *"}}, tasks={"a": {"run": "x"}})
    )
    told = hm("describe", "job", "nightly").out
    assert "schedule 0: 0 2 * * *  UTC" in told
    assert "due next" in told
    assert "0 2 * * *" in hm("job", "schedules").out
    hm("job", "run", "nightly", "-d")
    assert "run nightly-1 of job nightly" in hm("describe", "run", "nightly").out


def test_names_are_completed(hm: Run) -> None:
    hm("job", "run", "etl.yaml", "-d")

    def offered(*words: str) -> set[str]:
        return {line.partition("\t")[0] for line in hm("__complete", "--", *words).out.splitlines()}

    assert offered("job", "info", "") == {"etl"}
    assert offered("job", "status", "") == {"etl-1"}
    assert offered("job", "logs", "etl-1", "") == {"get", "clean"}
    assert offered("job", "run", "") == {"etl", ":files"}
    assert {"run", "graph", "gantt"} <= offered("job", "")


def test_routines_of_the_library(hm: Run) -> None:
    Path("fetch.yaml").write_text("name: fetch\ninputs: {url: {type: string}}\nrun: curl $url\n")
    assert hm("routine", "put", "fetch.yaml").out == "routine/fetch created\n"
    assert hm("routine", "put", "fetch.yaml").out == "routine/fetch unchanged\n"
    assert "fetch" in hm("routine", "ls").out
    assert "curl" in hm("routine", "info", "fetch", "-o", "yaml").out
    assert "deleted" in hm("routine", "rm", "fetch").out


def test_going_on_tells_only_what_comes_now(hm: Run, running: Running) -> None:
    Path("etl.yaml").write_text(ETL + "finally:\n  tidy: {run: echo tidy}\n")
    hm("job", "run", "etl.yaml", "-d")
    node = finish(running, "etl-1", "get")
    node.join()
    node = finish(running, "etl-1", "clean", exit_code=1)
    node.join()
    node = finish(running, "etl-1", "finally.tidy")
    node.join()
    node = finish(running, "etl-1", "clean", "finally.tidy")
    again = hm("job", "retry", "etl")
    node.join()
    assert again.code == 0
    told = [line.partition("  ")[0] for line in again.err.splitlines()]
    assert [line for line in told if "running" not in line] == ["clean: succeeded", "finally.tidy: succeeded"]


def test_an_approval_says_how_it_is_answered(hm: Run, running: Running) -> None:
    Path("gate.yaml").write_text("name: gate\ntasks: {ask: {approval: Ship it?}}\n")
    hm("job", "run", "gate.yaml", "-d")
    answering = threading.Timer(0.5, lambda: hm("job", "approve", "gate"))
    answering.start()
    watched = hm("job", "status", "gate", "-w")
    answering.join()
    assert watched.code == 0
    assert "ask: blocked  Ship it?\n  | hivemind job approve gate-1 ask" in watched.err


def test_words_that_mean_runs_lead_there(hm: Run, running: Running) -> None:
    hm("job", "run", "etl.yaml", "-d")
    assert "hivemind job logs etl-1" in hm("logs", "etl").err
    assert "wait run/etl-1 --for" in hm("wait", "run/etl-1").err
    assert "no job or run 'x'" in hm("job", "pause", "x").err
    assert "job cancel" in hm("delete", "run", "etl-1").err
    assert "job/etl unchanged" in hm("job", "put", "etl.yaml").err
    assert "by schedule" not in hm("job", "history", "etl").out
    missing = "name: two\ninputs: {a: {required: true}, b: {required: true}}\ntasks: {t: {run: x}}\n"
    Path("two.yaml").write_text(missing)
    assert "needs the inputs a, b" in hm("job", "run", "two.yaml").err
