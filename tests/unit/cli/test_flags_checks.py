"""Options of checks, hooks and companions."""

from __future__ import annotations

import pytest

from hivemind.cli.declarations.apps import COMMANDS
from hivemind.cli.flags.app import manifest
from hivemind.cli.flags.checks import whole_check
from hivemind.cli.parsing import parse
from hivemind.errors import Invalid
from hivemind.model.app import AppManifest, AppSpec, Companion
from hivemind.model.check import Check, CommandProbe, GrpcProbe, Hook, HttpProbe, TcpProbe

DEPLOY = next(command for command in COMMANDS if command.words == ("app", "deploy"))


def made(line: list[str], present: AppSpec | None = None) -> AppSpec:
    known = AppManifest(name="web", spec=present) if present else None
    return manifest(parse(DEPLOY, ["web", "--image", "web:1", *line]), "web", known).spec


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("http:8080/ready,interval=2s", Check(probe=HttpProbe(port=8080, path="/ready"), interval=2)),
        ("https:8443/a,b,timeout=500ms,retries=7",
         Check(probe=HttpProbe(port=8443, path="/a,b", scheme="https"), timeout=0.5, retries=7)),
        ("http:80/,header=Host:shop,header=X-A: b c",
         Check(probe=HttpProbe(port=80, headers={"Host": "shop", "X-A": "b c"}))),
        ("tcp:5432,start-period=1m", Check(probe=TcpProbe(port=5432), start_period=60)),
        ("grpc:9000", Check(probe=GrpcProbe(port=9000))),
        ("grpc:9000/shop.v1.Cart,interval=10", Check(probe=GrpcProbe(port=9000, service="shop.v1.Cart"), interval=10)),
        ("cmd:sh -c 'echo a,b; exit 0',retries=2",
         Check(probe=CommandProbe(command=("sh", "-c", "echo a,b; exit 0")), retries=2)),
    ],
)  # fmt: skip
def test_whole_checks(text: str, check: Check) -> None:
    for purpose in ("startup", "liveness", "readiness"):
        assert getattr(made([f"--{purpose}", text]), purpose) == check


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("nginx -s quit", Hook(action=CommandProbe(command=("nginx", "-s", "quit")))),
        ("cmd:http://odd,timeout=5s", Hook(action=CommandProbe(command=("http://odd",)), timeout=5)),
        ("http:8080/bye,timeout=3s", Hook(action=HttpProbe(port=8080, path="/bye"), timeout=3)),
    ],
)
def test_hooks(text: str, hook: Hook) -> None:
    spec = made(["--post-start", text, "--pre-stop", text])
    assert (spec.post_start, spec.pre_stop) == (hook, hook)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--readiness", "8080/ready"], "says no kind"),
        (["--readiness", "ftp:21"], "knows no check 'ftp'"),
        (["--readiness", "tcp:http"], "not a port"),
        (["--readiness", "grpc:x"], "has no port"),
        (["--readiness", "tcp:1,header=A:b"], "only http"),
        (["--readiness", "tcp:1,retries=many"], "not a number"),
        (["--readiness", "tcp:1,timeout=soon"], "not a length of time"),
        (["--readiness", "http:80/,header=A"], "has no value"),
        (["--readiness", "tcp:99999"], "readiness"),
        (["--pre-stop", "x,interval=3s"], "has no interval"),
        (["--pre-stop", ""], "not a command"),
        (["--no-healthcheck", "--health-tcp", "1"], "exclude each other"),
        (["--health-tcp", "1", "--liveness", "tcp:1"], "readiness and liveness in one"),
        (["--depends-on", "db:there"], "not 'there'"),
        (["--sidecar", "log"], "names no image"),
        (["--sidecar", "a--b=x:1"], "sidecars"),
        (["--sidecar", f"{'a' * 41}=x:1"], "sidecars"),
        (["--sidecar", "a=x:1", "--init-container", "a=y:1"], "two companions"),
    ],
)
def test_nonsense_is_refused(line: list[str], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        made(line)


def test_checks_are_taken_away() -> None:
    check = Check(probe=TcpProbe(port=1))
    had = AppSpec(image="web:1", startup=check, liveness=check, pre_stop=Hook(action=HttpProbe(port=1)))
    spec = made(["--liveness", "none", "--pre-stop", "none"], had)
    assert (spec.startup, spec.liveness, spec.pre_stop) == (check, None, None)


def test_no_healthcheck_also_silences_the_image_until_there_is_one_again() -> None:
    spec = made(["--no-healthcheck"], AppSpec(image="web:1", check=Check(probe=TcpProbe(port=1))))
    assert (spec.check, spec.healthcheck) == (None, "none")
    again = made(["--health-tcp", "1"], spec)
    assert (again.check, again.healthcheck) == (Check(probe=TcpProbe(port=1)), "image")


def test_https_and_grpc_health() -> None:
    http, grpc = made(["--health-http", "https:8443/up"]).check, made(["--health-grpc", "9000/a.B"]).check
    assert http
    assert http.probe == HttpProbe(port=8443, path="/up", scheme="https")
    assert grpc
    assert grpc.probe == GrpcProbe(port=9000, service="a.B")


def test_companions_are_added_changed_and_taken_away() -> None:
    spec = made(
        ["--init-container", "migrate=app:1 ./migrate --all", "--sidecar", "log=log:1", "--sidecar", "x=x:1"]
    )
    assert spec.init_containers == (Companion(name="migrate", image="app:1", command=("./migrate", "--all")),)
    had = AppSpec(
        image="web:1", sidecars=(Companion(name="log", image="log:1", env={"A": "1"}), *spec.sidecars[1:])
    )
    changed = made(["--sidecar", "log=log:2", "--sidecar", "x="], had)
    assert changed.sidecars == (Companion(name="log", image="log:2", env={"A": "1"}),)


def test_depends_on() -> None:
    spec = made(["--depends-on", "db", "--depends-on", "cache:healthy", "--depends-on", "job:completed"])
    assert spec.depends_on == {"db": "started", "cache": "healthy", "job": "completed"}
    assert made(["--depends-on", "none"], spec).depends_on == {}
    assert made([], spec).depends_on == spec.depends_on


def test_a_setting_that_is_nearly_one_is_named() -> None:
    with pytest.raises(Invalid, match="no setting 'intervall'") as caught:
        whole_check("tcp:8080,intervall=3s", "--liveness")
    assert caught.value.hint == "did you mean 'interval'?"
