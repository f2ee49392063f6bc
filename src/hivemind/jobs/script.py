"""What a task's commands become: an argument vector and variables. Calls of routines are written out in place.

No text that a person wrote, and no value, is ever part of shell text: scripts and values are variables of names made
here, and the runner, a constant, is told by words made here which of them to use. A plain `run` needs no runner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.expression import references, render
from hivemind.jobs.inputs import bind
from hivemind.jobs.runner import RUNNER
from hivemind.jobs.variables import LONGEST, Variables
from hivemind.model.job import Routine, Step, Task

DEEPEST = 10
"""Calls of routines within each other."""
_DIRECT = {
    "sh": ("/bin/sh", "-e", "-c", "--"),
    "bash": ("bash", "-eo", "pipefail", "-c", "--"),
    "python": ("python3", "-c"),
}
_WHOLE = re.compile(r"\s*\$\{\{\s*([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+)\s*\}\}\s*\Z")
_SETTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
Source = tuple[str, str, str]
"""Where the runner takes a value from: `var <k> -`, or `take <step> <output>`."""


@dataclass(frozen=True)
class Script:
    argv: tuple[str, ...] = ()
    """Empty: the task has a command of its own, or that of its image."""
    labels: tuple[str, ...] = ()
    """Of each step, in the order of their numbers from 1."""


@dataclass(frozen=True)
class Later:
    """A value that is known only when that step has run: what it wrote under that name."""

    step: int
    name: str


def script_of(
    routines: Mapping[str, Routine], task: Task, scope: Mapping[str, Any], variables: Variables
) -> Script:
    """`variables` gets what the argument vector refers to. Raises `Invalid`."""
    if task.run is not None:
        return Script((*_DIRECT[task.shell], _script(task.run)))
    if task.uses is None and not task.steps:
        return Script()
    writer = _Writer(routines, variables)
    frame = _Frame(0, scope, open=True)
    for step in task.steps or (Step(uses=task.uses, with_=task.with_),):
        writer.step(step, frame, 0)
    words = (str(writer.values), str(len(writer.labels)), *writer.words)
    return Script(("/bin/sh", "-c", RUNNER, "hivemind", *words), tuple(writer.labels))


def whole_path(template: Any) -> tuple[str, ...] | None:
    """`("steps", "a", "outputs", "x")` of a template that is just `${{ steps.a.outputs.x }}`."""
    match = _WHOLE.match(template) if isinstance(template, str) else None
    return tuple(match[1].split(".")) if match else None


def _script(text: str) -> str:
    if "\0" in text:
        raise Invalid("the script holds a NUL byte", hint="take it out")
    if len(text.encode("utf-8", "surrogatepass")) > LONGEST:
        raise Invalid("the script is longer than 128 KiB", hint="put it into a file of the image or a volume")
    return text


@dataclass
class _Frame:
    """A task, or one call of a routine."""

    number: int
    """Whose outputs its steps' are; 0 is the task itself."""
    scope: Mapping[str, Any]
    open: bool
    """What its steps write is its output, too."""
    label: str = ""
    workdir: str | None = None
    variables: dict[str, Source] = field(default_factory=dict)
    """What all its steps find in their environment."""
    steps: dict[str, int] = field(default_factory=dict)
    """Id -> number."""

    def later(self, path: tuple[str, ...]) -> Later | None:
        """What `path` stands for, when only a step will tell."""
        if path[:1] == ("steps",):
            if len(path) != 4 or path[2] != "outputs" or path[1] not in self.steps:
                raise Invalid(
                    f"{'.'.join(path)} is not the output of an earlier step",
                    hint="write ${{ steps.<id>.outputs.<name> }}",
                )
            return Later(self.steps[path[1]], path[3])
        called = self.number and path[0] == "inputs" and len(path) > 1
        value = self.scope["inputs"].get(path[1]) if called else None
        return value if isinstance(value, Later) else None


