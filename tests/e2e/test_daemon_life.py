"""The daemon comes and goes; what it started stays, and it finds everything again."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from hivemind.errors import HivemindError
from tests.e2e.daemon import Daemon, alive
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

WEB = ("--image", "web:1", "--name", "web-app", "--service", "web.local", "--port", "8080:8080")
BOX = ("--image", "busybox:1", "--stop-signal", "SIGKILL")


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_containers_outlive_the_daemon(fresh: Daemon, way: str) -> None:
    fresh.cli("app", "deploy", *WEB, "--health-http", "8080/", "--replicas", "2")
    fresh.cli("app", "deploy", *BOX, "--name", "ends", "--restart", "no", "--", "sh", "-c",
              "echo begun; until test -e /tmp/end; do sleep 0.1; done; echo over; exit 5")  # fmt: skip
    before = {a.id: a.status for a in fresh.ready("web-app", 2)}
    ends = fresh.replica("ends")
    fresh.stop() if way == "stop" else fresh.kill()
    said = fresh.cli("ps", code=7)
    assert "error:" in said.err and "hivemind daemon" in said.err

    assert all(alive(status.pid) for status in before.values())
    assert len({fresh.fetch("http://127.0.0.1:8080/") for _ in range(20)}) == 2
    # The one that ends meanwhile is told to by way of its own root directory.
    open(f"/proc/{ends.status.pid}/root/tmp/end", "w").close()
    eventually(lambda: not alive(ends.status.pid), "the container's end")

    fresh.start()
    after = {a.id: a.status for a in fresh.ready("web-app", 2)}
    assert {id: (s.pid, s.ip, s.restarts) for id, s in after.items()} == {
        id: (s.pid, s.ip, s.restarts) for id, s in before.items()
    }
    eventually(lambda: fresh.client.allocations.get(ends.id).state == "failed", "its ending noticed")
    ended = fresh.client.allocations.get(ends.id)
    assert ended.exit_code == 5 and "exit code 5" in ended.reason
    assert fresh.cli("logs", "--no-prefix", "ends").out == "begun\nover\n"
    assert fresh.resolve("web.local") == {s.ip for s in after.values()}
    assert "Hello" in fresh.fetch("http://127.0.0.1:8080/")

    # What is known again is also mended again.
    victim = next(iter(after.values()))
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: sum(a.status.restarts for a in fresh.ready("web-app", 2)) == 1, "a restart")
    fresh.remove_apps()


def test_what_was_wished_before_the_end_is_done_after_it(fresh: Daemon) -> None:
    fresh.cli("app", "deploy", *WEB, "--replicas", "2", "-d")
    fresh.kill()
    fresh.start()
    fresh.ready("web-app", 2)
    fresh.cli("app", "scale", "web-app", "--replicas", "4", "-d")
    fresh.cli("app", "deploy", *BOX, "--name", "other", "-d", "--", "sleep", "1000")
    fresh.cli("app", "rm", "web-app", "-d")
    fresh.kill()
    fresh.start()
    fresh.ready("other", 1)
    eventually(lambda: not fresh.client.allocations.list(app="web-app"), "the removal")
    fresh.traces.must_be_clean()


def test_two_daemons_do_not_share_a_directory(fresh: Daemon) -> None:
    words = ["daemon", "--data-dir", str(fresh.data), "--run-dir", str(fresh.run), "--web-port", "0"]
    said = fresh.cli(*words, code=5)
    assert "in use by another daemon" in said.err
    assert "still runs" in fresh.cli(*words[:5], "--destroy", code=5).err
    assert fresh.cli("status").out


def test_killed_fifty_times_in_the_middle_of_scaling(fresh: Daemon) -> None:
    """Nothing leaked and nothing lost, at whatever instant it dies."""
    dice = random.Random(20)
    fresh.cli("app", "deploy", *WEB, "--health-http", "8080/", "--stop-signal", "SIGKILL")
    steady = fresh.replica("web-app").status.pid
    for _ in range(50):
        replicas = dice.randint(1, 8)
        fresh.client.apps.scale("web-app", replicas)
        # The instant of death is what this test is about, so here it really is time that is waited for.
        time.sleep(dice.choice((0.0, 0.02, 0.1, 0.3, 0.6)) * dice.random())
        fresh.kill()
        fresh.start()
    assert fresh.app("web-app").replicas == replicas, "the last wish was acknowledged, so it must be known"
    found = fresh.ready("web-app", replicas)
    assert found[0].status.pid == steady and found[0].status.restarts == 0, "the first was never in question"
    fresh.traces.must_be_clean()
    assert fresh.resolve("web.local") == {a.status.ip for a in found}
    seen: set[str] = set()

    def all_answer() -> bool:
        seen.add(fresh.fetch("http://127.0.0.1:8080/"))
        return len(seen) == replicas

    eventually(all_answer, "an answer of each replica")
    fresh.client.apps.scale("web-app", 0)
    eventually(lambda: not fresh.replicas("web-app"), "none left")
    fresh.traces.must_be_clean()
    fresh.remove_apps()
    assert not [t for t in fresh.traces.everything() if t.kind != "process"]


def test_the_first_start_is_killed_again_and_again(fresh: Daemon) -> None:
    """Dying while it starts, before it could answer anything."""
    fresh.cli("app", "deploy", *WEB, "--health-http", "8080/", "--replicas", "2")
    pids = [a.status.pid for a in fresh.ready("web-app", 2)]
    dice = random.Random(21)
    fresh.kill()
    for _ in range(10):
        fresh.launch()
        time.sleep(0.5 * dice.random())
        fresh.kill()
    fresh.start()
    assert [a.status.pid for a in fresh.ready("web-app", 2)] == pids
    fresh.remove_apps()


def test_the_command_line_without_a_daemon(fresh: Daemon) -> None:
    fresh.stop()
    with pytest.raises(HivemindError):
        fresh.client.status()
    for words in (("app", "ls"), ("status",), ("app", "deploy", *WEB), ("logs", "x"), ("events",)):
        said = fresh.cli(*words, code=7)
        assert "hint:" in said.err
