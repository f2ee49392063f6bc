"""What operations on apps make the hive do."""

from __future__ import annotations

import pytest

from hive import GIB, Hive
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.app import Restart, Update
from hivemind.model.deployment import DeploymentState
from hivemind.model.network import Port
from hivemind.model.template import Resources
from hivemind.state.operations import (
    DeleteApp,
    DrainNode,
    RestartApp,
    ScaleApp,
    StartApp,
    StopApp,
)


def states(hive: Hive, name: str = "web") -> list[tuple[int, int, str]]:
    return [(a.slot, a.revision, a.state.name) for a in hive.live(name) if a.desired is Desired.RUN]


def test_a_deploy_places_every_replica_and_succeeds_when_all_are_healthy() -> None:
    hive = Hive()
    outcome = hive.deploy(replicas=3)
    assert states(hive) == [(0, 1, "PLACED"), (1, 1, "PLACED"), (2, 1, "PLACED")]
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.RUNNING
    hive.starts_done()
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.SUCCEEDED
    assert hive.app().stable == 1


def test_the_same_spec_again_changes_nothing() -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    before = hive.state.digest()
    version = hive.app().version
    assert hive.deploy(replicas=2).version == version
    assert not [c for c in hive.state.changes if c.table != "replies"]
    assert before != hive.state.digest(), "only the remembered reply is new"


def test_an_update_replaces_one_replica_at_a_time_and_never_stops_before_the_new_one_is_healthy() -> None:
    hive = Hive()
    hive.deploy(replicas=3)
    hive.settle()
    hive.deploy(replicas=3, image="web:2")
    for done in range(3):
        healthy = [a for a in hive.live() if a.state is AllocationState.HEALTHY and a.desired is Desired.RUN]
        assert len(healthy) == 3
        starting = [a for a in hive.live() if a.state is AllocationState.PLACED]
        assert [a.slot for a in starting] == [done]
        hive.starts_done()
        hive.stops_done()
    assert {a.revision for a in hive.live()} == {2}
    assert hive.app().stable == 2


def test_stop_first_waits_until_the_old_one_is_gone() -> None:
    hive = Hive()
    update = Update(order="stop-first")
    hive.deploy(replicas=2, update=update)
    hive.settle()
    hive.deploy(replicas=2, image="web:2", update=update)
    assert [(a.slot, a.desired) for a in hive.live()] == [(0, Desired.STOP), (1, Desired.RUN)]
    hive.stops_done()
    assert states(hive) == [(0, 2, "PLACED"), (1, 1, "HEALTHY")]
    hive.starts_done()
    assert [(a.slot, a.revision, a.desired) for a in hive.live()] == [
        (0, 2, Desired.RUN),
        (1, 1, Desired.STOP),
    ]
    hive.settle()
    assert states(hive) == [(0, 2, "HEALTHY"), (1, 2, "HEALTHY")]


def test_a_bad_revision_stops_by_itself_and_the_old_replicas_go_on() -> None:
    hive = Hive()
    hive.deploy(replicas=3)
    hive.settle()
    outcome = hive.deploy(replicas=3, image="web:bad")
    hive.report(lambda a: a.revision == 2, AllocationState.PLACED, failing=True, reason="exit code 1")
    ended = hive.state.deployments[outcome.deployment]
    assert ended.state is DeploymentState.FAILED
    assert "exit code 1" in ended.reason
    assert hive.app().revision == 1
    assert [(a.slot, a.desired) for a in hive.live() if a.revision == 2] == [(0, Desired.STOP)]
    hive.settle()
    assert states(hive) == [(0, 1, "HEALTHY"), (1, 1, "HEALTHY"), (2, 1, "HEALTHY")]


def test_a_bad_revision_that_got_through_in_part_is_rolled_back() -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    hive.deploy(replicas=2, image="web:bad")
    hive.starts_done()
    hive.stops_done()
    hive.report(
        lambda a: a.revision == 2 and a.slot == 1, AllocationState.PLACED, failing=True, reason="crash"
    )
    hive.settle()
    assert states(hive) == [(0, 1, "HEALTHY"), (1, 1, "HEALTHY")]


def test_a_replica_that_never_gets_healthy_fails_the_deployment_at_its_deadline() -> None:
    hive = Hive()
    outcome = hive.deploy(update=Update(healthy_deadline=60))
    due = hive.state.deadline()
    assert due == hive.time + 60_000
    hive.wait(59)
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.RUNNING
    hive.wait(1)
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.FAILED
    assert hive.state.deadline() is None
    assert states(hive) == [(0, 1, "PLACED")], "there is nothing to go back to, so it goes on trying"


