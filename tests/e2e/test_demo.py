"""`./run demo` and `./run demo --down`, in a namespace and directories of their own."""

from __future__ import annotations

import subprocess

import debimage
import pytest

from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon
from tests.e2e.leftovers import COMMAND, ROOT, environment, inside

pytestmark = pytest.mark.real


def demo(daemon: Daemon, *options: str) -> str:
    places = ("--data-dir", str(daemon.data), "--run-dir", str(daemon.run))
    done = subprocess.run(
        [*inside(daemon.home), COMMAND[0], str(ROOT / "tools/demo.py"), *places, *options],
        env=environment(), cwd="/", capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_up_twice_and_down_twice(hatch: Hatch) -> None:
    debimage.build("web")  # No package can be fetched from the demo's namespace.
    home = hatch()
    said = demo(home)
    for part in (
        "Hello from web-app-",
        "web.local is 10.",
        "kill -9",
        "□ visit ×n",
        "visit-1  succeeded  5/5 tasks",
        "visit[2] | south, <!doctype html><p>Hello from web-app-",
        "It keeps running",
        "./run demo --down",
    ):
        assert part in said
    assert {a.status.restarts for a in home.ready("web-app", 3)} == {0, 1}
    assert "Hello" in home.fetch("http://127.0.0.1:8080/")
    assert "it runs already" in demo(home)
    home.client.close()
    assert "the demo is gone" in demo(home, "--down")
    assert not home.data.exists() and not home.run.exists()
    assert [t for t in home.traces.everything() if t.kind != "process"] == []
    assert home.traces.everything() == []
    demo(home, "--down")
    home.destroy()
