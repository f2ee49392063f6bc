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
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from hivemind.agent.relays import Relays
from hivemind.api.remote.remote import Remote
from hivemind.daemon import keys
from hivemind.daemon.hive import order
from hivemind.daemon.hive.addresses import advertised, parse, show
from hivemind.daemon.hive.belonging import Belonging, Memory
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Conflict, HivemindError, Invalid, Unavailable
from hivemind.ledger.contract import LedgerStatus
from hivemind.ledger.hive import HiveLedger
from hivemind.model.cluster import (
    ClusterStatus,
    FoundRequest,
    JoinRequest,
    JoinStep,
    JoinTokenRequest,
    LeaveRequest,
    NewJoinToken,
    Reach,
    Recovered,
)
from hivemind.model.hive import NodeRole
from hivemind.security.identity import Identity
from hivemind.security.sealing import KEY_BYTES, Vault
from hivemind.state.operations import FoundHive, LeaveHive, Operation, PutJoinToken
from hivemind.state.principals import hive_of
from hivemind.state.state import Outcome, State
from hivemind.store.shared import SharedStore

if TYPE_CHECKING:
    from hivemind.daemon.hive import entry
    from hivemind.daemon.hive.company import Company
    from hivemind.daemon.hive.door import Admitted
    from hivemind.daemon.hive.invitation import Invitation
    from hivemind.daemon.hive.seeking import Entrance
    from hivemind.daemon.hive.wire import Wire

log = logging.getLogger(__name__)
_PIECE = 2**18
_AGAIN = 2.0
"""Seconds between two attempts at a join that nobody waits for."""
_GOING = 600.0
"""Seconds that everything may take to move away from a node that leaves."""
Heard = Callable[[JoinStep], None]


class House(Protocol):
    """What it needs of the node that it speaks for."""

    name: str
    data: Path
    key: Identity
    administrator: Identity
    vault: Vault
    ledger: HiveLedger
    store: SharedStore
    remote: Remote
    relays: Relays

    def clock(self) -> int:
        """Milliseconds since 1970."""

    def held(self) -> AbstractAsyncContextManager[None]:
        """Inside, nothing that others of the node want agreed is submitted: it waits."""

    async def submit(self, operation: Operation, by: Identity, nonce: str = "") -> Outcome: ...

    async def report(self, operation: Operation) -> Outcome: ...

    async def introduce(self, incarnation: int = 0, addresses: tuple[str, ...] = ()) -> None:
        """Founds a hive of its own where there is none, and registers the node."""


