"""Outputs: what tasks wrote, as they declare it, and what groups and runs make of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.expression import Sealed, evaluate, render
from hivemind.jobs.outputs import typed
from hivemind.jobs.plan import is_member
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.base import encode
from hivemind.model.job import OutputSpec
from hivemind.model.run import TaskRun


def outputs_of(turn: Turn, task: TaskRun, written: Mapping[str, Any]) -> dict[str, Any]:
    """Of a task: all that it wrote, and what it declares. Raises `Invalid` when that is missing, or something else."""
    declared = turn.node(task).task.outputs
    if not declared:
        return dict(written)
    scope = {**turn.scope(task.path), "outputs": written}
    return {**written, **{name: _value(name, spec, scope, written) for name, spec in declared.items()}}


def outputs_of_group(turn: Turn, group: TaskRun) -> dict[str, Any]:
    """A fan-out has none of its own: those of its members are told as lists. Raises `Invalid`."""
    node = turn.node(group)
    declared = node.task.outputs
    if not declared or (node.fans and not is_member(group.path)):
        return {}
    scope = turn.scope(group.path)
    return {name: _value(name, spec, scope, {}) for name, spec in declared.items()}


def _value(name: str, spec: OutputSpec, scope: Mapping[str, Any], written: Mapping[str, Any]) -> Any:
    if spec.value:
        try:
            value = render(spec.value, scope) if "${{" in spec.value else evaluate(spec.value, scope)
        except Invalid as error:
            raise Invalid(f"its output {name}: {error.message}") from None
    elif name in written:
        value = written[name]
    else:
        raise Invalid(f"it declares the output {name} and did not write it")
    if isinstance(value, Sealed):
        raise Invalid(f"its output {name} is a secret, and outputs can be seen by everyone")
    if isinstance(value, str):
        return typed(name, value, spec)
    return typed(name, encode(value).decode(), spec)
