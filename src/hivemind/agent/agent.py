"""The agent: makes this node run what the hive agreed it shall run.

It gives each allocation a worker, wakes it when something concerns it (an agreed change, an ending, a probe),
and shares what the workers need. No clock drives it; only the node's own sample is taken from time to time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hivemind.agent.checks.inside import target_of
from hivemind.agent.checks.target import Target
from hivemind.agent.endpoints import Endpoints, status_key
from hivemind.agent.fence import Alone, Fence, Hearing
from hivemind.agent.logs import UnitLog, read_logs
from hivemind.agent.looking import Looking
from hivemind.agent.provision.contract import Provider
from hivemind.agent.relays import Relays
from hivemind.agent.reporter import Reporter
from hivemind.agent.statuses import Statuses
from hivemind.agent.tasks.attempts import ARTIFACT_LIMIT, Attempts
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.compose import Place, place_of
from hivemind.agent.work.pulls import Pulls
from hivemind.agent.work.unit import Unit
from hivemind.agent.work.worker import Worker
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import (
    Container,
    ExecSession,
    ExecSpec,
    LogLine,
    LogQuery,
    Runtime,
    RuntimeEvent,
    Stats,
    Status,
)
from hivemind.errors import Conflict, HivemindError, NotFound, Unsupported
from hivemind.model.allocation import (
    Allocation,
    AllocationState,
    AllocationStatus,
    CheckResult,
    Desired,
)
from hivemind.model.app import AppSpec
from hivemind.model.revision import Revision
from hivemind.protocols.dns.zone import Zone
from hivemind.security.sealing import Vault
from hivemind.state.operations import AllocationReport, ReportAllocations
from hivemind.state.state import Outcome, State
from hivemind.store.contract import Entry, Store
from hivemind.store.events import EventLog
from hivemind.store.said import said

log = logging.getLogger(__name__)
_RETRY = 30.0
"""Seconds until a container that could not be removed is tried again."""
_INSIST = 1.0
"""Seconds until a task that does not end is told again to end."""
_LISTEN_AGAIN = 1.0
"""Seconds until events that broke off are listened to again."""


class _Found(NamedTuple):
    """A container that a runtime still has."""

    runtime: Runtime
    place: Place
    container: Container


class Agent:
    """`runtimes` by name, the node's default first; `networks` by the name of the runtime they serve, those of
    another mode than the ordinary as `oci/host`. `attempts`: where attempts of tasks have their files;
    `artifact_limit`: bytes of artifacts that one may leave; `vault` opens their secret inputs. `hearing`: what this
    node knows of what the others decide, `relays` how connections get to them; nothing, where there are none."""

    def __init__(
        self,
        *,
        node: str,
        node_name: str,
        state: State,
        store: Store,
        events: EventLog,
        runtimes: Mapping[str, Runtime],
        networks: Mapping[str, Network],
        submit: Callable[[ReportAllocations], Awaitable[Outcome]],
        set_zone: Callable[[Zone], None],
        attempts: Path,
        artifact_limit: int = ARTIFACT_LIMIT,
        vault: Vault | None = None,
        providers: Sequence[Provider] = (),
        hearing: Hearing | None = None,
        relays: Relays | None = None,
        boot: str = "this",
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.node = node
        self.node_name = node_name
        self.state = state
        self.boot = boot
        """Tells one start of the machine from another."""
        self.now = now
        """Seconds that only go forward, for waiting."""
        self.clock = clock
        """Milliseconds since 1970."""
        self.providers = providers
        self.reporter = Reporter(node, submit)
        self.fence = Fence(hearing or Alone(), self._has_taken, self._may_do_other_things)
        self.relays = relays or Relays(node, state)
        self.endpoints = Endpoints(
            node, state, store, self.network_for, set_zone, networks=networks.values(),
            on_failures=self._wake_all, relays=self.relays,
        )  # fmt: skip
        self.store = store
        self._statuses = Statuses(node, store)
        self.attempts = Attempts(self, attempts, vault, artifact_limit)
        self._events = events
        self._runtimes = runtimes
        self._networks = networks
        self._workers: dict[str, Worker] = {}
        self._strays: set[str] = set()
        """Containers that run and that the hive does not know."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None
        self.pulls = Pulls()
        self.looking = Looking(self)
        self.relays.reach = self.looking.connect

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Adopts what runs, removes what nobody wants any more, goes on with the rest."""
        self.attempts.open()
        await self.fence.open()
        found = await self._adopt()
        for network in self.all_networks():
            await network.prune(self._attached_to(network))
        for provider in self.providers:
            await provider.prune({a.id for a in self.state.allocations_on(self.node) if a.live})
        # From here on nothing waits, so no batch comes between what is read and what is begun.
        mine = self.state.allocations_on(self.node)
        for allocation in mine:
            self._begin(allocation, found.pop(allocation.id, []), adopted=True)
        strays = [each for instances in found.values() for each in instances if not self._left_by_task(each)]
        self._strays = {each.container.id for each in strays if each.container.status is Status.RUNNING}
        self.spawn(self._remove(strays, "the hive does not know it"))
        self.attempts.find_handed()
        self.attempts.prune()
        self._statuses.open(allocation.id for allocation in mine)
        for runtime in self._runtimes.values():
            self.spawn(self._follow(runtime))
        self._unsubscribe = self.store.subscribe(status_key(""), self._observed)
        self.spawn(self.fence.run())
        self.spawn(self.endpoints.run())
        self.spawn(self.reporter.run())
        self.endpoints.changed()

    async def _adopt(self) -> dict[str, list[_Found]]:
        """Allocation id -> what the runtimes still have of it."""
        found: dict[str, list[_Found]] = {}
        for runtime in self._runtimes.values():
            for container in await runtime.list():
                try:
                    place = place_of(container.id)
                except ValueError:
                    continue
                found.setdefault(place.allocation, []).append(_Found(runtime, place, container))
        return found

    async def _remove(self, strays: list[_Found], why: str) -> None:
        while strays:
            left = []
            for stray in strays:
                if await self._removed(stray, why):
                    self._strays.discard(stray.container.id)
                    self.fence.look_again()
                else:
                    left.append(stray)
            if strays := left:
                await asyncio.sleep(_RETRY)

    async def _removed(self, stray: _Found, why: str) -> bool:
        log.info("removing container %s: %s", stray.container.id, why)
        try:
            await stray.runtime.remove(stray.container.id)
        except (HivemindError, OSError) as error:
            log.error("container %s could not be removed: %s", stray.container.id, error)
            return False
        return True

    def all_networks(self) -> list[Network]:
        return list({id(network): network for network in self._networks.values()}.values())

    def _attached_to(self, network: Network) -> set[str]:
        """Ids of the live allocations of this node that belong there."""
        return {
            allocation.id
            for allocation in self.state.allocations_on(self.node)
            if allocation.live and self.network_for(self.state.spec_of(allocation)) is network
        }

    async def stop(self) -> None:
        """Lets go. Containers keep running. Whoever loses the cancellation (`asyncio.wait_for` does sometimes, in
        Python 3.11) is told again."""
        self._unsubscribe()
        self._statuses.close()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_INSIST)
        await self.relays.close()
        await self.attempts.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task of the agent failed", exc_info=error)

    # -- what happens ----------------------------------------------------------------------------------------

    def agreed(self) -> None:
        """To be called after each batch, with the state's changes still there."""
        for change in self.state.changes:
            if change.table == "allocations":
                if (change.new or change.old).for_job:
                    self._attempt_changed(change.key)
                else:
                    self._allocation_changed(change.key)
                    self.endpoints.changed()
            elif change.table == "runs":
                self.attempts.run_changed(change.key, change.new)
            elif change.table == "apps":
                self.endpoints.changed()
                self._wake_waiting()
            elif change.table == "revisions" and change.new is not None:
                self._wake_needed(change.new)
            elif change.table == "nodes":
                self.endpoints.changed()
        self.fence.look_again()

    def _attempt_changed(self, id: str) -> None:
        attempt = self.attempts.get(id)
        allocation = self.state.allocations.get(id)
        if attempt:
            attempt.wake()
        elif allocation and allocation.node == self.node and allocation.live:
            self.attempts.begin(allocation)

    def _allocation_changed(self, id: str) -> None:
        worker = self._workers.get(id)
        allocation = self.state.allocations.get(id)
        if worker:
            worker.wake()
        elif allocation and allocation.node == self.node:
            self._begin(allocation, [])

    def _observed(self, entries: Iterable[Entry]) -> None:
        self._statuses.noticed(entries)
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        """Those that wait for other apps look again."""
        for worker in self._workers.values():
            if worker.charge.waits:
                worker.wake()

    def _wake_needed(self, revision: Revision) -> None:
        """Somebody may wait from now on for what runs here to be started: see `Running.rise`."""
        app = self.state.apps.get(revision.app)
        for worker in self._workers.values() if app and revision.spec.depends_on else ():
            allocation = worker.charge.allocation
            if app and allocation.project == app.project and allocation.app_name in revision.spec.depends_on:
                worker.wake()

    def _wake_all(self) -> None:
        for worker in self._workers.values():
            worker.wake()

    def _may_do_other_things(self) -> None:
        self._wake_all()
        for attempt in self.attempts.all.values():
            attempt.wake()

    def _has_taken(self) -> bool:
        """Something still runs here that the hive has given to others."""
        return (
            bool(self._strays)
            or any(worker.is_taken for worker in self._workers.values())
            or any(attempt.is_taken for attempt in self.attempts.all.values())
        )

    def _begin(self, allocation: Allocation, found: list[_Found], *, adopted: bool = False) -> None:
        if allocation.for_job:
            runtime, _, container = found[0] if found else (None, None, None)
            self.attempts.begin(allocation, runtime, container, adopted=adopted)
            return
        spec = self.state.spec_of(allocation)
        try:
            runtime = self.runtime_for(spec)
        except Unsupported as error:
            self._cannot(allocation, error)
            return
        mine = {each.place: each.container for each in found if each.runtime is runtime}
        strays = [each for each in found if each.runtime is not runtime]
        if strays:
            self.spawn(self._remove(strays, f"its app now runs with {runtime.name}"))
        worker = self._workers[allocation.id] = Worker(self, allocation, spec, mine)
        self.spawn(self._run(worker))

    def _cannot(self, allocation: Allocation, error: Unsupported) -> None:
        """Its runtime is not here (any more). Nobody shall wait for it: not an update, not a removal. Should the
        runtime come back with a container, that is stopped then."""
        if not allocation.live:
            return
        log.error("allocation %s cannot run here: %s", allocation.id, error)
        if allocation.desired is Desired.STOP:
            said = AllocationReport(id=allocation.id, state=AllocationState.STOPPED, reason=error.message)
        elif allocation.failing:
            return
        else:
            said = AllocationReport(
                id=allocation.id, state=AllocationState.PLACED, failing=True, reason=error.message
            )
        self.reporter.report(said)

    async def _run(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            self._workers.pop(worker.id, None)
            self.fence.look_again()

    async def _follow(self, runtime: Runtime) -> None:
        """For ever: who does not hear of endings heals nothing. What ended unheard is found by looking."""
        while True:
            try:
                for container in await runtime.list():
                    if container.exit:
                        self._heard(
                            runtime, RuntimeEvent(kind="exited", id=container.id, exit=container.exit)
                        )
                async for event in runtime.events():
                    self._heard(runtime, event)
            except Exception:
                log.exception("the events of runtime %s broke off", runtime.name)
            await asyncio.sleep(_LISTEN_AGAIN)

    def _heard(self, runtime: Runtime, event: RuntimeEvent) -> None:
        try:
            place = place_of(event.id)
        except ValueError:
            return
        if attempt := self.attempts.get(place.allocation):
            if event.exit:
                attempt.exited(event.exit)
            return
        worker = self._workers.get(place.allocation)
        if worker is None or worker.runtime is not runtime:
            return
        if event.kind == "exited" and event.exit:
            worker.exited(place, event.exit)
        elif event.kind == "oom" and (allocation := self.state.allocations.get(place.allocation)):
            self.event(
                allocation, "allocation.oom", "the kernel killed a process inside for memory", warning=True
            )

    # -- what workers need -----------------------------------------------------------------------------------

    def runtime_for(self, spec: AppSpec) -> Runtime:
        name = next(iter(self._runtimes)) if spec.runtime == "auto" else spec.runtime
        if name not in self._runtimes:
            raise Unsupported(f"this node has no {name} runtime", hint=f"it has {', '.join(self._runtimes)}")
        if spec.network.mode != "default" and f"{name}/{spec.network.mode}" not in self._networks:
            raise Unsupported(
                f"the {name} runtime of this node has no network {spec.network.mode}",
                hint="leave out --network, or choose another --runtime",
            )
        return self._runtimes[name]

    def network_for(self, spec: AppSpec) -> Network:
        name = next(iter(self._runtimes)) if spec.runtime == "auto" else spec.runtime
        mode = f"{name}/{spec.network.mode}"
        return self._networks.get(mode) or self._networks.get(name) or next(iter(self._networks.values()))

    def _left_by_task(self, stray: _Found) -> bool:
        return self.attempts.clear_away(stray.place.allocation, stray.runtime, stray.container)

    def probe_target(self, charge: Charge, unit: Unit) -> Target:
        return target_of(self, charge, unit)

    def last_status(self, allocation: str) -> AllocationStatus | None:
        """What the node on which it is says of it. What others say of it does not count."""
        entry, known = self.store.get(status_key(allocation)), self.state.allocations.get(allocation)
        return said(entry, AllocationStatus, known.node if known else "")

    def put_status(self, allocation: str, status: AllocationStatus) -> None:
        self._statuses.put(allocation, status)

    def forget_status(self, allocation: str) -> None:
        self._statuses.forget(allocation)

    def event(self, allocation: Allocation, type: str, message: str, *, warning: bool = False) -> None:
        self._events.append(
            type,
            message,
            level="warning" if warning else "info",
            project=allocation.project,
            app=allocation.app_name,
            allocation=allocation.id,
            name=f"{allocation.app_name}.{allocation.slot}",
        )

    # -- what the API asks -----------------------------------------------------------------------------------

    async def exec(self, allocation: str, spec: ExecSpec, container: str = "") -> ExecSession:
        runtime, id = self.running(allocation, container)
        return await runtime.exec(id, spec)

    async def stats(self, allocation: str, container: str = "") -> Stats:
        runtime, id = self.running(allocation, container)
        return await runtime.stats(id)

    def logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        """Over all instances that are kept, oldest first; following goes on with the next instance. Of an attempt of a
        task as long as its run is kept."""
        if allocation not in self._workers and self.attempts.knows(allocation):
            return self.attempts.logs(allocation, query)
        worker, unit = self.unit(allocation, container)
        return read_logs(UnitLog(worker, unit), worker.runtime, query)

    def checks(self, allocation: str) -> list[CheckResult]:
        """What the checks of all its containers found last, in order of time."""
        units = self._find(allocation).charge.units
        return sorted((result for unit in units for result in unit.history), key=lambda r: r.time)

    def running(self, allocation: str, container: str = "") -> tuple[Runtime, str]:
        """The runtime and the id of its running container: the app's own, or the companion's of that name."""
        if attempt := self.attempts.get(allocation):
            return attempt.must_run(container)
        worker, unit = self.unit(allocation, container)
        if unit.running is None:
            what = (
                f"container {container} of allocation {allocation}"
                if container
                else f"allocation {allocation}"
            )
            raise Conflict(f"{what} does not run", hint="hivemind ps -a shows what runs and what ended")
        return worker.runtime, unit.running.id

    def running_containers(self) -> list[tuple[str, str]]:
        """Allocation and companion (empty: the app's own container) of all that run."""
        replicas = [
            (id, unit.name)
            for id, worker in self._workers.items()
            for unit in worker.charge.units
            if unit.running is not None
        ]
        return [*replicas, *((id, "") for id, attempt in self.attempts.all.items() if attempt.running)]

    def unit(self, allocation: str, container: str) -> tuple[Worker, Unit]:
        worker = self._find(allocation)
        unit = worker.charge.unit(container)
        if unit is None:
            names = [unit.name for unit in worker.charge.units if unit.name]
            raise NotFound(
                f"allocation {allocation} has no container {container!r}",
                hint=f"beside the app's own it has {', '.join(names)}"
                if names
                else "it has only the app's own",
            )
        return worker, unit

    def _find(self, allocation: str) -> Worker:
        worker = self._workers.get(allocation)
        if worker is None:
            raise NotFound(
                f"allocation {allocation!r} is not on this node", hint="hivemind ps -a lists allocations"
            )
        return worker
