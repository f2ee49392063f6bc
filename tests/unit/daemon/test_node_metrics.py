"""What /metrics shows of a node that runs something."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agent_rig import NODE, rig
from hivemind.api.backend import Info
from hivemind.daemon.metrics import NodeMetrics
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.allocation import AllocationStatus, Phase
from hivemind.model.base import encode
from hivemind.model.cluster import Reach
from hivemind.store.contract import Entry
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


class Place:
    """Of a node whose hive is in trouble."""

    store = SimpleNamespace(writers=("a", "b"), refused={"unreadable": 1}, lag=lambda: 6)

    def ledger_status(self) -> LedgerStatus:
        return LedgerStatus(
            engine="pbft", role="voter", view=3, primary=NODE, sequence=7, agreed=12, can_decide=False,
            dropped={"stale": 4},
        )  # fmt: skip

    def reach(self, node: str) -> Reach:
        return "dead"

    def dropped(self) -> dict[str, int]:
        return {"unsent": 2}


class WithOthers:
    """A store in which another node has written, too."""

    def __init__(self, store: Any, more: dict[str, bytes]) -> None:
        self._store, self._more = store, more

    def range(self, prefix: str) -> list[Entry]:
        others = [Entry(key + "-other", value, "other", 1, 0) for key, value in self._more.items()]
        return [*self._store.range(prefix), *others]

    def get(self, key: str) -> Entry | None:
        found: Entry | None = self._store.get(key)
        return found


async def test_it_shows_what_is_agreed_and_what_is_observed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=2)
        await box.healthy(2)
        box.machine.crash(f"{box.newest.id}.0")
        await box.until(lambda: box.status().ready and box.status().restarts == 1)
        box.deploy("broken", command=("no-such-thing",))
        await box.until(lambda: box.newest.failing)
        other = replace(box.hive.state.nodes[NODE], id="other", name="other", lost=1)
        box.hive.state.tables.put(box.hive.state.nodes, "other", other)
        info = Info(
            version="1.2.3", hive="h", node=NODE, node_name='no"de', runtime="fake", network="fake",
            started=5000, sequence=1, digest="", dns="", problems=(),
        )  # fmt: skip
        names = SimpleNamespace(queries=7, forwarded=2, failures=1)
        foreign = AllocationStatus(phase=Phase.RUNNING, restarts=9)
        store = WithOthers(box.store, {f"allocation/{box.newest.id}": encode(foreign)})
        metrics = NodeMetrics(box.hive.state, store, names, info, Place())  # type: ignore[arg-type]
        lines = metrics.registry.text().splitlines()
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
        "hivemind_unplaced 0",
        'hivemind_hive_nodes{state="ready"} 1',
        'hivemind_hive_nodes{state="lost"} 1',
        'hivemind_hive_reach{reach="dead"} 1',
        "hivemind_hive_expelled 0",
        "hivemind_ledger_view 3",
        "hivemind_ledger_lag 5",
        "hivemind_ledger_can_decide 0",
        "hivemind_ledger_primary 1",
        'hivemind_pbft_dropped_total{reason="stale"} 4',
        'hivemind_transport_dropped_total{reason="unsent"} 2',
        "hivemind_store_writers 2",
        "hivemind_store_lag 6",
        'hivemind_store_refused_total{reason="unreadable"} 1',
    ):
        assert line in lines
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(
        [line for line in lines if line.startswith("# HELP")]
    )
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"`(hivemind_\w+)", page))
    shown = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert shown == documented, "docs/metrics.md has all of them, and nothing else"
