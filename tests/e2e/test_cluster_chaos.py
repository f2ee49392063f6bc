"""Hives of real daemons, each in a network namespace of its own, while their machines are killed, frozen, cut off,
slowed down and switched off: judged by what really ran.

CHAOS_SEED throws other dice; CHAOS_TROUBLES makes more of it, on containerd as well, and lets all machines lose their
power in the midst of it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

import private_containerd
from private_containerd import Containerd
from tests.e2e import histories
from tests.e2e.beats import Beats, clashes, overlaps
from tests.e2e.cluster import Hatch, Member, Rig, power_off, primary, whole
from tests.e2e.eventually import eventually
from tests.e2e.people import Person, busy, clear, define, kept
from tests.e2e.trouble import KINDS, Span, Trouble, now

pytestmark = pytest.mark.real
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1_000_000)
TROUBLES = int(os.environ.get("CHAOS_TROUBLES", "0"))
more = pytest.mark.skipif(not TROUBLES, reason="CHAOS_TROUBLES=20 runs it")
AFTERMATH = 30.0
"""Seconds after its trouble has ended for which a node may still run what was given to another."""


class Storm:
    """Never more of them at a time in trouble than may be gone."""

    def __init__(self, members: Sequence[Member], dice: random.Random, crashes: int) -> None:
        self._members, self._dice, self._crashes = members, dice, crashes
        self.past: list[Span] = []

    def rage(self, troubles: int) -> None:
        kinds = [KINDS[index % len(KINDS)] for index in range(troubles)]
        self._dice.shuffle(kinds)
        while kinds:
            strike, kinds = kinds[: self._crashes], kinds[self._crashes :]
            self._strike(strike)
            if TROUBLES and self._dice.random() < 0.2:
                self._darken()

    def _darken(self) -> None:
        """Nobody has power for a moment."""
        print("trouble: all off")
        begin = now()
        power_off(self._members)
        for member in self._members:
            member.launch()
        self.past += [Span("off", member.name, begin, now()) for member in self._members]
        self._everybody_is_back()

    def _strike(self, kinds: Sequence[str]) -> None:
        victims = self._dice.sample(self._members, len(kinds))
        if self._dice.random() < 0.5 and (chief := primary(self._calm(()))) not in victims:
            victims[0] = chief
        print("trouble:", *(f"{victim.name} {kind}" for kind, victim in zip(kinds, victims, strict=True)))
        troubles = [Trouble(kind, victim) for kind, victim in zip(kinds, victims, strict=True)]
        try:
            if self._dice.random() < 0.6:  # long enough to be lost
                for trouble in troubles:
                    if trouble.kind != "slow":
                        self._is_lost(trouble, self._calm(victims))
            else:
                left = self._calm(victims)
                sequence = left[0].status().sequence
                eventually(lambda: left[0].status().sequence > sequence + 5, "the others go on")
        finally:
            for trouble in troubles:
                trouble.end()
                self.past.append(trouble.span)
        self._everybody_is_back()

    def _everybody_is_back(self) -> None:
        for member in self._members:
            eventually(lambda m=member: whole(m), f"everybody there again, as {member.name} sees it")

    def _calm(self, victims: Sequence[Member]) -> list[Member]:
        return [member for member in self._members if member not in victims]

    def _is_lost(self, trouble: Trouble, others: Sequence[Member]) -> None:
        eventually(lambda: others[0].seen(trouble.member.name).agreed == "lost", f"{trouble.span} is noticed")
        print(f"  {trouble.member.name} counts as lost after {now() - trouble.began:.1f} s")


def never_doubled(beats: Beats, troubles: Sequence[Span]) -> None:
    """Two of a slot, or at a task, only where the older one was out of reach."""
    for overlap in (*overlaps(beats.lives()), *clashes(beats.trials())):
        assert any(
            span.node == overlap.older.node and span.begin < overlap.begin < span.end + AFTERMATH
            for span in troubles
        ), (overlap, troubles)


def nothing_is_left(members: Sequence[Member]) -> None:
    for member in members:
        eventually(lambda m=member: not m.client.allocations.list(None), f"nothing agreed on {member.name}")
        eventually(lambda m=member: not _left_on(m), f"nothing left on {member.name}", 30)


def _left_on(member: Member) -> list[str]:
    """But for its cable, and what is kept of runs."""
    found = [trace for trace in member.traces.leaks() if trace not in ("link wire", "route 192.0.2.0/24")]
    assert not found, found
    return found


def outlives_a_storm(
    members: Sequence[Member], beats: Beats, crashes: int, spec: Mapping[str, Any], task: Mapping[str, Any]
) -> None:
    print(f"CHAOS_SEED={SEED}")
    dice = random.Random(SEED)
    define(members[0], "work", {**task, "run": beats.task(0.3)})
    people = [
        Person(
            f"p{number}", random.Random(dice.random()), members, {**spec, "command": beats.replica()}, "work"
        )
        for number in range(2)
    ]
    weather = Storm(members, dice, crashes)
    with busy(people):
        weather.rage(TROUBLES or 2)
    for person in people:
        person.close()
        print(f"{person.name}: {len(person.configs)} configs, {len(person.runs)} runs, {person.sizes}")
        print(*person.refused, sep="\n")
    kept(people, members)
    for app in members[0].client.apps.list():
        for member in members:
            member.ready(app.name, app.replicas)
    never_doubled(beats, weather.past)
    clear(members[-1])
    nothing_is_left(members)
    for member in members:
        member.stop()
    assert histories.same(members) > 10


@pytest.fixture
def rig(hatch: Hatch) -> Iterator[Rig]:
    rig = Rig(hatch)
    yield rig
    rig.destroy()


def test_seven_nodes_outlive_a_storm(rig: Rig) -> None:
    members = rig.hive(7)
    members[0].cli("project", "allow", "default", "processes")
    beats = Beats(rig.home / "beats")
    outlives_a_storm(members, beats, 2, {"runtime": "process", "stop": {"grace": 1}}, {})


def test_four_nodes_with_containers_outlive_a_storm(rig: Rig) -> None:
    members = rig.hive(4, "--runtime", "oci")
    beats = Beats(rig.home / "beats")
    outlives_a_storm(members, beats, 1, *contained(members, beats))


def contained(members: Sequence[Member], beats: Beats) -> tuple[dict[str, Any], dict[str, Any]]:
    """Apps and tasks in containers of an image that each node has."""
    members[0].cli("project", "allow", "default", "bind")
    for member in members:
        member.load("busybox")
    image = {"image": "busybox:1", "mounts": [beats.mount]}
    return {**image, "stop": {"grace": 1}}, image


@pytest.fixture
def engine() -> Iterator[Containerd]:
    with private_containerd.running() as engine:
        yield engine


@more
def test_four_nodes_on_containerd_outlive_a_storm(engine: Containerd, rig: Rig) -> None:
    own = ("--containerd-address", engine.address, "--containerd-namespace", "node-{number}")
    members = rig.hive(4, "--runtime", "containerd", "--runtimes", "oci", *own)
    beats = Beats(rig.home / "beats")
    app, task = contained(members, beats)
    # The engine has its power still when all nodes lose theirs, and tells of a task that a signal killed it.
    outlives_a_storm(members, beats, 1, app, {**task, "retry": {"max": 5, "on": ["signal"]}})
    assert engine.shims() == []
