"""Ports that nobody uses on loopback."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from hivemind.errors import Conflict

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """For TCP and UDP alike."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True


def take(least: int, most: int, count: int, avoid: Collection[int] = ()) -> list[int]:
    """So many of that range, at random. Raises `Conflict` when there are not enough."""
    candidates = [port for port in range(least, most + 1) if port not in avoid]
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise Conflict(
            f"only {len(found)} of {count} ports are free between {least} and {most}",
            hint="widen nodes.randomPortRange in the file",
        )
    return found