def test_a_newer_deploy_supersedes_the_running_one() -> None:
    hive = Hive()
    first = hive.deploy()
    second = hive.deploy(image="web:2")
    assert hive.state.deployments[first.deployment].state is DeploymentState.SUPERSEDED
    assert hive.state.deployments[second.deployment].state is DeploymentState.RUNNING
    hive.settle()
    assert states(hive) == [(0, 2, "HEALTHY")]


@pytest.mark.parametrize("verb", [StopApp, DeleteApp])
def test_an_app_that_is_taken_away_supersedes_its_running_deployment(verb: type) -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    outcome = hive.deploy(replicas=2, image="web:2")
    hive.do(verb(project="default", name="web"))
    ended = hive.state.deployments[outcome.deployment]
    assert ended.state is DeploymentState.SUPERSEDED
    assert ended.reason == ("the app was stopped" if verb is StopApp else "the app was deleted")
    hive.settle()
    assert not [d for d in hive.state.deployments.values() if d.state is DeploymentState.RUNNING]


def test_a_revision_stopped_before_it_was_healthy_is_not_one_to_fall_back_to() -> None:
    hive = Hive()
    hive.deploy()
    hive.settle()
    hive.deploy(image="bad:1")
    hive.do(StopApp(project="default", name="web"))
    hive.settle()
    assert (hive.app().stable, hive.app().revision) == (1, 2)
    outcome = hive.do(StartApp(project="default", name="web"))
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.RUNNING
    hive.report(lambda a: a.revision == 3, AllocationState.PLACED, failing=True, reason="crash")
    assert hive.state.deployments[outcome.deployment].state is DeploymentState.FAILED
    hive.settle()
    assert states(hive) == [(0, 1, "HEALTHY")]


def test_scaling_up_and_down() -> None:
    hive = Hive()
    hive.deploy(replicas=1)
    hive.settle()
    hive.do(ScaleApp(project="default", name="web", replicas=5))
    assert len(hive.live()) == 5
    hive.settle()
    hive.do(ScaleApp(project="default", name="web", replicas=2))
    assert sorted(a.slot for a in hive.live() if a.desired is Desired.STOP) == [2, 3, 4]
    hive.settle()
    assert states(hive) == [(0, 1, "HEALTHY"), (1, 1, "HEALTHY")]
    assert hive.app().latest == 1


@pytest.mark.parametrize("replicas", [-1, 10_001])
def test_absurd_numbers_of_replicas_are_refused(replicas: int) -> None:
    hive = Hive()
    hive.deploy()
    assert hive.do(ScaleApp(project="default", name="web", replicas=replicas), refused=True).code == "invalid"


def test_a_finished_one_shot_stays_finished_until_it_is_started_again() -> None:
    hive = Hive()
    hive.deploy(restart=Restart(policy="no"))
    hive.report(lambda a: True, AllocationState.COMPLETE, exit_code=0)
    assert not hive.live()
    hive.do(ScaleApp(project="default", name="web", replicas=1))
    assert not hive.live()
    hive.do(StartApp(project="default", name="web"))
    assert states(hive) == [(0, 2, "PLACED")]


def test_a_failed_one_shot_fails_its_deployment() -> None:
    hive = Hive()
    outcome = hive.deploy(restart=Restart(policy="no"))
    hive.report(lambda a: True, AllocationState.FAILED, exit_code=3, reason="exit code 3")
    deployment = hive.state.deployments[outcome.deployment]
    assert (deployment.state, deployment.reason) == (DeploymentState.FAILED, "replica 0 failed: exit code 3")


def test_stop_start_restart() -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    hive.do(StopApp(project="default", name="web"))
    hive.settle()
    assert not hive.live()
    hive.do(StartApp(project="default", name="web"))
    assert states(hive) == [(0, 1, "PLACED"), (1, 1, "PLACED")]
    hive.settle()
    hive.do(RestartApp(project="default", name="web"))
    assert len([a for a in hive.live() if a.state is AllocationState.PLACED]) == 1
    hive.settle()
    assert states(hive) == [(0, 2, "HEALTHY"), (1, 2, "HEALTHY")]


def test_a_deleted_app_frees_its_name_at_once_and_vanishes_when_nothing_runs() -> None:
    hive = Hive()
    hive.deploy(replicas=2, ports=(Port(container=80, host=8080),))
    hive.settle()
    old = hive.app().id
    hive.do(DeleteApp(project="default", name="web"))
    assert hive.state.find_app("default", "web") is None
    hive.deploy(replicas=1, ports=(Port(container=80, host=8080),))
    assert hive.app().id != old
    hive.settle()
    assert old not in hive.state.apps
    assert {r.app for r in hive.state.revisions.values()} == {hive.app().id}
    assert {a.app for a in hive.state.allocations.values()} == {hive.app().id}


