"""A definition that takes long to look through keeps nobody waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hivemind.jobs import definition
from hivemind.jobs.definition import checks
from tests.unit.api.conftest import Running
from tests.unit.api.jobs import allow, job

YAML = b"name: etl\ntasks: {get: {run: echo get}}\n"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Looking through a definition waits for it."""
    opened = threading.Event()

    def slow(real: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*given: Any, **more: Any) -> Any:
            assert opened.wait(20)
            return real(*given, **more)

        return slowly

    for name in ("read", "findings"):
        monkeypatch.setattr(definition, name, slow(getattr(definition, name)))
    yield opened
    opened.set()


@pytest.mark.parametrize("what", ["put", "validate"])
def test_others_are_answered_meanwhile(running: Running, gate: threading.Event, what: str) -> None:
    running.do(allow, running.backend)
    hive = running.local

    def ask() -> None:
        if what == "put":
            hive.jobs.put(job("etl", tasks={"get": {"run": "echo get"}}))
        else:
            assert hive.jobs.validate(YAML, "application/yaml").findings == ()

    asking = threading.Thread(target=ask)
    asking.start()
    assert running.local.jobs.list() == []
    gate.set()
    asking.join(20)
    assert [one.name for one in running.local.jobs.list()] == (["etl"] if what == "put" else [])


def test_what_was_looked_through_is_only_recognised_when_it_is_agreed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.do(allow, running.backend)
    threads: list[threading.Thread] = []
    real = checks._look_through

    def noted(*given: Any) -> None:
        threads.append(threading.current_thread())
        real(*given)

    monkeypatch.setattr(checks, "_look_through", noted)
    running.local.jobs.put(job("etl", tasks={"only-here": {"run": "echo recognised"}}))
    assert threads and running.thread not in threads
