"""`config`, `secret`, `app history|diff|rollback`, `rollout`: the command line against a server in memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hivemind.cli.flags.contents import mount
from hivemind.cli.main import main
from hivemind.cli.terminal import Terminal
from hivemind.errors import Invalid
from hivemind.model.mount import ConfigMount, SecretMount
from hivemind.model.template import EnvFrom
from tests.unit.api.conftest import Running, running, short_dir
from tests.unit.cli.test_flags import made

__all__ = ["running", "short_dir"]


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(running: Running, monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*words: str, stdin: bytes = b"") -> Said:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["--host", f"unix://{running.settings.socket}", *words], Terminal(out, err))
        return Said(code, out.getvalue(), err.getvalue())

    return call


def test_from_files_literals_and_standard_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("one")
    (tmp_path / "logo").write_bytes(b"\xff\xfe")
    (tmp_path / "vars").write_text("A=1\n# no\nB='2'\n")
    made = run("config", "create", "site", "--from-file", str(tmp_path / "a.conf"), "--from-file", f"l={tmp_path}/logo",
               "--from-env-file", str(tmp_path / "vars"), "--from-literal", "c=3=4")  # fmt: skip
    assert made == (0, "config site made, 5 keys\n", "")
    assert [run("config", "get", "site", key).out for key in ("a.conf", "A", "B", "c")] == [
        "one",
        "1",
        "2",
        "3=4",
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x").write_text("y")
    assert run("config", "create", "more", "--from-file", str(folder)).out == "config more made, 1 key\n"
    assert run("config", "get", "more").out == "y"
    assert run("config", "create", "piped", "-", stdin=b"in\n").code == 0
    assert run("config", "get", "piped", "piped").out == "in\n"
    assert "its keys: x" in run("config", "get", "more", "z").err
    shown = run("config", "inspect", "site").out
    assert "site  config, 5 keys" in shown and "    one" in shown and "(2 bytes, not text)" in shown
    assert "site" in run("config", "ls").out
    assert run("config", "rm", "site", "more").out == "config site removed\nconfig more removed\n"
    assert run("config", "rm", "site").code == 4
    assert run("config", "rm", "--force", "site") == (0, "", "")


def test_a_secret_is_warned_of_on_the_command_line_and_never_shown(run: Run) -> None:
    said = run("secret", "create", "db", "--from-literal", "password=hunter2")
    assert said.code == 0 and "stays in the shell's history" in said.err
    quiet = run("secret", "set", "db", "--from-file", "token=-", stdin=b"hunter3")
    assert quiet == (0, "secret db changed; no app uses it\n", "")
    for words in (("inspect", "db"), ("inspect", "db", "-o", "json"), ("ls",), ("ls", "-o", "yaml")):
        shown = run("secret", *words).out
        assert "password" in shown and "hunter" not in shown
    assert run("secret", "set", "db").code == 2
    assert "at least one key" in run("secret", "create", "none").err


def test_a_bad_file_is_named(run: Run) -> None:
    for words in (("--from-file", "k=/nowhere"), ("--from-file", "=x"), ("--from-file", "-"), ("/nowhere",)):
        said = run("secret", "create", "db", *words)
        assert said.code == 2 and said.err.startswith("error: "), words


def test_history_diff_and_roll_back(run: Run) -> None:
    for version in (1, 2):
        assert (
            run("app", "deploy", "web", "-d", "--image", f"web:{version}", "--env", f"V={version}").code == 0
        )
    table = run("app", "history", "web").out.splitlines()
    assert table[0].split() == ["REV", "CAUSE", "BY", "AGE", "STATE", "IMAGE", "REASON"]
    assert table[1].split()[:2] == ["1", "deploy"] and table[2].split()[0] == "2*"
    said = run("app", "diff", "web", "1", "2")
    assert said.code == 1
    assert "-  image: web:1" in said.out.replace('"', "") and "+  image: web:2" in said.out.replace('"', "")
    assert run("app", "diff", "web", "2").code == 0
    assert run("app", "diff", "web", "7").code == 4
    assert "change" in run("app", "rollback", "web", "--to", "1", "--dry-run").out
    assert "revision 3" in run("rollout", "undo", "deployment/web", "--to-revision", "1", "-d").out
    assert run("rollout", "history", "web", "--revision", "3").out.startswith("spec:")
    status = run("rollout", "status", "app/web", "--no-watch")
    assert status == (0, "web: revision 3: 0/1 replicas done\n", "")
    assert "paused" in run("rollout", "pause", "web").out
    assert run("rollout", "pause", "web").code == 5
    assert run("app", "deploy", "web", "--image", "web:4").out.endswith(
        "when it goes on: it is paused (hivemind rollout resume web)\n"
    )
    assert "(paused; hivemind rollout resume web)" in run("rollout", "status", "web", "--no-watch").out
    assert run("rollout", "resume", "-d", "web").code == 0
    assert "->4" in run("deployment", "ls").out
    assert "0/1 done" in run("deployment", "status", "web").out
    assert "no rollouts" in run("rollout", "status", "node/web").err


# -- flags ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", SecretMount(source="db", target="/run/secrets/db")),
        ("db:/etc/db", SecretMount(source="db", target="/etc/db")),
        ("db/pw", SecretMount(source="db", key="pw", target="/run/secrets/db/pw")),
        ("db/pw:/pw", SecretMount(source="db", key="pw", target="/pw")),
        (
            "source=db,target=/pw,mode=0440,key=pw",
            SecretMount(source="db", key="pw", target="/pw", mode=0o440),
        ),
        ("src=db/pw,dst=/pw", SecretMount(source="db", key="pw", target="/pw")),
    ],
)
def test_mounts(text: str, expected: SecretMount) -> None:
    assert mount(text, "--secret", SecretMount) == expected


@pytest.mark.parametrize(
    "text", [":/x", "source=db,size=3", "source=db,mode=rw", "target=/x", "source=db,what"]
)
def test_mounts_that_are_none(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        mount(text, "--secret", SecretMount)
    assert caught.value.hint


def test_lists_replace_those_of_their_kind_and_an_empty_text_takes_them_away() -> None:
    first = made(
        ["--image", "i", "--config", "a", "--secret", "b", "--env-secret", "P=b/p", "--env-config", "c"]
    )
    assert first.spec.mounts == (
        ConfigMount(source="a", target="/run/configs/a"), SecretMount(source="b", target="/run/secrets/b"),
    )  # fmt: skip
    assert first.spec.env_from == (EnvFrom(config="c"), EnvFrom(secret="b", key="p", name="P"))
    second = made(["--secret", "d", "--env-secret", "X_=d"], first)
    assert second.spec.mounts == (
        ConfigMount(source="a", target="/run/configs/a"), SecretMount(source="d", target="/run/secrets/d"),
    )  # fmt: skip
    assert second.spec.env_from == (EnvFrom(config="c"), EnvFrom(secret="d", prefix="X_"))
    third = made(["--secret", "", "--config", "", "--env-config", "", "--env-secret", ""], second)
    assert (third.spec.mounts, third.spec.env_from) == ((), ())


def test_how_it_is_updated() -> None:
    line = [
        "--image",
        "i",
        "--update-surge",
        "2",
        "--progress-deadline",
        "2m",
        "--no-rollback",
        "--on-change",
        "ignore",
    ]
    spec = made(line).spec
    assert (spec.update.max_surge, spec.update.progress_deadline, spec.update.auto_rollback) == (
        2,
        120,
        False,
    )
    assert spec.on_change == "ignore"
    assert made(["--rollback", "--update-order", "auto"], made(line)).spec.update.auto_rollback


def test_a_config_is_set_by_words_and_a_secret_is_not(run: Run) -> None:
    run("config", "create", "site", "--from-literal", "a=1")
    assert run("config", "set", "site", "a=2", "b=x=y").code == 0
    assert [run("config", "get", "site", key).out for key in "ab"] == ["2", "x=y"]
    assert "--from-file a=PATH" in run("config", "set", "site", "a").err
    run("secret", "create", "pw", "-", stdin=b"old")
    refused = run("secret", "set", "pw", "pw=new")
    assert refused.code == 2 and "--from-file KEY=-" in refused.err
