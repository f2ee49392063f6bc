"""Following a hive beside one's own, before belonging to it: what was handed over is brought up to date in a ledger
of its own, out of sight of everything that runs here."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from hivemind.daemon.hive import order, pace
from hivemind.daemon.hive.belonging import Belonging
from hivemind.daemon.hive.directory import Directory
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Unavailable
from hivemind.ledger.agreed.beginning import entered
from hivemind.ledger.contract import Batch
from hivemind.ledger.hive import HiveLedger
from hivemind.ledger.journal import FILE
from hivemind.ledger.trust import Handover
from hivemind.security.identity import Identity

_PATIENCE = 120.0


async def rehearse(
    place: Path,
    handover: Handover,
    key: Identity,
    clock: Callable[[], int],
    wire: Wire,
    belonging: Belonging,
    *,
    adopted: bool,
    settings: ClusterSettings,
) -> HiveLedger:
    """A ledger at `place` that has in it that this node was let in and, with `adopted`, what it brought. Raises
    `Unavailable` when the others do not tell in time, `Corrupt` when what was handed over does not add up, `Invalid`
    when this node is not told of the etcd that the hive asks."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    await asyncio.to_thread(entered, place / FILE, handover)
    wire.enter(belonging.hive, belonging.secret)
    ledger = await HiveLedger.open(
        place, hive=belonging.hive, signer=key, clock=clock,
        agreement=pace.agreement(settings), etcd=order.etcd(settings),
    )  # fmt: skip
    try:
        order.check(ledger.state.hives[belonging.hive].engine, settings)
    except BaseException:
        await ledger.close()
        raise
    directory = Directory(key.public, ledger.state, belonging.known)
    wire.allowed = directory.allowed
    bell = asyncio.Event()

    def learn() -> None:
        for node, addresses in directory.everybody().items():
            wire.peers.learn(node, addresses)

    def agreed(batch: Batch) -> None:
        """Others may vote by now than those that the sponsor named, and nobody of them knows where this node is."""
        directory.settled()
        learn()
        bell.set()

    learn()
    undo = ledger.subscribe(agreed)
    ledger.connect(wire.peers)
    try:
        async with asyncio.timeout(_PATIENCE):
            await ledger.caught_up()
            while not _is_there(ledger, key.public, adopted):
                bell.clear()
                await bell.wait()
                await ledger.caught_up()
    except TimeoutError:
        await ledger.close()
        raise Unavailable(
            "the other nodes do not tell what was agreed",
            hint="check that they reach this node's address, then join again with the same token",
        ) from None
    except BaseException:
        await ledger.close()
        raise
    finally:
        undo()
    return ledger


def _is_there(ledger: HiveLedger, node: str, adopted: bool) -> bool:
    """What was handed over had the node in it. Raises `Unavailable` when the hive has let it go since."""
    record = ledger.state.nodes.get(node)
    if record is None:
        raise Unavailable("the hive has let this node go again", hint="join again")
    return record.adopted or not adopted
