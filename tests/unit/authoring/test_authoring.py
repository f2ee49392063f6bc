"""Jobs in Python: they compile to what YAML says, their bodies run by themselves, and what cannot travel is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hivemind.authoring.load import jobs_of
from hivemind.cli.jobfile import examine
from hivemind.errors import Invalid
from hivemind.jobs.definition import read
from hivemind.jobs.expression import render
from hivemind.jobs.order import order
from hivemind.jobs.outputs import parse_outputs
from hivemind.protocols.yaml12 import documents

HEAD = """from pathlib import Path
import math
from hivemind.authoring import *

"""


def compiled(tmp_path: Path, text: str) -> dict[str, Any]:
    (job,) = jobs_of(tmp_path / "flow.py", HEAD + text)
    return job.document


def refused(tmp_path: Path, text: str) -> tuple[int, str]:
    (tmp_path / "flow.py").write_text(HEAD + text)
    (found,) = examine(str(tmp_path / "flow.py"))
    assert found.manifest is None
    (mistake,) = found.mistakes
    return mistake.line - HEAD.count("\n"), mistake.message


NIGHTLY = '''
@routine
def fetch(url: str) -> Path:
    return url.upper()

@task(image="py:3.11", gpus=1, retries=3, retry_delay="5s", timeout="30m")
def train(data: list[Path]) -> Path:
    return ",".join(data)

@task
def alert():
    print("alas")

@job(schedule=cron("0 2 * * *", tz="Europe/Paris", missed="last", inputs={"days": ["mon"]}), priority="high")
def nightly(days: list[str]):
    """Every night."""
    model = train(fetch.map(days))
    alert().after(model, on="failure")
    with finally_():
        sh("rm -rf work", id="tidy")
'''

YAML = """
name: nightly
description: Every night.
triggers: {schedule: {cron: "0 2 * * *", timezone: Europe/Paris, missed: last, inputs: {days: [mon]}}}
priority: high
inputs: {days: {type: list, required: true}}
routines:
  fetch: {inputs: {url: {required: true}}, shell: python, run: RUN}
tasks:
  fetch: {uses: fetch, with: {url: "${{ item }}"}, for_each: "${{ inputs.days }}", outputs: [result]}
  train:
    needs: [fetch]
    image: py:3.11
    resources: {gpus: 1}
    retry: {max: 3, delay: 5s}
    timeout: 30m
    shell: python
    run: RUN
    env: {ARG_data: "${{ to_json(needs.fetch.outputs.result) }}"}
    outputs: [result]
  alert: {needs: {train: failure}, shell: python, run: RUN}
finally:
  tidy: rm -rf work
"""


def test_python_and_yaml_say_the_same(tmp_path: Path) -> None:
    document = compiled(tmp_path, NIGHTLY)
    scripts = [document["routines"]["fetch"], document["tasks"]["train"], document["tasks"]["alert"]]
    bodies = [one["run"] for one in scripts]
    for one in scripts:
        one["run"] = "RUN"
    (written,) = documents(YAML, "nightly.yaml")
    assert read(document) == read(written.value)
    assert bodies[0].count("def fetch(url: str) -> Path:") == 1
    assert "@routine" not in bodies[0]


def test_bodies_run_by_themselves(tmp_path: Path) -> None:
    text = """
@task
def area(radius: float, words: list, options: dict) -> dict:
    def inner():
        return math.pi
    return {"area": inner() * radius, "words": words, "options": options}

@job
def geometry(words: list[str]):
    area(2, ["x", words], {"a": "${{ x }}"})
"""
    spec = read(compiled(tmp_path, text)).spec
    words = ["a'b\n", "$(id)", "ü"]
    made = order(spec, "area", spec.tasks["area"], {"inputs": {"words": words}}, attempt=1)
    assert made.template.entrypoint
    output = tmp_path / "output"
    env = {**made.template.env, "HIVEMIND_OUTPUT": str(output)}
    args = [sys.executable, *made.template.entrypoint[1:]]
    subprocess.run(args, env=env, check=True, timeout=30)
    found = parse_outputs(output.read_bytes().decode(), spec.tasks["area"].outputs)
    assert found["result"]["words"] == ["x", words]
    assert found["result"]["options"] == {"a": "${{ x }}"}
    assert round(found["result"]["area"], 3) == 6.283


def test_groups_conditions_and_approvals(tmp_path: Path) -> None:
    text = """
@task
def build() -> dict:
    return {"ok": True}

@job
def ship(force: bool = False):
    made = build()
    with group("checks", sequence=True) as checks:
        sh("./lint", id="zlint")
        sh('./test "$WHAT"', id="atest", env={"WHAT": made["name"]}, retries=2)
    gate = approval("Ship it?", by=["ann"]).after(checks)
    sh("./ship", id="ship").after(gate).when("inputs.force || needs.approval.result == 'success'")
