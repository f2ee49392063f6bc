"""Tasks of several steps, run for real by each of the shells: values arrive as they are, and nothing else happens."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import debimage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.jobs.definition import read
from hivemind.jobs.order import Order, order
from hivemind.jobs.outputs import parse_outputs

SHELLS = ("/bin/sh", "dash", "busybox sh", "bash --posix")
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
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
    env = {"PATH": PATH, **made.template.env, "HIVEMIND_STEPS": str(steps),
           "HIVEMIND_OUTPUT": str(steps / "output")}  # fmt: skip
    (steps / "output").touch()
    return subprocess.run(args, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30)


def ordered(task: dict[str, Any], scope: dict[str, Any] | None = None, **job: Any) -> Order:
    manifest = read({"name": "j", "tasks": {"t": task}, **job})
    around = {"inputs": {}, "run": {"name": "j-1", "id": "r1", "job": "j", "project": "default", "due": 5}}
    return order(manifest.spec, "t", manifest.spec.tasks["t"], around | (scope or {}), attempt=1)


def outputs(tmp_path: Path) -> dict[str, Any]:
    return parse_outputs((tmp_path / "steps" / "output").read_bytes().decode())


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if request.param == "busybox sh":
        return f"{debimage.program('busybox-static', 'bin/busybox')} sh"
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


def test_hostile_values_arrive_as_they_are(tmp_path: Path, shell: str) -> None:
    """Through an input, a routine's input, and the output of a step: all of them in one task."""
    values = {f"v{n}": value for n, value in enumerate(HOSTILE)}
    calls = [{"id": name, "uses": "write", "with": {"value": f"${{{{ inputs.{name} }}}}"}} for name in values]
    env = {f"A_{name}": f"${{{{ inputs.{name} }}}}" for name in values}
    env |= {f"B_{name}": f"${{{{ steps.{name}.outputs.value }}}}" for name in values}
    env |= {f"C_{name}": f"${{{{ steps.{name}.outputs.again }}}}" for name in values}
    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    write = {
        "inputs": {"value": "string"},
        "outputs": {"value": "${{ inputs.value }}", "again": "${{ steps.one.outputs.v }}"},
        "steps": [
            {"id": "one", "run": 'printf "v<<-END-\\n%s\\n-END-\\n" "$value" >> "$HIVEMIND_OUTPUT"'},
        ],
    }
    made = ordered(
        {"steps": [*calls, {"shell": "python", "run": dump, "env": env}]},
        {"inputs": values},
        routines={"write": write},
        inputs=dict.fromkeys(values, "string"),
    )
    done = run(tmp_path, made, shell)
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    for name, value in values.items():
        assert [seen[f"{letter}_{name}"] for letter in "ABC"] == [value] * 3
    assert outputs(tmp_path) == {"value": HOSTILE[-1], "again": HOSTILE[-1]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["steps"]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=texts, item=texts)
def test_no_value_is_ever_code(tmp_path: Path, value: str, item: str) -> None:
    made = ordered(
        {
            "for_each": ["x"],
            "steps": [
                {"id": "a", "run": WRITE, "env": {"V": "${{ inputs.v }}"}},
                {"run": TELL, "env": {"A": "${{ item }}", "B": "${{ steps.a.outputs.v }}", "C": "<${{ inputs.v }}>"}},
            ],
        },
        {"inputs": {"v": value}, "item": item},
        inputs={"v": "string"},
    )  # fmt: skip
    done = run(tmp_path, made)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "seen").read_bytes().decode() == f"{item}\0{value}\0<{value}>\0"
    assert outputs(tmp_path) == {"v": value}


WRITE = """
end=E
while case $V in *"$end"*) true ;; *) false ;; esac; do end=${end}E; done
printf 'v<<%s\\n%s\\n%s\\n' "$end" "$V" "$end" >"$HIVEMIND_OUTPUT"
"""
TELL = """printf '%s\\0' "$A" "$B" "$C" >seen"""


def test_a_nul_is_refused() -> None:
    with pytest.raises(Invalid, match="NUL"):
        ordered(
            {"steps": ["true"], "env": {"A": "${{ inputs.v }}"}},
            {"inputs": {"v": "a\0b"}},
            inputs={"v": "string"},
        )


def test_what_the_kernel_does_not_take_is_refused() -> None:
    with pytest.raises(Invalid, match="131,07"):
        ordered(
            {"run": "true", "env": {"A": "${{ inputs.v }}"}},
            {"inputs": {"v": "x" * 131_071}},
            inputs={"v": "string"},
        )


def test_a_step_sees_only_its_own_variables(tmp_path: Path, shell: str) -> None:
    made = ordered(
        {
            "env": {"ALL": "1"},
            "steps": [
                {"run": "true", "env": {"SECRET": "x"}},
                {"run": "env | grep -c 'SECRET\\|_VALUE_\\|_TEXT_' || true; echo $ALL"},
            ],
        }
    )
    assert run(tmp_path, made, shell).stdout == "0\n1\n"


