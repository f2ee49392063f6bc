"""Fixtures that every test may use."""

from __future__ import annotations

import signal

import pytest

import oci_leftovers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: what the tests start must hear Ctrl-C all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    """Before pytest clears old directories for temporary files, which it cannot where something is mounted."""
    oci_leftovers.sweep()
