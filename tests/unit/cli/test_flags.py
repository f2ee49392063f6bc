"""From options to a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.cli.declarations import find
from hivemind.cli.flags.app import manifest
from hivemind.cli.flags.checks import http_probe
from hivemind.cli.flags.network import port
from hivemind.cli.flags.process import env_file, restart
from hivemind.cli.flags.text import words
from hivemind.cli.parsing import parse
from hivemind.errors import Invalid
from hivemind.model.app import AppManifest, Restart
from hivemind.model.check import CommandProbe, HttpProbe, TcpProbe
from hivemind.model.network import Port

DEPLOY = find(("app", "deploy"))
assert DEPLOY is not None


def made(line: list[str], present: AppManifest | None = None) -> AppManifest:
    assert DEPLOY is not None
    return manifest(parse(DEPLOY, ["web", *line]), "web", present)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Port(container=80)),
        ("8080:80", Port(container=80, host=8080)),
        ("53:53/udp", Port(container=53, host=53, protocol="udp")),
        ("8080:80/tcp", Port(container=80, host=8080)),
    ],
)
def test_ports(text: str, expected: Port) -> None:
    assert port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "80:", ":80", "0:80", "70000", "80-90:80-90", "127.0.0.1:80:80", "80/sctp"]
)
def test_ports_that_are_none_say_how_to_write_them(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        port(text)
    assert caught.value.hint


def test_restart_policies() -> None:
    assert restart("on-failure:3") == Restart(policy="on-failure", retries=3)
    assert restart("on-failure") == Restart(policy="on-failure")
    assert (restart("no").policy, restart("always").policy, restart("unless-stopped").policy) == (
        "no",
        "always",
        "always",
    )
    for bad in ("", "never", "on-failure:", "on-failure:x", "always:3"):
        with pytest.raises(Invalid):
            restart(bad)


def test_http_probes() -> None:
    assert http_probe("/healthz") == HttpProbe(path="/healthz")
    assert http_probe("8080/x") == http_probe(":8080/x") == HttpProbe(path="/x", port=8080)
    assert http_probe("8080") == HttpProbe(port=8080)
    for bad in ("", "healthz", "http://x/"):
        with pytest.raises(Invalid):
            http_probe(bad)


def test_every_option_lands_in_its_place() -> None:
    found = made(
        ["--image", "nginx:1.27", "--replicas", "3", "--service", "web.local", "-p", "8080:80", "--env", "A=1=2",
         "--cpus", "250m", "--memory", "64MiB", "--command", "nginx -g 'daemon off;'", "--entrypoint", "/bin/tini --",
         "--user", "1000:1000", "--workdir", "/srv", "--label", "team=a", "--constraint", "node.labels.disk==ssd",
         "--health-http", "/ok", "--health-interval", "500ms", "--health-timeout", "1s", "--health-retries", "5",
         "--health-start-period", "1m", "--restart", "on-failure:2", "--stop-grace-period", "3s",
         "--stop-signal", "SIGQUIT", "--runtime", "oci", "--update-order", "stop-first", "--update-parallel", "2",
         "--update-min-healthy", "4s", "--update-deadline", "1m", "--pids", "50", "--priority", "70",
         "--placement", "binpack"]
    )  # fmt: skip
    spec = found.spec
    assert (found.name, found.replicas, found.labels) == ("web", 3, {"team": "a"})
    assert (spec.image, spec.service, spec.env, spec.user, spec.workdir) == (
        "nginx:1.27", "web.local", {"A": "1=2"}, "1000:1000", "/srv",
    )  # fmt: skip
    assert spec.command == ("nginx", "-g", "daemon off;")
    assert spec.entrypoint == ("/bin/tini", "--")
    assert (spec.resources.cpus, spec.resources.memory, spec.resources.pids) == (0.25, 64 * 2**20, 50)
    assert spec.check is not None
    assert spec.check.probe == HttpProbe(path="/ok")
    assert (spec.check.interval, spec.check.timeout, spec.check.retries, spec.check.start_period) == (
        0.5,
        1.0,
        5,
        60.0,
    )
    assert spec.restart == Restart(policy="on-failure", retries=2)
    assert (spec.stop.grace, spec.stop.signal, spec.runtime, spec.priority, spec.placement) == (
        3.0, "SIGQUIT", "oci", 70, "binpack",
    )  # fmt: skip
    assert spec.constraints == ("node.labels.disk==ssd",)
    update = spec.update
    assert (update.order, update.max_parallel, update.min_healthy_time, update.healthy_deadline) == (
        "stop-first",
        2,
        4,
        60,
    )


def test_what_is_not_named_stays() -> None:
    before = made(
        [
            "--image",
            "a",
            "--replicas",
            "3",
            "-p",
            "8080:80",
            "--env",
            "A=1",
            "--env",
            "B=2",
            "--health-tcp",
            "80",
        ]
    )
    after = made(["--image", "b", "--env", "A=9", "--health-retries", "9"], before)
    assert (after.replicas, after.spec.ports, after.spec.image) == (3, before.spec.ports, "b")
    assert after.spec.env == {"A": "9"}
    assert after.spec.check is not None
    assert (after.spec.check.probe, after.spec.check.retries) == (TcpProbe(port=80), 9)
    assert made(["--no-healthcheck"], before).spec.check is None
    assert made(["--", "sleep", "1"], before).spec.command == ("sleep", "1")
    assert made([], before) == before


def test_an_empty_text_goes_back_to_the_image() -> None:
    before = made(
        ["--image", "a", "--user", "1", "--service", "x.local", "--command", "sleep 1", "--workdir", "/a"]
    )
    after = made(["--user", "", "--service", "", "--command", "", "--workdir", ""], before).spec
    assert (after.user, after.service, after.command, after.workdir) == (None, None, None, None)


def test_a_command_check_runs_words_not_a_shell() -> None:
    check = made(["--image", "a", "--health-cmd", "test -f '/tmp/a b'"]).spec.check
    assert check is not None
    assert check.probe == CommandProbe(command=("test", "-f", "/tmp/a b"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--image", "a", "--health-interval", "1s"], "no way to check"),
        (["--image", "a", "--health-tcp", "80", "--health-http", "/"], "one health check"),
        (["--image", "a", "--health-http", "/"], "declares none"),
        (["--image", "a", "--command", "sh -c 'x"], "cannot be split"),
        (["--image", "a", "--command", "x", "--", "y"], "given twice"),
        (["--image", "a", "--env", "NOT_SET_ANYWHERE_1"], "not set here"),
        (["--image", "a", "--env", "1A=2"], "expected the name of a variable"),
        (["--image", "a", "--label", "x"], "has no value"),
        (["--image", "a", "--replicas", "-1"], "0 or more"),
        (["--image", "a", "--workdir", "srv"], "workdir: expected an absolute path"),
        (["--image", "a", "-p", "80:80", "-p", "80:81"], "published twice"),
        (["--image", "a", "--priority", "101"], "100 or less"),
        ([], "needs an image or a command"),
    ],
)
def test_nonsense_is_refused(line: list[str], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        made(line)
    assert message in caught.value.message


def test_variables_come_from_files_and_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "yes")
    file = tmp_path / "env"
    file.write_text("# a comment\n\nA=1\nexport B='two words'\nC=\nFROM_HERE\nNOT_SET_ANYWHERE_2\nD=a=b\n")
    assert env_file(str(file)) == {"A": "1", "B": "two words", "C": "", "FROM_HERE": "yes", "D": "a=b"}
    found = made(["--image", "a", "--env-file", str(file), "--env", "A=2", "-e", "FROM_HERE"])
    assert (found.spec.env["A"], found.spec.env["FROM_HERE"]) == ("2", "yes")
    file.write_text("A=1\nnot a name\n")
    with pytest.raises(Invalid, match=":2: 'not a name' is not the name of a variable"):
        env_file(str(file))
    with pytest.raises(Invalid, match="cannot be read"):
        env_file(str(tmp_path / "none"))


def test_words_are_split_as_a_shell_would() -> None:
    assert words("sh -c 'a b' \"c d\"", "--command") == ("sh", "-c", "a b", "c d")
