"""Circuits in state: which tasks need which, what their endings say about them, who probes.

A failure that is counted against a circuit which it thereby opens, or finds open, has the cause `circuit`: it spends
nothing of `retry.max`. The task is queued again, and waits.

A detected circuit is named `host:port`. It concerns only the tasks that were seen to fail for it: what else a job
does with that host is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hivemind.errors import NotFound
from hivemind.jobs import circuit, failures
from hivemind.jobs.book import Ended
from hivemind.jobs.plan import path_of
from hivemind.model.circuit import CircuitRecord
from hivemind.model.job import Circuit, JobSpec
from hivemind.model.principal import Principal
from hivemind.model.run import Run, TaskRun, task_key
from hivemind.state.jobs.using import tasks_of
from hivemind.state.operations import ForceCircuit
from hivemind.state.state import Outcome, State

_SEEN_AT_ONCE = 16
"""Addresses of one ending that are counted: a task that fails for more is not failing for one of them."""
_TASKS_KEPT = 100
_DETECTED_KEPT = 500
"""Detected circuits of one project; beyond them those are forgotten that have been closed for longest."""
_NO_FAILURE = ("canceled", "lost", "preempted")
"""Causes that tell nothing about what the task needs."""


def circuit_key(project: str, name: str) -> str:
    return f"{project}/{name}"


# -- starting ------------------------------------------------------------------------------------------------


def needed(state: State, run: Run, path: str, declared: Sequence[str]) -> tuple[str, ...]:
    """Names of the circuits that this task waits for: those its definition declares (`Task.circuits`), and detected
    ones for which an attempt of it, in whatever run, has failed. Cheap; it may be another answer when asked again."""
    return (*declared, *sorted(state.work.broken.concerning(run.project, task_of(run, path)) - set(declared)))


def task_of(run: Run, path: str) -> str:
    """Names that task in all runs of its job."""
    return f"{run.job}/{path_of(path)}"


def closed_to(state: State, project: str, names: Sequence[str], key: str) -> dict[str, str]:
    """Those that do not let the task run of that key start now, each with why; whoever waits for one is woken as
    `("circuit", project, name)`. Cheap; asked by the queue for whoever is next."""
    found = {}
    for known in _known(state, project, names):
        if why := circuit.allows(known, state.time, key):
            found[known.name] = why
    return found


def started(state: State, run: Run, task: TaskRun, names: Sequence[str]) -> TaskRun:
    """It was given a place: half-opens a circuit that was due and makes the task its probe (`TaskRun.circuit`).

    Right after `closed_to` has let it through: of several that were asked before, only one may start. Returns the task
    as it is to be put."""
    key = task_key(run.id, task.path)
    probed = []
    for known in _known(state, run.project, names):
        if known.state != "closed":
            _save(state, circuit.probe(known, state.time, key))
            probed.append(known.name)
    return replace(task, circuit=" ".join(probed))


# -- ending --------------------------------------------------------------------------------------------------


def ended(
    state: State, run: Run, task: TaskRun, names: Sequence[str], how: Ended, unreachable: Sequence[str]
) -> Ended:
    """An attempt has ended: what that says about the circuits. Before `Workflow.ended`, which is given what this
    returns: with the cause `circuit` where the failure is the circuit's and not the task's."""
    key = task_key(run.id, task.path)
    concerned = tuple(dict.fromkeys((*names, *task.circuit.split())))
    if how.cause in _NO_FAILURE:
        for known in _known(state, run.project, concerned):
            _save(state, circuit.freed(known, state.time, key))
        return how
    if how.cause == "exit" and how.exit_code == 0:
        for known in _known(state, run.project, concerned):
            _save(state, circuit.succeeded(known, state.time, key))
        return how
    return _failed(state, run, task, concerned, how, unreachable)


def _failed(
    state: State, run: Run, task: TaskRun, names: Sequence[str], how: Ended, unreachable: Sequence[str]
) -> Ended:
    seen = dict(_parts(said) for said in unreachable[:_SEEN_AT_ONCE])
    why = how.reason or f"{run.name} {task.path} failed"
    down = []
    for name in dict.fromkeys((*names, *seen)):
        known = _policed(state, run, name, detected=name not in names)
        if known is None:
            continue
        said = f"{name}: {seen[name]}" if name in seen else why
        counts = name in seen if known.detected else _counts(known.policy, task, how)
        judged = _judged(state, known, run, task, said, counts=counts)
        if counts and judged.state != "closed":
            down.append(name)
    if not down:
        return how
    return replace(how, cause="circuit", reason=f"{why}; it waits for {', '.join(down)}")


def _judged(
    state: State, known: CircuitRecord, run: Run, task: TaskRun, said: str, *, counts: bool
) -> CircuitRecord:
    """A failure that is not the circuit's says as little about it as an end without a verdict."""
    key = task_key(run.id, task.path)
    if counts:
        new = circuit.failed(_concerning(known, task_of(run, task.path)), state.time, key, said)
    else:
        new = circuit.freed(known, state.time, key)
    _save(state, new)
    return new


