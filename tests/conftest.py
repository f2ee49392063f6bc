"""Fixtures that every test may use."""

from __future__ import annotations

import pytest

import oci_leftovers


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    """Before pytest clears old directories for temporary files, which it cannot where something is mounted."""
    oci_leftovers.sweep()
