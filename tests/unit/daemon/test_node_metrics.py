"""What /metrics shows of a node that runs something."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_rig import rig
from hivemind.api.backend import Info
from hivemind.daemon.metrics import NodeMetrics
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


async def test_it_shows_what_is_agreed_and_what_is_observed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=2)
        await box.healthy(2)
        box.machine.crash(f"{box.newest.id}.0")
        await box.until(lambda: box.status().ready and box.status().restarts == 1)
        box.deploy("broken", command=("no-such-thing",))
        await box.until(lambda: box.newest.failing)
        info = Info(
            version="1.2.3", hive="h", node="n", node_name='no"de', runtime="fake", network="fake",
            started=5000, sequence=1, digest="", dns="", problems=(),
        )  # fmt: skip
        names = SimpleNamespace(queries=7, forwarded=2, failures=1)
        lines = NodeMetrics(box.hive.state, box.store, names, info).registry.text().splitlines()  # type: ignore[arg-type]
    for line in (
        'hivemind_info{version="1.2.3",node="no\\"de",runtime="fake",network="fake"} 1',
        "hivemind_start_time_seconds 5",
        f"hivemind_ledger_sequence {box.hive.state.sequence}",
        'hivemind_apps{project="default"} 2',
        'hivemind_allocations{state="healthy"} 2',
        'hivemind_allocations{state="placed"} 1',
        'hivemind_replicas{phase="running"} 2',
        'hivemind_replicas{phase="backoff"} 1',
        'hivemind_container_restarts{project="default",app="web",slot="1"} 1',
        'hivemind_container_restarts{project="default",app="web",slot="0"} 0',
        "hivemind_dns_queries_total 7",
    ):
        assert line in lines
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(
        [line for line in lines if line.startswith("# HELP")]
    )
