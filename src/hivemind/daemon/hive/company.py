"""The node among the others of its hive: its port is open, its ledger and its store talk to theirs, membership watches
over them, and what it owes the hive about itself is seen to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from hivemind.daemon.hive import finding, pace
from hivemind.daemon.hive.accuser import Accuser
from hivemind.daemon.hive.addresses import advertised, parse, show
from hivemind.daemon.hive.belonging import Belonging
from hivemind.daemon.hive.directory import Directory
from hivemind.daemon.hive.inquiry import Inquiry, told
from hivemind.daemon.hive.sponsor import Sponsor
from hivemind.daemon.hive.upkeep import Upkeep
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger.contract import Batch
from hivemind.model.cluster import Reach
from hivemind.model.hive import PROTOCOL, domain
from hivemind.protocols.pbft.quorum import quorum
from hivemind.protocols.swim.events import Change, Failed, Joined, Returned, Status, Updated
from hivemind.protocols.swim.meta import Meta
from hivemind.security.identity import verify
from hivemind.state.operations import ReportEvidence
from hivemind.store.certifier import Certifier
from hivemind.transport.contract import Address
from hivemind.transport.membership import Membership
from hivemind.transport.relay import Relay

if TYPE_CHECKING:
    from hivemind.daemon.hive.house import House

log = logging.getLogger(__name__)
_REACH: dict[Status, Reach] = {
    Status.ALIVE: "alive",
    Status.SUSPECT: "suspect",
    Status.FAILED: "dead",
    Status.LEFT: "left",
}
_ENTRANCES = 8
_ASKED = 16
"""Nodes that a node asks in a round whether it still belongs to the hive."""
_CONTACT = 3.0
"""Seconds for a first contact with one of them."""
_AGAIN = 2.0
"""Seconds until evidence that nobody could decide about is reported again."""
TWICE = (
    "two copies of its data directory are in use, or somebody else has its key; the hive expels it for ever"
)
_NEVER_HEARD = 30.0
"""Seconds from the start of this node until one that it never heard of in this life counts as not reached: machines
that are switched on together are not ready together."""
_NODES = frozenset({"nodes", "hives", "accusations", "expulsions"})
"""Tables in which something is said about nodes."""


class Company:
    """`wire` is open and has entered the hive of `belonging`, which is also that of the ledger's state. `gone` is
    called when the hive does not have this node any more, with what others told about that."""

    def __init__(
        self,
        house: House,
        settings: ClusterSettings,
        belonging: Belonging,
        wire: Wire,
        gone: Callable[[str], None],
    ) -> None:
        self._house, self._wire, self._belonging = house, wire, belonging
        self.node, state = house.key.public, house.ledger.state
        self.directory = Directory(self.node, state, belonging.known)
        wire.allowed = self.directory.allowed
        self.address: Address = advertised(wire.address)
        self._unsubscribe: list[Callable[[], None]] = []
        self._reports: set[asyncio.Task[None]] = set()
        self.membership = Membership(
            wire.datagrams,
            wire.peers,
            house.key,
            verify,
            random.Random(),
            hive=domain(belonging.hive, state.hives[belonging.hive].lineage),
            allowed=self.directory.belongs,
            addresses=[self.address],
            meta=Meta(protocol=PROTOCOL, role=belonging.role),
            incarnation=house.clock(),
            settings=pace.swim(settings),
        )
        self._accuser = Accuser(
            node=self.node, state=state, gone=self._unreached, back=self._answers, report=house.report
        )
        self._waits: asyncio.TimerHandle | None = None
        self._upkeep = Upkeep(
            node=self.node, ledger=house.ledger, register=self._register, report=house.report,
            gone=lambda: gone(""),
        )  # fmt: skip
        self.inquiry = Inquiry(
            node=self.node, ledger=house.ledger, silent=self._silent, others=self._refusing,
            contact=lambda address: wire.peers.contact(
                address, belonging.hive, belonging.secret, timeout=_CONTACT
            ),
            removed=lambda expulsion: gone(told(expulsion)),
        )  # fmt: skip
        self.exposed = False
        """Others can prove that this node lied."""
        self._certifier = Certifier(house.store, self._voters, quorum)
        self._sponsor = Sponsor(
            node=self.node,
            ledger=house.ledger,
            report=house.report,
            vault=self._vault_key,
            peers=self.everybody,
        )
        self.relay = Relay(wire.peers)
        self.discovery = finding.discovery(
            wire.datagrams,
            house.key,
            settings,
            self.directory,
            hive=belonging.hive,
            name=belonging.name,
            secret=belonging.secret,
            own=self.address,
            data=house.data,
            found=self._found,
            seen=lambda addresses: self.membership.announce(addresses=addresses),
        )

    @classmethod
    async def open(
        cls,
        house: House,
        settings: ClusterSettings,
        belonging: Belonging,
        gone: Callable[[str], None],
        wire: Wire | None = None,
    ) -> Company:
        """`wire`: one that is open already. Raises `Unavailable` when it cannot listen where it should."""
        wire = wire or await Wire.open(parse(belonging.address), house.key)
        wire.enter(belonging.hive, belonging.secret)
        company = cls(house, settings, belonging, wire, gone)
        company.start()
        await company.discovery.start()
        return company

    def start(self) -> None:
        house, peers, state = self._house, self._wire.peers, self._house.ledger.state
        self._learn()
        house.ledger.convicted = self._convicted
        house.ledger.connect(peers)
        house.store.admit(state.nodes)
        house.store.connect(peers)
        house.remote.connect(peers)
        house.relays.connect(peers)
        self._unsubscribe = [
            peers.welcome(self._sponsor.welcome),
            house.ledger.subscribe(self._agreed),
            self.membership.on_change(self._changed),
            house.store.on_convict(self._convicted),
        ]
        self.relay.start()
        self.membership.start()
        self.membership.meet(self.directory.others())
        self._accuser.start()
        self._waits = asyncio.get_running_loop().call_later(_NEVER_HEARD, self._waited)
        self._upkeep.start()
        self.inquiry.start()
        self._certifier.start()

    async def close(self) -> None:
        """Nothing of it is left running, and nobody reaches this node."""
        for undo in self._unsubscribe:
            undo()
        if self._waits:
            self._waits.cancel()
        self._certifier.stop()
        await self.inquiry.stop()
        await self._upkeep.stop()
        await self._accuser.stop()
        for report in tuple(self._reports):
            report.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)
        await self.discovery.close()
        await self.relay.close()
        self.membership.close()
        self._house.remote.disconnect()
        self._house.relays.disconnect()
        self._house.store.disconnect()
        self._house.ledger.disconnect()
        await self._wire.close()

    async def registered(self) -> None:
        """Returns when the hive knows that this node is there."""
        await self._upkeep.registered.wait()

    # -- where everybody is ----------------------------------------------------------------------------------

    def reach(self, node: str) -> Reach:
        status = self.membership.status(node)
        return "unknown" if status is None else _REACH[status]

    def dropped(self) -> dict[str, int]:
        """Messages and datagrams that were not delivered, by why."""
        return {"message": self._wire.peers.dropped, **self._wire.datagrams.dropped}

    def everybody(self) -> dict[str, tuple[Address, ...]]:
        return {**self.directory.everybody(), self.node: (self.address,)}

    def entrances(self) -> list[Address]:
        """Where a new node may knock: here first, then at whoever else is there."""
        reachable = [node for node in self.directory.others() if node in self.membership.reachable]
        others = [address for node in reachable for address in self.directory.addresses(node)[:1]]
        return list(dict.fromkeys((self.address, *others)))[:_ENTRANCES]

    def _learn(self) -> None:
        for node, addresses in self.directory.everybody().items():
            self._wire.peers.learn(node, addresses)

    def _voters(self) -> tuple[str, ...]:
        hive = self._house.ledger.state.hive_record
        return hive.epoch.voters if hive else ()

    def _vault_key(self) -> bytes:
        return b"" if self._belonging.role == "witness" else self._house.vault.key

    # -- what happens ----------------------------------------------------------------------------------------

    def _agreed(self, batch: Batch) -> None:
        tables = {change.table for change in self._house.ledger.state.changes}
        if not tables & _NODES:
            return
        if "nodes" in tables:
            gone = self.directory.settled()
            self._learn()
            self.membership.meet(
                [node for node in self.directory.others() if self.membership.status(node) is None]
            )
            self.membership.review()
            self.discovery.review()
            if gone:
                self._wire.peers.review()
            self._house.store.admit(self._house.ledger.state.nodes)
        self._upkeep.look()
        self._accuser.look()

    def _found(self, node: str, addresses: tuple[Address, ...]) -> None:
        """It has said where it is: it may have moved while neither knew of the other."""
        self.directory.found(node, addresses)
        self._wire.peers.learn(node, self.directory.addresses(node))
        if self.membership.status(node) is not Status.ALIVE:
            self.membership.meet([node])

    def _changed(self, change: Change) -> None:
        if isinstance(change, Joined | Returned | Updated) and change.alive.addresses:
            self.directory.heard(change.node, change.alive.addresses)
        if isinstance(change, Failed):
            record = self._house.ledger.state.nodes.get(change.node)
            known = " for now: its daemon is started anew" if record and record.restarting else " any more"
            log.warning("node %s does not answer%s", self._called(change.node), known)
        elif isinstance(change, Returned):
            log.info("node %s answers again", self._called(change.node))
        self._accuser.look()

    def _called(self, node: str) -> str:
        record = self._house.ledger.state.nodes.get(node)
        return record.name if record else node[:12]

    def _waited(self) -> None:
        self._waits = None
        self._accuser.look()

    def _unreached(self) -> frozenset[str]:
        """By this node's own word. One that is only suspected may still answer."""
        if self._waits is not None:
            return self.membership.unreached
        silent = (id for id in self.directory.others() if self.membership.status(id) is None)
        return self.membership.unreached.union(silent)

    def _silent(self) -> bool:
        """It hears too little of those that decide, or is not known to them in this life."""
        status = self._house.ledger.status()
        return status.engine == "pbft" and not (status.can_decide and self._upkeep.registered.is_set())

    def _refusing(self) -> dict[str, tuple[Address, ...]]:
        """Some of those with which there is no connection, voters first."""
        known, voters = self.directory.everybody(), self._voters()
        apart = sorted(known.keys() - self._wire.peers.connected, key=lambda id: (id not in voters, id))
        return {id: known[id] for id in apart[:_ASKED]}

    def _answers(self, node: str) -> bool:
        return self.membership.status(node) is Status.ALIVE

    async def _register(self, incarnation: int) -> None:
        await self._house.introduce(incarnation, (show(self.address),))

    def _convicted(self, culprit: str, proof: bytes) -> None:
        if culprit == self.node:
            self.exposed = True
            log.error("others can prove that this node contradicted itself: %s", TWICE)
            return
        task = asyncio.get_running_loop().create_task(self._denounce(culprit, proof))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _denounce(self, culprit: str, proof: bytes) -> None:
        """Until it is gone: others may have the proof, too, but maybe nobody can decide now."""
        while culprit in self._house.ledger.state.nodes:
            try:
                await self._house.report(ReportEvidence(node=culprit, proof=proof))
                return
            except Unavailable:
                await asyncio.sleep(_AGAIN)
            except HivemindError as error:
                log.warning("the proof against %s is not accepted: %s", self._called(culprit), error.message)
                return