class _Writer:
    def __init__(self, routines: Mapping[str, Routine], variables: Variables) -> None:
        self.words: list[str] = []
        self.labels: list[str] = []
        self.values = 0
        self._routines = routines
        self._variables = variables

    def step(self, step: Step, frame: _Frame, depth: int) -> None:
        number = self._number(step, frame)
        around = frame.variables | self._sources(step.env, frame)
        workdir = step.workdir or frame.workdir
        if step.uses is not None:
            self._call(step, number, frame, around, workdir, depth)
        else:
            self._run(number, step.run or "", step.shell, workdir, around)
        if frame.open:
            self._say("join", number, frame.number)
        if step.id:
            frame.steps[step.id] = number

    def _number(self, step: Step, frame: _Frame) -> int:
        label = step.name or step.id or step.uses or f"step {len(self.labels) + 1}"
        self.labels.append(f"{frame.label} / {label}" if frame.label else label)
        return len(self.labels)

    def _call(
        self,
        step: Step,
        number: int,
        frame: _Frame,
        around: dict[str, Source],
        workdir: str | None,
        depth: int,
    ) -> None:
        routine = self._routines.get(step.uses or "")
        if routine is None:
            raise Invalid(f"there is no routine {step.uses!r}", hint="see `hivemind get routines`")
        if depth >= DEEPEST:
            raise Invalid(f"calls of routines are more than {DEEPEST} deep at {step.uses!r}")
        given = {name: self._value(value, frame) for name, value in step.with_.items()}
        inputs = _bound(step.uses or "", routine, given)
        inner = _Frame(
            number,
            {"inputs": inputs},
            open=not all(routine.outputs.values()) or not routine.outputs,
            label=self.labels[number - 1],
            workdir=workdir,
        )
        inner.variables = around | {name: self._source(name, value) for name, value in inputs.items()}
        inner.variables |= self._sources(routine.env, inner)
        if routine.run is not None:
            self._run(number, routine.run, routine.shell, workdir, inner.variables)
        for one in routine.steps:
            self.step(one, inner, depth + 1)
        for name, template in routine.outputs.items():
            if template:
                self._say("give", number, name, *self._source(name, self._value(template, inner)))

    def _run(
        self, number: int, text: str, shell: str, workdir: str | None, variables: Mapping[str, Source]
    ) -> None:
        self._variables.put(f"HIVEMIND_TEXT_{number}", text, f"the script of {self.labels[number - 1]}")
        folder = "-" if workdir is None else self._source("workdir", workdir)[1]
        self._say("run", number, shell, folder)
        for name, source in variables.items():
            self._say(name, *source)
        self._say(".")

    def _sources(self, templates: Mapping[str, str], frame: _Frame) -> dict[str, Source]:
        return {name: self._source(name, self._value(text, frame)) for name, text in templates.items()}

    def _source(self, name: str, value: Any) -> Source:
        if not _SETTABLE.match(name):
            raise Invalid(
                f"a shell cannot set the variable {name}",
                hint="use letters, digits and _, or the task's own env",
            )
        if isinstance(value, Later):
            return ("take", str(value.step), value.name)
        self.values += 1
        self._variables.put(f"HIVEMIND_VALUE_{self.values}", value, name)
        return ("var", str(self.values), "-")

    def _value(self, template: Any, frame: _Frame) -> Any:
        path = whole_path(template)
        if path and (later := frame.later(path)):
            return later
        for text in _texts(template):
            for reference in references(text) if "${{" in text else ():
                if frame.later(reference):
                    raise Invalid(
                        f"{text!r} uses {'.'.join(reference)}, which only a step of the same task will tell",
                        hint="pass it on as a whole value, and let the commands do the rest",
                    )
        return render(template, frame.scope)

    def _say(self, *words: str | int) -> None:
        self.words += map(str, words)


def _bound(name: str, routine: Routine, given: dict[str, Any]) -> dict[str, Any]:
    """All inputs of the call; of values that come later only the names can be looked at."""
    later = {key: value for key, value in given.items() if isinstance(value, Later)}
    now = {key: value for key, value in given.items() if key not in later}
    declared = {key: value for key, value in routine.inputs.items() if key not in later}
    if strange := sorted(set(later) - set(routine.inputs)):
        now[strange[0]] = ""
    return bind(declared, now, f"the routine {name}") | later


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
