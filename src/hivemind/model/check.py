"""Health checks: how one asks a replica whether it serves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.model.base import Spec
from hivemind.model.quantity import Seconds

HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z", description="a header's name")]
HeaderValue = Annotated[str, Meta(pattern=r"^[\t\x20-\x7e]*\Z", description="printable ASCII")]
ProbePort = Annotated[int, Meta(ge=1, le=65535)]


class CommandProbe(Spec, frozen=True, kw_only=True, tag="command", tag_field="kind"):
    """Runs a command inside the container; exit code 0 is healthy."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]


class HttpProbe(Spec, frozen=True, kw_only=True, tag="http", tag_field="kind"):
    """GETs a path; any status from 200 to 399 is healthy."""

    path: Annotated[str, Meta(pattern="^/", description="an absolute path")] = "/"
    port: ProbePort | None = None
    """A container port; the app's first declared port when absent."""
    scheme: Literal["http", "https"] = "http"
    """With `https` any certificate will do: the question is whether it answers."""
    headers: dict[HeaderName, HeaderValue] = {}


class TcpProbe(Spec, frozen=True, kw_only=True, tag="tcp", tag_field="kind"):
    """Opens a connection; accepted is healthy."""

    port: ProbePort | None = None


class GrpcProbe(Spec, frozen=True, kw_only=True, tag="grpc", tag_field="kind"):
    """Asks grpc.health.v1.Health/Check; SERVING is healthy."""

    port: ProbePort | None = None
    service: str = ""


Probe = CommandProbe | HttpProbe | TcpProbe | GrpcProbe


class Check(Spec, frozen=True, kw_only=True):
    """Passes after one success, fails after `retries` failures in a row."""

    probe: Probe
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    retries: Annotated[int, Meta(ge=1, le=1000)] = 3
    start_period: Seconds = 0.0
    """Failures do not count this long after the start, until the first success."""


class Hook(Spec, frozen=True, kw_only=True):
    """What is done right after the start or right before the stop signal: a command inside, or a GET."""

    action: CommandProbe | HttpProbe
    timeout: Seconds = 30.0
