"""The one word for an app, from what was agreed and what is observed."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.api.appstatus import Seen, app_status
from hivemind.model.allocation import Allocation, AllocationState, AllocationStatus, Desired, Phase
from hivemind.model.app import App, AppSpec, AppStatus
from hivemind.model.deployment import Deployment, DeploymentState

STATE = AllocationState
READY = AllocationStatus(phase=Phase.RUNNING, ready=True)
STARTING = AllocationStatus(phase=Phase.STARTING)
BACKOFF = AllocationStatus(phase=Phase.BACKOFF, restarts=4, message="exited with code 1")
SICK = AllocationStatus(phase=Phase.RUNNING, health="failing", message="GET / gave 500")
NOTHING = AllocationStatus()


def seen(slot: int, status: AllocationStatus, state: AllocationState = STATE.PLACED, **more: Any) -> Seen:
    allocation = Allocation(
        id=f"a{slot}",
        project="p",
        app="x",
        app_name="web",
        revision=1,
        slot=slot,
        attempt=1,
        state=state,
        **more,
    )
    return allocation, status


def status(
    *pairs: Seen, replicas: int = 2, stopped: bool = False, deployment: str = "succeeded"
) -> AppStatus:
    app = App(id="x", project="p", name="web", replicas=replicas, stopped=stopped)
    change = Deployment(
        id="d",
        project="p",
        app="x",
        app_name="web",
        source=0,
        target=1,
        state=DeploymentState(deployment),
        reason="why",
    )
    return app_status(app, AppSpec(image="x"), pairs, change)


@pytest.mark.parametrize(
    ("phase", "made"),
    [
        ("running", status(seen(0, READY), seen(1, READY))),
        ("running", status(replicas=0)),
        ("deploying", status(seen(0, READY), seen(1, STARTING), deployment="running")),
        ("deploying", status(seen(0, READY), seen(1, STARTING))),
        ("degraded", status(seen(0, READY), seen(1, BACKOFF))),
        ("degraded", status(seen(0, READY), seen(1, SICK))),
        ("degraded", status(seen(0, READY), seen(1, READY), deployment="failed")),
        ("failing", status(seen(0, BACKOFF), seen(1, BACKOFF))),
        ("failing", status(seen(0, NOTHING, STATE.FAILED), seen(1, NOTHING, STATE.FAILED))),
        (
            "pending",
            status(seen(0, NOTHING, STATE.PENDING, reason="no room"), seen(1, NOTHING, STATE.PENDING)),
        ),
        ("pending", status(seen(0, NOTHING, STATE.PENDING, reason="no room"), deployment="running")),
        ("completed", status(seen(0, NOTHING, STATE.COMPLETE), seen(1, NOTHING, STATE.COMPLETE))),
        ("stopped", status(seen(0, READY, desired=Desired.STOP), stopped=True)),
        ("stopped", status(stopped=True, deployment="failed")),
    ],
)
def test_phases(phase: str, made: AppStatus) -> None:
    assert made.phase == phase


def test_the_message_says_what_to_know() -> None:
    pending = (
        seen(0, NOTHING, STATE.PENDING, reason="0 of 1 nodes fit"),
        seen(1, NOTHING, STATE.PENDING, reason="0 of 1 nodes fit"),
    )
    assert status(*pending).message == "2 replicas: 0 of 1 nodes fit"
    assert status(seen(0, BACKOFF), seen(1, READY)).message == "exited with code 1"
    assert status(*pending, deployment="failed").message == "revision 1 failed: why"
    assert status(seen(0, READY), seen(1, READY)).message == ""


def test_counts() -> None:
    made = status(seen(0, READY), seen(1, BACKOFF), seen(2, READY, desired=Desired.STOP))
    assert (made.ready, made.running, made.desired, made.restarts) == (1, 2, 2, 4)
    assert status(seen(0, READY), stopped=True).desired == 0


def test_only_the_newest_attempt_of_a_slot_counts() -> None:
    old, _ = seen(0, NOTHING, STATE.FAILED, reason="long ago")
    new = seen(0, READY)[0].__class__(
        id="b", project="p", app="x", app_name="web", revision=1, slot=0, attempt=2, state=STATE.HEALTHY
    )
    made = status((old, NOTHING), (new, READY), replicas=1)
    assert (made.phase, made.message) == ("running", "")
