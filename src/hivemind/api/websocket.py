"""uvicorn's WebSocket protocol, for whom a terminal or a forwarded port is kept open."""

from __future__ import annotations

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.utilities import LocalProtocolError


class WebSocketProtocol(WSProtocol):
    """Someone may halt a terminal for as long as they like: an unread socket is only cut when its peer is gone."""

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except LocalProtocolError:
            self.transport.close()  # the client said farewell in the same moment
