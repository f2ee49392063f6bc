"""All attempts of tasks on this node: begun when they are agreed, adopted when the daemon starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind.agent.tasks.artifacts import Kept, kept_in, read
from hivemind.agent.tasks.attempt import Attempt
from hivemind.agent.tasks.compose import Member, member_by, member_of
from hivemind.agent.tasks.places import Places
from hivemind.agent.work.wanted import Interrupted
from hivemind.drivers.runtimes.contract import Container, LogLine, LogQuery, Runtime
from hivemind.errors import HivemindError, Invalid, NotFound
from hivemind.jobs.order import Order
from hivemind.model.allocation import Allocation
from hivemind.model.base import Record
from hivemind.security.sealing import Vault
from hivemind.state.state import State

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent
    from hivemind.drivers.executors.contract import Executor

log = logging.getLogger(__name__)
ARTIFACT_LIMIT = 2**30


class Attempts:
    """`top`: where they have their files; `artifact_limit`: bytes that one attempt may leave."""

    def __init__(
        self, agent: Agent, top: Path, vault: Vault | None = None, artifact_limit: int = ARTIFACT_LIMIT
    ) -> None:
        self.agent = agent
        self.places = Places(top)
        self.artifact_limit = artifact_limit
        self.rebooted = False
        """The machine was started anew since the last daemon ran."""
        self.order_of: Callable[[State, Allocation], Order] = _order_of
        self._vault = vault
        self._engines: dict[str, asyncio.Future[Executor]] = {}
        self._by_id: dict[str, Attempt] = {}
        self._by_member: dict[Member, list[Attempt]] = {}

    # -- life ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.rebooted = self.places.open(self.agent.boot)

    def find_handed(self) -> None:
        """What engines have of attempts that the hive does not know any more."""
        for place in self.places.live_ones():
            if place.name in self.agent.state.allocations or not (place / "engine").exists():
                continue
            from hivemind.agent.tasks.elsewhere import Elsewhere, read_note

            if (note := read_note(place)) is not None:
                member = Member(note.run, note.path, note.rank)
                self._run(Elsewhere(self, place.name, member, note.number, handed=note))

    def prune(self) -> None:
        """Of what was left by daemons that died nothing stays. To be called before any attempt has taken a place."""
        used = {attempt.place.name for attempt in self._by_id.values()}
        state = self.agent.state
        stale = self.places.stale(lambda name: name in used or name in state.allocations, state.runs)
        if stale:
            self.agent.spawn(asyncio.to_thread(self.places.destroy, *stale))

    async def close(self) -> None:
        """Lets go of the engines; what they run goes on."""
        for opening in self._engines.values():
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            opening.cancel()

    def begin(
        self,
        allocation: Allocation,
        runtime: Runtime | None = None,
        container: Container | None = None,
        *,
        adopted: bool = False,
    ) -> None:
        """`container`: what a runtime has of it already; `adopted`: it was agreed before this daemon was there."""
        member, number = member_of(allocation), allocation.attempt
        try:
            order = self.order_of(self.agent.state, allocation)
        except HivemindError:
            order = None  # it says so itself, when it asks again
        attempt: Attempt
        if order is not None and order.executor != "hive":
            from hivemind.agent.tasks.elsewhere import Elsewhere

            attempt = Elsewhere(self, allocation.id, member, number)
        else:
            attempt = Attempt(
                self, allocation.id, member, number, runtime=runtime, container=container, adopted=adopted
            )
        attempt.known_order = order
        self._run(attempt)

    def clear_away(self, id: str, runtime: Runtime, container: Container) -> bool:
        """What the hive does not know any more; False: it is no attempt of a task."""
        known = member_by(container)
        if known is None or id in self._by_id:
            return False
        log.info("clearing container %s away: the hive does not know it", container.id)
        self._run(Attempt(self, id, *known, runtime=runtime, container=container, adopted=True))
        return True

    def _run(self, attempt: Attempt) -> None:
        self._by_id[attempt.id] = attempt
        self._by_member.setdefault(attempt.member, []).append(attempt)
        self.agent.spawn(self._until_gone(attempt))

    async def _until_gone(self, attempt: Attempt) -> None:
        try:
            await attempt.run()
        finally:
            self._by_id.pop(attempt.id, None)
            self.agent.fence.look_again()
            siblings = self._by_member[attempt.member]
            siblings.remove(attempt)
            if not siblings:
                del self._by_member[attempt.member]

    # -- what happens ----------------------------------------------------------------------------------------

    def get(self, id: str) -> Attempt | None:
        return self._by_id.get(id)

    def knows(self, id: str) -> bool:
        """It runs here, or something of it is kept."""
        return id in self._by_id or self.places.run_of(id) is not None

    @property
    def all(self) -> Mapping[str, Attempt]:
        return self._by_id

    def run_changed(self, id: str, run: Record | None) -> None:
        """The hive has forgotten a run: what was kept of it goes."""
        if run is None and self.places.has_kept(id):
            self.agent.spawn(asyncio.to_thread(self.places.forget, id))

    # -- what attempts need ----------------------------------------------------------------------------------

    async def make_way(self, attempt: Attempt) -> None:
        """Returns once no older attempt of the same task is here. Of two the newer one runs."""
        siblings = self._by_member[attempt.member]
        if len(siblings) == 1:
            return
        if any(other.number > attempt.number for other in siblings):
            attempt.fence()
            raise Interrupted
        for older in [other for other in siblings if other.number < attempt.number]:
            older.fence()
            await attempt.while_wanted(older.gone.wait())

    def opened(self, order: Order) -> dict[str, str]:
        """Its secret variables. Raises `Invalid`, `Corrupt`."""
        if not order.sealed:
            return {}
        if self._vault is None:
            raise Invalid("this node has no key to open secrets with")
        return {name: _text(name, self._vault.open(s.box, s.context)) for name, s in order.sealed.items()}

    async def executor(self, name: str) -> Executor:
        """Open; one for all. Raises `Unsupported` where the engine is missing."""
        opening = self._engines.get(name)
        if opening is None:
            opening = self._engines[name] = asyncio.ensure_future(_opened_engine(name))
        try:
            return await asyncio.shield(opening)
        finally:
            if opening.done() and (opening.cancelled() or opening.exception()):
                self._engines.pop(name, None)  # the next one asks again

    # -- what is kept ----------------------------------------------------------------------------------------

    async def logs(self, allocation: str, query: LogQuery) -> AsyncIterator[LogLine]:
        """Of an attempt that runs or ran here; nothing of one that wrote nothing, or of which nothing is kept."""
        from msgspec.structs import replace

        from hivemind.drivers.runtimes.logs import read_log

        if (attempt := self._by_id.get(allocation)) is not None and not attempt.gone.is_set():
            told = False
            async for line in attempt.logs(query):
                told = True
                yield line
            if told:
                return  # otherwise it may have been put away in between
        if (run := self.places.run_of(allocation)) is not None:
            async for line in read_log(self.places.log(run, allocation), replace(query, follow=False)):
                yield line

    def artifacts(self, allocation: str) -> list[Kept]:
        run = self.places.run_of(allocation)
        return kept_in(self.places.artifacts(run, allocation)) if run else []

    def read_artifact(self, allocation: str, name: str) -> AsyncIterator[bytes]:
        """As a tar. Raises `NotFound`."""
        run = self.places.run_of(allocation)
        if run is None:
            raise NotFound(f"there is no artifact {name!r}", hint="hivemind job artifacts lists them")
        return read(self.places.artifacts(run, allocation), name)


async def _opened_engine(name: str) -> Executor:
    from hivemind.drivers.executors import make

    engine = make(name)
    await engine.open()
    return engine


def _order_of(state: State, allocation: Allocation) -> Order:
    from hivemind.state.jobs.orders import order_of

    return order_of(state, allocation)


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid(f"the secret of the variable {name} is not text", hint="mount it as a file")
    return text
