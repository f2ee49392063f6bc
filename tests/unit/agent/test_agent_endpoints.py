"""Who is sent where: published ports and names follow the replicas that are ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent_rig import IMAGE, NODE, Rig, rig
from hivemind.agent.endpoints import status_key
from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.fake import FakeNetwork
from hivemind.drivers.runtimes.fake import FakeMachine, FakeRuntime
from hivemind.model.allocation import AllocationState, AllocationStatus
from hivemind.model.app import Update
from hivemind.model.base import encode
from hivemind.model.check import Check, CommandProbe
from hivemind.model.network import Port
from hivemind.model.project import ProjectManifest
from hivemind.protocols.dns.records import Address, pack, parse_name
from hivemind.state.operations import DeleteApp, PutProject, ScaleApp
from hivemind.store.shared import SharedStore
from tests.unit.store.links import Wires, key
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
PORT = Published("tcp", 8080)


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


def answers(box: Rig, name: str = "web.default.hive") -> set[bytes] | None:
    """The addresses of a name; None when it does not exist."""
    found = box.zone.lookup(parse_name(name), "default")
    if found is None:
        return None
    return {data.packed for several in found.values() for data in several if isinstance(data, Address)}


def addresses(box: Rig) -> set[bytes]:
    return {pack(attached.ip) for attached in box.network.attachments().values()}


async def test_a_name_exists_before_and_after_its_replicas_and_has_only_the_ready_ones(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=0, check=Check(probe=CommandProbe(command=("true",)), interval=1, retries=1))
        await box.rest(1)
        assert answers(box) == set()
        box.do(ScaleApp(project="default", name="web", replicas=2))
        await box.until(lambda: answers(box) == addresses(box) and len(addresses(box)) == 2)
        box.machine.crash(f"{box.newest.id}.0")
        await box.until(lambda: len(answers(box) or ()) == 1, 1)
        await box.until(lambda: len(answers(box) or ()) == 2)
        box.do(DeleteApp(project="default", name="web"))
        await box.until(lambda: answers(box) is None)


async def test_while_revisions_change_each_replica_is_reached_at_its_own_port(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=2, ports=(Port(container=80, host=8080),))
        await box.healthy(2)
        seen: set[tuple[int, ...]] = set()
        publish = box.network.publish

        async def watched(table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
            seen.add(tuple(sorted(port for _, port in table[PORT])))
            return await publish(table)

        box.network.publish = watched  # type: ignore[method-assign]
        box.deploy(replicas=2, ports=(Port(container=81, host=8080),))
        await box.until(lambda: [port for _, port in box.published(8080) or ()] == [81, 81])
        assert {(80, 80, 81), (80, 81, 81), (81, 81)} <= seen <= {
            (80, 80), (80, 80, 81), (80, 81), (80, 81, 81), (81, 81)
        }  # fmt: skip


class OneMachine(FakeNetwork):
    """A port is held by one network of the machine only."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.others: list[FakeNetwork] = []
        self.opened = True

    async def publish(self, table: Mapping[Published, tuple[Backend, ...]]) -> Mapping[Published, str]:
        held = {port for other in self.others for port in other.published}
        self.busy = {port: "held by another network" for port in table if port in held}
        return await super().publish(table)


async def test_a_port_moves_with_its_app_to_another_runtime_and_serves_all_the_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        routed, host = OneMachine("routed"), OneMachine("host")
        routed.others, host.others = [host], [routed]
        processes = FakeMachine(box.loop.milliseconds)
        processes.add_image(IMAGE)
        await box.start(
            {"fake": routed, "process": host}, fake=FakeRuntime(box.machine), process=FakeRuntime(processes)
        )
        box.hive.do(PutProject(manifest=ProjectManifest(name="default", permissions=("processes",))))
        ports = (Port(container=80, host=8080),)
        for runtime, old, new in (("process", routed, host), ("fake", host, routed)):
            box.deploy(ports=ports, runtime="process" if runtime == "fake" else "fake")
            await box.until(lambda n=old: n.published.get(PORT))  # type: ignore[misc]
            await box.healthy()
            served, failed = [], []

            def look(served: list[bool] = served, failed: list[bool] = failed) -> bool:
                served.append(bool(routed.published.get(PORT) or host.published.get(PORT)))
                failed.append(box.newest.failing)
                return False

            box.deploy(ports=ports, runtime=runtime)
            await box.until(
                lambda n=new, o=old: look() or (n.published.get(PORT) and PORT not in o.published)
            )  # type: ignore[misc]
            await box.healthy()
            assert all(served)
            assert not any(failed)


async def test_a_port_is_freed_even_if_the_daemon_died_before_it_could(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(ports=(Port(container=80, host=8080),))
        await box.until(lambda: box.published(8080))
        await box.kill()
        box.do(DeleteApp(project="default", name="web"))
        await box.start()
        await box.until(lambda: not box.hive.state.apps)
        await box.until(lambda: box.published(8080) is None)


async def test_a_replica_that_comes_and_goes_is_followed(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        flapping = Check(probe=CommandProbe(command=("true",)), interval=1, retries=1)
        box.deploy(check=flapping, ports=(Port(container=80, host=8080),), update=Update(min_healthy_time=0))
        for instance in range(4):
            await box.until(lambda n=instance: box.status().instance == n and box.published(8080))  # type: ignore[misc]
            box.machine.crash(f"{box.newest.id}.{instance}")
            await box.until(lambda: box.published(8080) == (), 1)
        assert box.newest.state is AllocationState.HEALTHY


async def test_who_writes_over_what_another_node_says_hides_none_of_its_replicas(tmp_path: Path) -> None:
    async with rig(tmp_path) as box:
        await box.start()
        box.deploy(replicas=2)
        await box.healthy(2)
        served, wires = addresses(box), Wires()
        mole = await SharedStore.open(tmp_path / "mole.db", key(9), clock=box.loop.milliseconds)
        for store in (box.store, mole):
            store.admit([NODE, mole.writer])
            store.connect(wires.add(store.writer))
        try:
            keys = [status_key(allocation.id) for allocation in box.allocations if allocation.live]
            await box.until(lambda: all(mole.get(each) for each in keys))
            for value in (b"without sense", encode(AllocationStatus(ready=True, ip="10.66.6.6")), None):
                for each in keys:
                    mole.write({each: value})
                await box.until(lambda: NODE not in {_writer(box.store, each) for each in keys})
                await box.rest(0.5)
                assert answers(box) == served
                await box.until(lambda: all(_writer(mole, each) == NODE for each in keys))
                assert answers(box) == served
        finally:
            await mole.close()


def _writer(store: SharedStore, key: str) -> str:
    entry = store.get(key)
    return entry.writer if entry else ""
