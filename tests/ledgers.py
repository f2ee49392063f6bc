"""A hive of several ledgers in one event loop, over a network in memory: each in a directory of its own, each killed,
cut off and started again on its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from hivemind.errors import Unavailable
from hivemind.ledger.agreed.settings import Agreement
from hivemind.ledger.contract import Receipt
from hivemind.ledger.etcd.settings import Etcd
from hivemind.ledger.hive import HiveLedger
from hivemind.ledger.journal import Settings
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.protocols.machine import MILLISECOND, SECOND
from hivemind.protocols.pbft.settings import Settings as Protocol
from hivemind.security.envelope import seal
from hivemind.security.identity import Identity
from hivemind.security.joining import joining
from hivemind.state.operations import (
    FoundHive,
    JoinHive,
    Operation,
    PutJoinToken,
    PutProject,
    ReadyToVote,
    RegisterNode,
    RegisterPrincipal,
    encode_operation,
)
from hivemind.transport.fake import FakeNetwork, FakePeers

HIVE = "test-hive"
PERSON = Identity(bytes(range(32)))
TOKEN = Identity(bytes(range(1, 33)))
LATE = 20.0
"""Seconds after which a test gives up."""
QUICK = Agreement(
    protocol=Protocol(
        checkpoint_interval=4,
        log=16,
        pipeline=4,
        batch_delay=MILLISECOND,
        request_timeout=300 * MILLISECOND,
        view_change_timeout=300 * MILLISECOND,
        view_change_limit=2 * SECOND,
        status_interval=50 * MILLISECOND,
        idle_interval=200 * MILLISECOND,
        replay_gap=40,
    ),
    answer_within=15.0,
    despair_after=1.0,
    silence=1.0,
    transfer_timeout=2.0,
)


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Node:
    """One node; `ledger` is the open one of its present life."""

    def __init__(self, hive: Hive, name: str, number: int) -> None:
        self.hive, self.name = hive, name
        self.identity = Identity(bytes([number]) * 32)
        self.id = self.identity.public
        self.directory = hive.directory / name
        self.ledger: HiveLedger
        self.peers: FakePeers
        self.alive = False

    async def start(self) -> None:
        self.ledger = await HiveLedger.open(
            self.directory,
            hive=HIVE if self.hive.nodes[0] is self else f"own-{self.name}",
            signer=self.identity,
            clock=milliseconds,
            settings=self.hive.settings,
            agreement=self.hive.agreement,
            etcd=self.hive.etcd,
        )
        self.peers = self.hive.network.peers(self.id)
        self.hive.network.introduce()
        self.ledger.connect(self.peers)
        self.alive = True

    async def kill(self) -> None:
        """As SIGKILL does, as far as one process can: nothing is finished, nothing written any more."""
        self.alive = False
        self.peers.stop()
        ledger = self.ledger
        ledger.journal.log.append = ledger.journal.log.keep = _dead  # type: ignore[method-assign]
        ledger.journal.log.checkpoint = ledger.journal.log.install = _dead  # type: ignore[method-assign]
        ledger.journal.log.prove = _dead  # type: ignore[method-assign]
        with contextlib.suppress(Exception):
            await ledger.close()

    async def stop(self) -> None:
        self.alive = False
        await self.ledger.close()
        self.peers.stop()

    async def submit(self, operation: Operation, *, nonce: str = "", by: Identity | None = None) -> Receipt:
        signer = by or PERSON
        envelope = seal(
            signer, self.ledger.state.hive, nonce or f"{next(_nonces)}", encode_operation(operation)
        )
        return await self.ledger.submit(envelope)

    async def put(self, name: str, *, nonce: str = "") -> Receipt:
        return await self.submit(PutProject(manifest=ProjectManifest(name=name)), nonce=nonce)

    @property
    def projects(self) -> set[str]:
        return set(self.ledger.state.projects)


def _dead(*_: object, **__: object) -> None:
    raise Unavailable("killed")


_nonces = itertools.count()


class Hive:
    def __init__(
        self,
        directory: Path,
        *,
        settings: Settings | None = None,
        agreement: Agreement = QUICK,
        etcd: Etcd | None = None,
    ) -> None:
        """`etcd`: what decides the order of this hive, unless it is its voters."""
        self.directory, self.settings, self.agreement, self.etcd = directory, settings, agreement, etcd
        self.network = FakeNetwork()
        self.nodes: list[Node] = []

    async def found(self) -> Node:
        first = Node(self, "n0", 100)
        self.nodes.append(first)
        await first.start()
        administrator = Principal(id=PERSON.public, name="person", kind="person", role=Role.ADMIN)
        await first.submit(RegisterPrincipal(principal=administrator))
        await first.submit(RegisterPrincipal(principal=Principal(id=first.id, name="n0", kind="node")))
        await first.submit(self._registration(first), by=first.identity)
        await first.submit(FoundHive(name="test", node=first.id, engine="etcd" if self.etcd else "pbft"))
        later = milliseconds() + 10**9
        await first.submit(PutJoinToken(id=TOKEN.public, uses=100, expires=later))
        return first

    def _registration(self, node: Node) -> Operation:
        return RegisterNode(id=node.id, name=node.name, cpus=4.0, memory=2**33, runtimes=("process",))

    async def join(self, sponsor: Node | None = None, *, vote: bool = True) -> Node:
        """A node of its own joins, as the daemon lets it."""
        number = len(self.nodes)
        node = Node(self, f"n{number}", 100 + number)
        self.nodes.append(node)
        await node.start()
        signed = joining(HIVE, node.id, PERSON.public)
        sponsor = sponsor or self.nodes[0]
        await sponsor.submit(
            JoinHive(
                node=node.id,
                name=node.name,
                role="member",
                administrator=PERSON.public,
                token=TOKEN.public,
                proof=TOKEN.sign(signed),
                consent=node.identity.sign(signed),
            ),
            by=sponsor.identity,
        )
        handover = await sponsor.ledger.handover()
        await node.ledger.become(handover)
        await until(lambda: node.id in node.ledger.state.nodes, "the node follows")
        await node.submit(self._registration(node), by=node.identity)
        if vote:
            await node.submit(ReadyToVote(node=node.id), by=node.identity)
        return node

    async def grow(self, count: int) -> list[Node]:
        """A hive of so many voters."""
        await self.found()
        for _ in range(count - 1):
            await self.join()
        await until(lambda: all(len(n.ledger.status().voters) == count for n in self.nodes), "all vote")
        return self.nodes

    async def agree(self) -> None:
        """All that live have the same state, up to the last decision."""
        await until(self._equal, "all have the same state")

    def _equal(self) -> bool:
        living = [node.ledger for node in self.nodes if node.alive]
        digests = {(ledger.state.sequence, ledger.state.digest(), ledger.journal.head) for ledger in living}
        return len(digests) == 1

    async def close(self) -> None:
        for node in self.nodes:
            if node.alive:
                await node.stop()


@contextlib.asynccontextmanager
async def hive_in(directory: Path, **options: object) -> AsyncIterator[Hive]:
    hive = Hive(directory, **options)  # type: ignore[arg-type]
    try:
        yield hive
    finally:
        await hive.close()


async def until(true: Callable[[], bool], what: str) -> None:
    """Looks again, soon and often: there is nothing to wait for but the state of things."""
    async with asyncio.timeout(LATE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
