"""A forecast is what then really happens when all goes well."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_rig import IMAGE, SERVE, rig
from hive import ADMIN, GIB, Hive
from hivemind.errors import NotFound
from hivemind.model.app import AppManifest, AppSpec, Update
from hivemind.model.template import Resources
from hivemind.state.forecast import Foreseen, forecast
from hivemind.state.operations import (
    DeleteApp,
    DeployApp,
    Operation,
    RestartApp,
    ScaleApp,
    StartApp,
    StopApp,
)
from virtual_time import VirtualLoop

WEB = {"project": "default", "name": "web"}


def told(steps: list[Foreseen]) -> list[str]:
    return [f"{step.action} {step.object}" + f": {step.detail}" * bool(step.detail) for step in steps]


def test_a_rolling_update_is_told_step_by_step() -> None:
    hive = Hive()
    hive.deploy(replicas=2)
    hive.settle()
    before = hive.state.digest()
    spec = AppSpec(image="web:2")
    steps = forecast(
        hive.state,
        DeployApp(project="default", manifest=AppManifest(name="web", replicas=2, spec=spec)),
        ADMIN,
    )
    assert told(steps) == [
        "change app web: to revision 2",
        "start web.0: revision 2",
        "stop web.0: replaced by revision 2",
        "start web.1: revision 2",
        "stop web.1: replaced by revision 2",
    ]
    assert hive.state.digest() == before, "nothing was changed"


def test_what_has_no_room_is_told_with_the_reason() -> None:
    hive = Hive(memory=GIB)
    manifest = AppManifest(
        name="big", replicas=2, spec=AppSpec(image="web:1", resources=Resources(memory=GIB))
    )
    steps = forecast(hive.state, DeployApp(project="default", manifest=manifest), ADMIN)
    assert [step.action for step in steps].count("start") == 1
    [waits] = [step for step in steps if step.action == "wait"]
    assert waits.detail == "0 of 1 node fit: 1 lacks 1GiB memory"


def test_what_would_be_refused_is_refused() -> None:
    with pytest.raises(NotFound):
        forecast(Hive().state, ScaleApp(**WEB, replicas=3), ADMIN)


operations = st.one_of(
    st.builds(ScaleApp, project=st.just("default"), name=st.just("web"), replicas=st.integers(0, 4)),
    st.builds(
        lambda replicas, version, order, parallel: DeployApp(
            project="default",
            manifest=AppManifest(
                name="web",
                replicas=replicas,
                spec=AppSpec(
                    image=IMAGE,
                    command=SERVE,
                    runtime="fake",
                    env={"VERSION": str(version)},
                    update=Update(order=order, max_parallel=parallel, min_healthy_time=0),
                ),
            ),
        ),
        st.integers(0, 4),
        st.integers(0, 3),
        st.sampled_from(["start-first", "stop-first"]),
        st.integers(1, 3),
    ),
    st.sampled_from([StopApp(**WEB), StartApp(**WEB), RestartApp(**WEB), DeleteApp(**WEB)]),
)


def by_replica(steps: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What happens to each slot, in order; slots go on beside each other."""
    found: dict[str, list[str]] = defaultdict(list)
    for action, name in steps:
        found[name].append(action)
    return found


async def foreseen_and_done(history: list[Operation], folder: Path) -> None:
    """Each operation is forecast first and then left to a real agent."""
    async with rig(folder) as box:
        await box.start()
        box.deploy(replicas=2)
        await box.rest()
        for operation in history:
            if box.hive.state.find_app("default", "web") is None and not isinstance(operation, DeployApp):
                continue
            steps = forecast(box.hive.state, operation, ADMIN)
            seen = len(box.events())
            box.do(operation)
            await box.rest(60)
            done = [
                ("start" if event.type == "allocation.started" else "stop", event.name)
                for event in box.events()[seen:]
                if event.type in ("allocation.started", "allocation.exited")
            ]
            foreseen = [(step.action, step.object) for step in steps if step.action in ("start", "stop")]
            assert by_replica(foreseen) == by_replica(done)


@settings(max_examples=25, deadline=None)
@given(st.lists(operations, min_size=1, max_size=6))
def test_what_is_foreseen_is_what_is_done(history: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(foreseen_and_done(history, Path(folder)))
