"""Events start jobs: those that are raised from outside, and those that are changes of state itself."""

from __future__ import annotations

from hivemind.model.principal import Principal
from hivemind.state.operations import RaiseEvent
from hivemind.state.state import Outcome, State


def raise_event(state: State, operation: RaiseEvent, who: Principal) -> Outcome:
    """Starts a run of each job with a trigger that matches. `Outcome.id` lists their names, separated by commas."""
    raise NotImplementedError


def fire(state: State, since: int) -> int:
    """Starts what waits for runs that ended and for what happened to apps, in the changes of this batch after the
    first `since`. Returns how many changes it has seen: `since` of the next call in the same batch (0 begins)."""
    raise NotImplementedError
