"""Probes: asking one replica whether it serves, by HTTP, by TCP or by a command inside it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

from hivemind.agent.health import OUTPUT, SHORTEST, Health, Result
from hivemind.errors import HivemindError, Invalid
from hivemind.model.check import Check, CommandProbe, HttpProbe
from hivemind.model.quantity import show_seconds

Exec = Callable[[tuple[str, ...]], Awaitable[tuple[int, str]]]
"""Runs a command inside the container: its exit code and what it wrote. Cancelling it ends the command."""

PATIENCE = 30.0
"""Seconds for a probe whose check sets no timeout (0)."""
HEAD = 16 * 1024
"""Bytes of an HTTP response in which its status must stand."""


class Prober:
    """One check against one container. `ports` tells where a container port answers at `ip`, where that is
    elsewhere (`{"80/tcp": 31080}`); `declared` are the app's TCP ports: a probe without a port uses the first.

    Raises `Invalid` when the check names no port and there is none."""

    def __init__(
        self,
        check: Check,
        ip: str,
        exec: Exec,
        ports: Mapping[str, int] | None = None,
        declared: Sequence[int] = (),
    ) -> None:
        self._check = check
        self._ip = ip
        self._exec = exec
        self._timeout = check.timeout or PATIENCE
        self._port = 0
        if not isinstance(check.probe, CommandProbe):
            port = check.probe.port or next(iter(declared), 0)
            if not port:
                raise Invalid(
                    "the health check names no port and the app declares none", hint="add a port to the check"
                )
            self._port = (ports or {}).get(f"{port}/tcp", port)

    async def run(
        self, on_result: Callable[[Health], None], now: Callable[[], float], offset: float = 0.0
    ) -> None:
        """Probes until cancelled and says after each probe what is known; see `Health.begin` for `offset`."""
        health = Health.begin(now(), offset)
        while True:
            # Never longer than a round takes, even if the clock was set back meanwhile.
            await asyncio.sleep(
                min(max(0.0, health.due - now()), max(offset, self._check.interval, SHORTEST))
            )
            result = await self.probe()
            health = health.after(self._check, result, now())
            on_result(health)

    async def probe(self) -> Result:
        """Asks once. Everything that goes wrong with the replica is a result, not an error."""
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await self._once()
        except TimeoutError:
            if not limit.expired():
                return Result(False, f"{self._what()}: timed out")
            return Result(False, f"{self._what()}: no answer within {show_seconds(self._timeout)}")
        except OSError as error:
            # asyncio puts the address into `strerror`; the number gives the plain words.
            reason = os.strerror(error.errno) if error.errno else str(error)
            return Result(False, f"{self._what()}: {reason}")
        except HivemindError as error:
            return Result(False, f"{self._what()}: {error}"[:OUTPUT])

    async def _once(self) -> Result:
        probe = self._check.probe
        if isinstance(probe, CommandProbe):
            code, output = await self._exec(probe.command)
            said = output[-OUTPUT:].rstrip()
            return Result(code == 0, said or ("" if code == 0 else f"{self._what()}: exit code {code}"))
        if isinstance(probe, HttpProbe):
            return await self._get(probe.path)
        _, writer = await asyncio.open_connection(self._ip, self._port)
        writer.close()
        return Result(True, f"{self._what()}: accepted")

    async def _get(self, path: str) -> Result:
        reader, writer = await asyncio.open_connection(self._ip, self._port, limit=HEAD)
        try:
            writer.write(
                f"GET {_target(path)} HTTP/1.1\r\nHost: {self._where()}\r\nUser-Agent: hivemind-health\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            status, reason = await _status(reader)
        finally:
            writer.transport.abort()  # The body is of no interest, however long it is.
        if status is None:
            return Result(False, f"{self._what()}: {reason}")
        return Result(200 <= status < 400, f"{self._what()}: {status} {reason}".rstrip())

    def _where(self) -> str:
        return f"[{self._ip}]:{self._port}" if ":" in self._ip else f"{self._ip}:{self._port}"

    def _what(self) -> str:
        probe = self._check.probe
        if isinstance(probe, CommandProbe):
            return " ".join(probe.command)[:200]
        if isinstance(probe, HttpProbe):
            return f"GET http://{self._where()}{_target(probe.path)}"
        return f"connecting to {self._where()}"


def _target(path: str) -> str:
    """The path as it may stand in a request line: no blanks, no control characters, no fragment."""
    from urllib.parse import quote

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
