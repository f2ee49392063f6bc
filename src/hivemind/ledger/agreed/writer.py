"""Performs the effects of a machine in their order, and executes what it decides.

Effects wait in one queue and go group by group: what has to be durable, all of it and the next decided batch, in one
transaction with one fsync; then what was to be sent; then the batch is applied, in the loop's turn. Events are handled
meanwhile; what comes of them is the next group. While the disk is quick the loop does all of this itself, at the end
of the turn in which the effects came; otherwise one task does, and a thread waits for the disk.

When the disk is full, nothing is voted, and what came is taken up again once there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hivemind.errors import Unavailable
from hivemind.ledger.agreed import epochs, requests
from hivemind.ledger.agreed.host import JournalHost
from hivemind.ledger.agreed.outbox import Outbox
from hivemind.ledger.agreed.place import Place
from hivemind.ledger.contract import Batch
from hivemind.ledger.journal import Journal
from hivemind.ledger.log import Stored
from hivemind.ledger.records import Beside, Kept
from hivemind.protocols.machine import Persist, Send
from hivemind.protocols.pbft.events import EpochBegan, Execute, Stable
from hivemind.state.state import Outcome, Signed

_logger = logging.getLogger(__name__)
_PAUSE = 1.0
"""Seconds until a full disk is tried again."""
_AT_ONCE = 8
"""Groups that are written in one turn of the loop; what else it has to do comes between."""
_FOR_THE_DISK = (Persist, Execute, EpochBegan, Stable)


class Group(msgspec.Struct):
    """What is performed together. `execute` and what belongs to it: the decided batch in it, if there is one."""

    rest: list[Any]
    write: Callable[[], None] | None = None
    execute: Execute | None = None
    stored: Stored | None = None
    operations: Sequence[Signed] = ()


class Writer:
    """What is to be sent goes to the `outbox`. `perform` is called for all else that is not for the disk, `executed`
    for a batch that is stored and applied. `decides`: whether more may be executed; `ended` is called when not.
    `failed` is called with what cannot be mended."""

    def __init__(
        self,
        journal: Journal,
        host: JournalHost,
        place: Place,
        outbox: Outbox,
        *,
        perform: Callable[[Any], None],
        executed: Callable[[Execute, Batch, list[Outcome]], None],
        decides: Callable[[], bool],
        ended: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._journal, self._host, self._place, self._outbox = journal, host, place, outbox
        self._perform, self._executed = perform, executed
        self._decides, self._ended, self._failed = decides, ended, failed
        self._loop = asyncio.get_running_loop()
        self._effects: deque[Any] = deque()
        self._executions: deque[Execute] = deque()
        self._turning = False
        self._work: asyncio.Task[None] | None = None
        self._owes_checkpoint = False
        self._stopping = asyncio.Event()
        self.changing = asyncio.Lock()
        """Held while a group is written, and by whoever puts another state in place."""
        self.trouble = ""
        """Why nothing can be written now."""

    def __len__(self) -> int:
        return len(self._effects)

    def add(self, effects: Sequence[Any]) -> None:
        """To be performed at the end of this turn of the loop, or as soon as the disk has taken what is before."""
        self._effects += effects
        self._turn_soon()

    def clear(self) -> None:
        """Nothing of what waits is performed."""
        self._effects.clear()
        self._executions.clear()

    def skip_executed(self) -> None:
        """A state that was fetched has them in it."""
        while self._executions and self._executions[0].sequence <= self._journal.state.sequence:
            self._executions.popleft()

    async def stop(self) -> None:
        """Finishes what is being written."""
        self._stopping.set()
        if self._work:
            await self._work

    # The loop does it.

    def _turn_soon(self) -> None:
        if not self._turning and self._work is None:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            self._do_at_once()
        except Exception as error:
            self._failed(error)
        finally:
            self._turning = False
        if self._work is None and self._goes_on() and (self._effects or self._may_execute()):
            self._turn_soon()
        elif self._work is None:
            self._look_whether_it_ended()

    def _do_at_once(self) -> None:
        for _ in range(_AT_ONCE):
            while self._effects and not isinstance(self._effects[0], _FOR_THE_DISK):
                self._do(self._effects.popleft())
            self._outbox.send()
            if self._work is not None or not self._goes_on() or not (self._effects or self._may_execute()):
                return
            if not self._may_write_at_once() or not self._write_at_once():
                self._work = self._loop.create_task(self._write())
                return

    def _may_write_at_once(self) -> bool:
        proves = any(
            isinstance(each, Stable) and self._place.wants(each.certificate) for each in self._effects
        )
        return self._journal.writes_at_once and not self.changing.locked() and not proves

    def _write_at_once(self) -> bool:
        """False: something is left that takes longer."""
        group = self._gathered()
        try:
            if group.write:
                self._journal.write_at_once(group.write)
        except Unavailable:
            self._effects.extendleft(reversed(group.rest))
            return False
        self._finish(group)
        for effect in group.rest:
            if isinstance(effect, Stable):
                self._place.passed(effect.certificate)
        return not self._owes_checkpoint

    # A task does it.

    async def _write(self) -> None:
        try:
            if self._owes_checkpoint:
                async with self.changing:
                    await self._checkpoint()
            while (self._effects or self._may_execute()) and self._goes_on():
                async with self.changing:
                    await self._write_group()
        except Exception as error:
            self._failed(error)
        finally:
            self._work = None
            self._look_whether_it_ended()

    async def _write_group(self) -> None:
        group = self._gathered()
        try:
            if group.write:
                await self._journal.write(group.write)
        except Unavailable as error:
            self._effects.extendleft(reversed(group.rest))
            await self._wait_for_room(error)
            return
        self._finish(group)
        for effect in group.rest:
            if isinstance(effect, Stable):
                await self._place.prove(effect.certificate)
        if self._owes_checkpoint:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        self._owes_checkpoint = False
        await self._place.checkpoint()

    async def _wait_for_room(self, error: Unavailable) -> None:
        if not self.trouble:
            _logger.error("%s: this node does not vote until there is room. %s", error.message, error.hint)
        self.trouble = error.message
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self._stopping.wait()

    # What both do.

    def _goes_on(self) -> bool:
        return not self._stopping.is_set() and not self._journal.broken

    def _may_execute(self) -> bool:
        return bool(self._executions) and self._decides()

    def _look_whether_it_ended(self) -> None:
        if not self._stopping.is_set() and not self._decides():
            self._ended()

    def _gathered(self) -> Group:
        effects, self._effects = self._effects, deque()
        self._executions += (each for each in effects if isinstance(each, Execute))
        group = Group([each for each in effects if not isinstance(each, Execute)])
        self.skip_executed()
        if self._may_execute():
            group.execute = self._executions[0]
        beside = Beside(
            records=[Kept(each.record, each.replaces) for each in group.rest if isinstance(each, Persist)],
            epochs=[epochs.link(each) for each in group.rest if isinstance(each, EpochBegan)],
            certificate=self._host.note(group.execute) if group.execute else b"",
        )
        if group.execute:
            self._decided(group, group.execute, beside)
        elif beside.records or beside.epochs:
            group.write = lambda: self._journal.log.keep(beside)
        return group

    def _decided(self, group: Group, execute: Execute, beside: Beside) -> None:
        held = [self._host.read(request) for request in execute.requests]
        batch = Batch(
            sequence=execute.sequence,
            previous=self._journal.head,
            time=max(execute.time, self._journal.state.time),
            envelopes=tuple(envelope for envelope, _ in held),
        )
        group.operations = requests.signed(held)
        group.stored, group.write = self._journal.storing(batch, beside)

    def _finish(self, group: Group) -> None:
        """It is durable."""
        self.trouble = ""
        for effect in group.rest:
            if not isinstance(effect, _FOR_THE_DISK):
                self._do(effect)
        self._outbox.send()
        if group.execute and group.stored:
            outcomes = self._journal.apply(group.stored, group.operations)
            self._executions.popleft()
            self._owes_checkpoint = self._place.checkpoint_is_due
            self._executed(group.execute, group.stored.batch, outcomes)

    def _do(self, effect: Any) -> None:
        if isinstance(effect, Send):
            self._outbox.put(effect.to, effect.message)
        else:
            self._perform(effect)
