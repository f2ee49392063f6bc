"""A unit: one of the containers that an allocation is made of, through all its instances.

Its own, in which the app runs, or a companion's: an init container, which runs to its end before the app, or a
sidecar, which runs beside it. Each start is a new *instance*, with its own ending and log.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from hivemind.agent.checks.history import History
from hivemind.agent.checks.watch import Watch
from hivemind.agent.work.backoff import Backoff
from hivemind.agent.work.compose import BOOT
from hivemind.drivers.runtimes.contract import Container, Exit, Status
from hivemind.model.allocation import ContainerStatus, Phase
from hivemind.model.template import ContainerTemplate


class Role(StrEnum):
    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


class Unit:
    def __init__(
        self, name: str, role: Role, template: ContainerTemplate, instances: dict[int, Container]
    ) -> None:
        """`name` is empty for the app's own container."""
        self.name = name
        self.role = role
        self.template = template
        self.instances = instances
        self.status = ContainerStatus()
        self.backoff = Backoff()
        self.not_before = 0.0
        """On the agent's clock; it does not start before that."""
        self.watch: Watch | None = None
        self.history = History()
        self.judged = -1
        """The newest instance whose ending was taken note of."""
        self.trouble = ""
        """Why it does not run while it waits for its next start."""
        self.adopted = False
        """It runs since before this daemon, and was ready when the last one looked."""

    def recall(self, status: ContainerStatus, now: float, clock: int) -> None:
        """Goes on where an earlier daemon was; `now` and `clock` are the agent's two times."""
        known = {field: getattr(status, field) for field in ContainerStatus.__struct_fields__}
        self.adopted = self.running is not None and status.ready
        self.status = ContainerStatus(
            **{**known, "ready": self.adopted, "restarts": max(status.restarts, self.newest)}
        )
        self.backoff = Backoff(status.failures)
        self.trouble = status.message if status.phase is Phase.BACKOFF else ""
        wait = min((status.resumes - clock) / 1000, self.backoff.delay or 1.0)
        self.not_before = now + wait if wait > 0 else 0.0

    @property
    def newest(self) -> int:
        return max(self.instances, default=-1)

    @property
    def container(self) -> Container | None:
        return self.instances.get(self.newest)

    @property
    def running(self) -> Container | None:
        container = self.container
        return container if container and container.status is Status.RUNNING else None

    @property
    def ending(self) -> Exit | None:
        """How the newest instance ended, if it has."""
        container = self.container
        if container is None or container.status is not Status.EXITED:
            return None
        return container.exit or Exit(code=None, reason="it ended while nobody looked")

    @property
    def containers(self) -> list[str]:
        """Ids of all instances still kept, oldest first."""
        return [self.instances[number].id for number in sorted(self.instances)]

    @property
    def ready(self) -> bool:
        return self.running is not None and self.status.ready

    def ran_in(self, boot: str) -> bool:
        """It was started since the machine was."""
        return any(
            container.labels.get(BOOT) == boot and container.status is not Status.CREATED
            for container in self.instances.values()
        )

    def done_in(self, boot: str) -> bool:
        """An init container has ended well since the machine was started."""
        container, ending = self.container, self.ending
        return bool(container and ending and ending.code == 0 and container.labels.get(BOOT) == boot)

    def exited(self, instance: int, exit: Exit) -> None:
        known = self.instances.get(instance)
        if known:
            self.instances[instance] = replace(known, status=Status.EXITED, pid=0, exit=exit)

    def close_watch(self) -> None:
        if self.watch:
            self.watch.close()
            self.watch = None

    def __str__(self) -> str:
        return self.name or "the app's container"
