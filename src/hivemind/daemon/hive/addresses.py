"""Addresses as people write them, and the one of this machine that others are likely to reach."""

from __future__ import annotations

import ipaddress
import socket

from hivemind.errors import Invalid
from hivemind.transport.contract import Address

DEFAULT_PORT = 7946
ANYWHERE = ("0.0.0.0", "::")
_SOMEWHERE = "198.51.100.1"
"""Never reached and never sent to (RFC 5737): asked which address a packet out of this machine would carry."""


def parse(text: str) -> Address:
    """`10.0.0.1:7946`, `[fd00::1]:7946`, `10.0.0.1`, `:7946` -> host and port. Raises `Invalid`."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") <= 1:
        host, _, port = host.partition(":")
    try:
        shown = str(ipaddress.ip_address(host)) if host else ""
        number = int(port) if port else DEFAULT_PORT
        if not 0 <= number <= 65535:
            raise ValueError
    except ValueError:
        raise Invalid(
            f"{text!r} is not an address", hint="write an IP address and a port, like 10.0.0.1:7946"
        ) from None
    return shown or own_host(), number


def show(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_host() -> str:
    """Of the interface that leads out of this machine; loopback where none does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_SOMEWHERE, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def advertised(listening: Address) -> Address:
    """What others are told: somebody who listens everywhere is reached at an address of its own."""
    host, port = listening
    return (own_host() if host in ANYWHERE else host), port
