"""Attempts of tasks under a daemon that is killed at any moment: each is begun at most once, its outcome is reported
once and exactly as it was, and nothing is left of any."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from agent_rig import IMAGE
from hivemind.drivers.runtimes.contract import Exit
from hivemind.errors import HivemindError, Unavailable
from hivemind.model.allocation import AllocationState
from task_rig import TaskBox, task_box
from virtual_time import VirtualLoop

SCRIPTS = [
    "exit 0", "exit 3", "echo hello; exit 0", "sleep 2; exit 0", "sleep 7; exit 5", "trap '' TERM; sleep 40",
    "while :; do sleep 3600; done",
]  # fmt: skip


class Storm:
    def __init__(self, tasks: TaskBox, dice: random.Random) -> None:
        self.tasks = tasks
        self.box = tasks.box
        self.dice = dice
        self.number = 0
        self.placed: dict[str, float] = {}
        """Allocation -> its timeout."""
        self.stopped: set[str] = set()
        self.given_up: set[str] = set()
        self.exits: dict[str, Exit] = {}
        self.starts: Counter[str] = Counter()
        self.start_failed = False
        self._watch()

    def _watch(self) -> None:
        """What really happened, as the machine knows it."""
        end, run = self.box.machine.end, self.box.machine.run

        def ended(instance, exit):  # type: ignore[no-untyped-def]
            self.exits.setdefault(instance.spec.id, exit)
            end(instance, exit)

        async def ran(instance, process):  # type: ignore[no-untyped-def]
            self.starts[instance.spec.id] += 1
            await run(instance, process)

        self.box.machine.end, self.box.machine.run = ended, ran  # type: ignore[method-assign]

    async def rage(self, steps: int) -> None:
        await self.tasks.start()
        for _ in range(steps):
            self._misfortune()
            self._wish()
            for _ in range(self.dice.randrange(30)):
                await asyncio.sleep(0)
            if self.dice.random() < 0.4:
                await asyncio.sleep(self.dice.choice([0.01, 0.3, 1, 5, 40]))
            if self.dice.random() < 0.4:
                await self.box.kill()
                if self.dice.random() < 0.5:
                    await asyncio.sleep(self.dice.choice([0.01, 3, 60]))
                self._misfortune()
                await self.tasks.start()

    def _wish(self) -> None:
        live = sorted(self.tasks.state.allocations)
        kind = self.dice.randrange(10)
        if live and kind == 0:
            id = self.dice.choice(live)
            self.stopped.add(id)
            self.tasks.stop(id, kill=self.dice.random() < 0.3)
        elif live and kind == 1:
            id = self.dice.choice(live)
            self.given_up.add(id)
            self.tasks.lose(id)
        else:
            self.number += 1
            timeout = self.dice.choice([0, 0, 1, 20])
            id = self.tasks.place(
                f"t{self.number}", self.dice.choice(SCRIPTS), timeout=timeout, grace=self.dice.choice([0, 5]),
                image=self.dice.choice(["", IMAGE]),
            )  # fmt: skip
            self.placed[id] = timeout

    def _misfortune(self) -> None:
        machine, kind = self.box.machine, self.dice.randrange(5)
        method = self.dice.choice(["pull", "create", "start", "stop", "remove", "keep_log"])
        if kind == 0:
            machine.delays = {method: self.dice.choice([0.001, 0.2, 3])}
        elif kind == 1:
            self.start_failed |= method == "start"
            machine.failures[method] = Unavailable("not now")
        elif kind == 2 and (running := self.box.running()):
            machine.crash(self.dice.choice(running), self.dice.choice([0, 1, 137, None]))

    async def calm(self) -> None:
        self.box.machine.delays.clear()
        self.box.machine.failures.clear()
        for id in sorted(self.tasks.state.allocations):
            self.stopped.add(id)
            self.tasks.stop(id)
        await self.box.until(lambda: not self.tasks.state.allocations, 3000)
        await self.box.until(lambda: not self.tasks.attempts, 3000)

    async def check(self) -> None:
        told = Counter(report.id for report in self.tasks.reports)
        assert all(count == 1 for count in told.values()), "each outcome is told once"
        assert self.placed.keys() - self.given_up <= told.keys(), "no outcome is missing"
        assert all(count == 1 for count in self.starts.values()), "none is begun twice"
        for report in self.tasks.reports:
            exit = self.exits.get(f"{report.id}.0")
            if report.state is AllocationState.STOPPED:
                assert report.id in self.stopped
                continue
            if report.cause in ("start", "lost") and report.exit_code is None and "not now" in report.reason:
                assert report.cause == "start" or self.start_failed
                continue
            assert exit is not None
            assert report.exit_code == exit.code
            if report.cause == "timeout":
                assert self.placed[report.id]
            else:
                assert (report.cause == "lost") == (exit.code is None)
                assert (report.state is AllocationState.COMPLETE) == (exit.code == 0)
        assert not self.box.machine.containers
        assert not self.box.network.attachments()
        await self.box.until(lambda: self.tasks.left() == [])  # a thread removes what a dead daemon left
        assert not list(self.box.store.range("allocation/"))


async def storm(seed: int, folder: Path) -> None:
    async with task_box(folder) as tasks:
        tasks.box.machine.add_image(IMAGE)
        weather = Storm(tasks, random.Random(seed))
        try:
            await weather.rage(40)
            await weather.calm()
            await weather.check()
            await tasks.box.kill()
            await tasks.start()
            await tasks.box.rest(50)
            await weather.check()
        except (AssertionError, HivemindError) as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_whenever_the_daemon_is_killed_no_attempt_is_lost_or_run_twice(first: int) -> None:
    for seed in range(first, first + 10):
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(storm(seed, Path(folder)))
