"""The node's belonging to a hive, from founding or joining one to being alone again. The API asks it as its
`ClusterDesk`; the node tells it to start and to stop.

    alone ──found──▶ member                        a crash at any moment leaves `cluster.json` and the ledger in one of
    alone ──join──▶ joining ─▶ admitted ─▶ member   these phases, and the next start goes on from there
    member ──leave, expelled──▶ leaving ─▶ alone
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hivemind.daemon import keys
from hivemind.daemon.hive import order
from hivemind.daemon.hive.addresses import advertised, parse, show
from hivemind.daemon.hive.belonging import Belonging, Memory
from hivemind.daemon.hive.house import House
from hivemind.daemon.hive.joining import Heard, Joining
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Conflict, Unavailable
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.cluster import (
    ClusterStatus,
    FoundRequest,
    JoinRequest,
    JoinTokenRequest,
    LeaveRequest,
    NewJoinToken,
    Reach,
    Recovered,
)
from hivemind.model.hive import NodeRole
from hivemind.security.identity import Identity
from hivemind.security.sealing import KEY_BYTES
from hivemind.state.operations import FoundHive, LeaveHive, PutJoinToken
from hivemind.state.principals import hive_of
from hivemind.state.state import State
from hivemind.store.shared import SharedStore

if TYPE_CHECKING:
    from hivemind.daemon.hive.company import Company
    from hivemind.daemon.hive.wire import Wire

log = logging.getLogger(__name__)
_PIECE = 2**18
_GOING = 600.0
"""Seconds that everything may take to move away from a node that leaves."""


class Cluster:
    def __init__(self, house: House, settings: ClusterSettings) -> None:
        self._house, self._settings = house, settings
        self._memory = Memory(house.data / "cluster.json")
        self._company: Company | None = None
        self._joining = Joining(house, settings, self._memory, self)
        self._going: asyncio.Task[None] | None = None
        self._alone = asyncio.Event()
        self._past = ""
        """How it came to be alone, if it did not wish to be, until it is of a hive again."""
        self._wishes_to_go = False
        """Somebody here said that it shall leave."""

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def belongs(self) -> bool:
        """Others may have decided meanwhile, or be needed to decide."""
        now = self._memory.now
        return now is not None and now.hive == self._state.hive and now.phase != "joining"

    @property
    def role(self) -> NodeRole:
        now = self._memory.now
        return now.role if now else "member"

    async def caught_up(self, patience: float) -> None:
        """Returns when it knows what was agreed without it, or that nobody tells it in so many seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._house.ledger.caught_up()
        except TimeoutError:
            log.warning("nobody tells this node what was agreed: it goes on with what it knows")

    async def start(self) -> None:
        """Before anything is run: takes up what it belonged to, or finishes what was going on when the node died."""
        now = self._memory.now
        if now is None and self._state.hive_record is not None:
            now = self.remember_again()
        if now is None:
            return
        if now.phase == "leaving":
            await self._finish_leaving(now)
        elif now.phase == "admitted" and now.hive == self._state.hive:
            self._joining.take_key()
            await self.gather(now)
        elif now.phase == "member":
            if now.hive != self._state.hive or self._state.hive_record is None:
                self._memory.forget()  # founding was cut short, and nobody heard of it
            else:
                await self.gather(now)

    def go_on(self) -> None:
        """Once the node runs: a join that was cut short goes on by itself."""
        now = self._memory.now
        if now is not None and now.phase in ("joining", "admitted"):
            self._joining.resume()

    async def announce_restart(self) -> None:
        """Before `stop`, if what runs here goes on and the daemon will be back."""
        from hivemind.daemon.hive.farewell import announce_restart

        if self._company:
            await announce_restart(
                node=self._house.key.public, state=self._state, status=self._house.ledger.status(),
                grace=round(self._settings.restart_grace * 1000), report=self._house.report,
            )  # fmt: skip

    async def stop(self) -> None:
        await self._joining.stop()
        if self._going:
            self._going.cancel()
            await asyncio.gather(self._going, return_exceptions=True)
        await self.disperse()

    async def gather(self, belonging: Belonging, wire: Wire | None = None) -> Company:
        """Imported only now: a node that is alone pays nothing for company."""
        from hivemind.daemon.hive.company import Company

        self._past, self._wishes_to_go = "", False
        company = await Company.open(self._house, self._settings, belonging, self._dismissed, wire)
        self._company = company
        return company

    async def disperse(self) -> None:
        company, self._company = self._company, None
        if company:
            await company.close()

    async def registered(self) -> None:
        """Returns when the hive has heard of this node from itself."""
        assert self._company
        await self._company.registered()

    def remember_again(self) -> Belonging | None:
        """It founded a hive that nobody has joined, and `cluster.json` is gone: another secret does as well."""
        state = self._state
        if list(state.nodes) != [self._house.key.public]:
            raise Conflict(
                f"this node is of the hive {state.hive}, and {self._house.data}/cluster.json, which says how to"
                " reach it, is gone",
                hint="restore it from a backup, or destroy the node and let it join again",
            )
        record = state.hives[state.hive]
        made = Belonging(hive=state.hive, name=record.name, secret=os.urandom(32), address=self.wished(""))
        self._memory.keep(made)
        return made

    # -- what is asked ---------------------------------------------------------------------------------------

    def status(self) -> ClusterStatus:
        from hivemind.daemon.hive.overview import overview

        house, company, now = self._house, self._company, self._memory.now
        return overview(
            state=self._state,
            store=house.store,
            node=house.key.public,
            node_name=house.name,
            status=house.ledger.status(),
            reach=self.reach,
            address=show(company.address) if company else "",
            step=self._joining.step.step if now and now.phase in ("joining", "admitted") else "",
            problems=self.problems(),
        )

    @property
    def store(self) -> SharedStore:
        return self._house.store

    def ledger_status(self) -> LedgerStatus:
        return self._house.ledger.status()

    def reach(self, node: str) -> Reach:
        return self._company.reach(node) if self._company else "unknown"

    def dropped(self) -> dict[str, int]:
        """Messages and datagrams that were not delivered, by why."""
        return self._company.dropped() if self._company else {}

    def check_that_it_decides(self) -> None:
        """Raises `Unavailable` that says who is missing."""
        status = self._house.ledger.status()
        if not status.can_decide:
            raise Unavailable(
                f"the hive cannot decide now: {status.why_not}; nothing was changed",
                hint="what runs goes on; bring the missing nodes back, or see: hivemind cluster status",
            )

    def problems(self) -> tuple[str, ...]:
        """For people, about agreement, and about this node's place in the hive."""
        return (*self._troubles(), *self._of_agreement())

    def _troubles(self) -> tuple[str, ...]:
        company = self._company
        if company is None or not company.exposed:
            said = company.inquiry.doubt if company else self._past
            return (said,) if said else ()
        from hivemind.daemon.hive.company import TWICE

        return (f"others can prove that this node contradicted itself: {TWICE}",)

    def _of_agreement(self) -> tuple[str, ...]:
        status = self._house.ledger.status()
        if not status.can_decide:
            return (f"the hive cannot decide now: {status.why_not}",)
        if status.why_not:
            return (
                f"{status.why_not}; the others decide meanwhile. If it stays like that: hivemind cluster leave,"
                " then join again",
            )
        record = self._state.hive_record
        if record is not None and record.engine == "pbft" and len(record.epoch.voters) == 2:
            return (
                "with two voters both are needed; a third one, or a witness, lets the hive bear the loss of one",
            )
        return ()

    async def found(self, wish: FoundRequest, by: Identity) -> ClusterStatus:
        if self._memory.now is not None or self._state.hive_record is not None:
            raise Conflict("this node is of a hive already", hint="hivemind cluster status shows it")
        order.check(wish.engine, self._settings)
        made = Belonging(
            hive=self._state.hive, name=wish.name, secret=os.urandom(32), address=self.wished(wish.address)
        )
        self._memory.keep(made)
        try:
            await self._house.submit(
                FoundHive(
                    name=wish.name, node=self._house.key.public, engine=wish.engine, max_voters=wish.max_voters,
                    require_bft=wish.require_bft,
                ),
                by,
            )  # fmt: skip
            company = await self.gather(made)
        except BaseException:
            await self.disperse()
            if self._state.hive_record is None:
                self._memory.forget()
            raise
        log.info("founded the hive %s, reached at %s", wish.name, show(company.address))
        return self.status()

    async def new_token(self, wish: JoinTokenRequest, by: Identity) -> NewJoinToken:
        from hivemind.daemon.hive.invitation import Invitation

        now, company = self._memory.now, self._company
        if now is None or company is None or now.phase != "member":
            raise Conflict("this node is alone", hint="found a hive first: hivemind cluster init")
        token = Identity(os.urandom(32))
        expires = self._house.clock() + round(wish.expires * 1000)
        await self._house.submit(
            PutJoinToken(id=token.public, role=wish.role, uses=wish.uses, expires=expires), by
        )
        invitation = Invitation(
            hive=self._state.hive, name=now.name, secret=now.secret, seed=token.seed, role=wish.role,
            addresses=tuple(company.entrances()) if wish.addresses else (),
        )  # fmt: skip
        return NewJoinToken(
            id=token.public, token=invitation.text(), role=wish.role, uses=wish.uses, expires=expires
        )

    # -- joining ---------------------------------------------------------------------------------------------

    async def join(self, wish: JoinRequest, heard: Heard) -> None:
        """Raises what keeps it out; then nothing has changed."""
        await self._joining.join(wish, heard)

    # -- leaving ---------------------------------------------------------------------------------------------

    async def leave(self, wish: LeaveRequest) -> None:
        now = self._memory.now
        if now is None or self._company is None or now.phase != "member":
            raise Conflict("this node is alone", hint="there is nothing to leave")
        self._wishes_to_go = True
        try:
            await self._house.report(LeaveHive(node=self._house.key.public, force=wish.force))
        except Unavailable:
            if not wish.force:
                raise
            self._dismissed()
        try:
            async with asyncio.timeout(_GOING):
                await self._alone.wait()
        except TimeoutError:
            raise Unavailable(
                "not everything has moved away from this node yet",
                hint="it goes on; hivemind cluster status shows when it has left; --force goes at once",
            ) from None

    def _dismissed(self, why: str = "") -> None:
        """The hive does not have this node any more, or it does not care. `why`: as others told, or empty."""
        if self._going is None or self._going.done():
            self._alone.clear()
            self._going = asyncio.get_running_loop().create_task(self._go_home(why))

    async def _go_home(self, why: str) -> None:
        from hivemind.daemon.hive.inquiry import told

        now = self._memory.now
        assert now
        try:
            expulsion = self._state.expulsions.get(self._house.key.public)
            if not why and (expulsion or not self._wishes_to_go):
                why = told(expulsion)
            past = f"this node is not of the hive {now.name} any more, and alone" + (why and f": {why}")
            log.warning("%s", past)
            self._past = past if why else ""
            leaving = replace(now, phase="leaving")
            self._memory.keep(leaving)
            if self._company:
                await self._company.discovery.close(leaving=True)
            await self.disperse()
            async with self._house.held():
                await self._finish_leaving(leaving)
            await self._house.introduce()
            self._alone.set()
        except Exception:
            log.exception("leaving the hive failed; the next start of the daemon goes on with it")

    async def _finish_leaving(self, now: Belonging) -> None:
        """Nothing of the hive's may stay: neither its key nor its secrets nor the right to speak in it."""
        house = self._house
        if hive_of(house.administrator.public) == now.hive:
            keys.put(house.data / "admin.key", os.urandom(KEY_BYTES))
            house.administrator = keys.identity(house.data / "admin.key")
        if self._state.hive == now.hive:
            keys.put(house.data / "hive.key", os.urandom(KEY_BYTES))
            house.vault.take(keys.secret(house.data / "hive.key"))
            await house.ledger.leave(hive_of(house.administrator.public))
            await house.ledger.settle()
        await house.store.enter(self._state.hive)
        house.store.admit([house.key.public])
        self._memory.forget()

    # -- files, recovery -------------------------------------------------------------------------------------

    async def snapshot(self) -> AsyncIterator[bytes]:
        saved = await self._house.ledger.save()
        for start in range(0, len(saved), _PIECE):
            yield saved[start : start + _PIECE]

    async def restore(self, chunks: AsyncIterator[bytes]) -> ClusterStatus:
        if self._memory.now is not None and list(self._state.nodes) != [self._house.key.public]:
            raise Conflict(
                "this node is of a hive with other nodes",
                hint="restore on a node that is alone: cluster leave",
            )
        saved = bytearray()
        async for chunk in chunks:
            saved += chunk
        await self._begin_anew(lambda: self._house.ledger.restore(bytes(saved)))
        return self.status()

    async def recover(self) -> Recovered:
        await self._begin_anew(self._house.ledger.force_recover)
        hive = self._state.hive_record
        assert hive
        return Recovered(lineage=hive.lineage, voters=hive.epoch.voters, sequence=self._state.sequence)

    async def _begin_anew(self, begin: Callable[[], Awaitable[None]]) -> None:
        """A new lineage has another secret: whoever is left of the old one must not find its way in."""
        async with self._house.held():
            await begin()
            await self._house.ledger.settle()
        await self.disperse()
        self._memory.forget()
        hive = self._state.hive_record
        if hive is None:
            await self._house.introduce()
            return
        made = Belonging(hive=hive.id, name=hive.name, secret=os.urandom(32), address=self.wished(""))
        self._memory.keep(made)
        await self.gather(made)

    # -- addresses -------------------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._house.ledger.state

    def wished(self, said: str) -> str:
        """The setting beats what was said to `init` or `join`."""
        return show(advertised(parse(self._settings.cluster_address or said)))
