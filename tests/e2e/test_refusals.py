"""What cannot be: each a clear error that says the next step, with an exit code that programs can tell apart."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest

from hivemind.security.identity import Identity
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

WEB = ("--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080")


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("app", "deploy", "--image", "web:1", "--name", "Web_App"), 2, "name: expected lower-case"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--port", "99999:80"), 2, "99999"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--memory", "many"), 2, "many"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--env", "=b"), 2, "env"),
        (("app", "deploy", "--image", "UPPER:1", "--name", "x"), 2, "UPPER"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--replicas", "-1"), 2, "replicas"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--runtime", "wasm"), 2, "wasm"),
        (
            ("app", "deploy", "--image", "web:1", "--name", "x", "--constraint", "disk is fast"),
            2,
            "constraint",
        ),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--bogus"), 2, "--bogus"),
        (("app", "deploy", "--name", "x"), 2, "image"),
        (("app", "scale", "--name", "nobody", "--replicas", "2"), 4, "nobody"),
        (("app", "deploy", "--image", "web:1", "--name", "x", "--project", "nowhere"), 4, "nowhere"),
        (("logs", "nobody"), 4, "nobody"),
        (("describe", "node", "nobody"), 4, "nobody"),
        (("image", "rm", "nobody:1"), 4, "nobody"),
        (("get", "unicorns"), 2, "unicorns"),
        (("aap", "ls"), 2, "aap"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_mistakes(node: Daemon, words: tuple[str, ...], code: int, part: str) -> None:
    said = node.cli(*words, code=code)
    assert said.out == "" and said.err.startswith("error: ") and part in said.err
    assert "hint: " in said.err
    assert node.client.apps.list() == []


def test_an_unknown_image(node: Daemon) -> None:
    said = node.cli("app", "deploy", "--image", "localhost:1/no/such:1", "--name", "x", code=1)
    assert "localhost:1 cannot be reached" in said.err and "hint: " in said.err
    # It is tried again, so an image that comes later is found.
    assert "Backoff" in node.cli("ps").out or "Pulling" in node.cli("ps").out
    assert "cannot be reached" in node.cli("app", "info", "x").out


def test_a_port_of_another_app(node: Daemon) -> None:
    node.cli("app", "deploy", *WEB)
    said = node.cli("app", "deploy", "--image", "web:1", "--name", "second", "--port", "8080:80", code=5)
    assert "8080" in said.err and "'web-app'" in said.err and "hint: " in said.err
    said = node.cli("app", "deploy", "--image", "web:1", "--name", "second", "--service", "web.local", code=5)
    assert "web.local" in said.err and "'web-app'" in said.err
    said = node.cli("run", "--name", "web-app", "web:1", code=5)
    assert "web-app" in said.err


def test_a_port_of_a_foreign_process(node: Daemon) -> None:
    """It is found out, said, and set right as soon as the port is free."""
    foreign = node.within(lambda: socket.create_server(("127.0.0.1", 18080)))
    with foreign:
        said = node.cli("app", "deploy", "--image", "web:1", "--name", "x", "--port", "18080:8080", code=1)
        assert "18080" in said.err and "in use" in said.err and "hint: " in said.err
        assert "18080" in node.cli("app", "info", "x").out
    eventually(lambda: "Hello" in node.fetch("http://127.0.0.1:18080/"), "the port served once it is free")


def test_no_memory_left(node: Daemon) -> None:
    said = node.cli("app", "deploy", "--image", "web:1", "--name", "huge", "--memory", "100TiB", code=1)
    assert "0 of 1 node" in said.err and "memory" in said.err and "hint: " in said.err
    assert node.app("huge").status.phase == "pending"
    for words in (("app", "info", "huge"), ("describe", "app", "huge")):
        assert "memory" in node.cli(*words).out
    node.cli("app", "deploy", "--name", "huge", "--memory", "64MiB")
    assert node.app("huge").status.ready == 1


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kind: App\nname: x\nreplcas: 2\nspec: {image: web:1}\n", "replcas"),
        ("kind: App\nname: x\nspec: {image: web:1, check: {prob: {kind: http}}}\n", "prob"),
        ("kind: Unicorn\nname: x\n", "Unicorn"),
        ("kind: App\nname: x\nspec: [\n", "app.yaml:4"),
        ("kind: App\nname: x\nspec: {image: web:1, resources: {memory: 12 apples}}\n", "12 apples"),
        ("kind: App\nname: x\nname: y\nspec: {image: web:1}\n", "name"),
        ("", "nothing"),
    ],
)
def test_bad_files(node: Daemon, tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(text)
    said = node.cli("apply", "-f", str(path), code=2)
    assert part in said.err and str(path) in said.err, said.err
    assert node.client.apps.list() == []


def test_an_archive_that_is_none(node: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"no archive at all" * 1000)
    before = node.cli("images").out
    said = node.cli("load", "-i", str(path), code=2)
    assert "error: " in said.err and "hint: " in said.err
    node.cli("load", "-i", str(tmp_path / "missing"), code=2)
    assert node.cli("images").out == before


def ask(
    node: Daemon, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, dict[str, object]]:
    """Over TCP, as the daemon's network namespace sees it."""

    def send() -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return node.within(send)


