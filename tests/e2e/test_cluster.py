"""One hive of several real daemons, each in a network namespace of its own: it grows while an app serves, loses
machines, is cut off from power, and lets nobody in whom nobody let in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from hivemind.daemon.hive.invitation import read
from hivemind.errors import Forbidden, HivemindError, Unauthenticated, Unavailable
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.cluster import JoinRequest, JoinTokenRequest, NewJoinToken
from hivemind.model.hive import NodeRole
from tests.e2e.cluster import Hatch, Member, Rig, decides, primary, visitors
from tests.e2e.daemon import running
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real
SITE = "http://127.0.0.1:8080/"
SLEEP = ("sleep", "100000")


@pytest.fixture(scope="module")
def rig(hatch: Hatch) -> Rig:
    return Rig(hatch)


@pytest.fixture(scope="module")
def grown(rig: Rig) -> Iterator[list[Member]]:
    """Four nodes. The first one ran an app before it founded the hive, which served all the time while the others
    came; the second one brought an app of its own."""
    members = rig.start(4)
    first, second, *others = members
    for member in (first, second):
        member.cli("project", "allow", "default", "processes")
    deploy(first, "site", 1, sys.executable, "-m", "http.server", "8080")
    deploy(second, "brought", 1, *SLEEP)
    served, brought = first.ready("site", 1), second.ready("brought", 1)
    eventually(lambda: first.fetch(SITE), "it serves")
    with visitors(lambda: first.fetch(SITE)) as problems:
        first.cli("cluster", "init", "--name", "office")
        token = first.token("--uses", "3")
        for number, member in enumerate((second, *others), 2):
            member.join(token)
            eventually(lambda count=number: decides(first, count), f"{number} voters")
    assert not problems
    assert [a.status.pid for a in first.ready("site", 1)] == [a.status.pid for a in served]
    assert [(a.id, a.status.pid) for a in second.ready("brought", 1)] == [
        (a.id, a.status.pid) for a in brought
    ]
    yield members


@pytest.fixture
def hive(grown: list[Member]) -> Iterator[list[Member]]:
    """The same four, all there and agreed to be there before and after each test."""
    yield grown
    for member in grown:
        eventually(lambda m=member: whole(m), f"everybody there, as {member.name} sees it")


def whole(member: Member) -> bool:
    status = member.status()
    return status.can_decide and all(
        m.agreed == "ready" and m.reach in ("self", "alive") for m in status.members
    )


def deploy(member: Member, name: str, replicas: int, *command: str) -> None:
    spec = AppSpec(runtime="process", command=command)
    member.client.apps.deploy(AppManifest(name=name, replicas=replicas, spec=spec))


def places(member: Member, app: str) -> dict[str, str]:
    """Live replicas, and the nodes on which they run."""
    return {a.id: a.node for a in member.replicas(app) if a.status.ready}


def test_it_grows_while_an_app_serves_and_nothing_is_restarted(hive: list[Member]) -> None:
    for member in hive:
        assert {app.name for app in member.client.apps.list()} == {"site", "brought"}
        assert [m.name for m in member.status().members] == ["n1", "n2", "n3", "n4"]
        assert decides(member, 4)


def test_every_node_takes_wishes_and_shows_all_that_runs(hive: list[Member]) -> None:
    deploy(hive[3], "spread", 4, *SLEEP)
    for member in hive:
        member.ready("spread", 4)
        assert set(places(member, "spread").values()) == {"n1", "n2", "n3", "n4"}
        assert member.cli("ps").out.count("spread.") == 4
    hive[1].client.apps.delete("spread")
    eventually(lambda: all(not member.replicas("spread") for member in hive), "it is gone everywhere")


def test_a_machine_that_dies_is_replaced_and_takes_up_its_place_again(hive: list[Member]) -> None:
    deploy(hive[0], "kept", 4, *SLEEP)
    before = {a.id: a.node for a in hive[0].ready("kept", 4)}
    dead = primary(hive)
    left = [member for member in hive if member is not dead]
    dead.die()
    try:
        for member in left:
            eventually(lambda m=member: m.seen(dead.name).agreed == "lost", f"{dead.name} counts as lost")
            eventually(lambda m=member: len(places(m, "kept")) == 4, "four replicas again")
            assert dead.name not in places(member, "kept").values()
        stayed = {id: node for id, node in before.items() if node != dead.name}
        assert stayed.items() <= places(left[0], "kept").items()
        assert primary(left) is not dead
        deploy(left[1], "meanwhile", 1, *SLEEP)
    finally:
        dead.rise()
    eventually(lambda: whole(dead), "it is back")
    assert {app.name for app in dead.client.apps.list()} >= {"kept", "meanwhile"}
    assert len(dead.ready("kept", 4)) == 4
    for app in ("kept", "meanwhile"):
        hive[0].client.apps.delete(app)


def test_a_node_that_is_cut_off_keeps_what_it_runs_and_says_that_it_cannot_decide(hive: list[Member]) -> None:
    deploy(hive[0], "steady", 4, *SLEEP)
    hive[0].ready("steady", 4)
    alone = hive[3]
    pids = alone.pids_here()
    alone.cut()
    try:
        eventually(lambda: not alone.status().can_decide, "it notices")
        assert "voters are there" in alone.status().why_not
        assert {app.name for app in alone.client.apps.list()} >= {"site", "steady"}
        with pytest.raises(Unavailable, match="cannot decide now"):
            alone.client.apps.scale("steady", 5)
        assert all(map(running, pids))
        hive[0].client.apps.scale("steady", 3)
    finally:
        alone.mend()
    eventually(lambda: alone.client.apps.get("steady").replicas == 3, "it learns what was agreed")
    hive[0].client.apps.delete("steady")


def test_a_power_cut_loses_nothing_that_was_agreed(hive: list[Member]) -> None:
    deploy(hive[2], "agreed", 2, *SLEEP)
    hive[2].ready("agreed", 2)
    sequence = hive[2].status().sequence
    for member, pids in [(member, member.pids_here()) for member in hive]:
        member.power_off(pids)
    for member in hive:
        member.launch()
    for member in hive:
        eventually(member._answers, f"{member.name} answers")
        member.ready("agreed", 2)
        assert member.status().sequence >= sequence
    hive[0].client.apps.delete("agreed")


@pytest.fixture
def stranger(rig: Rig) -> Iterator[Member]:
    """A machine that is of no hive before the test, nor after it."""
    (member,) = rig.start(1)
    yield member
    if member.process and member.process.poll() is None and member.status().name:
        member.cli("cluster", "leave", "--yes")
    member.destroy()


def invite(member: Member, *, role: NodeRole = "member", expires: float = 3600.0) -> NewJoinToken:
    return member.client.cluster.new_token(JoinTokenRequest(role=role, expires=expires))


def refused(member: Member, token: str, why: str, *, forget_own: bool = False) -> None:
    with pytest.raises(HivemindError, match=why):
        list(member.client.cluster.join(JoinRequest(token=token, forget_own=forget_own)))
    assert not member.status().name and not member.status().step


def join(member: Member, token: str, *, forget_own: bool = False) -> None:
    steps = list(member.client.cluster.join(JoinRequest(token=token, forget_own=forget_own)))
    assert steps[-1].step == "ready"


def test_only_whom_somebody_let_in_comes_in(hive: list[Member], stranger: Member) -> None:
    first = hive[0]
    good, revoked, late = invite(first), invite(first), invite(first, expires=0.5)
    first.cli("cluster", "token", "rm", revoked.id[:12])
    eventually(lambda: late.id not in {t.id for t in first.client.cluster.tokens()}, "it expires")
    elsewhere = replace(read(good.token), hive="another").text()
    refused(stranger, good.token[:-3], "not a whole join token")
    refused(stranger, revoked.token, "revoked")
    refused(stranger, late.token, "expired")
    refused(stranger, elsewhere, "no node of the hive")
    join(stranger, good.token)
    eventually(lambda: stranger.seen("n1").reach == "alive", "it reaches the others")
    stranger.cli("cluster", "leave", "--yes")
    refused(stranger, good.token, "used up")


def test_whose_token_names_nobody_that_is_there_finds_others_by_the_table(
    hive: list[Member], stranger: Member
) -> None:
    gone, any_other = hive[3], hive[1]
    refused(stranger, gone.token("--no-addresses"), "nobody is known who could be asked")
    invitation = read(invite(gone).token)
    assert invitation.addresses[0] == (gone.address, 7946)
    token = replace(invitation, addresses=invitation.addresses[:1]).text()
    gone.cut()
    try:
        said = stranger.cli("cluster", "join", token, "--seed", f"{any_other.address}:7946").err
    finally:
        gone.mend()
    assert re.search(r"join: ready  let in at 192\.0\.2\.\d:7946, found by the DHT", said)
    assert f"let in at {gone.address}" not in said


def test_what_has_the_same_name_keeps_a_node_out_unless_it_is_given_up(
    hive: list[Member], stranger: Member
) -> None:
    stranger.cli("project", "allow", "default", "processes")
    (theirs,) = hive[1].ready("site", 1)
    deploy(stranger, "site", 1, *SLEEP)
    (mine,) = stranger.ready("site", 1)
    token = invite(hive[1]).token
    refused(stranger, token, "app default/site")
    assert [a.id for a in stranger.ready("site", 1)] == [mine.id] and running(mine.status.pid)
    join(stranger, token, forget_own=True)
    eventually(lambda: not running(mine.status.pid), "what was given up is stopped")
    assert [a.id for a in stranger.ready("site", 1)] == [theirs.id]


@pytest.mark.parametrize("step", ["admitted", "adopting", "catching-up"])
def test_a_join_that_is_cut_short_goes_on_by_itself(hive: list[Member], stranger: Member, step: str) -> None:
    stranger.cli("project", "allow", "default", "processes")
    deploy(stranger, "carried", 1, *SLEEP)
    (before,) = stranger.ready("carried", 1)
    joining = stranger.client.cluster.join(JoinRequest(token=invite(hive[2]).token))
    seen = next(each.step for each in joining if each.step in (step, "ready"))
    stranger.kill()
    assert seen == step
    with pytest.raises(HivemindError):
        list(joining)
    stranger.start()
    eventually(lambda: len(stranger.status().members) == 5 and whole(stranger), "it is in")
    (after,) = hive[0].ready("carried", 1)
    assert (after.id, after.status.pid, after.node) == (before.id, before.status.pid, stranger.name)
    hive[0].client.apps.delete("carried")
    eventually(lambda: not stranger.replicas("carried"), "it is gone")


def test_a_worker_works_and_does_not_administer(hive: list[Member], stranger: Member) -> None:
    join(stranger, invite(hive[0], role="worker").token)
    deploy(hive[0], "work", 5, *SLEEP)
    assert stranger.name in {a.node for a in hive[0].ready("work", 5)}
    assert stranger.status().ledger == "learner" and decides(stranger, 4)
    with pytest.raises((Forbidden, Unauthenticated)):
        stranger.client.apps.scale("work", 6)
    with pytest.raises((Forbidden, Unauthenticated)):
        invite(stranger)
    hive[0].client.cluster.expel(stranger.name)
    eventually(lambda: not stranger.status().name, "it is alone again")
    assert stranger.name not in {a.node for a in hive[0].ready("work", 5)}
    hive[0].client.apps.delete("work")


def test_a_witness_decides_and_runs_nothing(hive: list[Member], stranger: Member) -> None:
    join(stranger, invite(hive[0], role="witness").token)
    eventually(lambda: decides(hive[0], 5), "five voters")
    deploy(hive[0], "many", 5, *SLEEP)
    assert stranger.name not in {a.node for a in hive[0].ready("many", 5)}
    assert stranger.pids_here() == []
    hive[0].client.apps.delete("many")


def test_who_leaves_takes_nothing_along_and_leaves_nothing_behind(
    hive: list[Member], stranger: Member
) -> None:
    join(stranger, invite(hive[0]).token)
    deploy(hive[0], "moved", 5, *SLEEP)
    there = [a for a in hive[0].ready("moved", 5) if a.node == stranger.name]
    assert there
    stranger.cli("cluster", "leave", "--yes")
    assert not any(running(a.status.pid) for a in there)
    assert len(hive[0].ready("moved", 5)) == 5
    assert stranger.client.apps.list() == [] and not stranger.status().name
    assert [m.name for m in hive[0].status().members] == ["n1", "n2", "n3", "n4"]
    hive[0].client.apps.delete("moved")
