"""The public client: everything that the command line can do, as typed calls.

    hive = Hivemind()                                   # the local daemon's unix socket
    hive = Hivemind("https://node-1:3000", token="hm_…", ca="/etc/hivemind/ca.pem")
    hive.apps.deploy(AppManifest(name="web", spec=AppSpec(image="nginx:latest")))
    hive.apps.scale("web", 3)
    for line in hive.apps.logs_follow("web"):
        print(line.text)

Every call raises an error of `hivemind.errors`: the one that the server names, or `Unavailable` when no
daemon answers. An object of this class may be shared between threads; each stream belongs to its reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from hivemind.client.cluster import Cluster
from hivemind.client.collection import Collection
from hivemind.client.connection import Connection, understood
from hivemind.client.endpoint import default_endpoint
from hivemind.client.images import Images, Registries
from hivemind.client.jobs import Circuits, Jobs, Runs, WorkQueue
from hivemind.client.nouns import Allocations, Apps, Contents, Nodes
from hivemind.client.streams import server_sent_events
from hivemind.client.volumes import BackupTargets, Volumes
from hivemind.model.answers import AllocationStats, Info, StatsList
from hivemind.model.config import CONFIG, ConfigDocument
from hivemind.model.deployment import DEPLOYMENT, DeploymentDocument
from hivemind.model.event import EVENT, Event
from hivemind.model.principal import PRINCIPAL, PrincipalDocument
from hivemind.model.project import PROJECT, ProjectDocument
from hivemind.model.resource import Resource
from hivemind.model.routine import ROUTINE, RoutineDocument
from hivemind.model.secret import SECRET, SecretDocument
from hivemind.model.snapshot import SNAPSHOT, SnapshotDocument
from hivemind.model.storage import STORAGE_CLASS, StorageClassDocument


class Hivemind:
    """A hive, reached at one of its nodes.

    `endpoint`: `unix:///path/of/a.sock`, `http://host:port` or `https://host:port`. `token`: needed for all
    but the unix socket. `ca`: a file of PEM certificates to trust instead of the system's. `timeout`: seconds
    that the daemon may stay silent. Without `endpoint`, `HIVEMIND_HOST`, `HIVEMIND_TOKEN` and `HIVEMIND_CA` count as
    they do for the command line; without these it is this machine's daemon.
    """

    def __init__(
        self, endpoint: str | None = None, *, token: str = "", ca: str = "", timeout: float = 60.0
    ) -> None:
        if endpoint is None:
            endpoint = os.environ.get("HIVEMIND_HOST") or default_endpoint()
            token = token or os.environ.get("HIVEMIND_TOKEN", "")
            ca = ca or os.environ.get("HIVEMIND_CA", "")
        self._connection = Connection(endpoint, token=token, ca=ca, timeout=timeout)
        self.endpoint = endpoint
        self.apps = Apps(self._connection)
        self.allocations = Allocations(self._connection)
        self.deployments: Collection[DeploymentDocument] = Collection(self._connection, DEPLOYMENT)
        self.jobs = Jobs(self._connection)
        self.runs = Runs(self._connection)
        self.routines: Collection[RoutineDocument] = Collection(self._connection, ROUTINE)
        self.circuits = Circuits(self._connection)
        self.queue = WorkQueue(self._connection)
        self.configs: Contents[ConfigDocument] = Contents(self._connection, CONFIG)
        self.secrets: Contents[SecretDocument] = Contents(self._connection, SECRET)
        self.nodes = Nodes(self._connection)
        self.cluster = Cluster(self._connection)
        self.volumes = Volumes(self._connection)
        self.snapshots: Collection[SnapshotDocument] = Collection(self._connection, SNAPSHOT)
        self.backup_targets = BackupTargets(self._connection)
        self.storage_classes: Collection[StorageClassDocument] = Collection(self._connection, STORAGE_CLASS)
        self.projects: Collection[ProjectDocument] = Collection(self._connection, PROJECT)
        self.principals: Collection[PrincipalDocument] = Collection(self._connection, PRINCIPAL)
        self.registries = Registries(self._connection)
        self.images = Images(self._connection)

    def collection(self, resource: Resource) -> Collection[Any]:
        """The documents of any kind: what `get`, `describe`, `apply` and `delete` stand on."""
        return Collection(self._connection, resource)

    def status(self) -> Info:
        return understood(self._connection.call("GET", "/v1/status").body, Info)

    def stats(self, *, project: str = "", app: str = "") -> list[AllocationStats]:
        """What everything that runs uses right now, on all nodes that can be asked."""
        return self.sample(project=project, app=app).items

    def sample(self, *, project: str = "", app: str = "") -> StatsList:
        """The same, and which nodes could not be asked."""
        answer = self._connection.call("GET", "/v1/stats", query={"project": project, "app": app})
        return understood(answer.body, StatsList)

    def events(
        self,
        *,
        project: str = "",
        app: str = "",
        allocation: str = "",
        node: str = "",
        type: str = "",
        level: str = "",
        by: str = "",
        name: str = "",
        since: int = 0,
        until: int = 0,
        limit: int | None = None,
    ) -> list[Event]:
        """What happened, oldest first; with `limit` (up to 10000) only the newest so many.

        `allocation` and `node` are ids; a node's events are those it saw. `since` and `until` are milliseconds since
        1970, both included; 0: no bound."""
        query = {
            "project": project, "app": app, "allocation": allocation, "node": node, "type": type, "level": level,
            "by": by, "name": name, "since": since or None, "until": until or None, "tail": limit,
        }  # fmt: skip
        return list(Collection[Event](self._connection, EVENT).each(query=query))

    def events_follow(
        self,
        *,
        project: str = "",
        app: str = "",
        allocation: str = "",
        node: str = "",
        type: str = "",
        level: str = "",
        by: str = "",
        name: str = "",
        after: str | None = None,
    ) -> Iterator[Event]:
        """Events as they happen, without end; `after` an event's id, or from now when None.

        A broken connection is taken up again where it broke; `Unavailable` once that fails too."""
        query = {
            "project": project, "app": app, "allocation": allocation, "node": node, "type": type, "level": level,
            "by": by, "name": name,
        }  # fmt: skip
        for message in server_sent_events(self._connection, "/v1/events", query, after):
            yield understood(message.data, Event)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Hivemind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