def test_routines_call_routines_and_pass_on_what_steps_told(tmp_path: Path, shell: str) -> None:
    routines = {
        "inner": {
            "inputs": {"word": "string", "times": {"type": "integer", "default": 2}},
            "run": 'echo "$word $times"; echo "said=$word$times" >> "$HIVEMIND_OUTPUT"',
        },
        "outer": {
            "inputs": {"first": "string"},
            "env": {"PREFIX": "<${{ inputs.first }}>"},
            "steps": [
                {"id": "one", "uses": "inner", "with": {"word": "${{ inputs.first }}"}},
                {"id": "two", "uses": "inner", "with": {"word": "${{ steps.one.outputs.said }}", "times": 3}},
                'echo "$PREFIX"',
            ],
            "outputs": {"end": "${{ steps.two.outputs.said }}"},
        },
    }
    made = ordered({"uses": "outer", "with": {"first": "a b"}}, routines=routines)
    done = run(tmp_path, made, shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b 2\na b2 3\n<a b>\n", "")
    assert outputs(tmp_path) == {"end": "a b23"}
    assert made.steps == ("outer", "outer / one", "outer / two", "outer / step 4")


def test_steps_run_where_they_are_told_to(tmp_path: Path, shell: str) -> None:
    (tmp_path / "-").mkdir()
    made = ordered(
        {"steps": [{"run": "pwd", "workdir": "-"}, {"run": "pwd"}, {"run": "pwd", "workdir": "no/where"}]}
    )
    done = run(tmp_path, made, shell)
    assert done.stdout == f"{tmp_path}/-\n{tmp_path}\n"
    assert done.returncode == 125 and "no/where" in done.stderr


def test_scripts_may_begin_with_a_dash(tmp_path: Path, shell: str) -> None:
    done = run(tmp_path, ordered({"steps": ["-x || echo ran"]}), shell)
    assert done.stdout == "ran\n"
    assert run(tmp_path, ordered({"run": "-x || echo ran"})).stdout == "ran\n"


def test_bash_fails_when_any_part_of_a_pipe_does(tmp_path: Path) -> None:
    assert run(tmp_path, ordered({"steps": [{"run": "false | true", "shell": "bash"}]})).returncode == 1
    assert run(tmp_path, ordered({"run": "false | true", "shell": "bash"})).returncode == 1


def test_a_stop_reaches_the_step_and_no_other_is_begun(tmp_path: Path, shell: str) -> None:
    steps = tmp_path / "steps"
    steps.mkdir()
    made = ordered(
        {"steps": ['trap "echo stopped; exit 0" TERM; echo ready; while :; do sleep 0.05; done', "echo next"]}
    )
    assert made.template.entrypoint
    env = {"PATH": PATH, **made.template.env, "HIVEMIND_STEPS": str(steps),
           "HIVEMIND_OUTPUT": str(steps / "output")}  # fmt: skip
    args = [*shell.split(), *made.template.entrypoint[1:]]
    with subprocess.Popen(args, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=20)[0] == "stopped\n"
            assert process.returncode == 143
        finally:
            process.kill()


def test_the_standard_variables(tmp_path: Path) -> None:
    made = ordered({"run": "env | grep ^HIVEMIND_ | sort", "env": {"HIVEMIND_X": "y"}})
    shown = run(tmp_path, made).stdout
    for line in (
        "HIVEMIND_RUN=j-1",
        "HIVEMIND_RUN_ID=r1",
        "HIVEMIND_TASK=t",
        "HIVEMIND_ATTEMPT=1",
        "HIVEMIND_DUE=5",
    ):
        assert f"{line}\n" in shown
    assert "HIVEMIND_RANK" not in shown


def test_an_argument_is_one_argument(tmp_path: Path) -> None:
    made = ordered(
        {"command": "printf '[%s]' ${{ inputs.v }} x"}, {"inputs": {"v": "a  b'"}}, inputs={"v": "string"}
    )
    assert made.template.entrypoint is None
    assert made.template.command == ("printf", "[%s]", "a  b'", "x")


def test_variables_of_the_job_and_of_groups_reach_their_tasks() -> None:
    manifest = read(
        {
            "name": "j",
            "env": {"A": "job", "B": "job"},
            "tasks": {"g": {"env": {"B": "group"}, "tasks": {"t": {"run": "x", "env": {"C": 3}}}}},
        }
    )
    task = manifest.spec.tasks["g"].tasks["t"]
    env = order(manifest.spec, "g[1].t", task, {}, attempt=2).template.env
    assert {name: env[name] for name in "ABC"} == {"A": "job", "B": "group", "C": "3"}
