"""Ray's interface for jobs, played by a small server: what is asked of it, and what its answers mean."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hivemind.drivers.executors import engine
from hivemind.drivers.executors.contract import Job
from hivemind.drivers.executors.ray import Ray
from hivemind.errors import Invalid, Unavailable

pytestmark = pytest.mark.anyio


class Head(ThreadingHTTPServer):
    """Knows what it was given. `refusal`: status and body of every answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []
        self.refusal: tuple[int, bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Head

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/stop"):
            self.server.stopped.append(self.path.split("/")[-2])
            return self._say(200, {"stopped": True})
        wish = json.loads(body)
        if wish["submission_id"] in self.server.jobs:
            return self._say(500, "Traceback …\nValueError: Job with submission_id already exists")
        self.server.jobs[wish["submission_id"]] = {**wish, "status": "PENDING", "message": "no resources yet"}
        return self._say(200, {"submission_id": wish["submission_id"]})

    def do_GET(self) -> None:
        found = self.server.jobs.get(self.path.rsplit("/", 1)[-1])
        return self._say(200, found) if found else self._say(404, "no such job")

    def do_DELETE(self) -> None:
        self.server.jobs.pop(self.path.rsplit("/", 1)[-1], None)
        self._say(200, {"deleted": True})

    def _say(self, status: int, body: Any) -> None:
        status, data = self.server.refusal or (
            status,
            body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _files_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SETTLE", 0.0)


@pytest.fixture
def head() -> Iterator[Head]:
    with Head() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.02,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def job(head: Head, tmp_path: Path) -> Job:
    return Job(
        argv=("train", "--password-of", "nobody"), env={"PASSWORD": "sesame"}, directory=str(tmp_path),
        cpus=2.0, gpus=1, memory=1 << 30, options={"address": head.address},
    )  # fmt: skip


async def test_what_is_asked_holds_no_secret_and_no_command(head: Head, job: Job) -> None:
    assert await Ray().submit("a1", job) == "hivemind-a1"
    asked = head.jobs["hivemind-a1"]
    assert asked["entrypoint"] == f"/bin/sh {job.directory}/handed/script"
    assert (asked["entrypoint_num_cpus"], asked["entrypoint_num_gpus"], asked["entrypoint_memory"]) == (
        2.0,
        1,
        1 << 30,
    )
    assert "sesame" not in str(asked) and "train" not in str(asked)


async def test_a_request_that_got_through_though_its_answer_did_not(head: Head, job: Job) -> None:
    head.jobs["hivemind-a1"] = {"status": "RUNNING"}
    assert await Ray()._hand_over("a1", job, Path("/script")) == "hivemind-a1"


@pytest.mark.parametrize(
    ("info", "begun", "standing", "cause", "code"),
    [
        ({"status": "PENDING"}, False, "waiting", "exit", None),
        ({"status": "RUNNING"}, True, "running", "exit", None),
        ({"status": "SUCCEEDED"}, True, "ended", "exit", 0),
        ({"status": "STOPPED"}, True, "ended", "canceled", None),
        ({"status": "FAILED", "driver_exit_code": 3}, True, "ended", "exit", 3),
        ({"status": "FAILED", "message": "worker died"}, True, "ended", "lost", None),
        ({"status": "FAILED", "message": "the script is not there"}, False, "ended", "start", None),
    ],
)
async def test_what_its_answers_mean(
    head: Head, job: Job, info: dict[str, Any], begun: bool, standing: str, cause: str, code: int | None
) -> None:
    executor = Ray()
    await executor.submit("a1", job)
    head.jobs["hivemind-a1"] |= info
    if begun:
        (Path(job.directory) / "handed" / "begun").mkdir()
        (Path(job.directory) / "handed" / "begun" / "node").write_text("gpu-7\n")
    progress = await executor.poll("a1", job)
    assert (progress.standing, progress.cause, progress.exit_code) == (standing, cause, code)
    assert progress.nodes == (("gpu-7",) if begun else ())


async def test_one_that_waits_is_canceled_though_ray_keeps_it(head: Head, job: Job) -> None:
    executor = Ray()
    await executor.submit("a1", job)
    await executor.cancel("a1", job)
    assert head.stopped == ["hivemind-a1"]
    assert (await executor.wait("a1", job)).cause == "canceled"


async def test_one_that_ray_has_forgotten_is_lost(head: Head, job: Job) -> None:
    executor = Ray()
    await executor.submit("a1", job)
    await executor.forget("a1", job)
    assert (await executor.poll("a1", job)).cause == "lost"


@pytest.mark.parametrize(
    ("refusal", "error", "said"),
    [
        ((500, b"Traceback\n  File\nValueError: no such runtime"), Invalid, "ValueError: no such runtime"),
        ((503, b""), Unavailable, "not ready"),
        ((200, b"<html>"), Invalid, "is not Ray's interface"),
    ],
)
async def test_refusals(
    head: Head, job: Job, refusal: tuple[int, bytes], error: type[Exception], said: str
) -> None:
    head.refusal = refusal
    with pytest.raises(error, match=said):
        await Ray().submit("a1", job)


@pytest.mark.parametrize(
    ("address", "error"),
    [("", Invalid), ("head:8265", Invalid), ("ftp://head", Invalid), ("http://", Invalid),
     ("http://head:port", Invalid), ("http://127.0.0.1:1", Unavailable)],
)  # fmt: skip
async def test_addresses(tmp_path: Path, address: str, error: type[Exception]) -> None:
    job = Job(argv=("true",), directory=str(tmp_path), options={"address": address})
    with pytest.raises(error) as refused:
        await Ray().submit("a1", job)
    assert "address: http://head:8265" in refused.value.hint  # type: ignore[attr-defined]


async def test_gangs_are_refused(job: Job) -> None:
    from msgspec.structs import replace

    with pytest.raises(Invalid, match="one process for a task"):
        await Ray().submit("a1", replace(job, nodes=2))
