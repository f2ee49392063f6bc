"""Health checks: how one asks a replica whether it serves."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hivemind.model.base import Spec
from hivemind.model.quantity import Seconds


class CommandProbe(Spec, frozen=True, kw_only=True, tag="command", tag_field="kind"):
    """Runs a command inside the container; exit code 0 is healthy."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]


class HttpProbe(Spec, frozen=True, kw_only=True, tag="http", tag_field="kind"):
    """GETs a path; any status from 200 to 399 is healthy."""

    path: Annotated[str, Meta(pattern="^/", description="an absolute path")] = "/"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """A container port; the app's first declared port when absent."""


class TcpProbe(Spec, frozen=True, kw_only=True, tag="tcp", tag_field="kind"):
    """Opens a connection; accepted is healthy."""

    port: Annotated[int, Meta(ge=1, le=65535)] | None = None


Probe = CommandProbe | HttpProbe | TcpProbe


class Check(Spec, frozen=True, kw_only=True):
    """Ready after one success; unhealthy after `retries` failures in a row, then restarted."""

    probe: Probe
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    retries: Annotated[int, Meta(ge=1, le=1000)] = 3
    start_period: Seconds = 0.0
    """Failures do not count this long after the start, until the first success."""
