"""After the operations of a batch: what follows for jobs and runs, until nothing follows any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivemind.state.deadlines import Timer

if TYPE_CHECKING:
    from hivemind.state.state import State


def advance(state: State, passed: Sequence[Timer]) -> None:
    """`passed`: timers whose time has come."""


def recall_work(state: State) -> None:
    """After a restore."""
