"""Stories of runs, told as transcripts: a definition, events, and all that follows from each.

After a change of mind `python -m unit.jobs.workflow.test_scenarios`, in `tests`, writes them anew, to be reviewed as a
difference. Indented lines are what followed; events are

    begin                              run PLACE [exit=1 …]         placed and ended at once
    place PLACE                        end PLACE [exit=1 cause=oom reason=… rank=1 out.NAME=VALUE]
    child PLACE STATE [out.NAME=…]     approve|reject PLACE WHO [COMMENT]
    wait SECONDS                       pause, unpause
    cancel [kill]                      cancel-tasks PLACE…
    retry [PLACE…]                     show PLACE FIELD…            of its record; of the run: `show run FIELD…`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dict_book import DictBook
from hivemind.errors import HivemindError
from hivemind.jobs.book import Ended
from hivemind.jobs.workflow import Workflow, alarm, next_attempt
from hivemind.model.base import encode
from hivemind.model.job import JobSpec
from hivemind.model.run import RunState

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


class Teller:
    """Each event is a method of its name."""

    def __init__(self, definition: str) -> None:
        given = yaml.safe_load(definition)
        inputs = given.pop("given", {})
        self.book = DictBook(msgspec.convert(given, JobSpec), inputs=inputs)

    @property
    def workflow(self) -> Workflow:
        return Workflow(self.book.plan, self.book)

    def tell(self, line: str) -> list[str]:
        verb, *words = line.split()
        before = len(self.book.log)
        try:
            shown = getattr(self, verb.replace("-", "_"))(*words)
        except HivemindError as error:
            return [f"! {type(error).__name__}: {error.message}"]
        return [*self.book.log[before:], *(shown or [])]

    def begin(self) -> None:
        self.workflow.begin()

    def place(self, place: str) -> None:
        size = self.book.plan.node(place).task.nodes
        attempt = next_attempt(self.book.tasks[place])
        names = [f"{place}/{attempt}/{rank}" for rank in range(size)]
        assert self.workflow.placed(place, names, [f"n{rank}" for rank in range(size)]), (
            f"{place} is not queued"
        )

    def end(self, place: str, *words: str) -> None:
        said = dict(word.split("=", 1) for word in words)
        outputs = {name.removeprefix("out."): text for name, text in said.items() if name.startswith("out.")}
        code = said.get("exit", "0" if "cause" not in said else "")
        how: Any = {"cause": said.get("cause", "exit"), "reason": said.get("reason", ""), "outputs": outputs}
        ended = Ended(**how, exit_code=int(code) if code else None)
        self.workflow.ended(place, self.book.tasks[place].attempt, int(said.get("rank", "0")), ended)

    def run(self, place: str, *words: str) -> None:
        self.place(place)
        self.end(place, *words)

    def child(self, place: str, state: str, *words: str) -> None:
        outputs = dict(word.removeprefix("out.").split("=", 1) for word in words)
        self.workflow.child_ended(place, self.book.child_run(place, RunState(state), outputs=outputs))

    def approve(self, place: str, who: str, *comment: str) -> None:
        self.workflow.approve(place, True, who, " ".join(comment))

    def reject(self, place: str, who: str, *comment: str) -> None:
        self.workflow.approve(place, False, who, " ".join(comment))

    def wait(self, seconds: str) -> None:
        self.book.now += round(float(seconds) * 1000)
        for place in [place for place, task in self.book.tasks.items() if 0 < task.due <= self.book.now]:
            self.workflow.tick(place)
        if 0 < alarm(self.book.run, self.book.spec) <= self.book.now:
            self.workflow.tick_run()

    def pause(self) -> None:
        self.workflow.pause("ann")

    def unpause(self) -> None:
        self.workflow.unpause("ann")

    def cancel(self, *words: str) -> None:
        self.workflow.cancel("ann wished it", "ann", kill="kill" in words)

    def cancel_tasks(self, *places: str) -> None:
        self.workflow.cancel_tasks(places, "ann wished it", "ann")

    def retry(self, *places: str) -> None:
        self.workflow.retry(places, "ann")

    def show(self, place: str, *fields: str) -> list[str]:
        record = self.book.run if place == "run" else self.book.tasks[place]
        return [f"{field} = {encode(getattr(record, field)).decode()}" for field in fields]


def told(text: str) -> Iterator[str]:
    """The transcript, as it is now."""
    definition, events = text.split("---\n", 1)
    teller = Teller(definition)
    yield from f"{definition}---".splitlines()
    for line in events.splitlines():
        if not line.startswith("  "):
            yield line
            if line and not line.startswith("#"):
                yield from (f"  {each}" for each in teller.tell(line))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert "\n".join(told(text)) + "\n" == text


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 15


if __name__ == "__main__":
    for path in SCENARIOS:
        path.write_text("\n".join(told(path.read_text())) + "\n")
        sys.stdout.write(f"{path.name}\n")
