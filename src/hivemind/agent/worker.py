"""One worker for each allocation of this node: it makes what runs match what the hive agreed.

Level-triggered: `_step` looks at the agreed allocation and at the newest container instance, does one thing
and looks again. Nothing it needs is only in memory, so a daemon killed at any instant goes on where it was.

An allocation is one-shot for the hive; on its node the container may be started again and again. Each start is
a new *instance*, with its own ending and log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from hivemind.agent.backoff import Backoff
from hivemind.agent.compose import compose, user_of
from hivemind.agent.provision import provide
from hivemind.agent.restarts import explain, judge
from hivemind.agent.watch import Watch
from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Exit, Runtime, Status
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unsupported
from hivemind.model.allocation import Allocation, AllocationState, AllocationStatus, Desired, Ending, Phase
from hivemind.model.app import AppSpec
from hivemind.model.image import Image, ImageConfig
from hivemind.state.operations import AllocationReport

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent

T = TypeVar("T")
log = logging.getLogger(__name__)

_INSTANCES_KEPT = 2
"""The running instance and the one before it, whose log tells why it ended."""
_SETTLE = 0.2
"""Seconds between leaving the balancing and the stop signal: connections that were being made get through."""
_FAILING_AFTER = 2
"""Endings in a row before its first healthy moment that make an allocation count as failing."""
_SAID = 300
"""Characters of a check's last words that explain an ending: their end, where the error usually is."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until something that failed is tried again."""


class Interrupted(Exception):
    """The hive does not want the allocation any more; what was being waited for is moot."""


