"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

import oci_leftovers
import private_containerd
from docker_engine import DockerEngine, engine
from private_containerd import Containerd

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: what the tests start must hear Ctrl-C all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, so that a change is judged by what it changed, and no judging by how long one takes.
# HIVEMIND_EXPLORE=1 looks for new ones; what it finds is written down as a test of its own.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("explore" if os.environ.get("HIVEMIND_EXPLORE") else "same")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """One for all tests that treat it well."""
    with engine() as running:
        yield running


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """One for all tests that do not kill it, each in a namespace of its own."""
    with private_containerd.running() as one:
        yield one


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    """Before pytest clears old directories for temporary files, which it cannot where something is mounted."""
    oci_leftovers.sweep()
