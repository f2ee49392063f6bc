"""An agent that is killed at any moment: whatever people, containers and the machine do meanwhile, in the end
exactly what is wanted runs, and nothing else is left of anything."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

import pytest

from agent_rig import IMAGE, SERVE, Rig, rig
from hivemind.agent.work.compose import place_of
from hivemind.drivers.network.contract import Published
from hivemind.errors import HivemindError, Unavailable
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.app import Companion, Restart, Update
from hivemind.model.check import Check, CommandProbe
from hivemind.model.network import Port
from hivemind.model.template import Stop
from hivemind.state.operations import DeleteApp, Operation, RestartApp, ScaleApp, StartApp, StopApp
from virtual_time import VirtualLoop

APPS = ("one", "two")
NAMES = {"init": [(), (), ("one",), ("one", "two")], "side": [(), (), ("log",), ("log", "proxy")]}
_KEPT = 2
"""Instances of one container at most: the newest and the one before it."""


class Storm:
    """Random people, a random machine, and an agent that dies a lot."""

    def __init__(self, box: Rig, dice: random.Random) -> None:
        self.box = box
        self.dice = dice

    async def rage(self, steps: int) -> None:
        await self.box.start()
        for _ in range(steps):
            self._misfortune()
            self._wish()
            for _ in range(self.dice.randrange(30)):
                await asyncio.sleep(0)
            if self.dice.random() < 0.5:
                await asyncio.sleep(self.dice.choice([0.01, 0.3, 1, 5, 40]))
            if self.dice.random() < 0.4:
                await self.box.kill()
                self._misfortune()
                if self.dice.random() < 0.3:
                    self._wish()
                if self.dice.random() < 0.3:
                    await self.box.reboot()
                else:
                    await self.box.start()

    def _wish(self) -> None:
        name, kind = self.dice.choice(APPS), self.dice.randrange(8)
        if kind < 3 or self.box.hive.state.find_app("default", name) is None:
            self._deploy(name)
            return
        who = {"project": "default", "name": name}
        wishes: list[Operation] = [
            ScaleApp(**who, replicas=self.dice.randrange(5)), ScaleApp(**who, replicas=self.dice.randrange(5)),
            StopApp(**who), StartApp(**who), RestartApp(**who), DeleteApp(**who),
        ]  # fmt: skip
        self.box.do(self.dice.choice(wishes))

    def _deploy(self, name: str) -> None:
        checked = Check(probe=CommandProbe(command=("true",)), interval=1)
        self.box.deploy(
            name,
            replicas=self.dice.randrange(4),
            command=self.dice.choice([SERVE, SERVE, ("sh", "-c", "sleep 3"), ("no-such-thing",)]),
            **self.dice.choice([{}, {"check": checked}, {"startup": checked, "liveness": checked}]),
            init_containers=self._companions(["sleep 1", "sleep 1; exit 0", "exit 1"]),
            sidecars=self._companions(["while :; do sleep 3600; done", "sleep 20", "exit 0"], checked),
            ports=self.dice.choice([(), (Port(container=80, host=8000 + APPS.index(name)),)]),
            restart=Restart(policy=self.dice.choice(["always", "always", "on-failure", "no"])),
            update=Update(
                order=self.dice.choice(["start-first", "stop-first"]),
                min_healthy_time=self.dice.choice([0, 1]),
                max_parallel=self.dice.choice([1, 2]),
                healthy_deadline=60,
            ),
            stop=Stop(grace=self.dice.choice([0, 5])),
        )

    def _companions(self, scripts: list[str], check: Check | None = None) -> tuple[Companion, ...]:
        return tuple(
            Companion(
                name=name,
                image=IMAGE,
                command=("sh", "-c", self.dice.choice(scripts)),
                readiness=self.dice.choice([None, check]),
                stop=Stop(grace=self.dice.choice([0, 5])),
            )
            for name in self.dice.choice(NAMES["side" if check else "init"])
        )

    def _misfortune(self) -> None:
        machine, kind = self.box.machine, self.dice.randrange(4)
        method = self.dice.choice(["pull", "create", "start", "stop", "remove", "exec"])
        if kind == 0:
            machine.delays = {method: self.dice.choice([0.001, 0.2, 3])}
        elif kind == 1:
            machine.failures[method] = Unavailable("not now")
        elif kind == 2 and (running := self.box.running()):
            machine.crash(self.dice.choice(running), self.dice.choice([0, 1, 137]))

    async def calm(self) -> None:
        """From now on all goes well: whatever is still wanted can run."""
        self.box.machine.delays.clear()
        self.box.machine.failures.clear()
        for name in APPS:
            if self.box.hive.state.find_app("default", name):
                self._deploy_well(name)
        await self.box.until(self._at_rest, 3000)
        await self.box.rest(100)

    def _deploy_well(self, name: str) -> None:
        app = self.box.hive.app(name)
        if not app.stopped:
            self.box.deploy(
                name,
                replicas=app.replicas,
                env={"CALM": "1"},
                init_containers=(Companion(name="once", image=IMAGE, command=("sh", "-c", "sleep 1")),),
                sidecars=(Companion(name="beside", image=IMAGE, command=SERVE),),
            )

    def _at_rest(self) -> bool:
        state = self.box.hive.state
        return (
            all(
                a.state is AllocationState.HEALTHY and a.desired is Desired.RUN
                for a in state.allocations.values()
                if a.live
            )
            and not any(app.deleted for app in state.apps.values())
            and not any(state.running_deployment(app) for app in state.apps)
        )


def check(box: Rig) -> None:
    state = box.hive.state
    wanted = {a.id for a in state.allocations.values() if a.live}
    for app in state.apps.values():
        live = [a for a in state.allocations_of(app.id) if a.live]
        assert [a.slot for a in live] == ([] if app.stopped else list(range(app.replicas)))
    running = [(place.allocation, place.name) for place in map(place_of, box.running())]
    parts = [(id, name) for id in wanted for name in ("", *beside(box, id))]
    assert sorted(running) == sorted(parts), (
        "exactly one container runs for each live allocation, and its sidecars"
    )
    kept = [(place.allocation, place.name) for place in map(place_of, box.machine.containers)]
    assert {id for id, _ in kept} <= set(state.allocations), "no container without an allocation"
    assert all(kept.count(part) <= _KEPT for part in kept)
    assert set(box.network.attachments()) == wanted
    observed = {entry.key.removeprefix("allocation/") for entry in box.store.range("allocation/")}
    assert wanted <= observed <= set(state.allocations)
    assert {id for id in observed if box.status(id).ready} == wanted
    backends = {
        Published("tcp", port.host): sum(1 for a in state.allocations_of(app.id) if a.live)
        for app in state.apps.values()
        if not app.stopped
        for port in state.revision(app.id, app.revision).spec.ports
        if port.host
    }
    assert {port: len(to) for port, to in box.network.published.items()} == backends
    assert box.agent
    here = {a.id for a in state.allocations.values() if a.node}
    assert set(box.agent._workers) == here, "each allocation has somebody who cares for it"


def beside(box: Rig, id: str) -> list[str]:
    spec = box.hive.state.spec_of(box.hive.state.allocations[id])
    return [companion.name for companion in spec.sidecars]


def states_only_ascend(box: Rig) -> None:
    """Watches every batch from now on."""
    seen: dict[str, AllocationState] = {}
    do = box.do

    def watched(operation: Operation, **more: object) -> object:
        outcome = do(operation, **more)
        for id, allocation in box.hive.state.allocations.items():
            assert allocation.state >= seen.get(id, allocation.state)
            seen[id] = allocation.state
        return outcome

    box.do = watched  # type: ignore[method-assign]


async def storm(seed: int, folder: Path) -> None:
    async with rig(folder) as box:
        box.machine.add_image(IMAGE)
        states_only_ascend(box)
        weather = Storm(box, random.Random(seed))
        try:
            await weather.rage(25)
            await weather.calm()
            check(box)
            await box.kill()
            await box.start()
            await box.rest(100)
            check(box)
        except (AssertionError, HivemindError) as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_whenever_it_is_killed_it_converges(first: int) -> None:
    for seed in range(first, first + 10):
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(storm(seed, Path(folder)))