"""
    (written,) = documents(
        """
name: ship
inputs: {force: {type: boolean, default: false}}
tasks:
  build: {shell: python, run: RUN, outputs: {result: object}}
  checks:
    sequence: true
    tasks:
      zlint: {run: ./lint}
      atest:
        run: './test "$WHAT"'
        env: {WHAT: '${{ needs.build.outputs.result["name"] }}'}
        retries: 2
        needs: build
  approval: {approval: {message: Ship it?, by: ann}, needs: checks}
  ship: {run: ./ship, needs: approval, if: "inputs.force || needs.approval.result == 'success'"}
""",
        "ship.yaml",
    )
    document = compiled(tmp_path, text)
    document["tasks"]["build"]["run"] = "RUN"
    assert read(document) == read(written.value)
    assert read(document).spec.tasks["checks"].order == ("zlint", "atest")


def test_a_secret_is_passed_on_whole(tmp_path: Path) -> None:
    text = """
@task
def use(token: str):
    print(len(token))

@job
def j(token: Secret):
    use(token)
"""
    document = compiled(tmp_path, text)
    assert document["inputs"] == {"token": {"secret": True, "required": True}}
    assert document["tasks"]["use"]["env"] == {"SECRET_token": "${{ inputs.token }}"}


def test_constants_are_never_templates(tmp_path: Path) -> None:
    text = """
@task
def say(what: str):
    print(what)

@job
def j():
    say("${{ inputs.x }}")
"""
    env = read(compiled(tmp_path, text)).spec.tasks["say"].env
    assert json.loads(render(env["ARG_what"], {})) == "${{ inputs.x }}"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("LIMIT = 3\n@task\ndef t():\n    return LIMIT\n@job\ndef j():\n    t()\n", 2, "LIMIT of the file around it"),
        ("def help(): ...\n@task\ndef t():\n    help()\n@job\ndef j():\n    t()\n", 2, "help of the file around it"),
        ("@task\ndef t():\n    return nothing\n@job\ndef j():\n    t()\n", 1, "nothing, which is nowhere"),
        ("@job\ndef j(x: int):\n    if x:\n        sh('a')\n", 3, "the input x has no value yet"),
        ("@job\ndef j(x: list):\n    for y in x:\n        sh('a')\n", 3, "the input x has no members yet"),
        ("@job\ndef j(x: str):\n    sh(f'echo {x}')\n", 3, "the input x has no text yet"),
        ("@job\ndef j(x: set):\n    sh('a')\n", 1, "of a type that does not travel"),
        ("@task\ndef t(): ...\n@task\ndef u(a): ...\n@job\ndef j():\n    u(t())\n", 7, "t returns nothing that u"),
        ("@task\ndef t(a): ...\n@job\ndef j():\n    t(object())\n", 5, "cannot be passed to a task"),
        ("@task\ndef t(a): ...\n@job\ndef j():\n    t()\n", 5, "missing a required argument"),
        ("@task\ndef t(a): ...\nt(sh('x'))\n", 3, "sh is called outside of a job"),
        ("@job\ndef j():\n    with group('g'):\n        a = sh('a')\n    sh('b').after(a)\n", 5, "inside the group g"),
        ("@job(timeoutt=3)\ndef j():\n    sh('a')\n", 1, "no key 'timeoutt'"),
        ("@job\ndef j():\n    sh('a')\n    sh('b', imagee='x', id='b')\n", 4, "no key 'imagee'"),
        ("1 / 0\n", 1, "ZeroDivisionError: division by zero"),
        ("def f(:\n", 1, "SyntaxError"),
        ("raise SystemExit(3)\n", 1, "it exits while it defines its jobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    found, told = refused(tmp_path, text)
    assert message in told
    assert found == line


def test_a_file_without_jobs(tmp_path: Path) -> None:
    assert refused(tmp_path, "x = 1\n")[1] == "there is no job in it"


def test_functions_stay_functions_outside_of_jobs(tmp_path: Path) -> None:
    from hivemind.authoring import task

    @task
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8


def test_a_closure_does_not_travel() -> None:
    from hivemind.authoring import job, task

    around = 3

    @task
    def t() -> int:
        return around

    @job
    def j() -> None:
        t()

    with pytest.raises(Invalid, match="uses around of the function around it"):
        j.document()


def test_the_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(HEAD + NIGHTLY)
    list(examine(str(tmp_path / "flow.py")))
    assert [entry.name for entry in tmp_path.iterdir()] == ["flow.py"]
