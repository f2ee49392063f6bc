"""The engine that decides together with others: a voter, or a learner that follows what voters decided.

Events go into the machine as they come; its effects go to a `Writer`, which makes durable what has to be before the
rest is performed. When a batch cannot be applied, the node stops agreeing: a refusal is an outcome, so this is a
defect, and all nodes have the same one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from hivemind.errors import Corrupt, HivemindError, Unavailable
from hivemind.ledger.agreed import epochs, requests
from hivemind.ledger.agreed.host import JournalHost
from hivemind.ledger.agreed.outbox import Outbox
from hivemind.ledger.agreed.place import Place
from hivemind.ledger.agreed.settings import Agreement
from hivemind.ledger.agreed.standing import status_of, undecided
from hivemind.ledger.agreed.transfer import Fetched, Fetcher, serve
from hivemind.ledger.agreed.writer import Writer
from hivemind.ledger.contract import Batch, LedgerStatus, Receipt
from hivemind.ledger.engine import Answers, Superseded, checked, key_of, outcome_of
from hivemind.ledger.journal import Journal
from hivemind.ledger.links import SERVICE, Links, Stream
from hivemind.ledger.voters import name_of
from hivemind.protocols.machine import Received, Signer, Tick
from hivemind.protocols.pbft import events as pbft
from hivemind.protocols.pbft.quorum import weak
from hivemind.protocols.pbft.replica import Replica
from hivemind.protocols.pbft.wire import encode
from hivemind.security.envelope import Envelope
from hivemind.security.identity import verify
from hivemind.state.state import Outcome

_logger = logging.getLogger(__name__)
_MICROSECOND = 1e-6
_SERVED = 2
"""Nodes that are given the state at a time: each takes as much memory as a snapshot."""
Convicted = Callable[[str, bytes], None]


class AgreedEngine:
    """`decides`: whether this engine is still the one that is wanted; asked before each batch, `ended` is called when
    it is not. `convicted` hears who was caught lying, and the proof."""

    def __init__(
        self,
        journal: Journal,
        links: Links,
        signer: Signer,
        clock: Callable[[], int],
        *,
        settings: Agreement,
        decides: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
        convicted: Convicted = lambda culprit, proof: None,
    ) -> None:
        self._journal, self._state, self._links = journal, journal.state, links
        self._node, self._clock, self._settings = signer.public, clock, settings
        self._convicted = convicted
        self._loop = asyncio.get_running_loop()
        self._answers = Answers(self._loop)
        self._host = JournalHost(journal, clock)
        self._arming = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._evidence: tuple[str, ...] = ()
        self._place = Place(journal, settings.protocol.checkpoint_interval)
        self._caught_up = asyncio.Event()
        self._writer = Writer(
            journal,
            self._host,
            self._place,
            Outbox(links),
            perform=self._perform,
            executed=self._executed,
            decides=decides,
            ended=ended,
            failed=self._failed,
        )
        self._serving = asyncio.Semaphore(_SERVED)
        self._replica = self._machine(signer)
        self._fetcher = Fetcher(links, self.chain, self._state, settings.transfer_timeout, self._fetched)
        self._undo = [
            links.on_message(SERVICE, self._received),
            links.accept(SERVICE, self._serve),
        ]
        self._feed(Tick())

    def _machine(self, signer: Signer) -> Replica:
        recalled = epochs.recall(self._journal.log, verify)
        if recalled is None:
            raise Corrupt(
                "the ledger does not know which voters to believe",
                hint="let this node leave the hive and join it anew",
            )
        self.trust, self.chain = recalled
        records: list[bytes] = []
        amnesiac = False
        try:
            records = self._journal.log.recall()
        except Corrupt as error:
            amnesiac = True
            _logger.error("%s. %s", error.message, error.hint)
        return Replica(
            signer=signer,
            epochs=self.chain,
            position=self._place.position(),
            host=self._host,
            dice=random.Random(),
            settings=self._settings.protocol,
            records=records,
            amnesiac=amnesiac,
        )

    # -- the contract ----------------------------------------------------------------------------------------

    async def submit(self, envelope: Envelope) -> Receipt:
        """Raises `Unauthenticated`, `Invalid`, `TooLarge`, `Unavailable`, or what state refuses it with."""
        if self._journal.broken:
            raise self._journal.broken
        if self._stopping:
            raise Superseded
        if self._writer.trouble:
            raise Unavailable(
                self._writer.trouble, hint="free some space there and try again, or ask another node"
            )
        largest = min(self._journal.settings.operation_size, requests.LARGEST)
        operation = checked(envelope, self._state.hive, largest)
        reply = self._state.replies.get(key_of(envelope))
        if reply:
            reply.outcome.raise_for_error()
            return Receipt(sequence=self._state.sequence, outcome=reply.outcome)
        request = requests.request_of(envelope, self._node)
        self._host.vouch(request, (envelope, operation))
        answer = self._answers.expect(envelope, lambda: self._feed(pbft.Submitted(request)))
        await self._patience(answer)
        return await outcome_of(answer)

    async def _patience(self, answer: asyncio.Future[Receipt]) -> None:
        """Waits as long as there is hope. Raises `Unavailable`; the operation may be decided later all the same."""
        settings = self._settings
        first = min(settings.despair_after, settings.answer_within)
        for seconds, whole in (
            (first, not settings.answer_within > first),
            (settings.answer_within - first, True),
        ):
            done, _ = await asyncio.wait([answer], timeout=seconds)
            if done:
                return
            status = self.status()
            if whole or not status.can_decide:
                raise undecided(status, settings.answer_within if whole else seconds)

    def status(self) -> LedgerStatus:
        trouble = self._journal.broken.message if self._journal.broken else self._writer.trouble
        return status_of(
            self._replica.standing(),
            self._state,
            node=self._node,
            now=self._now(),
            wall=self._clock(),
            silence=self._settings.silence,
            trouble=trouble,
            evidence=self._evidence,
        )

    async def caught_up(self) -> None:
        """Returns when everything is applied that so many voters have, of whom one is honest. Raises `Superseded`."""
        while not self._is_caught_up():
            if self._stopping:
                raise Superseded
            self._caught_up.clear()
            await self._caught_up.wait()

    def _is_caught_up(self) -> bool:
        standing = self._replica.standing()
        others = [id for id in standing.epoch.voters if id != self._node]
        claimed = sorted((sequence for id, sequence in standing.claimed if id in others), reverse=True)
        enough = min(weak(len(standing.epoch.voters)), len(others))
        if len(claimed) < enough or standing.syncing:
            return False
        told = claimed[enough - 1] if enough else 0
        return self._state.sequence >= max(standing.agreed, told)

    async def stop(self) -> None:
        """Finishes what is being written. Who waits for an answer is sent on."""
        if self._stopping:
            return
        self._stopping = True
        self._caught_up.set()
        for undo in self._undo:
            undo()
        if self._timer:
            self._timer.cancel()
        await self._fetcher.stop()
        await self._writer.stop()
        self._answers.refuse_all(Superseded())

    # -- events ----------------------------------------------------------------------------------------------

    def _received(self, sender: str, message: bytes) -> None:
        if len(self._writer) < self._settings.backlog:
            self._feed(Received(sender, message))

    def _feed(self, event: Any) -> None:
        if self._stopping or self._journal.broken:
            return
        try:
            effects = self._replica.handle(event, self._now())
        except Exception as error:
            _logger.exception("the ledger stops: agreement failed")
            self._breaks(error)
            return
        if effects:
            self._writer.add(effects)
        self._caught_up.set()
        if not self._arming:
            self._arming = True
            self._loop.call_soon(self._arm)

    def _now(self) -> int:
        return int(self._loop.time() / _MICROSECOND)

    def _arm(self) -> None:
        """Once for all events of a turn of the loop. A timer that is too early stays: it is armed anew then."""
        self._arming = False
        if self._stopping or self._journal.broken:
            return
        at = self._deadline()
        if self._timer:
            if at is None or self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._rings) if at is not None else None

    def _deadline(self) -> float | None:
        deadline = self._replica.deadline()
        # A machine's time is whole microseconds: a moment late is in time, a moment early is not.
        return None if deadline is None else (deadline + 1) * _MICROSECOND

    def _rings(self) -> None:
        self._timer = None
        if self._stopping or self._journal.broken:
            return
        at = self._deadline()
        if at is not None and at <= self._loop.time():
            self._feed(Tick())
        else:
            self._arm()

    # -- effects ---------------------------------------------------------------------------------------------

    def _executed(self, decided: pbft.Execute, batch: Batch, outcomes: list[Outcome]) -> None:
        results = {}
        for request, outcome in zip(decided.requests, outcomes, strict=True):
            results[request.id] = requests.result_of(outcome)
            self._answers.give(request.id, Receipt(sequence=batch.sequence, outcome=outcome))
        self._journal.tell(batch)
        self._feed(pbft.Executed(position=self._place.position(), results=results))

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, pbft.FetchState):
            self._fetcher.fetch(effect.certificate, effect.sources)
        elif isinstance(effect, pbft.Convict):
            self._convict(effect)
        elif isinstance(effect, pbft.Diverged):
            _logger.error(
                "at %d the state of this node differs from what was certified: it votes no more until it has fetched"
                " that", effect.sequence,
            )  # fmt: skip
        elif isinstance(effect, pbft.Settled):
            self._answer_from_memory(effect.request)
        elif isinstance(effect, pbft.Refused):
            self._answers.refuse(
                effect.request, Unavailable(f"not now: {effect.reason}", hint="try again in a moment")
            )

    def _convict(self, caught: pbft.Convict) -> None:
        name = name_of(self._state, caught.culprit)
        words = f"{name} has signed what no honest voter signs, in epoch {caught.evidence.epoch}"
        _logger.error("%s", words)
        self._evidence = (*self._evidence, words)[-16:]
        self._convicted(caught.culprit, encode(caught.evidence))

    def _answer_from_memory(self, request: str) -> None:
        """It was executed: here before this node was asked, or it is on its way here."""
        reply = self._state.replies.get(request)
        if reply:
            self._answers.give(request, Receipt(sequence=self._state.sequence, outcome=reply.outcome))

    # -- fetched states ----------------------------------------------------------------------------------------

    async def _fetched(self, found: Fetched | int) -> None:
        """A state, or the sequence of one that nobody gave."""
        if isinstance(found, int):
            self._feed(pbft.StateFailed(sequence=found))
            return
        async with self._writer.changing:
            if self._stopping:
                return
            try:
                await self._journal.install(found.snapshot, found.head, encode(found.certificate))
            except HivemindError as error:
                _logger.error("a state that was fetched could not be kept: %s", error.message)
                self._feed(pbft.StateFailed(sequence=found.certificate.checkpoint.sequence))
                return
            self._host.forget()
            self._writer.skip_executed()
            for request in self._answers.waiting():
                self._answer_from_memory(request)
            self._feed(pbft.StateInstalled(position=self._place.position(), certificate=found.certificate))

    async def _serve(self, stream: Stream) -> None:
        async with self._serving:
            await serve(stream, self._journal, self._settings.transfer_timeout)

    def _failed(self, error: Exception) -> None:
        _logger.error("the ledger stops: a batch was not applied", exc_info=error)
        self._breaks(error)

    def _breaks(self, error: Exception) -> None:
        if not self._journal.broken:
            self._journal.breaks(error)
        assert self._journal.broken
        self._writer.clear()
        self._answers.refuse_all(self._journal.broken)
