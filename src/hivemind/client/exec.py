"""A command running inside an allocation, or its own main process, seen from the client."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal

from hivemind.client.connection import Connection, understood
from hivemind.client.websocket import WebSocket
from hivemind.errors import Unavailable
from hivemind.model.answers import AttachRequest, ExecChannel, ExecExit, ExecRequest, Problem
from hivemind.model.base import encode

_FRAME = 1 << 18
"""The daemon takes messages of at most 1 MiB."""

_STREAMS: dict[int, Literal["stdout", "stderr"]] = {
    ExecChannel.STDOUT: "stdout",
    ExecChannel.STDERR: "stderr",
}


class ExecSession:
    """`read` until it gives None, then `exit_code` is known. One thread may read while another writes.

    With a terminal all output is `stdout`. Leaving the session early kills the command, but not a main process.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        request: ExecRequest | AttachRequest,
        query: Mapping[str, object] | None = None,
    ) -> None:
        self._socket = WebSocket(connection, path, query)
        self.exit_code: int | None = None
        self._socket.send(encode(request).decode())

    def fileno(self) -> int:
        """For `select`, together with `pending`: output may have been received already."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        return self._socket.pending

    def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next output; None at the end. Raises what kept the command from running."""
        while self.exit_code is None:
            frame = self._socket.receive()
            if frame is None:
                raise Unavailable(
                    "the daemon closed the session before the command ended", hint="run it again"
                )
            channel, payload = frame[0], frame[1:]
            if channel == ExecChannel.EXIT:
                self.exit_code = _exit_code(payload)
            elif channel in _STREAMS:
                return _STREAMS[channel], payload
        return None

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _FRAME):
            self._socket.send(bytes((ExecChannel.STDIN,)) + data[start : start + _FRAME])

    def close_stdin(self) -> None:
        self._socket.send(bytes((ExecChannel.STDIN_END,)))

    def resize(self, columns: int, rows: int) -> None:
        self._socket.send(bytes((ExecChannel.RESIZE,)) + encode({"columns": columns, "rows": rows}))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> ExecSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _exit_code(payload: bytes) -> int:
    if b'"detail"' in payload:
        raise understood(payload, Problem).error()
    return understood(payload, ExecExit).code