def test_no_room_is_explained_and_healed_when_room_comes() -> None:
    hive = Hive(memory=1 * GIB)
    hive.deploy(replicas=2, resources=Resources(memory=GIB))
    [waiting] = [a for a in hive.live() if a.state is AllocationState.PENDING]
    assert waiting.reason == "0 of 1 node fit: 1 lacks 1GiB memory"
    hive.join("bigger", memory=4 * GIB)
    assert {a.node for a in hive.live()} == {"node-0", "bigger"}


def test_a_drained_node_is_left_and_with_nowhere_to_go_the_replica_waits() -> None:
    hive = Hive(nodes=2)
    hive.deploy(replicas=2)
    hive.settle()
    assert {a.node for a in hive.live()} == {"node-0", "node-1"}
    hive.do(DrainNode(name="node-0"))
    hive.settle()
    assert {a.node for a in hive.live()} == {"node-1"}
    hive.do(DrainNode(name="node-1"))
    hive.settle()
    assert {(a.state, a.reason) for a in hive.live()} == {
        (AllocationState.PENDING, "0 of 2 nodes fit: 2 are drained")
    }


def test_ports_and_service_names_belong_to_one_app() -> None:
    hive = Hive()
    hive.deploy("one", ports=(Port(container=80, host=8080),), service="web.local")
    taken = hive.deploy("two", ports=(Port(container=90, host=8080),), refused=True)
    assert (taken.code, taken.message) == (
        "conflict",
        "port 8080/tcp is already published by app 'one' (project default)",
    )
    assert hive.deploy("three", service="web.local", refused=True).code == "conflict"
    hive.deploy("four", ports=(Port(container=80, host=8080, protocol="udp"),))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"image": ""}, "an app needs an image or a command"),
        ({"image": "UPPER"}, "'UPPER' is not an image reference"),
        ({"constraints": ("nonsense",)}, "nonsense"),
        ({"ports": (Port(container=1, host=80), Port(container=2, host=80))}, "the same host port"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(spec: dict[str, object], message: str) -> None:
    hive = Hive()
    outcome = hive.deploy(refused=True, **spec)
    assert outcome.code == "invalid"
    assert message in outcome.message
    assert not hive.state.apps
    assert not hive.state.deployments


def test_a_report_never_lowers_a_state_and_is_only_taken_from_the_node_itself() -> None:
    hive = Hive(nodes=2)
    hive.deploy(replicas=1)
    hive.settle()
    [mine] = hive.live()
    hive.report(lambda a: True, AllocationState.PLACED, failing=True, reason="late")
    assert hive.live()[0].state is AllocationState.HEALTHY
    from hivemind.state.operations import AllocationReport, ReportAllocations

    lie = ReportAllocations(
        node=mine.node, reports=(AllocationReport(id=mine.id, state=AllocationState.LOST),)
    )
    other = "node-1" if mine.node == "node-0" else "node-0"
    assert hive.do(lie, by=other, refused=True).code == "forbidden"


def test_a_repeated_nonce_is_answered_and_not_done_again() -> None:
    hive = Hive()
    hive.deploy()
    scale = ScaleApp(project="default", name="web", replicas=3)
    first = hive.do(scale, nonce="once")
    hive.do(ScaleApp(project="default", name="web", replicas=1))
    assert hive.do(scale, nonce="once") == first
    assert hive.app().replicas == 1


def test_a_stranger_is_refused() -> None:
    hive = Hive()
    outcome = hive.do(ScaleApp(project="default", name="web", replicas=1), by="stranger", refused=True)
    assert outcome.code == "forbidden"
    assert not [r for r in hive.state.replies.values() if r.signer == "stranger"]


def test_of_an_app_that_once_was_large_only_the_last_few_are_remembered() -> None:
    hive = Hive(memory=64 * GIB, cpus=64)
    hive.deploy(replicas=40)
    hive.settle()
    hive.do(ScaleApp(project="default", name="web", replicas=1))
    hive.settle()
    ended = [a for a in hive.allocations() if not a.live]
    assert [a.slot for a in ended] == list(range(30, 40)), "the newest of them"
    assert states(hive) == [(0, 1, "HEALTHY")]
    hive.do(ScaleApp(project="default", name="web", replicas=40))
    hive.settle()
    assert len(hive.live()) == 40
