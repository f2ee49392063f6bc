"""Docker's sign-ins: its file, its helpers, and what neither may give away."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from hivemind.drivers.images.docker_config import default_path, hosts, look_up, read
from hivemind.errors import Invalid, Unavailable

HELPER = """#!/bin/sh
read server
case "$1 $server" in
  "get https://index.docker.io/v1/") echo '{"ServerURL":"x","Username":"hub","Secret":"p1"}' ;;
  "get cloud.example.com") echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh"}' ;;
  "get broken.example.com") echo 'secret-in-the-output' >&2; exit 3 ;;
  "list ") echo '{"https://index.docker.io/v1/":"hub","cloud.example.com":"<token>"}' ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


def config(tmp_path: Path, **content: object) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"psFormat": "table", **content}))
    return path


def basic(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    program = tmp_path / "bin" / "docker-credential-tests"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return "tests"


def test_the_file_itself(tmp_path: Path) -> None:
    auths = {
        "reg.local:5000": basic("ann:pass:word"),
        "https://index.docker.io/v1/": basic("bob:secret"),
        "https://hub.example.com": {"username": "eve", "password": "x"},
        "cloud.example.com": {"identitytoken": "refresh"},
        "empty.example.com": {},
    }
    known = read(config(tmp_path, auths=auths))
    assert hosts(known) == [
        "cloud.example.com", "docker.io", "empty.example.com", "hub.example.com", "reg.local:5000",
    ]  # fmt: skip
    found = {host: look_up(known, host) for host in [*hosts(known), "other.example.com"]}
    said = {h: a and (a.username, a.password, a.identity_token) for h, a in found.items()}
    assert said == {
        "reg.local:5000": ("ann", "pass:word", ""),
        "docker.io": ("bob", "secret", ""),
        "hub.example.com": ("eve", "x", ""),
        "cloud.example.com": ("", "", "refresh"),
        "empty.example.com": None,
        "other.example.com": None,
    }
    assert "pass" not in repr(found["reg.local:5000"])


def test_helpers_come_first(tmp_path: Path, helper: str) -> None:
    known = read(config(tmp_path, credsStore=helper, auths={"reg.local": basic("ann:a")}))
    assert hosts(known) == ["cloud.example.com", "docker.io", "reg.local"]
    hub, cloud, local = (look_up(known, host) for host in ("docker.io", "cloud.example.com", "reg.local"))
    assert hub and cloud and local
    assert (hub.username, hub.password, cloud.identity_token) == ("hub", "p1", "refresh")
    assert local.password == "a", "what the helper does not know may stand in the file"
    one = read(config(tmp_path, credHelpers={"cloud.example.com": helper}))
    assert look_up(one, "docker.io") is None and look_up(one, "cloud.example.com")


def test_failures_give_nothing_away(tmp_path: Path, helper: str) -> None:
    broken = read(config(tmp_path, credHelpers={"broken.example.com": helper}))
    with pytest.raises(Unavailable, match="failed with 3") as caught:
        look_up(broken, "broken.example.com")
    assert "secret" not in str(caught.value)
    with pytest.raises(Unavailable, match="is not here"):
        look_up(read(config(tmp_path, credsStore="absent")), "docker.io")
    with pytest.raises(Unavailable, match="is not here"):
        look_up(read(config(tmp_path, credsStore="../../bin/sh")), "docker.io")
    (tmp_path / "config.json").write_text('{"auths": {"x": "sesame"')
    with pytest.raises(Invalid) as invalid:
        read(tmp_path / "config.json")
    assert "sesame" not in str(invalid.value)
    with pytest.raises(Invalid, match="damaged"):
        look_up(read(config(tmp_path, auths={"reg.local": {"auth": "!"}})), "reg.local")


def test_where_it_is() -> None:
    assert default_path({"DOCKER_CONFIG": "/d"}) == Path("/d/config.json")
    assert default_path({"HOME": "/somewhere/ann"}) == Path("/somewhere/ann/.docker/config.json")
    assert read(Path("/nonexistent/config.json")).auths == {}
