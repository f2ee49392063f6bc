"""The circuit breaker: a machine of three states, after Nygard. Pure values in, values out.

Closed, it lets everything through and counts failures in a sliding window; too many of them open it. Open, it lets
nothing through until its cooldown has passed; then exactly one task may probe, which half-opens it. The probe's
success closes it, its failure opens it again, and a probe that ended without a verdict gives its place to another.

A circuit that is forced by hand stays as it was put, whatever happens, until it is given back to itself.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from hivemind.model.circuit import CircuitRecord, CircuitState

Event = Literal["count", "trip", "probe", "pass", "fail", "free", "open", "close", "reset"]
"""`count`: a failure that is not one too many; `trip`: one too many. `probe`, then `pass`, `fail` or `free` (no
verdict) of that probe. `open`, `close`: by hand; `reset`: given back to itself after it was held open."""

_MOVES: dict[tuple[CircuitState, Event], CircuitState] = {
    ("closed", "count"): "closed",
    ("closed", "trip"): "open",
    ("open", "probe"): "half-open",
    ("half-open", "pass"): "closed",
    ("half-open", "fail"): "open",
    ("half-open", "free"): "open",
    ("closed", "open"): "open",
    ("open", "open"): "open",
    ("half-open", "open"): "open",
    ("closed", "close"): "closed",
    ("open", "close"): "closed",
    ("half-open", "close"): "closed",
    ("open", "reset"): "open",
    ("closed", "reset"): "closed",
    ("half-open", "reset"): "half-open",
}
_FAILURES_SHOWN = 1000


def allows(circuit: CircuitRecord, now: int, task: str) -> str:
    """Why that task may not start now; empty: it may. One that may although the circuit is open must `probe` it."""
    if circuit.state == "closed" or circuit.probe == task:
        return ""
    if circuit.forced:
        return f"circuit {circuit.name} is held open by hand"
    if circuit.state == "half-open":
        return f"circuit {circuit.name} is being probed by another task"
    if now < circuit.due:
        return f"circuit {circuit.name} is open: {circuit.reason}"
    return ""


def probe(circuit: CircuitRecord, now: int, task: str) -> CircuitRecord:
    """That task has started while the circuit is open and due: its outcome is the circuit's."""
    assert not allows(circuit, now, task), "only a task that is let through probes"
    return replace(_moved(circuit, "probe", now), probe=task)


def failed(circuit: CircuitRecord, now: int, task: str, why: str) -> CircuitRecord:
    """A task that needs it has failed for it."""
    if circuit.forced:
        return circuit
    if circuit.state == "half-open":
        return _opened(circuit, "fail", now, why) if circuit.probe == task else circuit
    if circuit.state == "open":
        return circuit
    failures = (*_recent(circuit, now), now)[-_FAILURES_SHOWN:]
    counted = replace(circuit, failures=failures)
    if len(failures) < circuit.policy.failures:
        return replace(_moved(counted, "count", now), reason=why)
    return _opened(counted, "trip", now, why)


def succeeded(circuit: CircuitRecord, now: int, task: str) -> CircuitRecord:
    """A task that needs it has succeeded. Only the probe's success says something that was not known before."""
    if circuit.forced or circuit.probe != task:
        return circuit
    return _closed(circuit, "pass", now)


def freed(circuit: CircuitRecord, now: int, task: str) -> CircuitRecord:
    """The probe has ended without a verdict (canceled, lost, preempted): another may probe at once."""
    if circuit.probe != task:
        return circuit
    return replace(_moved(circuit, "free", now), probe="", due=now)


def force(
    circuit: CircuitRecord, state: Literal["open", "closed", "auto"], now: int, why: str
) -> CircuitRecord:
    """By hand. Given back to itself (`auto`), one that was held open is probed before it is trusted."""
    if state == "open":
        return replace(
            _moved(circuit, "open", now),
            forced=True,
            probe="",
            opened=circuit.opened or now,
            due=0,
            reason=why,
        )
    if state == "closed":
        return replace(_closed(circuit, "close", now), forced=True, reason=why)
    if not circuit.forced:
        return circuit
    given = replace(_moved(circuit, "reset", now), forced=False)
    return replace(given, due=now, reason=why) if given.state == "open" else replace(given, reason="")


def tick(circuit: CircuitRecord, now: int) -> CircuitRecord:
    """Forgets the failures that lie before its window."""
    failures = _recent(circuit, now)
    return circuit if failures == circuit.failures else replace(circuit, failures=failures)


def deadline(circuit: CircuitRecord) -> int | None:
    """When (ms) a task may probe it; None: nothing comes by waiting."""
    waits = circuit.state == "open" and not circuit.forced
    return circuit.due if waits else None


def _recent(circuit: CircuitRecord, now: int) -> tuple[int, ...]:
    since = now - round(circuit.policy.window * 1000)
    return tuple(at for at in circuit.failures if at > since)


def _opened(circuit: CircuitRecord, event: Event, now: int, why: str) -> CircuitRecord:
    """`opened` is since when it is down: a probe that fails does not make that later."""
    return replace(
        _moved(circuit, event, now),
        probe="",
        opened=circuit.opened or now,
        due=now + round(circuit.policy.cooldown * 1000),
        reason=why,
    )


def _closed(circuit: CircuitRecord, event: Event, now: int) -> CircuitRecord:
    return replace(_moved(circuit, event, now), failures=(), probe="", opened=0, due=0, reason="")


def _moved(circuit: CircuitRecord, event: Event, now: int) -> CircuitRecord:
    state = _MOVES.get((circuit.state, event))
    if state is None:
        raise AssertionError(
            f"circuit {circuit.name} is {circuit.state} (since {circuit.updated}: {circuit.reason}) and cannot {event}"
        )
    return replace(circuit, state=state, updated=now)
