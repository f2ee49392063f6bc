"""What really ran, and when: every replica and every attempt of a task writes lines into one file of the machine that
all nodes of a test share. So it shows what nobody who looks at the hive could see: a slot that was served twice, a
task that ran twice at once, a replica that never came.

A replica's line is its sign of life: `beat`, time, app, slot, allocation, node; its last one is `stop`, if it was told
to stop. An attempt's are `begin` and `end`, time, run, task, attempt, node. Times are the machine's uptime in seconds,
which is `time.clock_gettime(CLOCK_BOOTTIME)`. Once the file is gone they end: nobody makes it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PERIOD = 0.2
"""Seconds between two beats."""
_REPLICA = (
    "say() {{ [ -e {file} ] || exit 9; read -r up rest < /proc/uptime;"
    ' echo "$1 $up $HIVEMIND_APP $HIVEMIND_REPLICA $HIVEMIND_ALLOCATION $HIVEMIND_NODE" >> {file}; }};'
    " trap 'say stop; exit 0' TERM; while :; do say beat; sleep {period}; done"
)
_TASK = (
    "say() {{ [ -e {file} ] || exit 9; read -r up rest < /proc/uptime;"
    ' echo "$1 $up $HIVEMIND_RUN $HIVEMIND_TASK $HIVEMIND_ATTEMPT $HIVEMIND_NODE" >> {file}; }};'
    " say begin; sleep {seconds}; say end"
)


class Life(NamedTuple):
    """One allocation of an app, from its first sign of life to its last."""

    app: str
    slot: int
    allocation: str
    node: str
    begin: float
    end: float


class Trial(NamedTuple):
    """One attempt at a task. `end`: None if it did not get there."""

    run: str
    task: str
    attempt: int
    node: str
    begin: float
    end: float | None


class Overlap(NamedTuple):
    """Two that ran for the same slot or task, from `begin` on; `older` began first."""

    older: Life | Trial
    newer: Life | Trial
    begin: float


class Beats:
    """`file` is made; whoever runs in a container, as whatever user, may write to it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()
        file.chmod(0o666)

    def replica(self) -> tuple[str, ...]:
        """The command of an app."""
        return ("sh", "-c", _REPLICA.format(file=self.file, period=PERIOD))

    def task(self, seconds: float) -> str:
        """The commands of a task that takes so long."""
        return _TASK.format(file=self.file, seconds=seconds)

    @property
    def mount(self) -> Mapping[str, Any]:
        """For a container."""
        return {"kind": "bind", "source": str(self.file), "target": str(self.file)}

    def lives(self, *apps: str) -> list[Life]:
        """By slot, in the order in which they began; of all apps, or of these."""
        found: dict[str, Life] = {}
        for what, at, app, slot, allocation, node in self._lines("beat", "stop"):
            if apps and app not in apps:
                continue
            life = found.get(allocation)
            if life is None and what == "beat":
                found[allocation] = Life(app, int(slot), allocation, node, float(at), float(at))
            elif life is not None:
                found[allocation] = life._replace(end=max(life.end, float(at)))
        return sorted(found.values(), key=lambda life: (life.app, life.slot, life.begin))

    def trials(self) -> list[Trial]:
        """In the order in which they began."""
        found: dict[tuple[str, ...], Trial] = {}
        for what, at, run, task, attempt, node in self._lines("begin", "end"):
            key = (run, task, attempt, node)
            if what == "begin":
                assert key not in found, f"attempt {attempt} at {task} of {run} began twice on {node}"
                found[key] = Trial(run, task, int(attempt), node, float(at), None)
            else:
                found[key] = found[key]._replace(end=float(at))
        return sorted(found.values(), key=lambda trial: trial.begin)

    def _lines(self, *kinds: str) -> Iterator[Sequence[str]]:
        whole = self.file.read_text().rpartition("\n")[0]
        for line in whole.splitlines():
            words = line.split()
            if words[0] in kinds:
                yield words


def overlaps(lives: Sequence[Life]) -> list[Overlap]:
    """Whoever ran while another of the same slot ran."""
    return [
        Overlap(older, newer, newer.begin)
        for index, older in enumerate(lives)
        for newer in lives[index + 1 :]
        if (newer.app, newer.slot) == (older.app, older.slot) and newer.begin < older.end
    ]


def clashes(trials: Sequence[Trial]) -> list[Overlap]:
    """Attempts that got to their end, and another one at the same task that began before that."""
    return [
        Overlap(older, newer, newer.begin)
        for index, older in enumerate(trials)
        for newer in trials[index + 1 :]
        if (newer.run, newer.task) == (older.run, older.task)
        and older.end is not None
        and newer.begin < older.end
    ]