class Worker:
    def __init__(
        self, agent: Agent, allocation: Allocation, spec: AppSpec, instances: dict[int, Container]
    ) -> None:
        self._agent = agent
        self.id = allocation.id
        self._allocation = allocation
        self._spec = spec
        self._runtime = agent.runtime_for(spec)
        self._network = agent.network_for(spec)
        self._instances = instances
        self._wake = asyncio.Event()
        self._stepped = asyncio.Event()
        self._backoff = Backoff()
        self._not_before = 0.0
        self._watch: Watch | None = None
        self._judged = -1
        """The newest instance whose ending was taken note of."""
        self._resting = False
        """Nothing runs, nothing is attached, and that was said."""
        self._erased = False
        """The hive has forgotten it and nothing of it is left."""
        self._trouble = ""
        """Why it does not run while it waits for its next start."""
        self._ever_healthy = allocation.state is AllocationState.HEALTHY
        self._status = agent.last_status(self.id) or AllocationStatus(runtime=self._runtime.name)
        self._adopted = self.current is not None and self._status.ready
        """It runs since before this daemon, and was ready when the last one looked."""
        self._status = replace(
            self._status, ready=self._adopted, restarts=max(self._status.restarts, self._newest)
        )

    # -- events from outside ---------------------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    async def changed(self) -> None:
        """Returns when this worker has taken its next step."""
        await self._stepped.wait()

    def exited(self, instance: int, exit: Exit) -> None:
        known = self._instances.get(instance)
        if known:
            self._instances[instance] = replace(known, status=Status.EXITED, pid=0, exit=exit)
        self._wake.set()

    @property
    def current(self) -> str | None:
        """Id of the running container, if one runs."""
        container = self._instances.get(self._newest)
        return container.id if container and container.status is Status.RUNNING else None

    @property
    def containers(self) -> list[str]:
        """Ids of all instances still kept, oldest first."""
        return [self._instances[number].id for number in sorted(self._instances)]

    @property
    def over(self) -> bool:
        """No further instance will come."""
        allocation = self._agent.state.allocations.get(self.id)
        return allocation is None or not allocation.live or self._resting

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    @property
    def _newest(self) -> int:
        return max(self._instances, default=-1)

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the hive has forgotten the allocation and nothing of it is left. Whatever fails is tried again."""
        pause = _FIRST_PAUSE
        try:
            while not self._erased:
                self._wake.clear()
                try:
                    delay = await self._step()
                    pause = _FIRST_PAUSE
                except Interrupted:
                    continue
                except Exception as error:
                    self._failed(error)
                    delay, pause = pause, min(pause * 2, _LONGEST_PAUSE)
                self._stepped.set()
                self._stepped = asyncio.Event()
                if delay != 0 and not self._erased:
                    await self._woken(delay)
        finally:
            self._close_watch()

    async def _woken(self, seconds: float | None) -> None:
        try:
            # Not `wait_for`: in Python 3.11 that loses a cancellation which comes together with the wake.
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _failed(self, error: Exception) -> None:
        expected = isinstance(error, HivemindError | OSError)
        log.warning("allocation %s: %s", self.id, error, exc_info=None if expected else error)
        self._observe(message=str(error) if expected else f"a defect: {error!r}")

    async def _step(self) -> float | None:
        """Does one thing. Seconds until the next look; None: when woken; 0: at once."""
        allocation = self._agent.state.allocations.get(self.id)
        if allocation is None:
            await self._erase()
            return None
        self._allocation = allocation
        if self._unwanted:
            if not self._resting:
                await self._halt()
            return None
        container = self._instances.get(self._newest)
        if container is None:
            return await self._launch(0)
        if container.status is Status.RUNNING:
            return self._tend(container)
        if container.status is Status.CREATED:
            # The daemon died between create and start; nothing of it ever ran.
            await self._discard(self._newest)
            return 0
        return await self._after_exit(container)

    # -- starting --------------------------------------------------------------------------------------------

    async def _launch(self, number: int) -> float | None:
        wait = self._not_before - self._agent.now()
        if wait > 0:
            return wait
        try:
            await self._start(number)
        except (NotFound, Invalid, Unsupported) as error:
            why = f"{error.message} ({error.hint})" if error.hint else error.message
            await self._discard(number)
            if self._spec.restart.policy == "no":
                await self._give_up(AllocationState.FAILED, why, None)
                return None
            # Trying again may help (an image may be pushed), but a deployment need not wait for it.
            self._report_failing(why)
            self._retry_later(why)
        except HivemindError as error:
            await self._discard(number)
            if not self._allocation.failing:
                # It may pass, so a deployment waits; should its time run out it shall know for what.
                self._report_trouble(error.message, failing=False)
            self._retry_later(error.message)
        return 0

    async def _start(self, number: int) -> None:
        image = await self._image()
        self._observe(phase=Phase.STARTING, message="", instance=number)
        attachment = await self._network.attach(
            self.id, [f"{p.container}/{p.protocol}" for p in self._spec.ports]
        )
        user = user_of(self._spec, image.config if image else ImageConfig())
        provision = await provide(self._agent.providers, self._allocation, self._spec, self._spec, user)
        container = compose(
            self._allocation, self._spec, image, attachment, provision,
            instance=number, node_name=self._agent.node_name, search=f"{self._allocation.project}.hive",
        )  # fmt: skip
        await self._create(number, container)
        pid = await self._runtime.start(container.id)
        now = self._agent.clock()
        made = self._instances[number]
        if made.status is Status.CREATED:
            self._instances[number] = replace(made, status=Status.RUNNING, pid=pid, started=now)
        self._observe(
            phase=Phase.RUNNING, pid=pid, started=now, ip=attachment.ip, ports=dict(attachment.ports),
            image_digest=container.image, restarts=number, health="none", message="",
        )  # fmt: skip
        self._agent.event(self._allocation, "allocation.started", f"instance {number} runs with pid {pid}")

    async def _create(self, number: int, spec: ContainerSpec) -> None:
        try:
            await self._runtime.create(spec)
        except Conflict:
            # Left by a daemon that died before it could start it.
            await self._runtime.remove(spec.id)
            await self._runtime.create(spec)
        self._instances[number] = Container(
            id=spec.id, status=Status.CREATED, labels=spec.labels, image=spec.image
        )

    async def _image(self) -> Image | None:
        if not self._spec.image:
            return None
        self._observe(phase=Phase.PULLING)
        return await self._unless_unwanted(self._agent.pulls.image(self._runtime, self._spec.image, self._spec.pull))

    async def _unless_unwanted(self, awaitable: Awaitable[T]) -> T:
        """Waits, but not longer than the hive wants this allocation."""
        task = asyncio.ensure_future(awaitable)
        try:
            while not task.done():
                self._wake.clear()
                if self._unwanted:
                    raise Interrupted
                waker = asyncio.ensure_future(self._wake.wait())
                try:
                    await asyncio.wait((task, waker), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waker.cancel()
            return task.result()
        finally:
            task.cancel()

    @property
    def _unwanted(self) -> bool:
        allocation = self._agent.state.allocations.get(self.id)
        return allocation is None or allocation.state.ended or allocation.desired is Desired.STOP

    def _retry_later(self, why: str) -> None:
        self._backoff = self._backoff.after_run(0)
        self._not_before = self._agent.now() + max(self._backoff.delay, 0.5)
        self._trouble = why
        self._observe(phase=Phase.BACKOFF, ready=False, message=why)

    # -- running ---------------------------------------------------------------------------------------------

    def _tend(self, container: Container) -> float | None:
        """Readiness, and the report of health once it lasted long enough."""
        watch = self._watch = self._watch or self._begin_watch(container)
        trouble = self._agent.endpoints.failure_of(self._spec) if watch.ready else ""
        serves = watch.ready and not watch.dying
        self._observe(ready=serves, health=watch.health, message=trouble or watch.message)
        if watch.failed and not watch.dying:
            self._tend_unhealthy(container, watch)
        if not serves:
            return None
        if trouble:
            self._report_failing(trouble)
            return None
        left = watch.ready_since + self._spec.update.min_healthy_time - self._agent.now()
        if left > 0:
            return left
        self._ever_healthy = True
        if self._allocation.state < AllocationState.HEALTHY:
            self._agent.reporter.report(AllocationReport(id=self.id, state=AllocationState.HEALTHY))
        return None

    def _begin_watch(self, container: Container) -> Watch:
        """Whatever an earlier daemon observed may have been lost, so all of it is observed again."""
        attached = self._network.attachments().get(self.id)
        where = {"ip": attached.ip, "ports": dict(attached.ports)} if attached else {}
        self._observe(
            phase=Phase.RUNNING, pid=container.pid, started=container.started, instance=self._newest,
            image_digest=container.image, **where,
        )  # fmt: skip
        target = self._agent.probe_target(self, self._spec)
        was_ready, self._adopted = self._adopted, False
        return Watch(target, self._spec.check, self.wake, was_ready=was_ready)

    def _tend_unhealthy(self, container: Container, watch: Watch) -> None:
        if self._spec.restart.policy == "no":
            if not self._ever_healthy:
                self._report_failing(f"unhealthy: {watch.message}")
            return
        watch.dying = True
        self._agent.event(self._allocation, "allocation.unhealthy", watch.message, warning=True)
        self._agent.spawn(self._stop_unhealthy(container, watch))

    async def _stop_unhealthy(self, container: Container, watch: Watch) -> None:
        try:
            await self._runtime.stop(container.id, _stop_signal(container), self._spec.stop.grace)
        except (HivemindError, OSError) as error:
            log.warning("allocation %s: %s", self.id, error)
            await asyncio.sleep(_FIRST_PAUSE)
            watch.dying = False
            self.wake()

    # -- ending ----------------------------------------------------------------------------------------------

    async def _after_exit(self, container: Container) -> float | None:
        number = self._newest
        exit = container.exit or Exit(code=None, reason="it ended while nobody looked")
        # What the daemon stopped for its health has not completed, however politely it left.
        unhealthy = self._status.health == "failing" and self._spec.restart.policy != "no"
        why = self._explain(number, exit, unhealthy=unhealthy)
        if self._judged != number:
            self._judged = number
            self._note_ending(number, container, exit, Phase.BACKOFF, why)
            self._back_off(container, exit, why)
        verdict = judge(self._spec.restart, exit, number, unhealthy=unhealthy)
        if verdict != "restart":
            state = AllocationState.COMPLETE if verdict == "complete" else AllocationState.FAILED
            await self._give_up(state, why, exit.code)
            return None
        wait = self._not_before - self._agent.now()
        if wait > 0:
            self._observe(
                phase=Phase.BACKOFF, message=f"{self._trouble}; starts again in {self._backoff.delay:g}s"
            )
            return wait
        await self._keep_few()
        return await self._launch(number + 1)

    def _explain(self, number: int, exit: Exit, *, unhealthy: bool = False) -> str:
        """Why the instance ended, with what its check said last if that was the reason."""
        last = self._status.last
        if last and (last.instance, last.ended) == (number, exit.at):
            return last.reason
        why = explain(exit, self._spec.resources.memory)
        return f"unhealthy, {why} ({self._status.message[-_SAID:]})" if unhealthy else why

    def _back_off(self, container: Container, exit: Exit, why: str) -> None:
        ran = (exit.at - container.started) / 1000 if container.started and exit.at else 0.0
        self._backoff = self._backoff.after_run(ran)
        self._not_before = self._agent.now() + self._backoff.delay
        self._trouble = why
        if not self._ever_healthy and self._backoff.failures >= _FAILING_AFTER:
            self._report_failing(f"{why}, again and again")

    def _note_ending(self, number: int, container: Container, exit: Exit, phase: Phase, why: str) -> None:
        self._close_watch()
        last = self._status.last
        if last and (last.instance, last.ended) == (number, exit.at):
            return  # An earlier daemon took note of it.
        ending = Ending(
            instance=number, exit_code=exit.code, signal=exit.signal, oom=exit.oom, reason=why,
            started=container.started, ended=exit.at or self._agent.clock(),
        )  # fmt: skip
        self._observe(phase=phase, ready=False, pid=0, last=ending, message=why)
        unexpected = phase is Phase.BACKOFF and exit.code != 0
        self._agent.event(
            self._allocation, "allocation.exited", f"instance {number}: {why}", warning=unexpected
        )

    async def _give_up(self, state: AllocationState, why: str, code: int | None) -> None:
        self._observe(phase=Phase.ENDED, ready=False, message=why)
        await self._release()
        self._agent.reporter.report(AllocationReport(id=self.id, state=state, reason=why, exit_code=code))

    def _report_failing(self, why: str) -> None:
        self._report_trouble(why, failing=True)

    def _report_trouble(self, why: str, *, failing: bool) -> None:
        known = (self._allocation.failing, self._allocation.reason)
        if self._allocation.state < AllocationState.HEALTHY and known != (failing, why):
            said = AllocationReport(id=self.id, state=AllocationState.PLACED, failing=failing, reason=why)
            self._agent.reporter.report(said)

    # -- stopping --------------------------------------------------------------------------------------------

    async def _halt(self) -> None:
        """Nothing of it runs, nothing is attached, and the hive knows."""
        self._close_watch()
        container = self._instances.get(self._newest)
        if container and container.status is Status.CREATED:
            await self._discard(self._newest)
            container = None
        if container and container.status is Status.RUNNING:
            container = await self._stop(container)
        exit = container.exit if container else None
        if container and exit:
            why = self._explain(self._newest, exit)
            self._note_ending(self._newest, container, exit, Phase.STOPPING, why)
        await self._release()
        self._observe(phase=Phase.ENDED, ready=False, pid=0, message=self._allocation.reason)
        if not self._allocation.state.ended:
            said = AllocationReport(
                id=self.id, state=AllocationState.STOPPED, reason=self._allocation.reason,
                exit_code=exit.code if exit else None,
            )  # fmt: skip
            self._agent.reporter.report(said)
        self._resting = True

    async def _stop(self, container: Container) -> Container:
        """Out of the balancing first, then the stop signal, then SIGKILL after the grace."""
        was_ready = self._status.ready
        self._observe(phase=Phase.STOPPING, ready=False, message=self._allocation.reason)
        await self._agent.endpoints.withdraw(self.id)
        if was_ready and (self._spec.service or any(p.host for p in self._spec.ports)):
            await asyncio.sleep(_SETTLE)
        exit = await self._runtime.stop(container.id, _stop_signal(container), self._spec.stop.grace)
        ended = replace(container, status=Status.EXITED, pid=0, exit=exit)
        self._instances[self._newest] = ended
        return ended

    async def _erase(self) -> None:
        """The hive has forgotten it: nothing of it may be left."""
        self._close_watch()
        await self._agent.endpoints.withdraw(self.id)
        for number in sorted(self._instances):
            await self._discard(number)
        await self._release()
        self._agent.endpoints.forget(self.id)
        self._agent.forget_status(self.id)
        self._erased = True

    async def _release(self) -> None:
        await self._network.detach(self.id)
        for provider in self._agent.providers:
            await provider.release(self.id)

    async def _discard(self, number: int) -> None:
        container = self._instances.get(number)
        if container:
            await self._runtime.remove(container.id)
            self._instances.pop(number, None)

    async def _keep_few(self) -> None:
        for number in sorted(self._instances)[: 1 - _INSTANCES_KEPT]:
            await self._discard(number)

    def _close_watch(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def _observe(self, **changes: Any) -> None:
        """Writes to the shared store what is new."""
        fresh = replace(self._status, runtime=self._runtime.name, **changes)
        if fresh != self._status or not fresh.observed:
            self._status = replace(fresh, observed=self._agent.clock())
            self._agent.put_status(self.id, self._status)


def _stop_signal(container: Container) -> str:
    return container.labels.get("hivemind.stop-signal", "SIGTERM")
