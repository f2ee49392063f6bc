"""The calls of containerd's API that are used here, in one namespace of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from typing import Any

from hivemind.drivers.runtimes.containerd import messages as m
from hivemind.drivers.runtimes.containerd.channel import Channel
from hivemind.drivers.runtimes.containerd.protobuf import Schema, Value

_SERVICES = "/containerd.services"
METHODS: dict[str, tuple[Schema, Schema]] = {
    "version.v1.Version/Version": (m.EMPTY, m.VERSION),
    "introspection.v1.Introspection/Plugins": (m.PLUGINS_REQUEST, m.PLUGINS),
    "namespaces.v1.Namespaces/Create": (m.NAMESPACE_REQUEST, m.EMPTY),
    "namespaces.v1.Namespaces/Delete": (m.NAMESPACE_NAME, m.EMPTY),
    "leases.v1.Leases/Create": (m.LEASE, m.LEASE_ANSWER),
    "leases.v1.Leases/Delete": (m.LEASE_DELETE, m.EMPTY),
    "leases.v1.Leases/List": (m.LEASES_REQUEST, m.LEASES),
    "content.v1.Content/Info": (m.CONTENT_INFO, m.EMPTY),
    "content.v1.Content/Write": (m.CONTENT_WRITE, m.CONTENT_WRITTEN),
    "content.v1.Content/Abort": (m.CONTENT_ABORT, m.EMPTY),
    "content.v1.Content/List": (m.CONTENT_LIST, m.NAMES),
    "snapshots.v1.Snapshots/List": (m.SNAPSHOT_LIST, m.NAMES),
    "snapshots.v1.Snapshots/Prepare": (m.SNAPSHOT_PREPARE, m.SNAPSHOT_MOUNTS),
    "snapshots.v1.Snapshots/Mounts": (m.SNAPSHOT_KEY, m.SNAPSHOT_MOUNTS),
    "snapshots.v1.Snapshots/Commit": (m.SNAPSHOT_COMMIT, m.EMPTY),
    "snapshots.v1.Snapshots/Stat": (m.SNAPSHOT_KEY, m.EMPTY),
    "snapshots.v1.Snapshots/Remove": (m.SNAPSHOT_KEY, m.EMPTY),
    "diff.v1.Diff/Apply": (m.DIFF_APPLY, m.DIFF_APPLIED),
    "images.v1.Images/Create": (m.IMAGE_REQUEST, m.IMAGE_REQUEST),
    "images.v1.Images/List": (m.IMAGES_REQUEST, m.IMAGES),
    "images.v1.Images/Delete": (m.IMAGE_DELETE, m.EMPTY),
    "containers.v1.Containers/Create": (m.CONTAINER_REQUEST, m.CONTAINER_REQUEST),
    "containers.v1.Containers/Get": (m.CONTAINER_ID, m.CONTAINER_REQUEST),
    "containers.v1.Containers/List": (m.CONTAINERS_REQUEST, m.CONTAINERS),
    "containers.v1.Containers/Delete": (m.CONTAINER_ID, m.EMPTY),
    "tasks.v1.Tasks/Create": (m.TASK_CREATE, m.TASK_PID),
    "tasks.v1.Tasks/Start": (m.TASK_ID, m.TASK_STARTED),
    "tasks.v1.Tasks/Get": (m.TASK_ID, m.TASK),
    "tasks.v1.Tasks/List": (m.TASKS_REQUEST, m.TASKS),
    "tasks.v1.Tasks/Kill": (m.TASK_KILL, m.EMPTY),
    "tasks.v1.Tasks/Exec": (m.TASK_EXEC, m.EMPTY),
    "tasks.v1.Tasks/ResizePty": (m.TASK_SIZE, m.EMPTY),
    "tasks.v1.Tasks/CloseIO": (m.TASK_CLOSE, m.EMPTY),
    "tasks.v1.Tasks/Wait": (m.TASK_ID, m.TASK_ENDED),
    "tasks.v1.Tasks/Delete": (m.TASK_ID, m.TASK_DELETED),
    "tasks.v1.Tasks/DeleteProcess": (m.TASK_ID, m.TASK_DELETED),
    "events.v1.Events/Subscribe": (m.EVENTS_REQUEST, m.ENVELOPE),
}


class Api:
    """Raises what a refusal means: `NotFound`, `Conflict` (exists already, or not in that state), `Invalid`,
    `Unavailable` (not there, or something else went wrong)."""

    def __init__(self, channel: Channel, namespace: str) -> None:
        self.channel = channel
        self.namespace = namespace

    async def call(self, method: str, *, lease: str = "", patient: bool = False, **fields: Any) -> Value:
        """`method` as in `METHODS`; what is made belongs to `lease` (and stays as long as that is there)."""
        asked, answered = METHODS[method]
        answer = await self.channel.call(
            f"{_SERVICES}.{method}", asked.encode(fields), self._metadata(lease), patient=patient
        )
        return answered.decode(answer)

    async def exchange(
        self, method: str, requests: AsyncIterable[Mapping[str, Any]], *, lease: str = ""
    ) -> AsyncGenerator[Value, None]:
        """A call with many messages there, many back, or both."""
        asked, answered = METHODS[method]
        encoded = (asked.encode(request) async for request in requests)
        stream = self.channel.exchange(f"{_SERVICES}.{method}", encoded, self._metadata(lease))
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield answered.decode(answer)

    def _metadata(self, lease: str) -> dict[str, str]:
        metadata = {"containerd-namespace": self.namespace}
        return metadata | ({"containerd-lease": lease} if lease else {})