def token(node: Daemon) -> str:
    return Identity((node.data / "admin.key").read_bytes()).token()


def test_the_api_over_tcp_wants_a_good_token(node: Daemon) -> None:
    good = token(node)
    assert ask(node, "GET", "/v1/apps", {"Authorization": f"Bearer {good}"})[0] == 200
    stranger = Identity(bytes(32)).token()
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Bearer {stranger}"}):
        status, problem = ask(node, "GET", "/v1/apps", headers)
        assert (status, problem["code"]) == (401, "unauthenticated") and problem["hint"]
    said = node.cli("--host", "http://127.0.0.1:3000", "--token", stranger, "app", "ls", code=3)
    assert "token" in said.err and "hint: " in said.err
    assert node.cli("--host", "http://127.0.0.1:3000", "--token", good, "status").out
    assert good not in node.log.read_text()


def test_bad_bodies(node: Daemon) -> None:
    good = {"Authorization": f"Bearer {token(node)}"}
    path = "/v1/projects/default/apps/x"
    status, problem = ask(node, "PUT", path, good, b'{"spec": }')
    assert (
        (status, problem["code"]) == (400, "invalid")
        and "line 1" in str(problem["detail"])
        and problem["hint"]
    )
    status, problem = ask(node, "PUT", path, good, b'{"name": "x", "spec": {"image": "a", "colour": "red"}}')
    assert status == 400 and "colour" in str(problem["detail"])
    status, problem = ask(node, "PUT", path, good, b" " * (32 << 20))
    assert (status, problem["code"]) == (413, "too-large")
    status, problem = ask(node, "PUT", path, good, b"[" * 100_000)
    assert status == 400
    status, problem = ask(node, "GET", "/v1/unicorns", good)
    assert (status, problem["code"]) == (404, "not-found")
    assert node.client.apps.list() == []


def test_settings_that_cannot_be(node: Daemon, tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "d"))
    for words, code, part in (
        (("--web-port", "banana"), 2, "--web-port"),
        (("--web-host", "0.0.0.0"), 2, "TLS"),
        (("--runtime", "containers"), 2, "containers"),
        (("--subnet", "10.0.0.0/99"), 2, "subnet"),
        (("--config", str(tmp_path / "missing.toml")), 2, "missing.toml"),
    ):
        said = node.cli("daemon", *data, *words, code=code)
        assert part.lower() in said.err.lower(), said.err
    (tmp_path / "hivemind.toml").write_text("[api]\nweb_prot = 1\n")
    assert "web_prot" in node.cli("daemon", *data, "--config", str(tmp_path / "hivemind.toml"), code=2).err
    node.cli("daemon", *data, "--destroy")
    assert not (tmp_path / "d").exists()
