"""Published ports are held by bound sockets that never listen: nobody else can take them, nobody answers there.

When somebody has a port already, /proc tells who, and the person reads "port 80 is in use by nginx (pid 7)".
"""

from __future__ import annotations

import errno
import os
import socket

from hivemind.drivers.network.contract import Published

_LISTENING = "0A"


def bind(published: Published, address: str = "0.0.0.0") -> socket.socket:
    """A bound socket that keeps the port. Raises OSError; `reason` explains it.

    The wildcard clashes with a bind to any one address too. First without SO_REUSEADDR, because with it a
    server that sets it as well could still take the port; only remains of old connections need the option."""
    try:
        return _bound(published, address, reuse=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or published.protocol == "udp" or _inodes(published):
            raise
    return _bound(published, address, reuse=True)


def _bound(published: Published, address: str, *, reuse: bool) -> socket.socket:
    kind = socket.SOCK_STREAM if published.protocol == "tcp" else socket.SOCK_DGRAM
    held = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        if reuse:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, published.port))
    except BaseException:
        held.close()
        raise
    return held


def reason(published: Published, error: OSError) -> str:
    """Why `bind` failed, for people."""
    if error.errno == errno.EADDRINUSE:
        return f"port {published.port} is in use by {_owner(published)}"
    if error.errno == errno.EACCES:
        return f"port {published.port} may only be opened by root; publish one from 1024 up"
    return f"port {published.port} cannot be opened: {error.strerror}"


def _owner(published: Published) -> str:
    wanted = {f"socket:[{inode}]" for inode in _inodes(published)}
    if wanted:
        for process in os.listdir("/proc"):
            if process.isdecimal() and _has_open(process, wanted):
                return f"{_name(process)} (pid {process})"
    return "another process"


def _has_open(process: str, wanted: set[str]) -> bool:
    directory = f"/proc/{process}/fd"
    try:
        for descriptor in os.listdir(directory):
            try:
                if os.readlink(f"{directory}/{descriptor}") in wanted:
                    return True
            except FileNotFoundError:
                continue  # Closed while we looked.
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False  # It ended while we looked, or is not ours to look at.
    return False


def _name(process: str) -> str:
    try:
        with open(f"/proc/{process}/comm") as comm:
            return comm.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "a process that just ended"


def _inodes(published: Published) -> list[str]:
    """Inodes of the sockets bound to that local port: listeners if there are any, else whoever uses it."""
    listening: list[str] = []
    using: list[str] = []
    for table in (published.protocol, f"{published.protocol}6"):
        try:
            with open(f"/proc/thread-self/net/{table}") as lines:
                next(lines)
                rows = [line.split() for line in lines]
        except FileNotFoundError:
            continue  # This machine has no IPv6.
        for row in rows:
            if int(row[1].rpartition(":")[2], 16) == published.port and row[9] != "0":
                (listening if row[3] == _LISTENING else using).append(row[9])
    return listening or using
