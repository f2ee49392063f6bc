"""Two nodes of one hive: `near`, which tests talk to, and `far`, which runs everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.api.application import Application
from hivemind.api.remote.remote import Remote
from hivemind.api.settings import ApiSettings
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.principal import Principal
from hivemind.security.identity import Identity
from hivemind.state.operations import RegisterNode, RegisterPrincipal
from hivemind.transport.fake import FakeNetwork, FakePeers
from tests.unit.api.backend import ADMIN, NODE, MemoryBackend
from tests.unit.api.conftest import Running

FAR = Identity(b"f" * 32)


class Pair:
    """`near` and everything else lives in its server's thread."""

    def __init__(self, near: Running) -> None:
        self.near = near
        self._peers: list[FakePeers] = []
        self.far, self.network = near.run(self._meet())

    async def _meet(self) -> tuple[MemoryBackend, FakeNetwork]:
        backend = self.near.backend
        backend.apply(RegisterPrincipal(principal=Principal(id=FAR.public, name="far", kind="node")), ADMIN)
        register = RegisterNode(id=FAR.public, name="far", cpus=4.0, memory=2**33, runtimes=("oci",))
        backend.apply(register, FAR)
        far = MemoryBackend()
        far.state, far.store = backend.state, backend.store
        far.remote = Remote(FAR.public, backend.state)
        Application(far, self.near.settings)
        network = FakeNetwork()
        near_peers, far_peers = network.peers(NODE.public), network.peers(FAR.public)
        self._peers += [near_peers, far_peers]
        network.introduce()
        backend.remote.connect(near_peers)
        far.remote.connect(far_peers)
        return far, network

    def deploy(self, name: str = "web", replicas: int = 1, *, on: str = "far") -> list[str]:
        """Replicas that run on that node; their ids by slot."""
        spec = AppSpec(image="nginx", constraints=(f"node.name=={on}",))
        self.near.local.apps.deploy(AppManifest(name=name, replicas=replicas, spec=spec))
        found = sorted((a.slot, a.id) for a in self.near.local.allocations.list() if a.app == name)
        runs_on = self.far if on == "far" else self.near.backend
        for _, id in found:
            self.near.do(runs_on.run, id)
        return [id for _, id in found]

    def write(self, id: str, time: int, text: str, *, on: str = "far") -> None:
        runs_on = self.far if on == "far" else self.near.backend
        self.near.run(runs_on.write_line(id, time, text))

    def part(self) -> None:
        for peers in self._peers:
            self.near.run(peers.close())

    def cut(self) -> None:
        self.near.do(self.network.cut, NODE.public, FAR.public)

    def mend(self) -> None:
        self.near.do(self.network.mend)


@pytest.fixture
def pair(short_dir: Path) -> Iterator[Pair]:
    near = Running(ApiSettings(socket=str(short_dir / "run" / "api.sock"), port=0, heartbeat=0.2))
    pair = Pair(near)
    yield pair
    pair.part()
    near.stop()
