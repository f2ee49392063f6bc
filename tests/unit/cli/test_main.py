"""The entry: help, mistakes, exit codes, and what it must not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivemind.cli import declarations
from hivemind.cli.command import whole
from hivemind.cli.reference import text
from tests.unit.cli.conftest import FakeHive, Run

ROOT = Path(__file__).parents[3]


def python(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HIVEMIND_HOST": "unix:///nowhere/hivemind.sock",
    }
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, *words], env=environ, text=True, capture_output=True, timeout=60, check=False, **more
    )


def test_the_entry_imports_nothing_heavy() -> None:
    heavy = "asyncio yaml uvicorn starlette msgspec argparse http.client ssl subprocess dataclasses"
    code = (
        f"import sys, hivemind.cli.main, hivemind.cli.help; print(*set('{heavy}'.split()) & set(sys.modules))"
    )
    assert python("-c", code).stdout.strip() == ""


def test_a_look_at_what_runs_imports_nothing_of_deployments() -> None:
    heavy = "asyncio yaml hivemind.cli.flags.app hivemind.cli.convergence hivemind.cli.manifests hivemind.client.push"
    code = f"import sys, hivemind.cli.commands.containers; print(*set('{heavy}'.split()) & set(sys.modules))"
    assert python("-c", code).stdout.strip() == ""


def test_a_daemon_does_not_carry_what_other_commands_are_declared_with() -> None:
    heavy = "hivemind.cli.declarations.table hivemind.cli.help tomllib"
    code = (
        "import sys, hivemind.cli.main as cli; cli.main(['daemon', '--print-systemd-unit']);"
        f"print('imported:', *set('{heavy}'.split()) & set(sys.modules))"
    )
    ended = python("-c", code)
    assert "ExecStart=" in ended.stdout and ended.stdout.splitlines()[-1] == "imported:", ended.stderr


def test_alone_it_prints_help(run: Run) -> None:
    assert run().out == run("--help").out == run("-h").out == run("help").out
    assert run().out.startswith("Hivemind runs containers and jobs")


@pytest.mark.parametrize(
    "command", [c for c in declarations.COMMANDS if not c.hidden], ids=lambda c: " ".join(c.words)
)
def test_every_command_has_help_with_an_example(run: Run, command: declarations.Command) -> None:
    result = run(*command.words, "--help")
    assert result.code == 0
    assert f"Usage: {command.path}" in result.out
    assert command.examples
    assert f"hivemind {command.examples[0]}" in result.out
    assert all(len(line) <= 120 for line in result.out.splitlines())


@pytest.mark.parametrize("command", declarations.COMMANDS, ids=lambda c: " ".join(c.words))
def test_every_declaration_is_sound(command: declarations.Command) -> None:
    import importlib

    module, _, name = command.handler.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    spellings = [s for o in whole(command).options for s in o.spellings] + [
        a.flag for a in command.arguments if a.flag
    ]
    assert len(spellings) == len(set(spellings))
    keys = [o.key for o in whole(command).options] + [a.key for a in command.arguments]
    assert len(keys) == len(set(keys))
    assert len(command.words) > 1 or command.section in declarations.SECTIONS or command.hidden


def test_examples_parse() -> None:
    import shlex

    from hivemind.cli.parsing import parse

    for command in declarations.COMMANDS:
        for example in command.examples:
            words = shlex.split(example.split(" | hivemind ")[-1].split(" > ")[0].split(" < ")[0])
            found = declarations.find(tuple(words[: len(command.words)]))
            assert found is command, example
            parse(whole(command), words[len(command.words) :])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ap"], "did you mean 'app'?"),
        (["app", "deplyo"], "did you mean 'deploy'?"),
        (["app", "zzz"], "hivemind app knows deploy, scale"),
        (["zzz"], "hivemind --help"),
        (["--hsot", "x"], "did you mean '--host'?"),
        (["app", "deploy", "--imag", "x"], "did you mean '--image'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
    ],
)
def test_a_mistyped_word_suggests_the_nearest(run: Run, words: list[str], hint: str) -> None:
    result = run(*words)
    assert result.code == 2
    assert hint in result.err


def test_global_options_stand_before_or_after(hive: FakeHive, run: Run) -> None:
    assert (
        run("--project", "shop", "app", "ls").err
        == run("app", "ls", "--project", "shop").err
        == "No apps in project shop.\n"
    )


def test_without_a_daemon_it_says_how_to_start_one() -> None:
    result = python("-m", "hivemind", "app", "ls")
    assert result.returncode == 7
    assert "error: no Hivemind daemon answers at unix:///nowhere/hivemind.sock" in result.stderr
    assert "hint: start it with: hivemind daemon" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in python("-m", "hivemind", "-v", "app", "ls").stderr


def test_a_reader_that_went_away_is_no_error() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "hivemind", "--help"], env=environ, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


def test_closed_streams_are_survived() -> None:
    shell = f"PYTHONPATH={ROOT / 'src'} {sys.executable} -m hivemind --help <&- >&- 2>&-; echo $?"
    result = subprocess.run(["sh", "-c", shell], text=True, capture_output=True, timeout=60, check=True)
    assert result.stdout == "0\n"


def test_ctrl_c_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from hivemind.cli.commands import hive

    def interrupted(context: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hive, "version", interrupted)
    assert run("version").code == 130


def test_no_colour_in_a_pipe(hive: FakeHive, run: Run) -> None:
    assert "\x1b" not in "".join((run("--help").out, run("status").out, run("zzz").err))


def test_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "cli.md").read_text()
    assert written == text(), "run: python -m hivemind.cli.reference > docs/cli.md"


def test_with_json_an_error_is_a_problem_document(hive: FakeHive, run: Run) -> None:
    result = run("get", "app", "nope", "-o", "json")
    told = json.loads(result.err)
    assert (result.code, result.out, told["code"], told["status"]) == (4, "", "not-found", 404)
    assert json.loads(run("get", "foo", "--output=json").err)["hint"]
    assert run("exec", "nope", "--", "kubectl", "-o", "json").err.startswith("error:")
