"""Notices: whom to tell what about a run, which node does it, and what became of it."""

from __future__ import annotations

from hivemind.model.principal import Principal
from hivemind.model.run import Run
from hivemind.state.operations import ReportNotices
from hivemind.state.state import Outcome, State


def notify(state: State, run: Run, on: str, why: str) -> None:
    """An occasion of `Notify.on` has come: a notice to each addressee that wants to hear of it. The same occasion of
    the same run is told once."""
    raise NotImplementedError


def report(state: State, operation: ReportNotices, who: Principal) -> Outcome:
    raise NotImplementedError


def tick(state: State) -> None:
    """Notices of nodes that are gone are given to others."""
    raise NotImplementedError
