"""Circuits in state: which tasks need which, what their endings say about them, who probes.

A failure that is counted against a circuit which it thereby opens, or finds open, has the cause `circuit`: it spends
nothing of `retry.max`. The task is queued again, and waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.jobs.book import Ended
from hivemind.model.principal import Principal
from hivemind.model.run import Run, TaskRun
from hivemind.state.operations import ForceCircuit
from hivemind.state.state import Outcome, State


def needed(state: State, run: Run, path: str, declared: Sequence[str]) -> tuple[str, ...]:
    """Names of the circuits that this task waits for: those its definition declares (`Task.circuits`), and detected
    ones for which an attempt of it, in whatever run, has failed."""
    raise NotImplementedError


def allows(state: State, project: str, names: Sequence[str], key: str) -> str:
    """Why the task run of that key may not start now; empty: it may. Cheap; asked by the queue for whoever is next."""
    raise NotImplementedError


def started(state: State, run: Run, task: TaskRun, names: Sequence[str]) -> TaskRun:
    """It was given a place: half-opens a circuit that was due and makes the task its probe (`TaskRun.circuit`).

    Returns the task as it is to be put."""
    raise NotImplementedError


def ended(
    state: State, run: Run, task: TaskRun, names: Sequence[str], how: Ended, unreachable: Sequence[str]
) -> Ended:
    """An attempt has ended: what that says about the circuits. Before `Workflow.ended`, which is given what this
    returns: with the cause `circuit` where the failure is the circuit's and not the task's."""
    raise NotImplementedError


def force(state: State, operation: ForceCircuit, who: Principal) -> Outcome:
    raise NotImplementedError


def tick(state: State) -> None:
    """Wakes the tasks that wait for a circuit that may be probed by now."""
    raise NotImplementedError
