"""The contract suite's routed part runs in namespaces of its own; docker's is in the one of its engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_namespace import run_isolated


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """pytest asks for every test of the session, not only for those beside this file."""
    mine = item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("real")
    kind = item.callspec.params.get("kind") if isinstance(item, pytest.Function) and mine else ""
    return run_isolated(item, nextitem) if mine and kind != "docker" else None