class Cluster:
    def __init__(self, house: House, settings: ClusterSettings) -> None:
        self._house, self._settings = house, settings
        self._memory = Memory(house.data / "cluster.json")
        self._company: Company | None = None
        self._joining: asyncio.Task[None] | None = None
        self._going: asyncio.Task[None] | None = None
        self._step = JoinStep()
        self._hearers: list[Heard] = []
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
            now = self._remember_again()
        if now is None:
            return
        if now.phase == "leaving":
            await self._finish_leaving(now)
        elif now.phase == "admitted" and now.hive == self._state.hive:
            self._take_key()
            await self._gather(now)
        elif now.phase == "member":
            if now.hive != self._state.hive or self._state.hive_record is None:
                self._memory.forget()  # founding was cut short, and nobody heard of it
            else:
                await self._gather(now)

    def go_on(self) -> None:
        """Once the node runs: a join that was cut short goes on by itself."""
        now = self._memory.now
        if now is not None and now.phase in ("joining", "admitted"):
            self._joining = asyncio.get_running_loop().create_task(self._resume())

    async def announce_restart(self) -> None:
        """Before `stop`, if what runs here goes on and the daemon will be back."""
        from hivemind.daemon.hive.farewell import announce_restart

        if self._company:
            await announce_restart(
                node=self._house.key.public, state=self._state, status=self._house.ledger.status(),
                grace=round(self._settings.restart_grace * 1000), report=self._house.report,
            )  # fmt: skip

    async def stop(self) -> None:
        for task in (self._joining, self._going):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._disperse()

    async def _gather(self, belonging: Belonging, wire: Wire | None = None) -> Company:
        """Imported only now: a node that is alone pays nothing for company."""
        from hivemind.daemon.hive.company import Company

        self._past, self._wishes_to_go = "", False
        company = await Company.open(self._house, self._settings, belonging, self._dismissed, wire)
        self._company = company
        return company

    async def _disperse(self) -> None:
        company, self._company = self._company, None
        if company:
            await company.close()

    def _remember_again(self) -> Belonging | None:
        """It founded a hive that nobody has joined, and `cluster.json` is gone: another secret does as well."""
        state = self._state
        if list(state.nodes) != [self._house.key.public]:
            raise Conflict(
                f"this node is of the hive {state.hive}, and {self._house.data}/cluster.json, which says how to"
                " reach it, is gone",
                hint="restore it from a backup, or destroy the node and let it join again",
            )
        record = state.hives[state.hive]
        made = Belonging(hive=state.hive, name=record.name, secret=os.urandom(32), address=self._wished(""))
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
            step=self._step.step if now and now.phase in ("joining", "admitted") else "",
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
            hive=self._state.hive, name=wish.name, secret=os.urandom(32), address=self._wished(wish.address)
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
            company = await self._gather(made)
        except BaseException:
            await self._disperse()
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
        from hivemind.daemon.hive.invitation import read

        invitation = read(wish.token)
        if wish.witness and invitation.role != "witness":
            raise Invalid(
                f"this token is for a {invitation.role}, not for a witness",
                hint="on a node of the hive: hivemind cluster token create --role witness",
            )
        if self._joining is None or self._joining.done():
            if self._is_of(invitation):
                return
            self._begin(invitation, wish)
        elif self._memory.now is None or self._memory.now.hive != invitation.hive:
            raise Conflict("this node is joining another hive just now", hint="hivemind cluster status")
        self._hearers.append(heard)
        try:
            heard(self._step)
            assert self._joining
            await asyncio.shield(self._joining)
        finally:
            self._hearers.remove(heard)

    def _is_of(self, invitation: Invitation) -> bool:
        """Whether it is in already. Raises `Conflict` when it is of another hive."""
        now = self._memory.now
        if now is None or now.phase != "member" or list(self._state.nodes) == [self._house.key.public]:
            if now is not None and now.hive == invitation.hive and now.phase == "member":
                raise Conflict("this node founded that hive", hint="join from another machine")
            return False
        if now.hive != invitation.hive:
            raise Conflict(
                f"this node is of the hive {now.name!r}", hint="leave it first: hivemind cluster leave"
            )
        return True

    def _begin(self, invitation: Invitation, wish: JoinRequest) -> None:
        self._own(invitation, wish.forget_own)
        belonging = Belonging(
            hive=invitation.hive,
            name=invitation.name,
            secret=invitation.secret,
            phase="joining",
            address=self._wished(wish.address),
            role=invitation.role,
            token=wish.token,
            forget_own=wish.forget_own,
            seeds=tuple(show(parse(seed)) for seed in wish.seeds),
        )
        self._memory.keep(belonging)
        self._tell(JoinStep(step="contacting"))
        self._joining = asyncio.get_running_loop().create_task(self._join_or_forget(belonging))
        # Whoever asked may be gone when it fails: that is no "never retrieved" defect.
        self._joining.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _join_or_forget(self, belonging: Belonging) -> None:
        """For somebody who waits: what cannot be done now is told, and nothing of it stays."""
        try:
            await self._disperse()
            await self._join(belonging)
        except Exception:
            await self._give_up()
            raise

    async def _resume(self) -> None:
        """For nobody who waits: as long as nobody answers, it is tried again."""
        while (now := self._memory.now) is not None and now.phase in ("joining", "admitted"):
            try:
                await (self._settle(now) if now.hive == self._state.hive else self._join(now))
                return
            except Unavailable as error:
                log.info("joining %s goes on: %s", now.name, error.message)
                await asyncio.sleep(_AGAIN)
            except HivemindError as error:
                log.warning("%s does not let this node in: %s", now.name, error.message)
                await self._give_up()
                return

    async def _give_up(self) -> None:
        """Unless it is in already, everything is as before; what it founded itself is remembered anew."""
        now = self._memory.now
        if now is None or now.hive == self._state.hive:
            return
        self._memory.forget()
        if self._state.hive_record is not None and (again := self._remember_again()):
            await self._gather(again)

    async def _join(self, belonging: Belonging) -> None:
        from hivemind.daemon.hive.invitation import read
        from hivemind.daemon.hive.wire import Wire

        house, invitation = self._house, read(belonging.token)

        self._tell(JoinStep(step="contacting", detail=f"looking for {belonging.name}"))
        wire = await Wire.open(parse(belonging.address), house.key)
        try:
            async with house.held():
                own = self._own(invitation, belonging.forget_own)
                entered = await self._enter(wire, invitation, own, belonging)
                self._tell(JoinStep(step="adopting", detail=self._step.detail))
                now = self._memory.now
                assert now
                await self._become(entered, own.as_it_is() is not None, now, wire)
            await self._gather(now, wire)
        except BaseException:
            await wire.close()
            raise
        await self._settle(now)

    async def _enter(
        self, wire: Wire, invitation: Invitation, own: entry.Bringing, belonging: Belonging
    ) -> entry.Entered:
        from hivemind.daemon.hive import entry
        from hivemind.daemon.hive.seeking import Search

        house = self._house

        def knocking(entrance: Entrance) -> None:
            if self._step.step == "contacting":
                self._tell(JoinStep(step="contacting", detail=str(entrance)))

        def admitted(answer: Admitted, entrance: Entrance) -> None:
            self._memory.keep(replace(belonging, phase="admitted", name=answer.name, known=answer.peers))
            self._tell(JoinStep(step="admitted", detail=f"let in at {entrance}"))
            log.info("the hive %s has let this node in at %s", answer.name, entrance)

        search = Search(
            wire, house.key, self._settings, invitation,
            known=[address for addresses in belonging.known.values() for address in addresses],
            seeds=map(parse, belonging.seeds),
            cached=house.data / "peers.json",
        )  # fmt: skip
        async with search:
            return await entry.enter(
                wire.peers,
                invitation,
                entry.wish(invitation, house.key, house.administrator, house.name),
                own,
                entrances=search,
                knocking=knocking,
                admitted=admitted,
            )

    async def _become(self, entered: entry.Entered, adopted: bool, now: Belonging, wire: Wire) -> None:
        """The ledger of the hive is followed beside this node's own until it has in it what this node brought: only
        then, and at once, does its state become the node's, so nothing that runs is ever without its record.

        The key that is to come is on the disk before the ledger changes: whichever hive the node is of when it dies
        here, its key is there."""
        from hivemind.daemon.hive.rehearsal import rehearse

        house, before = self._house, self._house.vault.key
        beside = await rehearse(
            house.data / "joining", entered.handover, house.key, house.clock, wire, now,
            adopted=adopted, settings=self._settings,
        )  # fmt: skip
        fresh = entered.admitted.vault or before
        keys.put(self._next_key, fresh)
        house.vault.take(fresh)
        try:
            await house.ledger.replace_with(beside)
        except BaseException:
            house.vault.take(before)
            raise
        self._take_key()
        await house.store.enter(self._state.hive)

    def _take_key(self) -> None:
        if self._next_key.exists():
            os.replace(self._next_key, self._house.data / "hive.key")
            self._house.vault.take(keys.secret(self._house.data / "hive.key"))

    async def _settle(self, belonging: Belonging) -> None:
        """It is of the hive once the hive has heard so from itself."""
        assert self._company
        self._tell(JoinStep(step="catching-up", detail=self._step.detail))
        await self._company.registered()
        await self._house.ledger.settle()
        await asyncio.to_thread(shutil.rmtree, self._house.data / "joining", ignore_errors=True)
        now = self._memory.now or belonging
        self._memory.keep(replace(now, phase="member", token="", forget_own=False, seeds=()))
        self._tell(JoinStep(step="ready", detail=self._step.detail))
        log.info("joined the hive %s", belonging.name)

    def _own(self, invitation: Invitation, forget: bool) -> entry.Bringing:
        from hivemind.daemon.hive.bringing import Nothing, Own

        if forget:
            return Nothing()
        house = self._house
        return Own(
            self._state, house.key.public, house.vault, house.administrator, invitation.hive, invitation.role
        )

    def _tell(self, step: JoinStep) -> None:
        self._step = step
        for heard in tuple(self._hearers):
            heard(step)

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
            await self._disperse()
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
        await self._disperse()
        self._memory.forget()
        hive = self._state.hive_record
        if hive is None:
            await self._house.introduce()
            return
        made = Belonging(hive=hive.id, name=hive.name, secret=os.urandom(32), address=self._wished(""))
        self._memory.keep(made)
        await self._gather(made)

    # -- addresses -------------------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._house.ledger.state

    @property
    def _next_key(self) -> Path:
        return self._house.data / "hive.key.next"

    def _wished(self, said: str) -> str:
        """The setting beats what was said to `init` or `join`."""
        return show(advertised(parse(self._settings.cluster_address or said)))
