"""The real daemon's API as programs use it: over TCP, with a token."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.core.control import SkipTest
from schemathesis.core.result import Ok

from hivemind.security.identity import Identity
from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.real

URL = "http://127.0.0.1:3000"
_FUZZING = 15.0
"""Seconds that fuzzing may take."""


def bearer(node: Daemon) -> dict[str, str]:
    return {"Authorization": "Bearer " + Identity((node.data / "admin.key").read_bytes()).token()}


def test_open_to_anyone(node: Daemon) -> None:
    assert json.loads(node.fetch(f"{URL}/healthz")) == {"status": "ok"}
    assert json.loads(node.fetch(f"{URL}/readyz")) == {"status": "ok"}
    assert "<html" in node.fetch(f"{URL}/docs")
    document = json.loads(node.fetch(f"{URL}/openapi.json"))
    assert document["openapi"].startswith("3.1") and "/v1/projects/{project}/apps/{name}" in document["paths"]


def test_metrics_tell_what_runs(node: Daemon) -> None:
    node.cli(
        "app", "deploy", "--image", "web:1", "--name", "web-app", "--replicas", "2", "--service", "web.local"
    )
    node.resolve("web.local")
    samples = dict(
        line.rsplit(" ", 1) for line in node.fetch(f"{URL}/metrics").splitlines() if not line.startswith("#")
    )
    assert samples['hivemind_apps{project="default"}'] == "1"
    assert samples['hivemind_replicas{phase="running"}'] == "2"
    assert float(samples["hivemind_dns_queries_total"]) > 0
    assert float(samples["hivemind_ledger_sequence"]) > 1


def test_events_are_resumed_where_they_broke_off(node: Daemon) -> None:
    headers = bearer(node)

    def lines(stream: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, str]]]:
        id = ""
        while line := stream.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "id":
                id = value
            elif name == "data":
                yield id, json.loads(value)

    def follow(last: str, until: str) -> list[tuple[str, str]]:
        """Ids and types from behind `last` until an event of the type `until`."""
        connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=60)
        try:
            resumed = {**headers, "Last-Event-ID": last}
            connection.request("GET", "/v1/events?app=streamed", headers=resumed)
            found = []
            for id, event in lines(connection.getresponse()):
                found.append((id, event["type"]))
                if event["type"] == until:
                    return found
            raise AssertionError(f"the stream ended after {found}")
        finally:
            connection.close()

    node.cli("app", "deploy", "--image", "web:1", "--name", "streamed")
    first = node.within(lambda: follow("0", "allocation.started"))
    node.cli("app", "rm", "streamed")
    rest = node.within(lambda: follow(first[-1][0], "app.removed"))
    whole = node.within(lambda: follow("0", "app.removed"))
    assert whole == first + rest
    assert {"app.created", "allocation.started", "app.deployment-succeeded", "allocation.exited"} <= {
        type for _, type in whole
    }


def test_versions_guard_writes(node: Daemon) -> None:
    node.cli("app", "deploy", "--image", "web:1", "--name", "web-app")
    headers = {**bearer(node), "Content-Type": "application/json"}
    path = "/v1/projects/default/apps/web-app"

    def put(tag: str, replicas: int) -> int:
        def send() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=30)
            body = json.dumps({"name": "web-app", "replicas": replicas, "spec": {"image": "web:1"}})
            connection.request("PUT", path, body, {**headers, "If-Match": f'"{tag}"'})
            try:
                return connection.getresponse().status
            finally:
                connection.close()

        return node.within(send)

    version = node.app("web-app").version
    assert put(str(version), 2) == 200
    assert put(str(version), 3) == 412
    assert node.app("web-app").replicas == 2
    node.ready("web-app", 2)


def test_fuzzed_from_its_own_description(hatch: Hatch) -> None:
    """Whatever is sent, the real daemon answers with nothing but what it describes, and lives on."""
    daemon = hatch("--web-port", "3000", "--memory", "256MiB")
    daemon.start()
    daemon.load("busybox")
    daemon.cli(
        "app",
        "deploy",
        "--image",
        "busybox:1",
        "--stop-signal",
        "SIGKILL",
        "--name",
        "box",
        "--",
        "sleep",
        "1000",
    )
    headers = bearer(daemon)
    schema = schemathesis.openapi.from_dict(json.loads(daemon.fetch(f"{URL}/openapi.json")))
    schema.config.update(base_url=URL)
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
    checks = [CHECKS.get_one(name) for name in names]
    asked = 0

    def fuzz(operation: Any) -> None:
        @hypothesis.seed(7)
        @hypothesis.settings(
            max_examples=4,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal asked
            if case.path == "/v1/events":
                case.query = {**(case.query or {}), "follow": "false"}  # the stream has no end
            asked += 1
            case.call_and_validate(headers=headers, checks=checks, timeout=30)

        try:
            send()
        except (hypothesis.errors.Unsatisfiable, SkipTest):
            pass  # nothing can be made for it

    def all_operations() -> None:
        over = time.monotonic() + _FUZZING
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            if time.monotonic() < over:
                fuzz(result.ok())

    daemon.within(all_operations)
    assert asked > 50
    assert "Traceback" not in daemon.log.read_text()
    assert daemon.cli("status").out
    daemon.remove_apps()
    daemon.destroy()
