"""What was found sound is not looked through again, but only among the routines that it was found sound with."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.definition import read
from hivemind.model.routine import LibraryRoutine, Routine

CALLS = {"name": "calls", "tasks": {"get": {"uses": "fetch"}}}


def fetch(number: int = 1) -> LibraryRoutine:
    return LibraryRoutine(
        project="default", name="fetch", number=number, versions={str(number): Routine(run="echo")},
        version=1, created=0, updated=0,
    )  # fmt: skip


def test_a_mistake_is_told_every_time() -> None:
    for _ in range(2):
        with pytest.raises(Invalid, match="nowhere"):
            read({"name": "bad", "tasks": {"a": {"run": "true", "needs": ["nowhere"]}}})


def test_a_routine_that_is_gone_is_missed() -> None:
    routines = {"fetch": fetch()}
    read(CALLS, routines=routines)
    read(CALLS, routines={"fetch": fetch(2)})
    del routines["fetch"]
    with pytest.raises(Invalid, match="fetch"):
        read(CALLS, routines=routines)
