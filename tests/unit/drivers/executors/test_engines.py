"""Which engines there are, and what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hivemind.drivers.executors import NAMES, make
from hivemind.drivers.executors.contract import Job
from hivemind.drivers.executors.dask import Dask
from hivemind.drivers.executors.fake import Fake
from hivemind.errors import Invalid, Unavailable, Unsupported

pytestmark = pytest.mark.anyio


def test_each_is_made_by_its_name() -> None:
    assert [make(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(Invalid, match="no executor 'flux'"):
        make("flux")


async def test_dask_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Unsupported) as refused:
        await Dask().open()
    assert "pip install distributed" in refused.value.hint


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("address", ["", "nonsense://x:1"])
async def test_addresses_of_dask(tmp_path: Path, address: str) -> None:
    with pytest.raises(Invalid) as refused:
        await Dask().submit("a1", Job(argv=("true",), directory=str(tmp_path), options={"address": address}))
    assert "address: tcp://" in refused.value.hint


async def test_what_an_engine_lost_is_lost_and_its_silence_is_not(tmp_path: Path) -> None:
    executor, job = Fake(), Job(argv=("sleep", "60"), directory=str(tmp_path))
    await executor.submit("a1", job)
    executor.deaf = True
    with pytest.raises(Unavailable):
        await executor.poll("a1", job)
    executor.deaf = False
    await executor.lose("a1")
    assert (await executor.wait("a1", job)).cause == "lost"


async def test_one_that_waits(tmp_path: Path) -> None:
    executor, job = Fake(held=True), Job(argv=("true",), directory=str(tmp_path))
    await executor.submit("a1", job)
    assert (await executor.poll("a1", job)).standing == "waiting"
    await executor.release()
    assert (await executor.wait("a1", job)).exit_code == 0
