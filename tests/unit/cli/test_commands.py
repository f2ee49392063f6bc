"""What the commands do and print, against a hive in memory."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from hivemind.cli.declarations import find
from hivemind.cli.flags.app import manifest
from hivemind.cli.parsing import parse
from hivemind.model.app import AppManifest, AppSpec
from hivemind.protocols.yaml12 import documents
from tests.unit.cli.conftest import FakeHive, Run, document, entry, replica


def deployed(hive: FakeHive, name: str = "web", replicas: int = 1, **spec: str) -> None:
    """An app that already runs."""
    wished = AppManifest(name=name, replicas=replicas, spec=AppSpec(image="nginx:latest", **spec))  # type: ignore[arg-type]
    hive.apps.put(wished, "default")
    hive.settle(name)
    hive.calls.clear()


def test_deploy_waits_until_every_replica_is_ready(hive: FakeHive, run: Run) -> None:
    hive.later = [lambda: None, lambda: None, lambda: hive.settle("web")]
    result = run("app", "deploy", "--image", "nginx:latest", "--name", "web", "--service", "web.local",
                 "--replicas", "2", "--port", "8080:80")  # fmt: skip
    assert (result.code, result.err.splitlines()[-2:]) == (0, ["web.0: running", "web.1: running"])
    assert result.out == "web deployed, 2 replicas, reached at port 8080 and web.local\n"


def test_deploy_detached_returns_at_once(hive: FakeHive, run: Run) -> None:
    result = run("app", "deploy", "web", "--image", "nginx", "-d")
    assert result.code == 0
    assert result.out == "web deployed, 1 replica; it goes on in the background\n"
    assert hive.documents["default", "web"].status.phase == "deploying"


def test_deploy_of_a_present_app_keeps_what_is_not_named(hive: FakeHive, run: Run) -> None:
    deployed(hive, replicas=3, service="web.local")
    assert run("app", "deploy", "web", "--image", "nginx:2", "-d").code == 0
    (_, wished, _, version), *_ = [c for c in hive.calls if c[0] == "put"]
    assert (wished.replicas, wished.spec.service, wished.spec.image, version) == (
        3,
        "web.local",
        "nginx:2",
        1,
    )
    assert run("app", "deploy", "web", "--image", "nginx:2", "--replace", "-d").code == 0
    assert hive.documents["default", "web"].spec.service is None


def test_a_failed_deployment_shows_the_last_words_and_the_next_step(hive: FakeHive, run: Run) -> None:
    hive.entries = [entry("starting"), entry("cannot open /data: Permission denied", stream="stderr")]
    hive.later = [lambda: None, lambda: hive.fail("web", "replica web.0 exited with code 3")]
    result = run("app", "deploy", "web", "--image", "nginx")
    assert result.code == 1
    assert "  cannot open /data: Permission denied" in result.err
    assert "error: web failed: replica web.0 exited with code 3." in result.err
    assert "hint: hivemind app logs web" in result.err


def test_what_no_node_takes_is_told_when_patience_ends(hive: FakeHive, run: Run) -> None:
    hive.later = [lambda: None, lambda: hive.bell.ring("allocation.unplaced", "web")]
    result = run("app", "deploy", "web", "--image", "nginx", "--timeout", "200ms")
    assert result.code == 8
    assert "error: web did not get there within 0.2 seconds: 0/1 ready" in result.err


def test_dry_run_prints_the_plan_and_changes_nothing(hive: FakeHive, run: Run) -> None:
    result = run("app", "deploy", "web", "--image", "nginx", "--dry-run")
    assert result.out.splitlines() == [
        "ACTION   OBJECT   NODE     DETAIL",
        "start    web.0    node-1   revision 1",
    ]
    assert not hive.documents
    assert json.loads(run("app", "deploy", "web", "--image", "n", "--dry-run", "-o", "json").out)["steps"][0][
        "node"
    ]


def test_a_new_app_needs_an_image(hive: FakeHive, run: Run) -> None:
    result = run("app", "deploy", "web")
    assert result.code == 2
    assert "there is no app web yet, so it needs --image" in result.err


def test_scale(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    hive.later = [lambda: None] * 3 + [lambda: hive.settle("web")]
    result = run("app", "scale", "--name", "web", "--replicas", "3")
    assert (result.code, result.out) == (0, "web scaled to 3 replicas\n")
    assert ("scale", "web", 3, "default") in hive.calls
    assert run("scale", "web").code == 2


def test_stop_and_remove(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    assert "web is running" in run("rm", "web").err
    assert run("stop", "web").out == "web stopped\n"
    assert run("rm", "web").out == "web removed\n"
    assert run("rm", "web").code == 4


def test_one_replica_cannot_be_stopped_alone(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    result = run("stop", "web.0")
    assert result.code == 2
    assert "web.0 is one replica of the app web" in result.err


def test_lists_in_every_format(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    table = run("app", "ls").out.splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "IMAGE", "SERVICE", "PORTS", "AGE"]
    assert table[1].split()[:4] == ["web", "1/1", "running", "nginx:latest"]
    assert "RESTARTS" in run("app", "ls", "-o", "wide").out
    assert run("app", "ls", "-o", "name").out == "app/web\n"
    assert run("app", "ls", "-q").out == "web\n"
    assert json.loads(run("get", "apps", "-o", "json").out)["items"][0]["name"] == "web"
    assert json.loads(run("get", "app", "web", "-o", "json").out)["status"]["ready"] == 1
    assert (
        next(documents(run("get", "a", "web", "-o", "yaml").out, "x")).value["spec"]["image"]
        == "nginx:latest"
    )
    assert run("get", "nodes", "-o", "name").out == "node/node-1\n"
    assert "web.0" in run("get", "alloc").out


def test_an_empty_list_says_so_on_standard_error(hive: FakeHive, run: Run) -> None:
    result = run("app", "ls")
    assert (result.code, result.out, result.err) == (0, "", "No apps.\n")
    assert json.loads(run("app", "ls", "-o", "json").out) == {"items": []}


def test_what_get_prints_can_be_applied(hive: FakeHive, run: Run, tmp_path: Path) -> None:
    deployed(hive, replicas=2)
    file = tmp_path / "web.yaml"
    file.write_text(run("get", "app", "web", "-o", "yaml").out)
    result = run("apply", "-f", str(file))
    assert (result.out, result.err) == ("app/web unchanged\n", "")
    file.write_text(run("get", "apps", "-o", "json").out)
    assert run("apply", "-f", str(file)).out == "app/web unchanged\n"


def test_apply_creates_changes_and_waits(hive: FakeHive, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("kind: App\nname: web\nspec: {image: nginx}\n")
    hive.later = [lambda: None, lambda: hive.settle("web")]
    assert run("apply", "-f", str(file)).out == "app/web created\n"
    file.write_text("kind: App\nname: web\nreplicas: 2\nspec: {image: nginx}\n")
    assert run("apply", "-d", "-f", str(file)).out == "app/web changed\n"
    assert run("delete", "-f", str(file)).out == "app/web deleted\n"
    assert run("delete", "-f", str(file)).out == "app/web was not there\n"


def test_nothing_is_applied_when_one_document_is_wrong(hive: FakeHive, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(
        "kind: App\nname: web\nspec: {image: nginx}\n---\nkind: App\nname: db\nspec: {imgae: x}\n"
    )
    result = run("apply", "-f", str(file))
    assert (result.code, hive.documents) == (2, {})
    assert "hint: did you mean 'image'?" in result.err


def test_logs_name_the_replica_that_wrote(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    hive.entries = [entry("hello"), entry("world", slot=1, stream="stderr")]
    assert run("app", "logs", "web").out == "web.0 | hello\nweb.1 | world\n"
    assert run("logs", "--no-prefix", "web").out == "hello\n"
    assert run("logs", "-t", "web.0").out == "1970-01-01T00:00:01.500000000Z hello\n"
    assert run("logs", "web.0").err == "world\n"
    assert run("logs", "web", "--tail", "x").code == 2
    run("logs", "web", "--tail", "5", "--since", "1700000000")
    assert [c for c in hive.calls if c[0] == "logs"][-1] == (
        "logs",
        "web",
        {"tail": 5, "since": 1_700_000_000 * 10**9, "until": 0, "grep": "", "previous": False},
    )


def test_an_unknown_name_suggests_the_nearest(hive: FakeHive, run: Run) -> None:
    deployed(hive, "web-app")
    assert "hint: did you mean 'web-app'?" in run("logs", "web-ap").err
    assert "hint: did you mean 'web-app'?" in run("get", "app", "webapp").err


def test_ps_shows_what_docker_shows(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    hive.replicas.append(replica("web", 1, state="failed", exit_code=3))
    assert [line.split()[1] for line in run("ps").out.splitlines()] == ["NAME", "web.0"]
    assert "Exited (3)" in run("ps", "-a").out
    assert run("ps", "-q").out == "0abcweb\n"


def test_run_prints_the_output_and_exits_with_the_code(hive: FakeHive, run: Run) -> None:
    def end() -> None:
        hive.replicas = [replica("job", 0, state="failed", exit_code=3)]
        hive.bell.ring("allocation.exited", "job")

    hive.entries = [entry("hello")]
    hive.later = [lambda: None, end]
    result = run("run", "--rm", "--name", "job", "busybox", "sh", "-c", "echo hello; exit 3")
    assert (result.code, result.out) == (3, "hello\n")
    wished = next(c for c in hive.calls if c[0] == "put")[1]
    assert (wished.spec.command, wished.spec.restart.policy) == (("sh", "-c", "echo hello; exit 3"), "no")
    assert ("delete", "job") in hive.calls


def test_run_refuses_what_it_cannot_do(hive: FakeHive, run: Run) -> None:
    assert "standard input is not a terminal" in run("run", "-it", "busybox", "sh").err
    assert run("run", "-d", "--rm", "busybox").code == 2


def test_describe_says_why(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    app = hive.documents["default", "web"]
    status = msgspec.structs.replace(app.status, message="0 of 1 nodes fit: 1 lacks 2 GiB memory")
    hive.documents["default", "web"] = msgspec.structs.replace(app, status=status)
    hive.replicas[0] = replica("web", 0, state="failed", exit_code=137)
    for words in (("describe", "app", "web"), ("app", "info", "--name", "web"), ("app", "info", "web")):
        out = run(*words).out
        assert "0 of 1 nodes fit: 1 lacks 2 GiB memory" in out
        assert "web.0  exit code 137" in out
        assert "app.deployment-succeeded" in out
    assert "memory:" in run("describe", "node", "node-1").out


def test_kinds_and_foreign_words(hive: FakeHive, run: Run) -> None:
    assert "hint: here it is called allocations; the kinds are" in run("get", "pods").err
    assert "did you mean 'apps'?" in run("get", "aps").err
    assert "cannot be deleted" in run("delete", "allocation", "x").err


def test_events_filter_and_end(hive: FakeHive, run: Run) -> None:
    hive.bell.ring("app.created", "web", "1 replicas wanted")
    hive.bell.ring("node.cordoned", "", "")
    assert len(run("events", "--no-follow").out.splitlines()) == 2
    out = run("events", "--until", "0s", "--filter", "type=app").out
    assert "app.created" in out
    assert "cordoned" not in out
    assert "did you mean 'app'?" in run("events", "-f", "ap=x", "--no-follow").err


def test_status_and_version(hive: FakeHive, run: Run) -> None:
    assert "node-1" in run("status").out
    assert json.loads(run("version", "-o", "json").out)["server"] == "9.9"


@pytest.mark.parametrize("command", ["deploy", "scale"])
def test_flags_and_words_name_the_same_app(command: str) -> None:
    declared = find(("app", command))
    assert declared is not None
    assert parse(declared, ["web"]).name == parse(declared, ["--name", "web"]).name == "web"
    if command == "deploy":
        made = manifest(parse(declared, ["web", "--image", "x"]), "web", None)
        assert document(made).kind == "App"
