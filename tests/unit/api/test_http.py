"""What bad requests are told: always a problem document with a code and, where there is one, the next step."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from hivemind.errors import NotFound, TooLarge
from tests.unit.api.backend import ADMIN, OPERATOR, STRANGER, VIEWER
from tests.unit.api.conftest import Running

APPS = "/v1/projects/default/apps"
WEB = {"name": "web", "spec": {"image": "nginx:1"}}


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def refuses(self, status: int, code: str, *words: str) -> None:
        assert self.headers["Content-Type"] == "application/problem+json"
        told = self.json
        assert (self.status, told["status"], told["code"]) == (status, status, code), told
        assert told["type"] == f"urn:hivemind:problem:{code}" and told["title"]
        for word in words:
            assert word in f"{told['detail']} {told['hint']}", told


def ask(
    running: Running,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = ADMIN.token(),
    **headers: str,
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.port or 0, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, data, sent)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def test_an_unknown_address(running: Running) -> None:
    ask(running, "GET", "/v1/nothing").refuses(404, "not-found", "/v1/nothing", "/openapi.json")


def test_a_wrong_method(running: Running) -> None:
    reply = ask(running, "PATCH", f"{APPS}/web")
    reply.refuses(405, "wrong-method", "PATCH")
    assert reply.headers["Allow"] == "DELETE, GET, PUT, HEAD"


def test_an_exec_address_without_websocket(running: Running) -> None:
    ask(running, "GET", "/v1/projects/default/allocations/x/exec").refuses(400, "invalid", "WebSocket")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"name": "web",\n  "spec": }', ("line 2", "column 11")),
        (b'{"name": "web"', ("too early",)),
        (b"\xff\xfe", ("not",)),
        (b"[" * 100_000, ("nested",)),
        (b"", ("no body",)),
        (b"[]", ("Expected",)),
        (b'{"name": "web", "spec": {"image": "x", "imege": 1}}', ("imege", "did you mean 'image'")),
        (b'{"name": "Web!", "spec": {"image": "x"}}', ("$.name",)),
        (b'{"name": "web", "spec": {"image": "x", "resources": {"memory": "lots"}}}', ("lots", "512MiB")),
        (b'{"name": "web", "spec": {"image": "x"}, "replicas": 99999}', ("$.replicas",)),
        (b'{"name": "web", "spec": {"image": "Bad Image"}}', ("Bad Image",)),
    ],
)
def test_a_body_that_makes_no_sense(running: Running, body: bytes, words: tuple[str, ...]) -> None:
    ask(running, "POST", APPS, body).refuses(400, "invalid", *words)
    assert running.local.apps.list() == []


def test_written_amounts_are_understood(running: Running) -> None:
    body = {"name": "web", "spec": {"image": "x", "resources": {"memory": "512MiB", "cpus": "250m"}}}
    reply = ask(running, "PUT", f"{APPS}/web", body)
    assert reply.status == 201 and reply.headers["ETag"] == f'"{reply.json["version"]}"'
    assert reply.json["spec"]["resources"] == {"memory": 2**29, "cpus": 0.25}


def test_a_body_of_another_kind(running: Running) -> None:
    reply = ask(running, "POST", APPS, b"name=web", Content_Type="application/x-www-form-urlencoded")
    reply.refuses(415, "wrong-media", "application/json")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(running: Running, chunked: bool) -> None:
    data: Any = b'{"name": "' + b"x" * 2**21 + b'"}'
    connection = running.local._connection
    with pytest.raises(TooLarge, match="2MiB"):
        connection.call("POST", APPS, body=iter([data[: 2**20], data[2**20 :]]) if chunked else data)
    assert running.local.status().node_name == "node-1"


def test_the_address_and_the_body_disagree(running: Running) -> None:
    ask(running, "PUT", f"{APPS}/shop", WEB).refuses(400, "invalid", "'web'", "'shop'")


def test_versions_to_match(running: Running) -> None:
    version = ask(running, "POST", APPS, WEB).headers["ETag"]
    ask(running, "PUT", f"{APPS}/web", WEB, If_Match='"99"').refuses(412, "stale")
    ask(running, "PUT", f"{APPS}/web", WEB, If_Match='"abc"').refuses(412, "stale")
    ask(running, "PUT", f"{APPS}/web", WEB, If_Match="*").refuses(400, "invalid", 'If-Match: "3"')
    ask(running, "PUT", f"{APPS}/web", WEB, If_None_Match="*").refuses(409, "conflict")
    ask(running, "PUT", f"{APPS}/web", WEB, If_None_Match='"1"').refuses(400, "invalid")
    assert ask(running, "PUT", f"{APPS}/web", {**WEB, "replicas": 2}, If_Match=version).status == 200
    ask(running, "DELETE", f"{APPS}/web", If_Match=version).refuses(412, "stale")
    assert ask(running, "DELETE", f"{APPS}/web").status == 204


def test_query_parameters(running: Running) -> None:
    ask(running, "GET", f"{APPS}?limt=3").refuses(400, "invalid", "limt", "limit")
    ask(running, "GET", f"{APPS}?limit=0").refuses(400, "invalid", "limit")
    ask(running, "GET", f"{APPS}?limit=x").refuses(400, "invalid", "'limit'")
    ask(running, "GET", f"{APPS}?limit=1&limit=2").refuses(400, "invalid", "twice")
    ask(running, "GET", f"{APPS}?cursor=%00%ff").refuses(400, "invalid", "cursor")
    ask(running, "GET", f"{APPS}?cursor=abc").refuses(400, "invalid", "cursor")
    ask(running, "POST", f"{APPS}/web/restart?dry_run=perhaps").refuses(400, "invalid", "dry_run")


def test_the_head_of_an_answer_alone(running: Running) -> None:
    reply = ask(running, "HEAD", "/healthz")
    assert (reply.status, reply.body) == (200, b"")
    reply = ask(running, "HEAD", "/v1/events")  # whose body has no end
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/event-stream")


# -- who may ----------------------------------------------------------------------------------------------------


def test_without_a_token(running: Running) -> None:
    reply = ask(running, "GET", APPS, token=None)
    reply.refuses(401, "unauthenticated", "Authorization: Bearer")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    ask(running, "POST", APPS, WEB, token=None).refuses(401, "unauthenticated")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_what_anyone_may_read(running: Running, path: str) -> None:
    assert ask(running, "GET", path, token=None).status == 200


@pytest.mark.parametrize("token", ["hm_nonsense", ADMIN.token()[:-1], "é", STRANGER.token(), "hm_"])
def test_wrong_tokens(running: Running, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.port or 0, timeout=10)
    connection.request("GET", APPS, headers={"Authorization": f"Bearer {token}".encode("latin-1")})
    reply = Reply(connection.getresponse())
    connection.close()
    reply.refuses(401, "unauthenticated")


def test_another_scheme_than_bearer(running: Running) -> None:
    ask(running, "GET", APPS, token=None, Authorization="Basic YTpi").refuses(
        401, "unauthenticated", "Bearer"
    )


def test_roles(running: Running) -> None:
    assert ask(running, "GET", APPS, token=VIEWER.token()).status == 200
    ask(running, "POST", APPS, WEB, token=VIEWER.token()).refuses(403, "forbidden")
    ask(running, "POST", "/v1/images/pull", {"reference": "x"}, token=VIEWER.token()).refuses(
        403, "forbidden", "operator"
    )
    assert ask(running, "POST", APPS, WEB, token=OPERATOR.token()).status == 201
    ask(running, "POST", "/v1/nodes/node-1/cordon", token=OPERATOR.token()).refuses(403, "forbidden")


def test_a_page_from_elsewhere_cannot_reach_us_under_its_own_name(running: Running) -> None:
    ask(running, "GET", "/metrics", Host="evil.example").refuses(403, "forbidden", "localhost")
    ask(running, "GET", APPS, Host="evil.example:3000").refuses(403, "forbidden")
    for host in ("localhost:3000", "127.0.0.1", "[::1]:3000"):
        assert ask(running, "GET", APPS, Host=host).status == 200


# -- the node itself ----------------------------------------------------------------------------------------------


def test_readiness(running: Running) -> None:
    running.do(setattr, running.backend, "is_ready", False)
    reply = ask(running, "GET", "/readyz", token=None)
    reply.refuses(503, "unavailable", "hivemind doctor")
    assert reply.headers["Retry-After"] == "1"
    assert ask(running, "GET", "/healthz", token=None).json == {"status": "ok"}


def test_a_defect_is_a_problem_too_and_tells_no_secrets(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(running.backend, "info", broken)
    reply = ask(running, "GET", "/v1/status")
    reply.refuses(500, "internal", "log")
    assert b"secret" not in reply.body
    assert "secret path" in caplog.text


def test_garbage_is_not_http(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port or 0), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01garbage\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_unknown_things(running: Running) -> None:
    for path in (
        "apps/web",
        "allocations/abcd",
        "deployments/abcd",
        "apps/web/logs",
        "allocations/abcd/stats",
    ):
        ask(running, "GET", f"/v1/projects/default/{path}").refuses(404, "not-found")
    for path in ("nodes/x", "projects/x", "images/a/b:c", "images/sha256:00", "events/1"):
        ask(running, "GET", f"/v1/{path}").refuses(404, "not-found")
    with pytest.raises(NotFound):
        running.local.apps.scale("nothing", 3)
