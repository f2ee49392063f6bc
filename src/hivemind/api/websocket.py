"""uvicorn's WebSocket protocol, for whom a terminal or a forwarded port is kept open."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState
from wsproto.utilities import LocalProtocolError

from hivemind.api.protocol import Clients


class WebSocketProtocol(WSProtocol):
    """Someone may halt a terminal for as long as they like: an unread socket is only cut when its peer is gone."""

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except LocalProtocolError:
            self.transport.close()  # the client said farewell in the same moment


def websocket(clients: Clients, state: dict[str, Any]) -> WebSocketProtocol:
    """For a connection that becomes one."""
    config = Config(
        clients.application,
        http=asyncio.Protocol,  # which it does not get to see
        ws=WebSocketProtocol,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        ws_max_size=clients.settings.max_body,
        ws_per_message_deflate=False,
        ws_ping_timeout=None,
    )
    config.load()
    return WebSocketProtocol(config, cast(ServerState, clients), state)
