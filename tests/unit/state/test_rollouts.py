"""Going back, holding on, giving up: what becomes of an app between two revisions."""

from __future__ import annotations

from typing import Any

import pytest

from hive import GIB, Hive
from hivemind.errors import Invalid
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.app import AppSpec, Restart, Update
from hivemind.model.deployment import Deployment, DeploymentState
from hivemind.model.mount import VolumeMount
from hivemind.model.network import Port
from hivemind.state.operations import (
    DeleteApp,
    PauseApp,
    RestartApp,
    ResumeApp,
    RollbackApp,
    ScaleApp,
)

WEB: dict[str, Any] = {"project": "default", "name": "web"}


def images(hive: Hive) -> list[str]:
    return [hive.state.spec_of(a).image for a in hive.live() if a.desired is Desired.RUN]


def two_revisions(replicas: int = 2, **spec: Any) -> Hive:
    hive = Hive()
    hive.deploy(replicas=replicas, **spec)
    hive.settle()
    hive.deploy(replicas=replicas, image="web:2", **spec)
    hive.settle()
    return hive


def running(hive: Hive) -> Deployment:
    found = hive.state.running_deployment(hive.app().id)
    assert found
    return found


def fail(hive: Hive, revision: int) -> None:
    hive.report(lambda a: a.revision == revision, AllocationState.PLACED, failing=True, reason="crash")


# -- rolling back --------------------------------------------------------------------------------------------------


def test_rolling_back_twice_is_where_one_began() -> None:
    hive = two_revisions()
    for expected in ("web:1", "web:2", "web:1"):
        outcome = hive.do(RollbackApp(**WEB))
        hive.settle()
        assert hive.state.deployments[outcome.deployment].state is DeploymentState.SUCCEEDED
        assert images(hive) == [expected] * 2
    last = hive.state.revision(hive.app().id, 5)
    assert (last.cause, last.origin, hive.app().stable) == ("rollback", 3, 5)


def test_only_what_was_good_is_gone_back_to_unless_it_is_named() -> None:
    hive = two_revisions()
    hive.deploy(replicas=2, image="web:bad")
    fail(hive, 3)
    hive.settle()
    assert hive.app().revision == 2
    hive.do(RollbackApp(**WEB))
    hive.settle()
    assert images(hive) == ["web:1"] * 2
    hive.do(RollbackApp(**WEB, to=3))
    assert "web:bad" in images(hive)


def test_what_cannot_be_gone_back_to() -> None:
    hive = Hive()
    hive.deploy()
    hive.settle()
    refused = hive.do(RollbackApp(**WEB), refused=True)
    assert (refused.code, refused.message) == (
        "conflict",
        "app 'web' has no earlier revision that was healthy",
    )
    refused = hive.do(RollbackApp(**WEB, to=7), refused=True)
    assert (refused.code, refused.message) == ("not-found", "app 'web' has no revision 7; it has 1")
    same = hive.do(RollbackApp(**WEB, to=1))
    assert (same.deployment, hive.app().latest) == ("", 1), "as kubectl: nothing to do"


def test_a_port_that_was_taken_meanwhile_stops_a_roll_back() -> None:
    hive = Hive()
    hive.deploy(ports=(Port(container=80, host=8080),))
    hive.settle()
    hive.deploy(ports=())
    hive.settle()
    hive.deploy("other", ports=(Port(container=80, host=8080),))
    assert "already published" in hive.do(RollbackApp(**WEB), refused=True).message


# -- pausing -------------------------------------------------------------------------------------------------------


def test_while_paused_new_revisions_wait_and_what_runs_is_scaled_and_healed() -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    hive.do(PauseApp(**WEB))
    hive.deploy(replicas=2, image="web:2")
    hive.settle()
    assert images(hive) == ["web:1"] * 2
    hive.do(ScaleApp(**WEB, replicas=3))
    hive.settle()
    assert images(hive) == ["web:1"] * 3
    hive.report(lambda a: a.slot == 0, AllocationState.LOST)
    hive.settle()
    assert images(hive) == ["web:1"] * 3, "a lost one is replaced by one of its kind"
    hive.wait(100_000)
    assert (running(hive).state, hive.state.deadline()) == (DeploymentState.RUNNING, None)
    outcome = hive.do(ResumeApp(**WEB))
    assert outcome.deployment == running(hive).id
    assert sum(image == "web:2" for image in images(hive)) == 1
    hive.settle()
    assert images(hive) == ["web:2"] * 3


def test_a_pause_in_the_middle_ends_what_was_begun_and_begins_nothing() -> None:
    hive = Hive()
    hive.deploy(replicas=3)
    hive.settle()
    hive.deploy(replicas=3, image="web:2")
    hive.do(PauseApp(**WEB))
    hive.settle()
    assert sorted(images(hive)) == ["web:1", "web:1", "web:2"]
    hive.report(lambda a: a.revision == 2, AllocationState.LOST)
    hive.settle()
    assert sorted(images(hive)) == ["web:1", "web:1", "web:2"]
    hive.do(ResumeApp(**WEB))
    hive.settle()
    assert images(hive) == ["web:2"] * 3


def test_after_a_pause_every_deadline_begins_anew() -> None:
    hive = Hive()
    hive.deploy(update=Update(healthy_deadline=60, progress_deadline=90))
    hive.settle()
    hive.deploy(image="web:2", update=Update(healthy_deadline=60, progress_deadline=90))
    hive.do(PauseApp(**WEB))
    hive.wait(1000)
    hive.do(ResumeApp(**WEB))
    assert hive.state.deadline() == hive.time + 60_000
    hive.wait(59)
    assert running(hive)
    hive.wait(1)
    assert hive.app().revision == 1


