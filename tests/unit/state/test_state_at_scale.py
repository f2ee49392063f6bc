"""What an operation or a list costs grows with what it is about, not with the hive: counted in records looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hive import Hive
from hivemind.model.allocation import AllocationState
from hivemind.model.content import Piece
from hivemind.model.mount import SecretMount, VolumeMount
from hivemind.model.volume import Volume, VolumeManifest
from hivemind.state.dependencies import start_is_awaited
from hivemind.state.operations import DeleteVolume, PutContent, PutVolume, ReportVolumes, VolumeMade
from hivemind.state.tables import Table
from hivemind.state.volume_use import held_by, mentioned_by

SMALL, LARGE = 20, 80


class Looked:
    records = 0


@pytest.fixture(scope="module")
def hives() -> tuple[Hive, Hive]:
    return grown(SMALL), grown(LARGE)


def grown(count: int) -> Hive:
    """So many apps of five replicas, all with the same secret, each with two volumes; half wait for another."""
    hive = Hive(4, cpus=10_000.0, memory=2**45)
    rotate(hive)
    for index in range(count):
        hive.do(PutVolume(project="default", manifest=VolumeManifest(name=f"v{index}")))
        hive.deploy(
            f"a{index}", replicas=5, depends_on={f"a{index - 1}": "started"} if index % 2 else {},
            mounts=(
                VolumeMount(source=f"v{index}", target="/shared"),
                VolumeMount(source=f"own{index}", target="/own", per_replica=True),
                SecretMount(source="common", target="/secret"),
            ),
        )  # fmt: skip
    hive.settle()
    return hive


def rotate(hive: Hive, value: bytes = b"x") -> None:
    data = {"key": Piece(value=value, digest=f"{value!r}")}
    hive.do(PutContent(kind="secret", project="default", name="common", data=data))


@contextmanager
def counting() -> Iterator[Looked]:
    looked, get, walk = Looked(), Table.__getitem__, Table.__iter__

    def counted_get(table: Table[Volume], key: str) -> Volume:
        looked.records += 1
        return get(table, key)

    def counted_walk(table: Table[Volume]) -> Iterator[str]:
        looked.records += len(table)
        return walk(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "__getitem__", counted_get)
        patch.setattr(Table, "__iter__", counted_walk)
        yield looked


def growth(hives: tuple[Hive, Hive], action: Callable[[Hive], object]) -> float:
    """How many times as much is looked at in a hive four times as large."""
    counts = []
    for hive in hives:
        with counting() as looked:
            action(hive)
        counts.append(looked.records)
    return counts[1] / max(counts[0], 1)


def volumes(hive: Hive) -> list[Volume]:
    return list(hive.state.volumes.values())


def test_the_scene_is_what_it_should_be(hives: tuple[Hive, Hive]) -> None:
    state = hives[1].state
    assert len(state.volumes) == LARGE * 6 and len(state.allocations) == LARGE * 5
    assert all(a.state is AllocationState.HEALTHY for a in state.allocations.values())


ONE = {
    "who mentions a volume": lambda hive: mentioned_by(hive.state, hive.state.volumes["default/v7"]),
    "who mentions a replica's": lambda hive: mentioned_by(hive.state, hive.state.volumes["default/own7-3"]),
    "who holds a volume": lambda hive: held_by(hive.state, hive.state.volumes["default/v7"]),
    "who holds a replica's": lambda hive: held_by(hive.state, hive.state.volumes["default/own7-3"]),
    "whether a start is awaited": lambda hive: start_is_awaited(hive.state, hive.allocations("a6")[0]),
}


@pytest.mark.parametrize("action", ONE.values(), ids=ONE.keys())
def test_one_thing_costs_the_same_however_large_the_hive(
    hives: tuple[Hive, Hive], action: Callable[[Hive], object]
) -> None:
    assert growth(hives, action) == 1


def test_that_volumes_are_listed_with_who_uses_them_grows_with_them(hives: tuple[Hive, Hive]) -> None:
    assert growth(hives, lambda hive: [mentioned_by(hive.state, v) for v in volumes(hive)]) < 5
    assert growth(hives, lambda hive: [held_by(hive.state, v) for v in volumes(hive)]) < 5


def test_a_report_about_all_volumes_grows_with_them(hives: tuple[Hive, Hive]) -> None:
    def report(hive: Hive) -> None:
        made = tuple(VolumeMade(id=v.id, content=v.content) for v in volumes(hive))
        hive.do(ReportVolumes(node="node-0", made=made), by="node-0")

    assert growth(hives, report) < 5


def test_thousands_that_wait_ask_once_for_each_app() -> None:
    def deploy(replicas: int) -> Callable[[Hive], object]:
        return lambda hive: hive.deploy("late", replicas=replicas, depends_on={"early": "healthy"})

    few, many = Hive(), Hive()
    counts = []
    for hive, replicas in ((few, 10), (many, 200)):
        hive.deploy("early", replicas=replicas)
        deploy(replicas)(hive)
        with counting() as looked:
            hive.wait(1)
            hive.deploy("other")
        counts.append(looked.records)
    assert counts[1] < counts[0] * 25


def test_a_secret_of_all_apps_rolls_and_is_forgotten_in_proportion() -> None:
    def life(hive: Hive) -> None:
        for number in range(24):
            rotate(hive, b"%d" % number)
            hive.settle()

    small, large = grown(4), grown(16)
    assert growth((small, large), life) < 6
    assert len(large.state.content_numbers("secret", "default", "common")) <= 21


def test_a_volume_is_still_kept_for_whom_the_index_finds() -> None:
    """The index knows only names: which of them are meant is looked at."""
    hive = Hive()
    for name in ("data-1", "data-01", "data"):
        hive.do(PutVolume(project="default", manifest=VolumeManifest(name=name)))
    hive.deploy("db", replicas=2, mounts=(VolumeMount(source="data", target="/d", per_replica=True),))
    hive.deploy("web", mounts=(VolumeMount(source="data-1", target="/d"),))
    state = hive.state
    assert mentioned_by(state, state.volumes["default/data-1"]) == ["db", "web"]
    assert held_by(state, state.volumes["default/data-1"]) == ["db.1", "web.0"]
    assert held_by(state, state.volumes["default/data-01"]) == []
    assert mentioned_by(state, state.volumes["default/data"]) == []
    hive.do(DeleteVolume(project="default", name="data"))
