"""Ports and names."""

from __future__ import annotations

import re
from typing import Any

from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec
from hivemind.model.network import Port

_PORT_HINT = "write it like 8080:80, 8080:80/udp, or 80 to name a port without publishing it"


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {"service": args.service, "ports": tuple(port(p) for p in args.port) if args.port else None}


def port(text: str) -> Port:
    """`8080:80`, `8080:80/udp`, `80`."""
    match = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp))?", text)
    if not match:
        if text.count(":") > 1:
            raise Invalid(
                f"--port {text}: an address cannot be chosen, a port is published on the node",
                hint=_PORT_HINT,
            )
        raise Invalid(f"--port {text} is not a port", hint=_PORT_HINT)
    host, container, protocol = match[1], int(match[2]), match[3] or "tcp"
    for number in (container, int(host or 1)):
        if not 1 <= number <= 65535:
            raise Invalid(f"--port {text}: {number} is not a port number", hint="ports go from 1 to 65535")
    return Port(
        container=container, host=int(host) if host else None, protocol="udp" if protocol == "udp" else "tcp"
    )
