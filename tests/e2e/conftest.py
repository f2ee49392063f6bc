"""Real daemons for the tests: one shared by those that treat it well, and fresh ones for those that do not."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import leftovers
from tests.e2e.daemon import Daemon

Hatch = Callable[..., Daemon]


@pytest.fixture(scope="session")
def hatch() -> Iterator[Hatch]:
    """Makes daemons that are not started yet: `hatch(*options)`. All are destroyed at the end, or by a guard
    process when the tests are killed, or by the next session when that was killed too."""
    leftovers.sweep()
    session, lock = leftovers.begin_session()
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.leftovers", str(session)],
        cwd=leftovers.ROOT, stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    numbers = itertools.count()
    made: list[Daemon] = []

    def make(*options: str, of: type[Daemon] = Daemon) -> Daemon:
        daemon = of(session / str(next(numbers)), *options)
        made.append(daemon)
        return daemon

    yield make
    problems = []
    for daemon in made:
        try:
            if daemon.home.exists():
                daemon.destroy()
        except (AssertionError, OSError) as error:
            problems.append(str(error))
    guard.communicate()
    lock.close()
    assert not problems
    assert guard.returncode == 0 and not session.exists()


@pytest.fixture(scope="session")
def shared(hatch: Hatch) -> Daemon:
    daemon = hatch("--web-port", "3000")
    daemon.start()
    daemon.load("busybox", "web", "nginx", "redis")
    return daemon


@pytest.fixture
def node(shared: Daemon) -> Iterator[Daemon]:
    """The shared daemon. After each test its apps are removed, and nothing of them may be left."""
    yield shared
    shared.remove_apps()


@pytest.fixture
def fresh(hatch: Hatch) -> Iterator[Daemon]:
    """A daemon that may be killed; running, with the images of busybox and the small web server."""
    daemon = hatch()
    daemon.start()
    daemon.load("busybox", "web")
    yield daemon
    daemon.destroy()