def test_what_kubectl_refuses_of_paused_apps() -> None:
    hive = two_revisions()
    assert hive.do(ResumeApp(**WEB), refused=True).code == "conflict"
    hive.do(PauseApp(**WEB))
    for operation in (PauseApp(**WEB), RestartApp(**WEB), RollbackApp(**WEB)):
        refused = hive.do(operation, refused=True)
        assert refused.code == "conflict" and "hivemind rollout resume web" in refused.hint


# -- failing -------------------------------------------------------------------------------------------------------


def test_without_roll_back_a_failed_update_stays_as_it_is() -> None:
    hive = Hive()
    update = Update(auto_rollback=False)
    hive.deploy(replicas=3, update=update)
    hive.settle()
    hive.deploy(replicas=3, image="web:2", update=update)
    hive.starts_done()
    hive.stops_done()
    fail(hive, 2)
    before = sorted(images(hive))
    assert before.count("web:1") == 2, "one was replaced, one is in change beside the old one"
    hive.settle()
    assert "web:1" in images(hive) and hive.app().revision == 2 and hive.app().stable == 1
    assert hive.state.running_deployment(hive.app().id) is None
    hive.report(lambda a: a.revision == 1, AllocationState.LOST)
    hive.starts_done()
    assert "web:1" in images(hive), "what runs is kept running"
    hive.deploy(replicas=3, image="web:3", update=update)
    hive.settle()
    assert images(hive) == ["web:3"] * 3


def test_an_update_without_progress_fails_and_one_with_progress_does_not() -> None:
    hive = Hive(memory=64 * GIB, cpus=64)
    update = Update(healthy_deadline=1000, progress_deadline=60)
    hive.deploy(replicas=3, update=update)
    hive.settle()
    hive.deploy(replicas=3, image="web:2", update=update)
    for _ in range(2):
        hive.wait(50)
        hive.starts_done()
        hive.stops_done()
    assert (running(hive).done, running(hive).total) == (2, 3)
    hive.wait(59)
    assert running(hive)
    hive.wait(2)
    [failed] = [d for d in hive.state.deployments.values() if d.state is DeploymentState.FAILED]
    assert failed.reason == "no replica got healthy for 60s"
    hive.settle()
    assert images(hive) == ["web:1"] * 3


def test_a_progress_deadline_of_nothing_is_none() -> None:
    hive = Hive()
    hive.deploy(update=Update(healthy_deadline=10**6, progress_deadline=0))
    hive.wait(900_000)
    assert running(hive)


# -- the order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "mounts", "order"),
    [
        (Update(), (), "start-first"),
        (Update(), (VolumeMount(source="data", target="/data"),), "stop-first"),
        (Update(), (VolumeMount(source="data", target="/data", readonly=True),), "start-first"),
        (Update(order="start-first"), (VolumeMount(source="data", target="/data"),), "start-first"),
        (Update(max_surge=0), (), "stop-first"),
    ],
)
def test_auto_is_decided_by_what_two_revisions_would_share(
    update: Update, mounts: tuple[VolumeMount, ...], order: str
) -> None:
    assert AppSpec(image="web:1", update=update, mounts=mounts).order == order


def test_start_first_without_room_to_start_is_a_contradiction() -> None:
    with pytest.raises(Invalid, match="at least one more replica"):
        AppSpec(image="web:1", update=Update(order="start-first", max_surge=0)).validate()


def test_the_surge_bounds_how_many_change_at_once() -> None:
    hive = Hive()
    update = Update(max_parallel=3, max_surge=1)
    hive.deploy(replicas=4, update=update)
    hive.settle()
    hive.deploy(replicas=4, image="web:2", update=update)
    assert images(hive).count("web:2") == 1


# -- what is kept --------------------------------------------------------------------------------------------------


def test_twenty_revisions_and_deployments_are_kept_and_nothing_of_a_deleted_app() -> None:
    hive = Hive()
    for number in range(30):
        hive.deploy(image=f"web:{number}")
        hive.settle()
    app = hive.app()
    assert [r.number for r in hive.state.revisions_of(app)] == list(range(11, 31))
    assert [d.target for d in hive.state.deployments_of(app.id)] == list(range(11, 31))
    hive.do(DeleteApp(**WEB))
    hive.settle()
    assert (len(hive.state.revisions), len(hive.state.deployments)) == (0, 0)


# -- what the properties found -------------------------------------------------------------------------------------


def one_shots_taken_back() -> Hive:
    """A replica of the good revision ended for good while a bad one was on its way; then it was taken back."""
    hive = Hive()
    never: dict[str, Any] = {"restart": Restart(policy="no")}
    hive.deploy(replicas=2, **never)
    hive.settle()
    hive.deploy(replicas=2, image="web:bad", **never)
    hive.report(lambda a: a.revision == 1 and a.slot == 0, AllocationState.FAILED, exit_code=1)
    fail(hive, 2)
    hive.settle()
    return hive


def test_what_a_revision_that_was_taken_back_left_goes_also_where_nothing_more_is_to_run() -> None:
    hive = one_shots_taken_back()
    assert [(a.slot, a.revision) for a in hive.live()] == [(1, 1)]


def test_that_a_replica_ended_for_good_is_not_forgotten() -> None:
    hive = one_shots_taken_back()
    for number in range(4):
        hive.deploy(replicas=2, image=f"web:bad-{number}", restart=Restart(policy="no"))
        fail(hive, 3 + number)
        hive.settle()
    slot = hive.state.allocations_in(hive.app().id, 0)
    assert (slot[0].revision, slot[0].state) == (1, AllocationState.FAILED)
    assert [(a.slot, a.revision) for a in hive.live()] == [(1, 1)]
