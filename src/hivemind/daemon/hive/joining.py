"""A node on its way into a hive that is there already: it is let in, follows the hive until what it brings is in there,
and then, at once, is of it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from hivemind.daemon import keys
from hivemind.daemon.hive.addresses import parse, show
from hivemind.daemon.hive.belonging import Belonging, Memory
from hivemind.daemon.hive.house import House
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Conflict, HivemindError, Invalid, Unavailable
from hivemind.model.cluster import JoinRequest, JoinStep
from hivemind.state.state import State

if TYPE_CHECKING:
    from hivemind.daemon.hive import entry
    from hivemind.daemon.hive.company import Company
    from hivemind.daemon.hive.door import Admitted
    from hivemind.daemon.hive.invitation import Invitation
    from hivemind.daemon.hive.seeking import Entrance
    from hivemind.daemon.hive.wire import Wire

log = logging.getLogger(__name__)
_AGAIN = 2.0
"""Seconds between two attempts at a join that nobody waits for."""
Heard = Callable[[JoinStep], None]


class Home(Protocol):
    """The hive that the node is of now, be it one of its own, and the one that it comes to."""

    async def gather(self, belonging: Belonging, wire: Wire | None = None) -> Company: ...

    async def disperse(self) -> None: ...

    async def registered(self) -> None: ...

    def remember_again(self) -> Belonging | None: ...

    def wished(self, said: str) -> str: ...


class Joining:
    """Imports what it takes only when it begins: a node that is alone pays nothing for it."""

    def __init__(self, house: House, settings: ClusterSettings, memory: Memory, home: Home) -> None:
        self._house, self._settings, self._memory, self._home = house, settings, memory, home
        self._task: asyncio.Task[None] | None = None
        self._hearers: list[Heard] = []
        self.step = JoinStep()
        """The last one that was taken."""

    async def join(self, wish: JoinRequest, heard: Heard) -> None:
        """Who asks for the same while it goes on hears how it goes on. Raises what keeps the node out."""
        from hivemind.daemon.hive.invitation import read

        invitation = read(wish.token)
        if wish.witness and invitation.role != "witness":
            raise Invalid(
                f"this token is for a {invitation.role}, not for a witness",
                hint="on a node of the hive: hivemind cluster token create --role witness",
            )
        if self._task is None or self._task.done():
            if self._is_of(invitation):
                return
            self._begin(invitation, wish)
        elif self._memory.now is None or self._memory.now.hive != invitation.hive:
            raise Conflict("this node is joining another hive just now", hint="hivemind cluster status")
        self._hearers.append(heard)
        try:
            heard(self.step)
            assert self._task
            await asyncio.shield(self._task)
        finally:
            self._hearers.remove(heard)

    def resume(self) -> None:
        """One that was cut short goes on by itself."""
        self._task = asyncio.get_running_loop().create_task(self._resume())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take_key(self) -> None:
        """The hive's key becomes the node's, if there is one that came with a join."""
        if self._next_key.exists():
            os.replace(self._next_key, self._house.data / "hive.key")
            self._house.vault.take(keys.secret(self._house.data / "hive.key"))

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
            address=self._home.wished(wish.address),
            role=invitation.role,
            token=wish.token,
            forget_own=wish.forget_own,
            seeds=tuple(show(parse(seed)) for seed in wish.seeds),
        )
        self._memory.keep(belonging)
        self._tell(JoinStep(step="contacting"))
        self._task = asyncio.get_running_loop().create_task(self._join_or_forget(belonging))
        # Whoever asked may be gone when it fails: that is no "never retrieved" defect.
        self._task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _join_or_forget(self, belonging: Belonging) -> None:
        """For somebody who waits: what cannot be done now is told, and nothing of it stays."""
        try:
            await self._home.disperse()
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
        if self._state.hive_record is not None and (again := self._home.remember_again()):
            await self._home.gather(again)

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
                self._tell(JoinStep(step="adopting", detail=self.step.detail))
                now = self._memory.now
                assert now
                await self._become(entered, own.as_it_is() is not None, now, wire)
            await self._home.gather(now, wire)
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
            if self.step.step == "contacting":
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
        self.take_key()
        await house.store.enter(self._state.hive)

    async def _settle(self, belonging: Belonging) -> None:
        """It is of the hive once the hive has heard so from itself."""
        self._tell(JoinStep(step="catching-up", detail=self.step.detail))
        await self._home.registered()
        await self._house.ledger.settle()
        await asyncio.to_thread(shutil.rmtree, self._house.data / "joining", ignore_errors=True)
        now = self._memory.now or belonging
        self._memory.keep(replace(now, phase="member", token="", forget_own=False, seeds=()))
        self._tell(JoinStep(step="ready", detail=self.step.detail))
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
        self.step = step
        for heard in tuple(self._hearers):
            heard(step)

    @property
    def _state(self) -> State:
        return self._house.ledger.state

    @property
    def _next_key(self) -> Path:
        return self._house.data / "hive.key.next"
