"""Webhooks and events of people's own: who may start what, and what a stranger learns."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from hivemind.api.jobs import hooks
from hivemind.api.jobs.suspects import Suspects
from hivemind.errors import Forbidden, Invalid, Unavailable
from hivemind.jobs.definition import read
from hivemind.model.project import ProjectManifest
from hivemind.model.secret import SecretManifest
from hivemind.security.hmac import sign
from hivemind.state.operations import PutProject
from tests.unit.api.backend import ADMIN, OPERATOR, VIEWER
from tests.unit.api.conftest import Running

KEY = b"k3y-of-the-hook"
PUSH = {"ref": "refs/heads/main", "commit": "abc"}


@pytest.fixture(autouse=True)
def nobody_is_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_suspects", Suspects())


@pytest.fixture
def hooked(running: Running) -> Running:
    project = ProjectManifest(name="default", permissions=("processes",))
    running.do(running.backend.apply, PutProject(manifest=project), ADMIN)
    running.local.secrets.create(SecretManifest(name="github", data={"key": KEY.decode() + "\n"}))
    spec = {
        "name": "deploy",
        "inputs": {"commit": {}},
        "triggers": {
            "webhook": [{
                "secret": "github", "if": "event.ref == 'refs/heads/main'",
                "inputs": {"commit": "${{ event.commit }}"},
            }],
            "event": [{"type": "order.paid", "inputs": {"commit": "${{ event.id }}"}}],
        },
        "tasks": {"a": {"run": "true"}},
    }  # fmt: skip
    running.local.jobs.put(read(spec))
    return running


def post(running: Running, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.port, timeout=10)
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


def push(
    running: Running, body: bytes = b"", path: str = "/v1/hooks/default/deploy/default", **headers: str
) -> Any:
    """Signed as GitHub does."""
    body = body or json.dumps(PUSH).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return post(running, path, body, {"X-Hub-Signature-256": sign(KEY, body), **more})


def test_who_has_the_key_starts_the_job_without_a_token(hooked: Running) -> None:
    status, answer = push(hooked, X_GitHub_Delivery="1")
    assert status == 202 and [run["name"] for run in answer["runs"]] == ["deploy-1"]
    run = hooked.local.runs.get("deploy-1")
    assert run.inputs == {"commit": "abc"} and (run.start.kind, run.start.source) == ("webhook", "default")
    assert push(hooked, X_GitHub_Delivery="2", path="/v1/hooks/default/deploy")[0] == 202


def test_a_delivery_that_comes_again_starts_nothing(hooked: Running) -> None:
    for header in ("X_GitHub_Delivery", "Idempotency_Key", "X_Hivemind_Notice"):
        first = push(hooked, **{header: header})
        assert push(hooked, **{header: header}) == first
    assert push(hooked)[1] != push(hooked)[1], "without an id they are two"
    assert len(hooked.local.runs.list()) == 5


def test_a_condition_that_does_not_hold_is_no_failure(hooked: Running) -> None:
    assert push(hooked, b'{"ref": "other"}') == (202, {"runs": [], "problems": []})
    hooked.local.jobs.pause("deploy")
    assert push(hooked) == (202, {"runs": [], "problems": []})


def test_strangers_learn_nothing(hooked: Running) -> None:
    body = json.dumps(PUSH).encode()
    good = {"X-Hub-Signature-256": sign(KEY, body)}
    answers = [
        post(hooked, path, body, headers)
        for path, headers in (
            ("/v1/hooks/default/deploy/default", {}),
            ("/v1/hooks/default/deploy/default", {"X-Hub-Signature-256": "sha256=00"}),
            ("/v1/hooks/default/deploy/default", {"X-Hub-Signature-256": sign(KEY, body + b" ")}),
            ("/v1/hooks/default/deploy/default", {**good, "X-Hivemind-Signature": "sha256=00"}),
            ("/v1/hooks/default/deploy/default", {"X-Hub-Signature-256": sign(b"", body)}),
            ("/v1/hooks/default/deploy/default", {"X-Hub-Signature-256": "\xe4"}),
            ("/v1/hooks/default/deploy/nothing", good),
            ("/v1/hooks/default/nothing/default", good),
            ("/v1/hooks/nothing/deploy/default", good),
        )
    ]
    assert {status for status, _ in answers} == {401}
    assert len({json.dumps(answer) for _, answer in answers}) == 1
    hooked.local.jobs.pause("deploy")
    assert len(hooked.local.runs.list()) == 0


def test_an_empty_key_opens_nothing(hooked: Running) -> None:
    hooked.local.secrets.set("github", data={"key": "\n"})
    assert push(hooked)[0] == 401
    body = b"{}"
    assert post(hooked, "/v1/hooks/default/deploy", body, {"X-Hub-Signature-256": sign(b"", body)})[0] == 401


def test_a_timestamp_is_signed_and_must_be_of_now(hooked: Running) -> None:
    def stamped(seconds: float, signed: float | None = None) -> Any:
        stamp, body = str(int(seconds)), json.dumps(PUSH).encode()
        signature = sign(KEY, body, str(int(seconds if signed is None else signed)))
        headers = {"X-Hivemind-Timestamp": stamp, "X-Hivemind-Signature": signature}
        return post(hooked, "/v1/hooks/default/deploy", body, headers)

    now = time.time()
    first = stamped(now)
    assert first[0] == 202 and stamped(now) == first, "recorded and sent again, it starts nothing"
    assert stamped(now - 400)[0] == stamped(now + 400)[0] == 401
    assert stamped(now, signed=now - 400)[0] == 401


def test_a_recording_under_another_name_starts_nothing(hooked: Running) -> None:
    """Nothing signs the headers that name a delivery."""

    def sent(name: str, body: bytes, stamp: str) -> Any:
        signed = {"X-Hivemind-Timestamp": stamp, "X-Hivemind-Signature": sign(KEY, body, stamp)}
        return post(hooked, "/v1/hooks/default/deploy", body, {**signed, name: "other"})

    now, body = int(time.time()), json.dumps(PUSH).encode()
    first = sent("Idempotency-Key", body, str(now))
    assert first[0] == 202
    assert sent("X-GitHub-Delivery", body, str(now)) == first == sent("X-Hivemind-Notice", body, str(now))
    named = json.dumps({**PUSH, "id": "other"}).encode()
    again = sent("X-Hivemind-Notice", named, str(now))
    assert again[0] == 202 and again != first
    assert sent("X-Hivemind-Notice", named, str(now - 1)) == again, "what the body says itself is known again"


@pytest.mark.parametrize(
    ("media", "body", "seen"),
    [
        ("application/json; charset=utf-8", b'{"ref": "refs/heads/main", "commit": "x"}', "x"),
        ("application/vnd.x+json", b'{"ref": "refs/heads/main", "commit": "y"}', "y"),
        ("application/x-www-form-urlencoded", b"ref=refs%2Fheads%2Fmain&commit=a+b", "a b"),
    ],
)
def test_bodies(hooked: Running, media: str, body: bytes, seen: str) -> None:
    headers = {"Content-Type": media, "X-Hub-Signature-256": sign(KEY, body)}
    status, answer = post(hooked, "/v1/hooks/default/deploy", body, headers)
    assert status == 202
    assert hooked.local.runs.get(answer["runs"][0]["name"]).inputs == {"commit": seen}


def test_what_is_wrong_with_a_good_request_is_said(hooked: Running) -> None:
    assert push(hooked, b"{not json")[0] == 400
    assert push(hooked, json.dumps({**PUSH, "more": "x" * 70_000}).encode())[0] == 413
    assert push(hooked, b"x" * 300_000)[0] == 413
    assert push(hooked, X_GitHub_Delivery="x" * 300)[0] == 400
    status, answer = push(hooked, b'{"ref": "refs/heads/main"}')
    assert status in (400, 202) and "Traceback" not in json.dumps(answer)


def test_who_guesses_is_not_listened_to_for_a_while(hooked: Running) -> None:
    for _ in range(60):
        assert post(hooked, "/v1/hooks/default/deploy", b"{}", {})[0] == 401
    assert push(hooked)[0] == 503


def test_suspects_are_forgiven_and_forgotten() -> None:
    now = 1000.0
    suspects = Suspects(lambda: now)
    for _ in range(60):
        suspects.check("a")
        suspects.note("a")
    with pytest.raises(Unavailable):
        suspects.check("a")
    suspects.check("b")
    now += 61
    suspects.check("a")
    for number in range(5000):
        suspects.note(str(number))
    assert len(suspects._wrong) == 4096


def test_an_event_of_ones_own(hooked: Running) -> None:
    hive = hooked.remote(OPERATOR)
    raised = hive.jobs.raise_event("order.paid", {"id": "17"}, key="17")
    assert [run.name for run in raised.runs] == ["deploy-1"] and raised.problems == ()
    assert hive.jobs.raise_event("order.paid", {"id": "17"}, key="17").runs == raised.runs
    assert hive.jobs.raise_event("unheard.of").runs == ()
    [problem] = hive.jobs.raise_event("order.paid", {"id": {"a": 1}}).problems
    assert problem.startswith("deploy was not started: ")


def test_an_event_needs_a_role_and_a_type(hooked: Running) -> None:
    with pytest.raises(Forbidden):
        hooked.remote(VIEWER).jobs.raise_event("order.paid")
    for type in ("webhook", "file"):
        with pytest.raises(Forbidden, match="not for people"):
            hooked.local.jobs.raise_event(type)
    with pytest.raises(Invalid):
        hooked.local.jobs.raise_event("no spaces")
