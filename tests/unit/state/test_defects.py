"""A handler with a defect: the operation is refused, everywhere alike, and the hive goes on."""

from __future__ import annotations

from typing import Any

import pytest

from hive import Hive
from hivemind.state import handlers
from hivemind.state import operations as op
from hivemind.state.state import State


def test_it_is_a_refusal_that_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(state: State, operation: Any, who: Any) -> None:
        state.tables.remove(state.projects, "default")
        raise KeyError(object())

    hive = Hive(nodes=1)
    with monkeypatch.context() as patched:
        patched.setitem(handlers._HANDLERS, op.ScaleApp, broken)  # type: ignore[arg-type]
        outcome = hive.do(op.ScaleApp(project="default", name="x", replicas=1), refused=True, nonce="bad")
    assert outcome.code == "internal" and "KeyError" in outcome.message and "0x" not in outcome.message
    assert "default" in hive.state.projects
    again = hive.do(op.ScaleApp(project="default", name="x", replicas=1), refused=True, nonce="bad")
    assert again == outcome
    hive.deploy("web")


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_only_this_machine_has_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def broken(*_: Any) -> None:
        raise error

    hive = Hive(nodes=1)
    monkeypatch.setitem(handlers._HANDLERS, op.ScaleApp, broken)  # type: ignore[arg-type]
    with pytest.raises(error):
        hive.do(op.ScaleApp(project="default", name="x", replicas=1))
