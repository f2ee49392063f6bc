"""What a hive of real daemons does about single faults: a lost machine, a line that is cut, the power of a whole house,
a node that lies, too few that are left. Judged by what really ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from hivemind.errors import HivemindError, Unavailable
from hivemind.model.app import AppManifest
from hivemind.model.base import decode, encode
from tests.e2e.beats import PERIOD, Beats, Life, overlaps
from tests.e2e.cluster import Hatch, Member, Rig, decides, primary, whole
from tests.e2e.eventually import eventually
from tests.e2e.trouble import Trouble, now

pytestmark = pytest.mark.real
USUAL = ("--probe-interval", "300ms", "--probe-timeout", "250ms", "--agreement-timeout", "2s")
"""As a daemon is that nobody tuned."""


@pytest.fixture
def rig(hatch: Hatch) -> Iterator[Rig]:
    rig = Rig(hatch)
    yield rig
    for member in rig.members:
        member.destroy()


@pytest.fixture
def beats(rig: Rig) -> Beats:
    return Beats(rig.home / "beats")


def deploy(member: Member, beats: Beats, name: str, replicas: int, **spec: object) -> None:
    """Of plain commands that give signs of life."""
    member.cli("project", "allow", "default", "processes")
    own = {"runtime": "process", "stop": {"grace": 1}, "command": beats.replica(), **spec}
    member.client.apps.deploy(decode(encode({"name": name, "replicas": replicas, "spec": own}), AppManifest))


def alive(beats: Beats, app: str) -> list[Life]:
    """Who gave a sign of life just now."""
    return [life for life in beats.lives(app) if now() - life.end < 5 * PERIOD]


def slots(beats: Beats, app: str) -> dict[int, str]:
    return {life.slot: life.node for life in alive(beats, app)}


@pytest.mark.parametrize("kind", ["off", "killed", "frozen", "cut off", "mute"])
def test_what_ran_on_a_primary_that_is_gone_runs_elsewhere_soon(rig: Rig, beats: Beats, kind: str) -> None:
    members = rig.hive(4, *USUAL)
    deploy(members[0], beats, "web", 4)
    members[0].ready("web", 4)
    gone = primary(members)
    others = [member for member in members if member is not gone]
    before = slots(beats, "web")
    trouble = Trouble(kind, gone)
    eventually(lambda: others[0].seen(gone.name).agreed == "lost", "it is noticed")
    noticed = now()
    moved = {slot for slot, node in before.items() if node == gone.name}
    assert moved
    eventually(
        lambda: all(slots(beats, "web").get(slot, gone.name) != gone.name for slot in moved), "replaced"
    )
    first = [life.begin for life in beats.lives("web") if life.slot in moved and life.node != gone.name]
    print(
        f"{kind}: lost after {noticed - trouble.began:.1f} s, replaced after {max(first) - trouble.began:.1f} s"
    )
    trouble.end()
    for member in members:
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")
        member.ready("web", 4)
    eventually(lambda: len(alive(beats, "web")) == 4, "four again, none of them twice")


def test_what_must_never_run_twice_does_not_where_a_node_is_cut_off(rig: Rig, beats: Beats) -> None:
    members = rig.hive(4)
    deploy(members[0], beats, "one", 4, on_partition="stop")
    members[0].ready("one", 4)
    gone = primary(members)
    trouble = Trouble("cut off", gone)
    eventually(lambda: gone.name not in slots(beats, "one").values(), "it stops by itself")
    stopped = now() - trouble.began
    eventually(lambda: len(slots(beats, "one")) == 4, "another one took its place")
    print(f"stopped after {stopped:.1f} s, replaced after {now() - trouble.began:.1f} s")
    trouble.end()
    for member in members:
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")
    members[0].ready("one", 4)
    assert overlaps(beats.lives("one")) == []


def test_when_all_power_is_gone_everything_that_was_agreed_runs_again(rig: Rig, beats: Beats) -> None:
    members = rig.hive(4, "--runtime", "oci")
    for member in members:
        member.load("busybox")
    members[0].cli("project", "allow", "default", "bind")
    box = {"runtime": "oci", "image": "busybox:1", "mounts": [beats.mount]}
    deploy(members[1], beats, "boxes", 4, **box)
    deploy(members[2], beats, "plain", 3)
    for app, count in (("boxes", 4), ("plain", 3)):
        members[3].ready(app, count)
    before = [a.id for app in ("boxes", "plain") for a in members[3].replicas(app)]
    sequence = max(member.status().sequence for member in members)
    for member, pids in [(member, member.pids()) for member in members]:
        member.kill()
        member.power_off(pids)
    dark = now()
    for member in members:
        member.launch()
    for member in members:
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")
        assert member.status().sequence >= sequence
    for app, count in (("boxes", 4), ("plain", 3)):
        for member in members:
            member.ready(app, count)
    eventually(lambda: len(slots(beats, "boxes")) == 4 and len(slots(beats, "plain")) == 3, "signs of life")
    print(f"all back after {now() - dark:.1f} s")
    assert [a.id for app in ("boxes", "plain") for a in members[3].replicas(app)] == before


class Traitor(Member):
    """See `traitor.py`."""

    program = (sys.executable, str(Path(__file__).with_name("traitor.py")))

    def lie(self) -> None:
        (self.data / "lie").touch()


@pytest.mark.parametrize("seat", ["primary", "voter"])
def test_a_node_that_says_two_things_is_caught_and_never_comes_back(
    rig: Rig, beats: Beats, seat: str
) -> None:
    traitor = rig.add(of=Traitor)
    assert isinstance(traitor, Traitor)
    members = [*rig.start(3)]
    traitor.start()
    rig.one([*members, traitor])
    deploy(members[0], beats, "web", 4)
    members[0].ready("web", 4)
    takes_seat(members, traitor, is_primary=seat == "primary")
    began = now()
    traitor.lie()
    members[0].client.apps.scale("web", 5)
    for member in members:
        eventually(lambda m=member: traitor.name not in [one.name for one in m.status().members], "it is out")
        assert any(traitor.name in line for line in member.status().evidence)
    print(f"the lying {seat} was out after {now() - began:.1f} s")
    for member in members:
        eventually(lambda m=member: decides(m, 3), "the others decide")
        member.ready("web", 5)
    eventually(lambda: len(alive(beats, "web")) == 5, "five, none of them on the traitor")
    assert traitor.name not in slots(beats, "web").values()
    with pytest.raises((HivemindError, AssertionError)):
        traitor.join(members[0].token())
    traitor.kill()
    traitor.program = Member.program
    traitor.start()
    with pytest.raises((HivemindError, AssertionError)):
        traitor.join(members[0].token())
    members[1].client.apps.scale("web", 2)
    members[2].ready("web", 2)


def takes_seat(members: Sequence[Member], traitor: Member, *, is_primary: bool) -> None:
    """The primary is frozen until the traitor is the one, or is not."""
    everybody = [*members, traitor]
    while ((chief := primary(everybody)) is traitor) is not is_primary:
        trouble = Trouble("frozen", chief)
        left = [member for member in everybody if member is not chief]
        eventually(partial(another_is_primary, left, chief), "another primary")
        trouble.end()
        for member in members:
            eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")


def another_is_primary(members: Sequence[Member], than: Member) -> bool:
    return members[0].status().primary != members[0].seen(than.name).id


def test_of_two_the_one_that_is_left_heals_what_it_has_and_says_that_it_cannot_decide(
    rig: Rig, beats: Beats
) -> None:
    members = rig.hive(2)
    first, second = members
    deploy(first, beats, "web", 4)
    first.ready("web", 4)
    trouble = Trouble("off", second)
    eventually(lambda: not first.status().can_decide, "it notices")
    assert "1 of 2 voters" in first.status().why_not
    mine = [a for a in first.replicas("web") if a.node == first.name]
    assert len(mine) == 2
    first.command("kill", "-9", str(mine[0].status.pid))
    eventually(lambda: len(slots(beats, "web")) == 2 and restarted(first, mine[0].id), "it heals what it has")
    with pytest.raises(Unavailable, match="cannot decide now"):
        first.client.apps.scale("web", 2)
    trouble.end()
    for member in members:
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")
    second.client.apps.scale("web", 6)
    for member in members:
        member.ready("web", 6)


def restarted(member: Member, id: str) -> bool:
    return next(a for a in member.replicas("web") if a.id == id).status.restarts > 0


def test_with_a_witness_two_survive_that_one_of_them_is_gone(rig: Rig, beats: Beats) -> None:
    first, second = rig.hive(2)
    (third,) = rig.start(1)
    third.join(first.token("--role", "witness"))
    for member in (first, second, third):
        eventually(lambda m=member: decides(m, 3) and whole(m), "three voters")
    deploy(first, beats, "web", 4)
    first.ready("web", 4)
    trouble = Trouble("off", first)
    eventually(lambda: set(slots(beats, "web").values()) == {second.name}, "all runs on the other one")
    eventually(lambda: second.ready("web", 4), "as agreed")
    second.client.apps.scale("web", 3)
    trouble.end()
    for member in (first, second, third):
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")
        member.ready("web", 3)
