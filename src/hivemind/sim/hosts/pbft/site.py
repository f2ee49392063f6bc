"""One node around its replica: the ledger on its disk, and what it does when the replica asks for something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import MILLISECOND, Micros, Signer, Verifier
from hivemind.protocols.pbft import events
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.replica import Replica
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import Boundary, Decided, Request
from hivemind.sim.hosts.pbft.application import Executing, valid
from hivemind.sim.invariants.pbft import Monitor
from hivemind.sim.process import Process

_boundaries = msgspec.msgpack.Decoder(list[Boundary])
_boundaries_encoder = msgspec.msgpack.Encoder()
_EXECUTION = (100, 300)
"""How long a batch takes until it is durable and applied: at least, and at most that much more."""
_SNAPSHOTS = 3
HIVE = "sim"


class Site:
    """`kept`: how many batches its ledger keeps for others. `lies(state)`: what it gives in the place of a state."""

    def __init__(
        self,
        signer: Signer,
        verify: Verifier,
        first: Epoch,
        settings: Settings,
        monitor: Monitor,
        others: Mapping[str, Site],
        *,
        kept: int,
        genesis: Callable[[], Executing],
    ) -> None:
        self.signer, self._verify, self._first, self._settings = signer, verify, first, settings
        self._monitor, self._others, self._kept, self._genesis = monitor, others, kept, genesis
        self.after_batch: Callable[[Site], None] = lambda site: None
        self.convicted: Callable[[Site, events.Convict], None] = lambda site, effect: None
        self.settled: Callable[[Site, events.Settled], None] = lambda site, effect: None
        self.process: Process
        self._dice = Random(0)
        self.corrupts: Callable[[bytes], bytes] = lambda state: state
        self.diverges: Callable[[Executing], None] = lambda application: None
        self._busy: Micros = 0
        self._fetching = 0
        self.forget()

    def forget(self) -> None:
        """Its disk is empty."""
        self.application = self._genesis()
        self.log: dict[int, Decided] = {}
        self.boundaries: list[Boundary] = []
        self.snapshots: dict[int, bytes] = {}

    def build(self, process: Process, records: list[bytes]) -> Replica:
        self._busy = process.world.now
        self._dice = process.world.dice("execution", process.label, process.starts)
        self._fetching += 1
        self._reread()
        self._monitor.restarted(process.node, self.application.sequence)
        forgot = process.forgot and not records
        replica = Replica(
            signer=self.signer,
            epochs=Epochs(self._first, self.boundaries, signatures=Signatures(HIVE, self._verify)),
            position=self.application.position(),
            host=self,
            dice=process.world.dice("replica", process.label, process.starts),
            settings=_next_version(self._settings) if process.version % 2 else self._settings,
            records=records,
            amnesiac=forgot,
        )
        if forgot:
            self._monitor.forgot(self, replica)
        return replica

    def _reread(self) -> None:
        """What it executed, and the epochs that it knows, out of the bytes that the version before it left."""
        self.application = self.application.restored(self.application.encoded())
        self.boundaries = _boundaries.decode(_boundaries_encoder.encode(self.boundaries))

    def neighbours(self) -> Iterator[Site]:
        """All other nodes, in their order."""
        return (site for site in self._others.values() if site is not self)

    def wished(self, request: str) -> None:
        """Somebody really wished for this, be it a liar."""
        self._monitor.wished.add(request)

    @property
    def replica(self) -> Replica | None:
        machine = self.process.machine
        return machine if isinstance(machine, Replica) else None

    # -- what the replica asks, see `events.Host` --------------------------------------------------------------

    def wall(self, now: Micros) -> int:
        return self.process.wall(now)

    def valid(self, request: Request) -> bool:
        return valid(request, self._verify)

    def outcome(self, request: str) -> bytes | None:
        return self.application.results.get(request)

    def decided(self, sequence: int) -> Decided | None:
        return self.log.get(sequence)

    # -- what it wants done ------------------------------------------------------------------------------------

    def perform(self, process: Process, effect: Any) -> None:
        match effect:
            case events.Execute():
                self._later(lambda: self._execute(effect))
            case events.FetchState():
                self._fetch(effect, list(effect.sources))
            case events.EpochBegan():
                self.boundaries.append(effect.boundary)
                self._monitor.began(self, effect)
            case events.Stable():
                self._monitor.stable(self, effect.certificate)
            case events.Convict():
                self._monitor.convicted(self, effect)
                self.convicted(self, effect)
            case events.Diverged():
                self._monitor.diverged(self, effect)
            case events.Settled():
                self.settled(self, effect)
            case events.Refused():
                process.world.note(process.label, "refuses", f"{effect.request[-6:]} {effect.reason}")
            case _:
                raise TypeError(f"a replica wants {effect!r}")

    def _later(self, act: Callable[[], None]) -> None:
        """One after the other, each after some time on the disk; a crash before that undoes it."""
        process = self.process
        takes = _EXECUTION[0] + self._dice.randrange(_EXECUTION[1])
        start, self._busy = process.starts, max(self._busy, process.world.now) + takes
        process.world.at(self._busy, lambda: act() if process.up and process.starts == start else None)

    def _execute(self, effect: events.Execute) -> None:
        self._monitor.executes(self, effect)
        results = self.application.execute(effect.sequence, effect.time, effect.requests)
        self.diverges(self.application)
        self.log[effect.sequence] = Decided(effect.certificate, effect.proposal)
        self.log.pop(effect.sequence - self._kept, None)
        position = self.application.position()
        if effect.sequence % self._settings.checkpoint_interval == 0 or self._ends_epoch(effect.sequence):
            self._keep_snapshot()
        self._monitor.executed(self, effect.sequence, position.digest)
        self.after_batch(self)
        self.process.world.note(self.process.label, "executed", f"{effect.sequence}")
        self.process.submit(events.Executed(position=position, results=results))

    def _ends_epoch(self, sequence: int) -> bool:
        following = self.application.next
        return following is not None and sequence + 1 == following.since

    def _keep_snapshot(self) -> None:
        self.snapshots[self.application.sequence] = self.application.encoded()
        while len(self.snapshots) > _SNAPSHOTS:
            del self.snapshots[min(self.snapshots)]

    # -- state transfer ----------------------------------------------------------------------------------------

    def _fetch(self, effect: events.FetchState, sources: list[str]) -> None:
        """From one voter after the other, until one gives what the certificate says."""
        self._fetching += 1
        process, fetching, start = self.process, self._fetching, self.process.starts
        process.world.cover("state fetched")

        def turn() -> None:
            if not process.up or process.starts != start or self._fetching != fetching:
                return
            if not sources:
                process.submit(events.StateFailed(sequence=effect.certificate.checkpoint.sequence))
                return
            got = self._offered(sources.pop(0), effect.certificate.checkpoint.sequence)
            application = self._read(got) if got is not None else None
            if application is not None and application.digest() == effect.certificate.checkpoint.digest:
                self._install(effect, application)
            else:
                if got is not None:
                    process.world.cover("corrupt state refused")
                process.world.after(20 * MILLISECOND, turn)

        process.world.after(5 * MILLISECOND, turn)

    def _offered(self, source: str, sequence: int) -> bytes | None:
        other = self._others.get(source)
        if other is None or other is self or not other.process.up or other.process.frozen:
            return None
        if not self.process.network.whole(source, self.process.node):
            return None
        state = other.snapshots.get(sequence)
        return other.corrupts(state) if state is not None else None

    def _read(self, state: bytes) -> Executing | None:
        try:
            return self.application.restored(state)
        except Exception:  # whatever a liar made of it
            return None

    def _install(self, effect: events.FetchState, application: Executing) -> None:
        self.application = application
        self.log.clear()
        self._keep_snapshot()
        self._monitor.installed(self, effect.certificate)
        self.process.world.cover("state installed")
        self.process.world.note(self.process.label, "installs", f"state {self.application.sequence}")
        self.process.submit(
            events.StateInstalled(position=self.application.position(), certificate=effect.certificate)
        )


def _next_version(settings: Settings) -> Settings:
    """Tuned otherwise in all that voters need not have in common, as while a hive is renewed node by node."""
    return replace(
        settings,
        pipeline=9 - settings.pipeline,
        batch_requests=max(settings.batch_requests // 8, 1),
        batch_delay=settings.batch_delay * 2,
        gather_delay=MILLISECOND,
        request_timeout=settings.request_timeout * 3 // 2,
    )
