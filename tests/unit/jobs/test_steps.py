"""Tasks of several steps, run for real by each of the shells: values arrive as they are, and nothing else happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.jobs.definition import read
from hivemind.jobs.order import Order, order
from hivemind.jobs.outputs import parse_outputs

SHELLS = ("/bin/sh", "dash", "busybox sh", "bash --posix")
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\nb\n\nc",
    "-n",
    "-e",
    "--",
    "",
    " ",
    "\\",
    "%s%n",
    "*",
    "~",
    "ünï ☃ 𝒳",
    "a=b<<c",
    "HIVEMIND_END",
    "x\ty\r",
    "$HOME ${HOME} $$",
    "\x1b[31m\x07",
)


def run(tmp_path: Path, made: Order, shell: str = "/bin/sh") -> subprocess.CompletedProcess[str]:
    """The order as a node would run it, its runner by `shell`."""
    steps = tmp_path / "steps"
    shutil.rmtree(steps, ignore_errors=True)
    steps.mkdir()
    assert not made.sealed and made.template.entrypoint
    args = list(made.template.entrypoint)
    if args[0] == "/bin/sh":
        args[:1] = shell.split()
    env = {"PATH": os.environ["PATH"], **made.template.env, "HIVEMIND_STEPS": str(steps),
           "HIVEMIND_OUTPUT": str(steps / "output")}  # fmt: skip
    (steps / "output").touch()
    return subprocess.run(args, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30)


def ordered(task: dict[str, Any], scope: dict[str, Any] | None = None, **job: Any) -> Order:
    manifest = read({"name": "j", "tasks": {"t": task}, **job})
    around = {"inputs": {}, "run": {"name": "j-1", "id": "r1", "job": "j", "project": "default", "due": 5}}
    return order(manifest.spec, "t", manifest.spec.tasks["t"], around | (scope or {}), attempt=1)


def outputs(tmp_path: Path) -> dict[str, Any]:
    return parse_outputs((tmp_path / "steps" / "output").read_text())


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_steps_run_in_order_and_the_first_that_fails_ends_it(tmp_path: Path, shell: str) -> None:
    made = ordered({"steps": ["echo one", "echo two; exit 7", "echo three"]})
    done = run(tmp_path, made, shell)
    assert (done.returncode, done.stdout, done.stderr) == (7, "one\ntwo\n", "")
    assert (tmp_path / "steps" / "status").read_text() == "begin 1\nend 1 0\nbegin 2\nend 2 7\n"


def test_a_step_ends_at_the_first_command_that_fails(tmp_path: Path, shell: str) -> None:
    done = run(tmp_path, ordered({"steps": ["false\necho not here"]}), shell)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_value_of_one_step_reaches_the_next(tmp_path: Path, shell: str) -> None:
    made = ordered(
        {
            "steps": [
                {"id": "a", "run": 'echo "x=1=2" >> "$HIVEMIND_OUTPUT"; echo x=3 >> "$HIVEMIND_OUTPUT"'},
                {"run": 'echo "$X"', "env": {"X": "${{ steps.a.outputs.x }}"}},
            ]
        }
    )
    done = run(tmp_path, made, shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
    assert outputs(tmp_path) == {"x": "3"}


def test_a_value_that_was_not_written_is_told(tmp_path: Path, shell: str) -> None:
    steps = [{"id": "a", "run": "true"}, {"run": "echo", "env": {"X": "${{ steps.a.outputs.x }}"}}]
    done = run(tmp_path, ordered({"steps": steps}), shell)
    assert done.returncode == 125
    assert "step 1 has not written the output x" in done.stderr


ECHO = """import json, os
print(json.dumps([os.environ[name] for name in ("A", "B", "C")]))"""


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_arrives_as_it_is(tmp_path: Path, shell: str, value: str) -> None:
    """Through an input, a routine's input, and the output of a step."""
    task = {
        "steps": [
            {"id": "w", "uses": "write", "with": {"value": "${{ inputs.v }}"}},
            {
                "run": ECHO,
                "shell": "python",
                "env": {
                    "A": "${{ inputs.v }}",
                    "B": "${{ steps.w.outputs.value }}",
                    "C": "${{ steps.w.outputs.again }}",
                },
            },
        ]
    }
    write = {
        "inputs": {"value": "string"},
        "outputs": {"value": "${{ inputs.value }}", "again": "${{ steps.one.outputs.v }}"},
        "steps": [
            {"id": "one", "run": 'printf "v<<-END-\\n%s\\n-END-\\n" "$value" >> "$HIVEMIND_OUTPUT"'},
        ],
    }
    made = ordered(task, {"inputs": {"v": value}}, routines={"write": write}, inputs={"v": "string"})
    done = run(tmp_path, made, shell)
    assert (done.returncode, done.stderr) == (0, "")
    import json

    assert json.loads(done.stdout) == [value] * 3
    assert outputs(tmp_path) == {"value": value, "again": value}
    assert [entry.name for entry in tmp_path.iterdir()] == ["steps"]
