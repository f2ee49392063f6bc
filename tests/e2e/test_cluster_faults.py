"""What a hive of real daemons does about single faults: a lost machine, a line that is cut, the power of a whole house,
a node that lies, too few that are left. Judged by what really ran. CHAOS_TROUBLES=20 tries more kinds of it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from hivemind.errors import HivemindError, Unavailable
from hivemind.model.app import AppManifest
from hivemind.model.base import decode, encode
from hivemind.model.cluster import JoinRequest
from hivemind.model.config import ConfigManifest
from tests.e2e.beats import PERIOD, Beats, Life, overlaps
from tests.e2e.cluster import Hatch, Member, Rig, decides, power_off, primary, whole
from tests.e2e.daemon import running
from tests.e2e.eventually import eventually
from tests.e2e.people import Person, busy, define, kept
from tests.e2e.test_cluster_chaos import more
from tests.e2e.trouble import Trouble, now

pytestmark = pytest.mark.real
SLEEP = ("sleep", "100000")
USUAL = ("--probe-interval", "300ms", "--probe-timeout", "250ms", "--agreement-timeout", "2s")
"""As a daemon is that nobody tuned."""


@pytest.fixture(scope="module")
def house(hatch: Hatch) -> Iterator[Rig]:
    """Four machines that belong together, for all tests that leave them as they found them."""
    rig = Rig(hatch)
    rig.hive(4, "--runtime", "oci", *USUAL)
    for member in rig.members:
        member.load("busybox")
    rig.members[0].cli("project", "allow", "default", "bind", "processes")
    yield rig
    rig.destroy()


@pytest.fixture
def four(house: Rig) -> Iterator[list[Member]]:
    yield house.members
    for app in house.members[0].client.apps.list():
        house.members[0].client.apps.delete(app.name)
    for member in house.members:
        eventually(lambda m=member: not m.client.allocations.list(), f"nothing agreed on {member.name}")


@pytest.fixture
def rig(hatch: Hatch) -> Iterator[Rig]:
    rig = Rig(hatch)
    yield rig
    rig.destroy()


@pytest.fixture
def beats(hatch: Hatch) -> Beats:
    return Beats(hatch().home / "beats")


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


@pytest.mark.parametrize(
    "kind",
    ["off", *(pytest.param(kind, marks=more) for kind in ("killed", "frozen", "cut off", "deaf", "mute"))],
)
def test_what_ran_on_a_primary_that_is_gone_runs_elsewhere_soon(
    four: list[Member], beats: Beats, kind: str
) -> None:
    deploy(four[0], beats, "web", 8)
    four[0].ready("web", 8)
    gone = primary(four)
    other = next(member for member in four if member is not gone)
    moved = {slot for slot, node in slots(beats, "web").items() if node == gone.name}
    assert moved
    trouble = Trouble(kind, gone)
    try:
        eventually(lambda: other.seen(gone.name).agreed == "lost", "it is noticed")
        noticed = now()
        eventually(lambda: moved <= replaced(beats, gone).keys(), "another one runs for each")
    finally:
        trouble.end()
    there = max(begin for slot, begin in replaced(beats, gone).items() if slot in moved)
    print(f"{kind}: lost after {noticed - trouble.began:.1f} s, replaced after {there - trouble.began:.1f} s")
    all_back(four)
    four[0].ready("web", 8)
    eventually(lambda: len(alive(beats, "web")) == 8, "eight again, none of them twice")


def replaced(beats: Beats, gone: Member) -> dict[int, float]:
    """Slots of which somebody gives signs of life elsewhere, and since when."""
    return {life.slot: life.begin for life in alive(beats, "web") if life.node != gone.name}


def all_back(members: Sequence[Member]) -> None:
    for member in members:
        eventually(lambda m=member: whole(m), f"all there, as {member.name} sees it")


@more
def test_what_must_never_run_twice_does_not_where_a_node_is_cut_off(four: list[Member], beats: Beats) -> None:
    deploy(four[0], beats, "one", 4, on_partition="stop")
    four[0].ready("one", 4)
    gone = primary(four)
    before = {slot for slot, node in slots(beats, "one").items() if node == gone.name}
    trouble = Trouble("cut off", gone)
    try:
        eventually(lambda: gone.name not in slots(beats, "one").values(), "it stops by itself")
        stopped = now()
        eventually(lambda: before <= slots(beats, "one").keys(), "another one took its place")
    finally:
        trouble.end()
    assert before
    print(
        f"stopped after {stopped - trouble.began:.1f} s, replaced after {trouble.ended - trouble.began:.1f} s"
    )
    all_back(four)
    four[0].ready("one", 4)
    assert overlaps(beats.lives("one")) == []


def test_when_all_power_is_gone_everything_that_was_promised_runs_again(
    four: list[Member], beats: Beats
) -> None:
    box = {"runtime": "oci", "image": "busybox:1", "mounts": [beats.mount]}
    define(four[0], "work", {"run": beats.task(0.3)})
    deploy(four[1], beats, "boxes", 4, **box)
    deploy(four[2], beats, "plain", 3)
    for app, count in (("boxes", 4), ("plain", 3)):
        four[3].ready(app, count)
    before = [a.id for app in ("boxes", "plain") for a in four[3].replicas(app)]
    person = Person("ann", random.Random(7), four, {"runtime": "process", "command": SLEEP}, "work")
    with busy([person]):
        eventually(lambda: len(person.configs) > 3, "somebody is promised something")
        power_off(four)
        dark = now()
        for member in four:
            member.launch()
        all_back(four)
    person.close()
    for app, count in (("boxes", 4), ("plain", 3)):
        for member in four:
            member.ready(app, count)
    eventually(lambda: len(slots(beats, "boxes")) == 4 and len(slots(beats, "plain")) == 3, "signs of life")
    print(f"all back after {now() - dark:.1f} s; {len(person.refused)} wishes were refused")
    assert [a.id for app in ("boxes", "plain") for a in four[3].replicas(app)] == before
    kept([person], four)


def test_a_daemon_that_is_started_anew_keeps_what_it_runs_unless_it_stays_away(
    four: list[Member], beats: Beats
) -> None:
    """Here it is away for longer than it would take anybody to be lost that says nothing."""
    deploy(four[0], beats, "web", 8)
    before = {a.id: a.status.pid for a in four[0].ready("web", 8)}
    gone = primary(four)
    others = [member for member in four if member is not gone]
    patient = gone.options
    gone.options = (*patient, "--restart-grace", "2s")
    gone.stop()
    stopped = now()
    for member in others:
        eventually(lambda m=member: m.seen(gone.name).reach == "dead", "nobody hears of it")
    while now() - stopped < 8:
        assert {member.seen(gone.name).agreed for member in others} == {"restarting"}
        others[0].client.configs.put(ConfigManifest(name="meanwhile", data={"n": str(now())}))
    assert "restarting (" in others[0].cli("node", "ls").out
    assert "restarting (" in others[1].cli("cluster", "status").out
    gone.start()
    all_back(four)
    assert {a.id: a.status.pid for a in four[0].ready("web", 8)} == before
    assert len(beats.lives("web")) == 8

    gone.options = patient
    gone.stop()
    eventually(lambda: others[0].seen(gone.name).agreed == "lost", "it stays away for too long")
    eventually(lambda: len(replaced(beats, gone)) == 8, "all of them run elsewhere")
    gone.start()
    all_back(four)
    four[0].ready("web", 8)


@more
def test_daemons_are_renewed_one_after_the_other_and_nothing_that_runs_notices(
    rig: Rig, beats: Beats
) -> None:
    members = rig.hive(4)
    deploy(members[0], beats, "web", 4)
    define(members[0], "work", {"run": beats.task(0.3)})
    before = {a.id: a.status.pid for a in members[0].ready("web", 4)}
    person = Person("bob", random.Random(8), members, {"runtime": "process", "command": SLEEP}, "work")
    with busy([person]):
        for member in members:
            member.restart()
            all_back(members)
    person.close()
    assert person.configs
    kept([person], members)
    for member in members:
        assert {a.id: a.status.pid for a in member.ready("web", 4)} == before
    assert len(beats.lives("web")) == 4


def test_who_was_away_for_long_is_given_what_it_missed(four: list[Member], beats: Beats) -> None:
    away, other, *_ = four
    trouble = Trouble("off", away)
    try:
        for number in range(120):
            other.client.configs.put(ConfigManifest(name=f"missed-{number}", data={"n": "1"}))
        for number in range(100):
            other.client.configs.delete(f"missed-{number}")
        deploy(other, beats, "web", 3)
        other.ready("web", 3)
        sequence = other.status().sequence
    finally:
        trouble.end()
    all_back(four)
    assert away.status().sequence >= sequence > 200
    found = [config.name for config in away.client.configs.list() if config.name.startswith("missed-")]
    assert sorted(found) == sorted(f"missed-{number}" for number in range(100, 120))
    away.client.apps.scale("web", 4)
    away.ready("web", 4)


class Traitor(Member):
    """See `traitor.py`."""

    program = (sys.executable, str(Path(__file__).with_name("traitor.py")))

    def lie(self) -> None:
        (self.data / "lie").touch()


@pytest.mark.parametrize("seat", ["primary", pytest.param("voter", marks=more)])
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
    stays_out(traitor, members[0])
    traitor.kill()
    traitor.program = Member.program
    traitor.start()
    stays_out(traitor, members[0])
    assert not any(life.node == traitor.name for life in alive(beats, "web"))
    trouble = Trouble("off", primary(members))
    left = [member for member in members if member is not trouble.member]
    left[0].client.apps.scale("web", 2)
    left[1].ready("web", 2)
    trouble.end()
    all_back(members)


def test_who_was_removed_while_it_was_away_hears_so_from_those_that_do_not_talk_to_it(
    rig: Rig, beats: Beats
) -> None:
    """The daemons of the others are started anew meanwhile: they know nothing of it but what was agreed."""
    members = rig.hive(4)
    first, second, third, fourth = members
    deploy(first, beats, "web", 8)
    first.ready("web", 8)
    theirs = {m.name: [a.status.pid for a in first.replicas("web") if a.node == m.name] for m in members}
    for away, left, words in (
        (fourth, 3, ("cluster", "expel", "n4", "--reason", "stolen", "--yes")),
        (third, 2, ("node", "rm", "n3", "--force")),
    ):
        away.kill()
        first.cli(*words)
        eventually(lambda n=left: decides(first, n) and whole(first), "the others decide without it")
    for member in (first, second):
        member.restart()
    for member in (third, fourth):
        assert theirs[member.name] and all(map(running, theirs[member.name]))
        member.start()
    for member, said in ((third, "it was removed"), (fourth, "expelled by admin: stolen")):
        eventually(lambda m=member: not m.status().name, "it hears of it")
        eventually(lambda m=member: not any(map(running, theirs[m.name])), "it stops what is not its own")
        for words in (("cluster", "status"), ("status",)):
            assert said in " ".join(member.cli(*words).out.split())
        assert said in member.log.read_text()
    first.ready("web", 8)
    third.join(first.token())
    eventually(lambda: decides(first, 3) and whole(third), "who was only removed comes back with a new token")
    stays_out(fourth, first)


def stays_out(traitor: Member, member: Member) -> None:
    with pytest.raises(HivemindError, match="was expelled"):
        list(traitor.client.cluster.join(JoinRequest(token=member.token(), forget_own=True)))


def takes_seat(members: Sequence[Member], traitor: Member, *, is_primary: bool) -> None:
    """The primary is frozen until the traitor is the one, or is not."""
    everybody = [*members, traitor]
    while ((chief := primary(everybody)) is traitor) is not is_primary:
        trouble = Trouble("frozen", chief)
        left = [member for member in everybody if member is not chief]
        eventually(partial(another_is_primary, left, chief), "another primary")
        trouble.end()
        all_back(members)


def another_is_primary(members: Sequence[Member], than: Member) -> bool:
    return members[0].status().primary != members[0].seen(than.name).id


def test_of_two_the_one_that_is_left_heals_what_it_has_and_a_witness_lets_it_decide(
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
    all_back(members)
    second.client.apps.scale("web", 6)
    for member in members:
        member.ready("web", 6)
    (third,) = rig.start(1)
    third.join(first.token("--role", "witness"))
    everybody = [*members, third]
    for member in everybody:
        eventually(lambda m=member: decides(m, 3) and whole(m), "three voters")
    trouble = Trouble("off", first)
    eventually(lambda: set(slots(beats, "web").values()) == {second.name}, "all runs on the other one")
    second.ready("web", 6)
    second.client.apps.scale("web", 3)
    trouble.end()
    all_back(everybody)
    for member in everybody:
        member.ready("web", 3)


def restarted(member: Member, id: str) -> bool:
    return next(a for a in member.replicas("web") if a.id == id).status.restarts > 0
