"""What the shells are told, and that each shell takes its script."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hivemind.cli.completion import SCRIPTS
from tests.unit.cli.conftest import FakeHive, Run
from tests.unit.cli.test_commands import deployed


def offered(run: Run, *words: str) -> list[str]:
    result = run("__complete", "--", *words)
    assert (result.code, result.err) == (0, "")
    return [line.partition("\t")[0] for line in result.out.splitlines()]


def test_commands_and_verbs(hive: FakeHive, run: Run) -> None:
    assert {"app", "run", "get", "doctor"} <= set(offered(run, ""))
    assert "__complete" not in offered(run, "")
    assert offered(run, "app", "de") == ["deploy"]
    assert offered(run, "com") == ["completion"]


def test_options_and_their_values(hive: FakeHive, run: Run) -> None:
    assert offered(run, "app", "deploy", "--update-o") == ["--update-order"]
    assert offered(run, "app", "deploy", "--update-order", "") == ["auto", "start-first", "stop-first"]
    assert offered(run, "apply", "-f", "") == [":files"]
    assert offered(run, "get", "apps", "-o", "j") == ["json"]
    assert offered(run, "daemon", "--run-d") == ["--run-dir"]


def test_names_come_from_the_hive(hive: FakeHive, run: Run) -> None:
    deployed(hive)
    assert offered(run, "app", "info", "") == ["web"]
    assert offered(run, "app", "scale", "--name", "w") == ["web"]
    assert offered(run, "logs", "") == ["web", "web.0"]
    assert offered(run, "get", "n") == ["nodes"]
    assert offered(run, "get", "node", "") == ["node-1"]
    assert offered(run, "cordon", "") == ["node-1"]
    assert offered(run, "--project", "") == ["default"]
    assert offered(run, "app", "exec", "-it", "web", "sh", "-") == []


def test_without_a_daemon_nothing_is_offered_and_nothing_said(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEMIND_HOST", "unix:///nowhere/hivemind.sock")
    assert offered(run, "app", "info", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_valid(run: Run, shell: str, tmp_path: Path) -> None:
    assert run("completion", shell).out == SCRIPTS[shell]
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(SCRIPTS[shell])
    subprocess.run([program, "-n", str(file)], check=True, timeout=60)


def test_bash_completes_through_the_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    fake = tmp_path / "hivemind"
    fake.write_text(
        '#!/bin/sh\nprintf "deploy\\tDeploy an app.\\n%s\\n" "$*" >"$0.asked"\nprintf "deploy\\tDeploy it.\\n"\n'
    )
    fake.chmod(0o755)
    script = (
        SCRIPTS["bash"]
        + 'COMP_WORDS=(hivemind app de); COMP_CWORD=2; COMP_LINE="hivemind app de"; COMP_POINT=15\n'
        + '_hivemind; echo "${COMPREPLY[@]}"'
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(
        [bash, "-c", script], env=environ, text=True, capture_output=True, timeout=60, check=True
    )
    assert result.stdout == "deploy\n"
    assert (tmp_path / "hivemind.asked").read_text().splitlines()[1] == "__complete -- app de"
