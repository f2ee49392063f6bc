"""What starts jobs from outside, whom they tell, and what they do not try in vain: on a real daemon."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from hivemind.model.circuit import CircuitDocument
from hivemind.security.hmac import sign, verify
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

KEY = b"k3y"
ARRIVALS = """
name: arrivals
inputs: {{what: {{default: nobody}}}}
triggers:
  webhook: [{{secret: hook, inputs: {{what: "${{{{ event.what }}}}"}}}}]
  event: [{{type: order.paid, if: event.total > 10, inputs: {{what: "${{{{ event.id }}}}"}}}}]
  file: [{{path: "{home}/in/*.csv", settle: 0.2, inputs: {{what: "${{{{ event.name }}}}"}}}}]
  app: [{{name: shop, inputs: {{what: "${{{{ event.event }}}}"}}}}]
tasks: {{say: {{run: 'echo "got $what"', env: {{what: "${{{{ inputs.what }}}}"}}}}}}
"""
AFTER = """
name: after
triggers: {job: [{name: arrivals, if: event.run == 'arrivals-1'}]}
notify: [{on: [succeeded], webhook: "http://127.0.0.1:4555/told", signed_with: secret:hook/key}]
tasks: {say: {run: 'true'}}
"""
PULL = """
name: pull
tasks:
  get:
    image: busybox:1
    command: [nc, -w, "2", DOMAIN, "5432"]
    retry: {max: 4, delay: 0}
"""


@pytest.fixture
def worker(node: Daemon) -> Iterator[Daemon]:
    node.cli("project", "allow", "default", "processes", "bind")
    node.cli("secret", "create", "hook", "--from-file", "key=-", stdin=KEY.decode())
    yield node
    node.remove_apps()
    for job in node.client.jobs.list(None):
        node.client.jobs.delete(job.name, job.project)
    eventually(lambda: not node.client.allocations.list(None), "no attempt left")
    node.client.secrets.delete("hook")
    node.cli("project", "deny", "default", "bind")


def put(node: Daemon, text: str) -> None:
    place = node.home / "job.yaml"
    place.write_text(text)
    node.cli("job", "put", str(place))


def post(node: Daemon, body: bytes, signature: str) -> Any:
    def ask() -> Any:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=10)
        headers = {"Content-Type": "application/json", "X-Hivemind-Signature": signature}
        connection.request("POST", "/v1/hooks/default/arrivals", body, headers)
        answer = connection.getresponse()
        with closing(connection):
            return answer.status, json.loads(answer.read())

    return node.within(ask)


class Told(BaseHTTPRequestHandler):
    heard: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Told.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def told(node: Daemon) -> Iterator[list[tuple[dict[str, str], bytes]]]:
    """What was posted to 127.0.0.1:4555 of the node's network."""
    Told.heard = []
    server = node.within(lambda: HTTPServer(("127.0.0.1", 4555), Told))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Told.heard
    server.shutdown()
    server.server_close()
    thread.join()


def test_whatever_comes_starts_a_run_once_and_people_are_told(
    worker: Daemon, told: list[tuple[dict[str, str], bytes]]
) -> None:
    put(worker, ARRIVALS.format(home=worker.home))
    put(worker, AFTER)
    body = b'{"what": "a hook"}'
    status, answer = post(worker, body, sign(KEY, body))
    assert status == 202 and [run["name"] for run in answer["runs"]] == ["arrivals-1"]
    assert post(worker, body, sign(b"other", body))[0] == 401
    for _ in range(2):
        said = worker.cli("job", "event", "order.paid", "--data", '{"id": "o17", "total": 12}', "--key", "17")
        assert said.out == "arrivals-2\n"
    said = worker.cli("job", "event", "order.paid", "--data", '{"id": "o18", "total": 1}')
    assert said.out == "" and "no job of default waits" in said.err
    inbox = worker.home / "in"
    inbox.mkdir()
    (inbox / "a.csv").write_text("1;2\n")
    eventually(lambda: worker.client.runs.get("arrivals-3").ended, "the file's run")
    worker.kill()
    (inbox / "meanwhile.csv").write_text("3;4\n")
    worker.start()
    eventually(lambda: worker.client.runs.get("arrivals-4").ended, "the run of what came meanwhile")
    worker.cli("app", "deploy", "shop", "--image", "web:1", "--update-min-healthy", "100ms")
    eventually(lambda: worker.client.runs.get("arrivals-5").ended, "the run after the deployment")
    seen = {run.name: run.inputs["what"] for run in worker.client.runs.list() if run.job == "arrivals"}
    assert sorted(seen.values()) == ["a hook", "a.csv", "deployed", "meanwhile.csv", "o17"]
    eventually(lambda: told, "people told")
    [(headers, posted)] = told
    assert json.loads(posted)["run"] == "after-1" and json.loads(posted)["event"] == "run.succeeded"
    assert verify(KEY, headers["x-hivemind-signature"], posted, headers["x-hivemind-timestamp"])


def test_what_a_container_cannot_reach_opens_a_circuit_and_closes_it_when_it_is_back(worker: Daemon) -> None:
    address = worker.command("ip", "-4", "-o", "address", "show", "dev", "lo").split("inet ")[2].split("/")[0]
    put(worker, PULL.replace("DOMAIN", address))
    worker.cli("job", "run", "pull", "-d")

    def look() -> CircuitDocument:
        detected = [c for c in worker.client.circuits.list() if c.name == f"{address}:5432"]
        assert [c.state for c in detected] == ["open"]
        return detected[0]

    found = eventually(look, "the circuit open", 60)
    assert found.detected and found.reason == f"{found.name}: refused"
    [task] = worker.client.runs.tasks("pull")
    assert task.state in ("queued", "blocked") and len(task.attempts) == 5, "its last failure is forgiven"
    said = worker.cli("job", "status", "pull").out
    assert "circuit" in said
    server = worker.within(lambda: socket.create_server((address, 5432)))
    with closing(server):
        worker.cli("circuit", "open", found.name, "-m", "maintenance")
        assert worker.client.circuits.get(found.name).forced
        worker.cli("circuit", "auto", found.name)
        accepted, _ = server.accept()
        accepted.close()
        eventually(lambda: worker.client.runs.get("pull").state == "succeeded", "the run succeeded")
    assert worker.client.circuits.get(found.name).state == "closed"
