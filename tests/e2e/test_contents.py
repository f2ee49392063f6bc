"""Configs and secrets on the real thing: seen inside, nowhere else; changed without a lost request."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.load import Load

pytestmark = pytest.mark.real

FILED, NAMED, CHANGED = "filed-hunter2-7c1e", "named-hunter2-9d4f", "changed-hunter2-3b8a"
"""Values that nothing on this machine holds but what this test makes."""


def found_in(places: list[Path], values: tuple[str, ...]) -> list[str]:
    """Files below `places` that hold any of the values; other file systems in there are memory, and are passed by."""
    words = [word for value in values for word in ("-e", value)]
    files = []
    for place in places:
        listed = subprocess.run(
            ["find", str(place), "-xdev", "-type", "f", "-exec", "grep", "-laF", *words, "{}", "+"],
            capture_output=True, text=True,
        )  # fmt: skip
        files += listed.stdout.splitlines()
    return files


def command_lines() -> bytes:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return b"\n".join(lines)


def test_a_secret_is_seen_inside_and_nowhere_else(fresh: Daemon) -> None:
    fresh.cli("secret", "create", "db", "--from-file", "password=-", stdin=FILED)
    fresh.cli("secret", "set", "db", "--from-file", "token=-", stdin=NAMED)
    fresh.cli("config", "create", "site", "--from-file", "motd=-", stdin="welcome\n")
    loop = "while :; do sleep 1000 & wait; done"
    fresh.cli(
        "app", "deploy", "safe", "--image", "busybox:1", "--user", "1000:1000", "--secret", "db",
        "--secret", "db/password:/etc/single", "--env-secret", "TOKEN=db/token", "--config", "site:/etc/site",
        "--config", "source=site/motd,target=/etc/motd,mode=0440",
        "--", "sh", "-c", f"trap exit TERM; {loop}",
    )  # fmt: skip
    inside = (
        "cat /run/secrets/db/password; echo; echo $TOKEN; cat /etc/single; echo; cat /etc/site/motd;"
        " stat -c '%a %u' /run/secrets/db/password /etc/motd; touch /run/secrets/db/new; rm /etc/site/motd"
    )
    expected = [FILED, NAMED, FILED, "welcome", "400 1000", "440"]

    def looked() -> None:
        said = fresh.cli("exec", "safe", "sh", "-c", inside, code=1)
        lines = [line.split(" ")[0] if line.startswith("440") else line for line in said.out.splitlines()]
        assert lines == expected, said.out
        assert said.err.count("Read-only file system") + said.err.count("can't") >= 2, said.err

    looked()
    pid = fresh.replica("safe").status.pid
    fresh.kill()
    fresh.start()
    assert fresh.replica("safe").status.pid == pid
    looked()

    everywhere = "".join(
        fresh.cli(*words).out
        for words in (
            ("secret", "inspect", "db"), ("secret", "inspect", "db", "-o", "json"), ("get", "secrets", "-o", "yaml"),
            ("describe", "secret", "db"), ("describe", "app", "safe"), ("app", "info", "safe", "-o", "json"),
            ("app", "history", "safe", "-o", "json"), ("get", "allocations", "-o", "json"), ("get", "events"),
            ("logs", "safe"), ("get", "deployments", "-o", "json"), ("ps", "-o", "json"),
        )
    )  # fmt: skip
    assert "password" in everywhere
    for value in (FILED, NAMED):
        assert value not in everywhere
        assert value.encode() not in command_lines()
    assert found_in([fresh.home], (FILED, NAMED)) == []
    document = json.loads(fresh.cli("secret", "inspect", "db", "-o", "json").out)
    assert document["keys"] == ["password", "token"] and document["used_by"] == ["safe"]

    refused = fresh.cli("secret", "rm", "db", code=5)
    assert "used by safe" in refused.err
    fresh.cli("secret", "set", "db", "--from-file", "token=-", stdin=CHANGED)
    fresh.cli("rollout", "status", "safe")
    assert [a.revision for a in fresh.ready("safe", 1)] == [2]
    assert fresh.cli("exec", "safe", "sh", "-c", "echo $TOKEN").out == f"{CHANGED}\n"
    fresh.cli("app", "rollback", "safe")
    assert fresh.cli("exec", "safe", "sh", "-c", "echo $TOKEN").out == f"{NAMED}\n"
    fresh.cli("app", "rm", "safe")
    fresh.cli("secret", "rm", "db")
    assert list((fresh.run / "contents").iterdir()) == []
    assert found_in([fresh.home, fresh.run / "contents", fresh.run / "oci"], (FILED, NAMED, CHANGED)) == []


def test_plain_processes_get_their_secrets_too(node: Daemon) -> None:
    node.home.parent.chmod(0o711)  # the way to a node's files is not closed to everybody elsewhere either
    node.cli("secret", "create", "key", "--from-file", "pem=-", stdin=FILED)
    node.cli("project", "allow", "default", "processes")
    node.cli(
        "app", "deploy", "plain", "--runtime", "process", "--user", "nobody", "--secret", "key:/etc/key",
        "--env-secret", "PEM=key/pem", "--", "sh", "-c",
        'trap exit TERM; cat "$HIVEMIND_FILES/etc/key/pem" > /dev/null || exit 1; while :; do sleep 1000 & wait; done',
    )  # fmt: skip
    said = node.cli("exec", "plain", "sh", "-c", "echo $PEM; cat $HIVEMIND_FILES/etc/key/pem; id -un").out
    assert said == f"{FILED}\n{FILED}nobody\n"
    assert found_in([node.data], (FILED,)) == []
    node.cli("app", "rm", "plain")
    node.cli("secret", "rm", "key")


WEB = (
    "--image", "web:1", "--port", "8080:8080", "--health-http", "8080/", "--replicas", "3",
    "--update-min-healthy", "200ms", "--env-secret", "VERSION=site/version", "--secret", "site",
    "--entrypoint", "sh -c 'test \"$(cat /run/secrets/site/version)\" != bad && exec serve-web'",
)  # fmt: skip


def pages(version: str) -> set[str]:
    return {f"<!doctype html><p>Hello from web-app-{slot}, version {version}</p>\n" for slot in range(3)}


def test_a_changed_secret_rolls_and_a_bad_one_falls_back_without_a_lost_request(node: Daemon) -> None:
    missing = node.cli("app", "deploy", "web-app", *WEB, code=4)
    assert "hivemind secret create site --from-file version=PATH" in missing.err
    node.cli("secret", "create", "site", "--from-file", "version=-", stdin="one")
    node.cli("app", "deploy", "web-app", *WEB)
    with Load(node, 8080) as load:
        eventually(lambda: load.answers.keys() == pages("one"), "an answer of each old replica")
        plan = node.cli("secret", "set", "site", "--from-file", "version=-", "--dry-run", stdin="two").out
        assert "change" in plan and "web-app.2" in plan
        node.cli("secret", "set", "site", "--from-file", "version=-", stdin="two")
        assert "3 replicas" in node.cli("rollout", "status", "web-app").out
        eventually(
            lambda: load.answers.keys() == pages("one") | pages("two"), "an answer of each new replica"
        )
        good = {a.id for a in node.ready("web-app", 3)}
        node.cli("secret", "set", "site", "--from-file", "version=-", stdin="bad")
        failed = node.cli("rollout", "status", "web-app", code=1)
        assert "failed" in failed.err and "back at revision 2" in failed.err, failed.err
        eventually(lambda: {a.id for a in node.replicas("web-app")} == good, "only the good replicas")
    assert load.failures == [], f"of {sum(load.answers.values())}"
    assert load.answers.keys() == pages("one") | pages("two")
    node.cli("app", "rm", "web-app")
    node.cli("secret", "rm", "site")
