"""Everything here runs in namespaces of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_namespace import run_isolated


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """pytest asks for every test of the session, not only for those beside this file."""
    mine = item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("real")
    return run_isolated(item, nextitem) if mine else None
