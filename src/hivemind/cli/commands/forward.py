"""`hivemind port-forward`: ports of a replica as ports of this machine, each connection through the daemon."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import ExitStack, suppress

from hivemind.cli.context import Context
from hivemind.cli.targets import looked_into
from hivemind.client.websocket import WebSocket
from hivemind.errors import Conflict, HivemindError, Invalid
from hivemind.model.allocation import AllocationDocument
from hivemind.model.answers import ExecChannel, Problem

_BLOCK = 1 << 16
_DATA, _END = bytes((ExecChannel.STDIN,)), bytes((ExecChannel.STDIN_END,))


def forward(context: Context) -> None:
    replica, _ = looked_into(context, context.args.name)  # its containers share its address
    wanted = [_ports(text) for text in context.args.ports]
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for local, remote in wanted:
            for address in context.args.address or ["127.0.0.1"]:
                listener = stack.enter_context(_listening(address, local))
                selector.register(listener, selectors.EVENT_READ, remote)
                host, port = listener.getsockname()[:2]
                context.print(f"Forwarding from {f'[{host}]' if ':' in host else host}:{port} -> {remote}")
        context.terminal.out.flush()
        while True:
            for key, _ in selector.select():
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                threading.Thread(
                    target=_serve, args=(context, replica, connection, key.data), name="forward", daemon=True
                ).start()


def _ports(text: str) -> tuple[int, int]:
    """`8080:80`, `80`, `:80` for any free one here."""
    local, colon, remote = text.rpartition(":")
    try:
        numbers = (int(local or 0) if colon else int(remote), int(remote))
    except ValueError:
        numbers = (-1, -1)
    if not (0 <= numbers[0] < 65536 and 0 < numbers[1] < 65536):
        raise Invalid(
            f"{text!r} names no ports", hint="write them like 8080:80, or :80 for any free port here"
        )
    return numbers


def _listening(address: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise Invalid(f"{address!r} is no address of this machine: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise Conflict(
            f"cannot listen at {address}:{port}: {error.strerror}",
            hint="choose another: port-forward NAME :80",
        ) from None
    return listener


def _serve(context: Context, replica: AllocationDocument, connection: socket.socket, port: int) -> None:
    """One connection. Each direction has a thread, for both may be full at the same time."""
    try:
        with connection, context.hive.allocations.forward(replica.id, port, replica.project) as tunnel:
            sending = threading.Thread(target=_send, args=(connection, tunnel), name="forward", daemon=True)
            sending.start()
            _receive(context, connection, tunnel)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            sending.join()
    except HivemindError as error:
        context.note(f"error: {error.message}" + (f" ({error.hint})" if error.hint else ""))


def _send(connection: socket.socket, tunnel: WebSocket) -> None:
    with suppress(OSError, HivemindError):
        while data := connection.recv(_BLOCK):
            tunnel.send(_DATA + data)
        tunnel.send(_END)


def _receive(context: Context, connection: socket.socket, tunnel: WebSocket) -> None:
    with suppress(OSError):  # who is here does not listen any more
        while (frame := tunnel.receive()) is not None:
            channel, data = frame[0], frame[1:]
            if channel == ExecChannel.STDOUT:
                connection.sendall(data)
            elif channel == ExecChannel.STDOUT_END:
                connection.shutdown(socket.SHUT_WR)
            elif channel == ExecChannel.EXIT:
                from hivemind.client.connection import understood

                raise understood(data, Problem).error()
