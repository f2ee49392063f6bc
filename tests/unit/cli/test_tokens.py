"""`hivemind token …`: the private key stays here, the hive gets the public one."""

from __future__ import annotations

import json
from pathlib import Path

from hivemind.security.identity import from_token
from tests.unit.cli.conftest import FakeHive, Run
from tests.unit.cli.test_completion import offered


def test_create_prints_the_token_once_and_sends_the_public_key_only(hive: FakeHive, run: Run) -> None:
    result = run("token", "create", "--name", "ann", "--role", "operator")
    assert result.code == 0
    key = from_token(result.out.strip())
    made = hive.principals.get("ann")
    assert (made.key, made.role) == (key.public, "operator")
    assert "ann is let in as operator" in result.err
    assert "HIVEMIND_TOKEN=" in result.err
    assert result.out.strip() not in result.err, "what is shown beside it may end in a log"


def test_two_tokens_are_two_keys_and_the_least_role_is_the_usual_one(hive: FakeHive, run: Run) -> None:
    first, second = (json.loads(run("token", "create", name, "-o", "json").out) for name in ("a", "b"))
    assert first["token"] != second["token"]
    assert from_token(first["token"]).public == first["key"]
    assert first["role"] == hive.principals.get("a").role == "viewer"


def test_list_and_revoke(hive: FakeHive, run: Run) -> None:
    run("token", "create", "ann")
    assert [line.split()[0] for line in run("token", "ls").out.splitlines()] == ["NAME", "admin", "ann"]
    assert "node-1" in run("get", "principals").out
    assert json.loads(run("get", "principal", "ann", "-o", "json").out)["role"] == "viewer"
    assert offered(run, "token", "rm", "") == ["admin", "ann"]
    assert run("token", "rm", "ann").out == "token of ann taken back\n"
    missing = run("token", "rm", "ann")
    assert (missing.code, missing.out) == (4, "")


def test_bad_input_is_told_before_anything_is_sent(hive: FakeHive, run: Run) -> None:
    assert run("token", "create").code == 2
    wrong = run("token", "create", "ann", "--role", "king")
    assert wrong.code == 2
    assert "operator" in wrong.err
    upper = run("token", "create", "Ann Smith")
    assert upper.code == 2
    assert "lower-case" in upper.err
    taken = run("token", "create", "admin")
    assert (taken.code, taken.out) == (5, "")
    assert len(hive.principals.items) == 2


def test_a_wrong_role_in_a_file_is_answered_with_the_roles(hive: FakeHive, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ann.yaml"
    file.write_text(f"kind: Principal\nname: ann\nrole: king\nkey: {'ab' * 32}\n")
    result = run("apply", "-f", str(file))
    assert result.code == 2
    assert "ann.yaml:3" in result.err
    assert "hint: it may be admin, operator, viewer" in result.err