def _parts(said: str) -> tuple[str, str]:
    """`host:port`, and why it was not reached."""
    name, _, kind = said.partition(" ")
    return name, kind or "not reached"


def _counts(policy: Circuit, task: TaskRun, how: Ended) -> bool:
    return not policy.on or failures.matches(policy.on, how, task.attempt)


def _policed(state: State, run: Run, name: str, *, detected: bool) -> CircuitRecord | None:
    """The circuit, with the policy of the run that fails now. None: there are too many, and all of them matter."""
    policy = state.definition_of(run).spec.circuits.get(name)
    known = state.circuits.get(circuit_key(run.project, name))
    if known is None:
        if detected and not _room(state, run.project):
            return None
        known = CircuitRecord(project=run.project, name=name, detected=detected, updated=state.time)
    return circuit.tick(known if policy is None else replace(known, policy=policy), state.time)


def _concerning(known: CircuitRecord, task: str) -> CircuitRecord:
    """Others declare that they need it; of a detected one it is remembered who does."""
    if not known.detected or task in known.tasks:
        return known
    return replace(known, tasks=(*known.tasks, task)[-_TASKS_KEPT:])


def _room(state: State, project: str) -> bool:
    """For one more that was detected."""
    mine = [each for each in state.circuits.values() if each.project == project and each.detected]
    if len(mine) < _DETECTED_KEPT:
        return True
    idle = [each for each in mine if each.state == "closed" and not each.forced]
    if not idle:
        return False
    oldest = min(idle, key=lambda each: (each.updated, each.name))
    state.tables.remove(state.circuits, circuit_key(project, oldest.name))
    return True


# -- by hand -------------------------------------------------------------------------------------------------


def force(state: State, operation: ForceCircuit, who: Principal) -> Outcome:
    key = circuit_key(operation.project, operation.name)
    old = state.circuits.get(key)
    if old is None:
        raise NotFound(
            f"there is no circuit {operation.name!r} in project {operation.project!r}",
            hint="a job declares it: circuits: on one of its tasks; hivemind circuit ls shows them",
        )
    why = f"by {who.name}{operation.reason and ': '}{operation.reason}"
    new = circuit.force(circuit.tick(old, state.time), operation.state, state.time, why)
    _save(state, new)
    return Outcome(id=key)


def declare(state: State, project: str, spec: JobSpec) -> None:
    """Makes those that a job names, as soon as it does, so that they can be seen and forced."""
    needed = {name for task in tasks_of(spec) for name in task.circuits}
    for name in sorted({*spec.circuits, *needed}):
        key = circuit_key(project, name)
        old = state.circuits.get(key) or CircuitRecord(project=project, name=name, updated=state.time)
        new = replace(old, detected=False, policy=spec.circuits.get(name, old.policy))
        state.tables.put(state.circuits, key, new)


def _known(state: State, project: str, names: Sequence[str]) -> list[CircuitRecord]:
    found = (state.circuits.get(circuit_key(project, name)) for name in names)
    return [known for known in found if known is not None]


def _save(state: State, new: CircuitRecord) -> None:
    state.tables.put(state.circuits, circuit_key(new.project, new.name), new)
