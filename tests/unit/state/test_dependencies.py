"""Apps that wait for other apps before they are placed."""

from __future__ import annotations

import pytest

from hive import Hive
from hivemind.model.allocation import AllocationState
from hivemind.model.app import Restart
from hivemind.model.template import Resources
from hivemind.state.operations import DeleteApp, RestartApp, ScaleApp, StopApp


def reason(hive: Hive, name: str = "web") -> str:
    [waiting] = {a.reason for a in hive.live(name) if a.state is AllocationState.PENDING}
    return waiting


def placed(hive: Hive, name: str = "web") -> int:
    return sum(a.state >= AllocationState.PLACED for a in hive.live(name))


def test_it_is_placed_as_soon_as_what_it_needs_is_healthy() -> None:
    hive = Hive()
    hive.deploy("db")
    hive.deploy("web", replicas=2, depends_on={"db": "healthy"})
    assert reason(hive) == "waits for app db to be healthy"
    hive.report(lambda a: a.app_name == "db", AllocationState.PLACED, started=True)
    assert placed(hive) == 0
    hive.report(lambda a: a.app_name == "db", AllocationState.HEALTHY)
    assert placed(hive) == 2
    assert {a.reason for a in hive.live()} == {""}


def test_started_needs_no_health() -> None:
    hive = Hive()
    hive.deploy("db")
    hive.deploy("web", depends_on={"db": "started"})
    assert reason(hive) == "waits for app db to be started"
    hive.report(lambda a: a.app_name == "db", AllocationState.PLACED, started=True)
    assert placed(hive) == 1


def test_completed_is_about_all_replicas_of_this_revision() -> None:
    hive = Hive()
    job = {"restart": Restart(policy="on-failure")}
    hive.deploy("migrate", replicas=2, **job)
    hive.deploy("web", depends_on={"migrate": "completed"})
    hive.report(lambda a: a.app_name == "migrate" and a.slot == 0, AllocationState.COMPLETE)
    assert reason(hive) == "waits for app migrate to be completed"
    hive.report(lambda a: a.app_name == "migrate", AllocationState.COMPLETE)
    assert placed(hive) == 1
    hive.settle()
    hive.deploy("migrate", replicas=2, env={"V": "2"}, **job)
    hive.do(ScaleApp(project="default", name="web", replicas=2))
    assert reason(hive) == "waits for app migrate to be completed", "the new work is not done"


def test_what_completed_was_started_and_healthy_too() -> None:
    hive = Hive()
    hive.deploy("job", restart=Restart(policy="no"))
    hive.report(lambda a: True, AllocationState.COMPLETE)
    hive.deploy("one", depends_on={"job": "started"})
    hive.deploy("two", depends_on={"job": "healthy"})
    assert placed(hive, "one") == placed(hive, "two") == 1


def test_an_unknown_app_is_waited_for() -> None:
    hive = Hive()
    hive.deploy("web", depends_on={"db": "healthy"})
    assert reason(hive) == "waits for app db to be healthy, and there is no such app yet"
    hive.deploy("db")
    assert reason(hive) == "waits for app db to be healthy"
    hive.report(lambda a: a.app_name == "db", AllocationState.HEALTHY)
    assert placed(hive) == 1


def test_a_stopped_app_is_said_to_be_stopped() -> None:
    hive = Hive()
    hive.deploy("db")
    hive.settle()
    hive.do(StopApp(project="default", name="db"))
    hive.stops_done()
    hive.deploy("web", depends_on={"db": "healthy"})
    assert reason(hive) == "waits for app db to be healthy, which is stopped"


def test_scaling_and_restarting_wait_and_leave_what_runs_alone() -> None:
    hive = Hive()
    hive.deploy("db")
    hive.settle()
    hive.deploy("web", depends_on={"db": "healthy"})
    hive.settle()
    hive.do(DeleteApp(project="default", name="db"))
    hive.settle()
    assert placed(hive) == 1, "what runs is not taken away"
    hive.do(ScaleApp(project="default", name="web", replicas=2))
    assert reason(hive).startswith("waits for app db")
    hive.do(RestartApp(project="default", name="web"))
    hive.settle()
    assert placed(hive) == 1
    assert "no such app" in reason(hive)


@pytest.mark.parametrize(
    ("others", "spec", "path"),
    [
        ({}, {"web": "healthy"}, "web -> web"),
        ({"db": {"web": "started"}}, {"db": "healthy"}, "web -> db -> web"),
        ({"b": {"a": "healthy"}, "a": {"web": "healthy"}}, {"b": "healthy"}, "web -> b -> a -> web"),
    ],
)
def test_circles_are_refused_with_the_way_around(
    others: dict[str, dict[str, str]], spec: dict[str, str], path: str
) -> None:
    hive = Hive()
    for name, needs in others.items():
        hive.deploy(name, depends_on=needs)
    outcome = hive.deploy("web", refused=True, depends_on=spec)
    assert outcome.message == f"the apps wait for each other: {path}"


def test_many_ways_to_one_app_are_no_circle() -> None:
    hive = Hive()
    hive.deploy("base")
    for level in range(12):
        below = [f"{level - 1}-{side}" for side in "ab"] if level else ["base"]
        for side in "ab":
            hive.deploy(f"{level}-{side}", depends_on=dict.fromkeys(below, "healthy"))
    hive.deploy("web", depends_on={"11-a": "healthy", "11-b": "healthy"})


def test_who_waits_takes_no_place_from_others() -> None:
    hive = Hive(cpus=1)
    hive.deploy("web", depends_on={"db": "healthy"}, resources=Resources(cpus=1))
    hive.deploy("db", resources=Resources(cpus=1))
    assert placed(hive, "db") == 1
