"""A graph of tasks by dice, in layers, whose whole course is known beforehand; and what its tasks wrote while it ran.

Each attempt notes when it begins and when it ends, as one line appended to a file that all share. So the file shows
what nobody who looks at the hive could see: an attempt that ran twice, two at once, one that came too early.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

LAYER = 10
"""Tasks of a layer: a fan-out of 3, a group of 3, the others stand alone."""
_FAILS, _RETRIES = "fails", "retries"


class Fate(NamedTuple):
    """What becomes of a task: how each of its attempts ends, and after which tasks it begins."""

    codes: tuple[int, ...]
    after: tuple[str, ...]

    @property
    def state(self) -> str:
        return "failed" if self.codes[-1] else "succeeded"


class Note(NamedTuple):
    what: str
    task: str
    attempt: int


class StormyGraph:
    """`size`: tasks, in tens; the last layer waits until `gate` exists. `task`: keys that each has: its image."""

    def __init__(
        self, dice: random.Random, size: int, effects: str, gate: str, task: dict[str, Any] | None = None
    ) -> None:
        self._dice, self._effects, self._gate = dice, effects, gate
        self._common = task or {}
        self.fates: dict[str, Fate] = {}
        self._last: dict[str, tuple[str, ...]] = {}
        """What the next layer may need: the tasks that are behind each name."""
        self._tasks: dict[str, Any] = {}
        for layer in range(size // LAYER):
            self._layer(layer, gated=layer == size // LAYER - 1)

    @property
    def document(self) -> dict[str, Any]:
        return {"name": "storm", "tasks": self._tasks}

    @property
    def attempts(self) -> int:
        return sum(len(fate.codes) for fate in self.fates.values())

    def _layer(self, layer: int, *, gated: bool) -> None:
        before, self._last = self._last, {}
        for number in range(LAYER - 6):
            self._task(f"t{layer}-{number}", before, gated=gated)
        self._fan_out(f"f{layer}", before, gated=gated)
        self._group(f"g{layer}", before, gated=gated)

    def _task(self, name: str, before: dict[str, tuple[str, ...]], *, gated: bool) -> None:
        needs = self._needs(before)
        kind = self._dice.choice(("", "", "", "", "", "", _RETRIES, _FAILS))
        self._tasks[name] = {**self._body(kind, gated), "needs": list(needs)}
        self._decide(name, kind, self._behind(needs, before))
        self._last[name] = (name,)

    def _fan_out(self, name: str, before: dict[str, tuple[str, ...]], *, gated: bool) -> None:
        needs = self._needs(before)
        self._tasks[name] = {**self._body("", gated), "needs": list(needs), "for_each": ["x", "y", "z"]}
        members = tuple(f"{name}[{index}]" for index in range(3))
        for member in members:
            self._decide(member, "", self._behind(needs, before))
        self._last[name] = members

    def _group(self, name: str, before: dict[str, tuple[str, ...]], *, gated: bool) -> None:
        """Two beside each other, and one after both."""
        needs = self._needs(before)
        outer = self._behind(needs, before)
        inner = {
            "a": self._body(_RETRIES, gated),
            "b": self._body("", gated),
            "c": {**self._body("", gated), "needs": ["a", "b"]},
        }
        self._tasks[name] = {"needs": list(needs), "tasks": inner}
        self._decide(f"{name}.a", _RETRIES, outer)
        self._decide(f"{name}.b", "", outer)
        self._decide(f"{name}.c", "", (f"{name}.a", f"{name}.b"))
        self._last[name] = (f"{name}.a", f"{name}.b", f"{name}.c")

    def _needs(self, before: dict[str, tuple[str, ...]]) -> list[str]:
        return sorted(self._dice.sample(sorted(before), min(len(before), self._dice.choice((1, 1, 2, 3)))))

    def _behind(self, needs: list[str], before: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(task for need in needs for task in before[need])

    def _body(self, kind: str, gated: bool) -> dict[str, Any]:
        wait = f"while [ ! -e {self._gate} ]; do sleep 0.1; done" if gated else self._pause()
        lines = [
            f'echo "begin $HIVEMIND_TASK $HIVEMIND_ATTEMPT" >> {self._effects}',
            wait,
            'echo "$HIVEMIND_TASK says $HIVEMIND_ATTEMPT"',
            'echo "who=$HIVEMIND_TASK/$HIVEMIND_ATTEMPT" >> "$HIVEMIND_OUTPUT"',
            f'echo "end $HIVEMIND_TASK $HIVEMIND_ATTEMPT" >> {self._effects}',
        ]
        body: dict[str, Any] = {**self._common, "outputs": ["who"]}
        if kind == _RETRIES:
            lines.append('test "$HIVEMIND_ATTEMPT" -ge 2 || exit 75')
            body["retry"] = {"max": 3, "delay": 0, "on": ["exit:75"]}
        elif kind == _FAILS:
            lines.append("exit 3")
            body["allow_failure"] = True
        return {**body, "run": "\n".join(lines)}

    def _pause(self) -> str:
        return self._dice.choice((":", ":", "sleep 0.05", "sleep 0.1", "sleep 0.3"))

    def _decide(self, name: str, kind: str, after: tuple[str, ...]) -> None:
        codes = {_RETRIES: (75, 0), _FAILS: (3,)}.get(kind, (0,))
        self.fates[name] = Fate(codes, after)


def notes(effects: Path) -> list[Note]:
    """In the order in which they were made. Each was one write at the end of the file."""
    lines = (line.split() for line in effects.read_text().splitlines())
    return [Note(what, task, int(attempt)) for what, task, attempt in lines]


def wrong_in(found: list[Note], fates: dict[str, Fate]) -> list[str]:
    """What must not have happened."""
    problems: list[str] = []
    ended, running = dict.fromkeys(fates, 0), dict.fromkeys(fates, 0)
    for what, task, attempt in found:
        if what == "end":
            if running[task] != attempt:
                problems.append(f"{task}: {attempt} ended while {running[task]} ran")
            running[task], ended[task] = 0, attempt
            continue
        if running[task]:
            problems.append(f"{task}: {attempt} began while {running[task]} ran")
        if attempt != ended[task] + 1:
            problems.append(f"{task}: {attempt} began after {ended[task]} had ended")
        undecided = [need for need in fates[task].after if ended[need] != len(fates[need].codes)]
        if undecided:
            problems.append(f"{task} began before {undecided} were decided")
        running[task] = attempt
    for task, fate in fates.items():
        if running[task] or ended[task] != len(fate.codes):
            problems.append(f"{task}: {ended[task]} attempts ended, not {len(fate.codes)}")
    return problems
