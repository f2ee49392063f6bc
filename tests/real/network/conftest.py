"""Everything here runs in namespaces of its own."""

from __future__ import annotations

import pytest

from own_namespace import run_isolated


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return run_isolated(item, nextitem) if item.get_closest_marker("real") else None
