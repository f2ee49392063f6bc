"""A port-forward reaches the allocation, never the node behind it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from msgspec.structs import replace

from hivemind.agent.looking import Looking
from hivemind.errors import Conflict
from hivemind.model.allocation import AllocationStatus


class _Agent:
    def __init__(self, status: AllocationStatus | None) -> None:
        self._status = status

    def running(self, allocation: str) -> None: ...

    def last_status(self, allocation: str) -> AllocationStatus | None:
        return self._status


def reach(asked: int, status: AllocationStatus | None) -> bytes:
    """What answers at the port `asked`, which stands for the one of a server on the node's loopback when it is 0."""

    async def scene() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"node")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            told = status and replace(status, ports=dict.fromkeys(status.ports, port))
            reader, writer = await Looking(cast(Any, _Agent(told))).connect("a", asked or port)
            answer = await reader.read()
            writer.close()
            return answer

    return asyncio.run(scene())


@pytest.mark.parametrize("status", [None, AllocationStatus(), AllocationStatus(ports={"80/tcp": 1})])
def test_an_app_without_a_network_does_not_stand_for_its_node(status: AllocationStatus | None) -> None:
    with pytest.raises(Conflict, match="has no network"):
        reach(0, status)


def test_on_the_nodes_loopback_only_its_own_ports_are_reached() -> None:
    shared = AllocationStatus(ip="127.0.0.1", ports={"80/tcp": 1, "81/udp": 2})
    for other in (0, 81):
        with pytest.raises(Conflict, match="declares no port"):
            reach(other, shared)
    assert reach(80, shared) == b"node"
