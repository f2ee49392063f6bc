"""A GET whose status is all that counts. By hand: a client library would cost more memory than all probes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

from hivemind.model.check import HttpProbe

if TYPE_CHECKING:
    import ssl

HEAD = 16 * 1024
"""Bytes of an HTTP response in which its status must stand."""


async def get(probe: HttpProbe, ip: str, port: int) -> tuple[bool, str]:
    """Whether the status is good, and the status or what came instead. Raises `OSError`."""
    where = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    usual = {"Host": where, "User-Agent": "hivemind-health", "Accept": "*/*"}
    headers = usual | {name.title(): value for name, value in probe.headers.items()}
    if probe.scheme == "https":
        name = headers["Host"].rpartition(":")[0] if ":" in headers["Host"] else headers["Host"]
        reader, writer = await asyncio.open_connection(
            ip, port, limit=HEAD, ssl=_any_certificate(), server_hostname=name.strip("[]")
        )
    else:
        reader, writer = await asyncio.open_connection(ip, port, limit=HEAD)
    try:
        lines = [f"GET {_target(probe.path)} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
        status, reason = await _status(reader)
    finally:
        writer.transport.abort()  # The body is of no interest, however long it is.
    if status is None:
        return False, reason
    return 200 <= status < 400, f"{status} {reason}".rstrip()


def shown_url(probe: HttpProbe, where: str) -> str:
    return f"{probe.scheme}://{where}{_target(probe.path)}"


def _any_certificate() -> ssl.SSLContext:
    """The question is whether it answers, not who it is: a container's certificate is for its clients' name."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _target(path: str) -> str:
    """The path as it may stand in a request line: no blanks, no control characters, no fragment."""
    return quote(path.partition("#")[0], safe="/?&=%:;@,+$!*'()~")


async def _status(reader: asyncio.StreamReader) -> tuple[int | None, str]:
    """The final status and its reason phrase; None, and what is wrong, when that was no HTTP response.

    Interim responses (1xx) are stepped over, as many as fit."""
    try:
        head = await reader.readuntil(b"\n")
        while head.startswith(b"HTTP/1.") and head[8:10] == b" 1":
            while (await reader.readuntil(b"\n")).strip():
                pass
            head = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return None, "closed in the middle of the response" if error.partial else "closed without a response"
    except asyncio.LimitOverrunError:
        return None, "not an HTTP response"
    version, _, rest = head.strip().partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
        return None, "not an HTTP response"
    return int(status), reason.decode("latin-1")[:100]
