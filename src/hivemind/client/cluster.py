"""The hive as a group of nodes, asked of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TypeVar
from urllib.parse import quote

from hivemind.client.connection import STREAM_SILENCE, Connection, understood
from hivemind.client.streams import lines
from hivemind.model.answers import Page
from hivemind.model.base import encode
from hivemind.model.cluster import (
    ClusterStatus,
    ConfigureRequest,
    ExpelRequest,
    FoundRequest,
    JoinRequest,
    JoinStep,
    JoinTokenDocument,
    JoinTokenRequest,
    LeaveRequest,
    NewJoinToken,
    Recovered,
    RecoverRequest,
)

T = TypeVar("T")
_PATIENCE = 600.0
"""Seconds that the daemon may be silent about what the whole hive must do."""
_CHUNK = 1 << 18


class Cluster:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> ClusterStatus:
        return understood(self._connection.call("GET", "/v1/cluster").body, ClusterStatus)

    def init(self, wish: FoundRequest) -> ClusterStatus:
        """Makes the node the first of a hive that others may join. Raises `Conflict` when it is in one."""
        return self._post("init", encode(wish), ClusterStatus)

    def join(self, wish: JoinRequest) -> Iterator[JoinStep]:
        """Each step as it begins; the last one is `ready`. Raises what the join was refused with."""
        for line in lines(self._connection, "POST", "/v1/cluster/join", body=encode(wish)):
            step = understood(line, JoinStep)
            if step.error is not None:
                raise step.error.error()
            yield step

    def leave(self, *, force: bool = False) -> ClusterStatus:
        """Returns when the node is alone again."""
        return self._post("leave", encode(LeaveRequest(force=force)), ClusterStatus)

    def configure(self, wish: ConfigureRequest) -> ClusterStatus:
        return self._post("configure", encode(wish), ClusterStatus)

    def expel(self, node: str, reason: str = "") -> ClusterStatus:
        """By name or id; it never joins again with its key."""
        return self._post("expel", encode(ExpelRequest(node=node, reason=reason)), ClusterStatus)

    def tokens(self) -> list[JoinTokenDocument]:
        answer = self._connection.call("GET", "/v1/cluster/tokens")
        return understood(answer.body, Page[JoinTokenDocument]).items

    def new_token(self, wish: JoinTokenRequest) -> NewJoinToken:
        return self._post("tokens", encode(wish), NewJoinToken)

    def revoke(self, token: str) -> None:
        """`token`: its id, or the beginning of it."""
        self._connection.call("DELETE", f"/v1/cluster/tokens/{quote(token, safe='')}")

    def snapshot(self) -> Iterator[bytes]:
        """The pieces of a file that `restore` takes."""
        timeout = max(self._connection.timeout, STREAM_SILENCE)
        with (
            self._connection.open("GET", "/v1/cluster/snapshot", timeout=timeout) as exchange,
            self._connection.explained(),
        ):
            yield from exchange.pieces()

    def restore(self, file: IO[bytes]) -> ClusterStatus:
        answer = self._connection.call(
            "POST", "/v1/cluster/restore", body=iter(lambda: file.read(_CHUNK), b""),
            headers={"Content-Type": "application/octet-stream"}, timeout=_PATIENCE,
        )  # fmt: skip
        return understood(answer.body, ClusterStatus)

    def force_recover(self, hive: str) -> Recovered:
        """Begins a new lineage in which the node decides alone. `hive`: its id, once more."""
        return self._post("force-recover", encode(RecoverRequest(hive=hive)), Recovered)

    def _post(self, verb: str, body: bytes, type: type[T]) -> T:
        answer = self._connection.call("POST", f"/v1/cluster/{verb}", body=body, timeout=_PATIENCE)
        return understood(answer.body, type)
