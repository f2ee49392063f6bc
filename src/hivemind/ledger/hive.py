"""The ledger of a daemon: one object, whose engine changes while it is used.

A node that is alone decides alone (`local`). Once others belong to the hive, its voters decide by PBFT and the rest
follow (`agreed`), or an etcd that is there already decides the order (`etcd`). Which of these it is, follows from
what state agreed; the change happens between two batches, and nothing above notices: what was submitted to an engine
that stops is submitted to the next one, and is done once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind.errors import Conflict, HivemindError, NotFound, Unavailable
from hivemind.ledger import lineage
from hivemind.ledger.contract import LedgerStatus, Receipt
from hivemind.ledger.engine import Engine, Superseded
from hivemind.ledger.journal import FILE, Journal, Settings
from hivemind.ledger.links import Lines, Links
from hivemind.ledger.local import LocalEngine, shutting_down
from hivemind.ledger.trust import Handover
from hivemind.ledger.voters import engine_of
from hivemind.protocols.machine import Signer
from hivemind.security.envelope import Envelope
from hivemind.state.state import State

if TYPE_CHECKING:
    from hivemind.ledger.agreed.settings import Agreement
    from hivemind.ledger.etcd.settings import Etcd
    from hivemind.protocols.pbft.epochs import Epochs

_logger = logging.getLogger(__name__)
ASIDE = "ledger.before-join.db"
_MADE = "ledger.joining.db"
_PAUSE = 1.0
"""Seconds until an engine that could not begin is tried again."""


class HiveLedger:
    """Open one with `await HiveLedger.open(...)`."""

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        hive: str,
        signer: Signer,
        clock: Callable[[], int],
        settings: Settings | None = None,
        agreement: Agreement | None = None,
        etcd: Etcd | None = None,
    ) -> HiveLedger:
        """`hive`: the id under which a new ledger begins; one that is there keeps its own, see `state.hive`.
        `signer`: this node's key. `clock` gives milliseconds since 1970. Raises what `Journal.open` does."""
        there = (directory / FILE).exists()
        journal = await Journal.open(directory, hive=None if there else hive, settings=settings)
        ledger = cls(journal, signer, clock, agreement, etcd)
        await ledger._change()
        return ledger

    def __init__(
        self,
        journal: Journal,
        signer: Signer,
        clock: Callable[[], int],
        agreement: Agreement | None,
        etcd: Etcd | None,
    ) -> None:
        self.state = journal.state
        self.journal = journal
        self.subscribe = journal.subscribe
        """Calls back after each applied batch, in order, in the loop's turn; returns the undo."""
        self.convicted: Callable[[str, bytes], None] = lambda culprit, proof: None
        """Called with the id of a voter that was caught lying, and the proof, see `ReportEvidence`."""
        self._signer, self._clock, self._agreement, self._etcd = signer, clock, agreement, etcd
        self._lines = Lines(signer.public)
        self._engine: Engine = Stalled(
            Unavailable("the ledger is being opened", hint="try again in a moment")
        )
        self._kind = ""
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._switch: asyncio.Task[None] | None = None
        self._closing = False

    # -- using it --------------------------------------------------------------------------------------------

    def connect(self, links: Links) -> None:
        """From now on it talks to the other nodes; before, it decides only if it is the only voter."""
        self._lines.connect(links)

    def disconnect(self) -> None:
        """It talks to nobody any more."""
        self._lines.disconnect()

    async def submit(self, envelope: Envelope) -> Receipt:
        """Besides what state refuses with: `Unavailable` when no decision came in time, with a hint that says who is
        missing. The operation may still be decided then; the same nonce again asks what became of it."""
        while not self._closing:
            engine = self._engine
            try:
                return await engine.submit(envelope)
            except Superseded:
                await self._after(engine)
        raise shutting_down()

    async def _after(self, engine: Engine) -> None:
        while self._engine is engine and not self._closing:
            await self._changed.wait()

    def status(self) -> LedgerStatus:
        return self._engine.status()

    async def caught_up(self) -> None:
        """Returns when everything is applied here that was agreed, as far as the others told."""
        while True:
            engine = self._engine
            waiting = getattr(engine, "caught_up", None)
            if waiting is None:
                return
            try:
                await waiting()
                return
            except Superseded:
                await self._after(engine)

    async def close(self) -> None:
        """Finishes what is being written and lets go of the directory. Twice is once."""
        if self._closing:
            return
        self._closing = True
        self._changed.set()
        if self._switch:
            self._switch.cancel()
            await asyncio.gather(self._switch, return_exceptions=True)
        async with self._lock:
            await self._engine.stop()
            self._lines.disconnect()
            await self.journal.close()

    # -- engines ---------------------------------------------------------------------------------------------

    def _wanted(self) -> str:
        return engine_of(self.state, self._signer.public)

    def _is_wanted(self, kind: str) -> Callable[[], bool]:
        return lambda: self._wanted() == kind

    def _ended(self) -> None:
        if not self._closing and (self._switch is None or self._switch.done()):
            self._switch = asyncio.get_running_loop().create_task(self._change())

    async def _change(self) -> None:
        async with self._lock:
            await self._engine.stop()
            if not self._closing:
                await self._begin_or_stall()

    async def _begin_or_stall(self) -> None:
        """What only the disk forbids is tried again."""
        try:
            await self._begin()
        except HivemindError as error:
            _logger.error("this node cannot take part in deciding: %s", error.message)
            self._kind = ""
            self._becomes(Stalled(error))
            if isinstance(error, Unavailable):
                asyncio.get_running_loop().call_later(_PAUSE, self._ended)

    async def _begin(self) -> None:
        kind = self._wanted()
        if kind == "local":
            await self.journal.in_thread(lineage.alone, self.journal.log)
            engine: Engine = LocalEngine(
                self.journal, self._clock, decides=self._is_wanted(kind), ended=self._ended
            )
        elif kind == "etcd":
            from hivemind.ledger.etcd.engine import EtcdEngine
            from hivemind.ledger.etcd.settings import Etcd

            engine = EtcdEngine(
                self.journal,
                self._clock,
                self._etcd or Etcd(),
                decides=self._is_wanted(kind),
                ended=self._ended,
            )
        else:
            engine = await self._with_others()
        self._kind = kind
        self._becomes(engine)

    async def _with_others(self) -> Engine:
        from hivemind.ledger.agreed.beginning import prepare
        from hivemind.ledger.agreed.engine import AgreedEngine
        from hivemind.ledger.agreed.settings import Agreement

        await prepare(self.journal, self._signer)
        return AgreedEngine(
            self.journal,
            self._lines,
            self._signer,
            self._clock,
            settings=self._agreement or Agreement(),
            decides=self._is_wanted("pbft"),
            ended=self._ended,
            convicted=lambda culprit, proof: self.convicted(culprit, proof),
        )

    def _becomes(self, engine: Engine) -> None:
        self._engine = engine
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # -- from hive to hive -----------------------------------------------------------------------------------

    async def handover(self) -> Handover:
        """For a node that was just admitted: what it needs to follow this hive. Raises `Unavailable` when there is no
        certified checkpoint as yet, `Conflict` when this node decides alone."""
        from hivemind.ledger.agreed.beginning import handover

        await self._settled()
        async with self._lock:
            return await handover(self.journal)

    async def epochs(self) -> Epochs | None:
        """The chain by which this node knows who decides; None: it knows of none."""
        from hivemind.ledger.agreed.epochs import recall
        from hivemind.security.identity import verify

        known = await self.journal.in_thread(recall, self.journal.log, verify)
        return known[1] if known else None

    async def epochs_after(self, number: int) -> tuple[bytes, ...]:
        """For somebody who stands in that epoch: the encoded links of the chain that follow, some at a time."""
        from hivemind.ledger.agreed.epochs import after

        return await self.journal.in_thread(after, self.journal.log, number)

    async def _settled(self) -> None:
        """Until the engine is the one that state wants."""
        while not self._closing and self._kind != self._wanted():
            if isinstance(self._engine, Stalled):
                raise self._engine.error
            self._ended()
            await self._changed.wait()

    async def become(self, handover: Handover) -> None:
        """Leaves this node's own hive for the one handed over, in place: `state` takes it over and every subscriber
        hears of one large batch. The old ledger stays beside it as `ledger.before-join.db` until `settle` or
        `go_back`; whenever the node dies, it is in one hive or the other. Raises `Corrupt` when the handover does not
        add up, `Unavailable` when the disk is full; nothing has changed then."""
        from hivemind.ledger.agreed.beginning import entered

        made = self.journal.path.with_name(_MADE)
        await self._replace(lambda: entered(made, handover), made, handover.snapshot, handover.head)

    async def replace_with(self, other: HiveLedger) -> None:
        """As `become`, for a hive that `other`, a ledger of its own beside this one, follows already: nobody here sees
        how that came to what it knows. `other` is closed, and its file is this one's from then on."""
        await other.close()
        snapshot, head = other.state.snapshot(), other.journal.head
        await self._replace(lambda: None, other.journal.path, snapshot, head)

    async def leave(self, hive: str) -> None:
        """Begins an empty hive of that id, of this node alone. What was left is kept as `ledger.before-join.db`."""
        await self._go_on(*lineage.nothing(hive))

    async def save(self) -> bytes:
        """All that is agreed by now, as a file that `restore` understands; certified where several decide."""
        from hivemind.ledger import recovery

        async with self._lock:
            return await recovery.save(self.journal)

    async def restore(self, saved: bytes) -> None:
        """Goes on from such a file, as a new lineage in which this node decides alone; what this node had until now
        is kept as `ledger.before-join.db`. Raises `Invalid`, `Corrupt`, `Unsupported`, `Conflict`, `NotFound`, and
        nothing has changed then."""
        from hivemind.ledger import recovery

        state, head = await asyncio.to_thread(recovery.opened, saved)
        await self._go_on(*recovery.recovered(state, head, self._signer.public, self.state))

    async def force_recover(self) -> None:
        """Goes on from what this node has, as a new lineage in which it decides alone. Raises `Conflict` when the
        hive can decide."""
        from hivemind.ledger import recovery

        if self.status().can_decide:
            raise Conflict(
                "the hive can decide: there is nothing to force",
                hint="hivemind cluster status shows its voters",
            )
        state = recovery.own_state(self.journal)
        await self._go_on(*recovery.recovered(state, self.journal.head, self._signer.public, self.state))

    async def _go_on(self, snapshot: bytes, head: bytes) -> None:
        made = self.journal.path.with_name(_MADE)
        await self._replace(lambda: lineage.written(made, snapshot, head), made, snapshot, head)

    async def settle(self) -> None:
        """The new hive is entered for good: the old ledger is deleted."""
        await self.journal.in_thread(self.journal.path.with_name(ASIDE).unlink, missing_ok=True)

    async def go_back(self) -> None:
        """Entering failed: the old ledger is taken up again. Raises `NotFound` when there is none."""
        aside = self.journal.path.with_name(ASIDE)
        if not aside.exists():
            raise NotFound("there is no ledger of before to go back to")
        snapshot, head = await self.journal.in_thread(lineage.read, aside)
        await self._replace(lambda: None, aside, snapshot, head, keep=False)

    async def _replace(
        self, make: Callable[[], None], made: Path, snapshot: bytes, head: bytes, *, keep: bool = True
    ) -> None:
        async with self._lock:
            await self.journal.in_thread(make)
            state = await self.journal.in_thread(State.restore, snapshot)
            await self._engine.stop()
            try:
                await self.journal.swap(made, made.with_name(ASIDE) if keep else None)
                self.journal.adopt(state, head, len(snapshot))
            finally:
                await self._begin_or_stall()


class Stalled:
    """In place of an engine that cannot begin."""

    def __init__(self, error: HivemindError) -> None:
        self.error = error

    async def submit(self, envelope: Envelope) -> Receipt:
        raise self.error

    def status(self) -> LedgerStatus:
        return LedgerStatus(
            engine="pbft",
            role="learner",
            can_decide=False,
            why_not=f"{self.error.message} ({self.error.hint})",
        )

    async def stop(self) -> None:
        pass
