"""Probes: asking one container whether it serves: by HTTP, TCP, gRPC or a command inside it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

from msgspec.structs import replace

from hivemind.agent.checks.health import OUTPUT, SHORTEST, Health, Result
from hivemind.agent.checks.http import get, shown_url
from hivemind.agent.checks.target import Target
from hivemind.errors import HivemindError, Invalid
from hivemind.model.check import Check, CommandProbe, GrpcProbe, Hook, HttpProbe
from hivemind.model.quantity import show_seconds

PATIENCE = 30.0
"""Seconds for a probe whose check sets no timeout (0)."""


class Prober:
    """One check against one container. Raises `Invalid` when the check names no port and the app declares none."""

    def __init__(self, check: Check, target: Target) -> None:
        self._check = check
        self._target = target
        self.budget = check.timeout or PATIENCE
        """Seconds that one answer may take."""
        self._port = 0
        if not isinstance(check.probe, CommandProbe):
            port = check.probe.port or next(iter(target.declared), 0)
            if not port:
                raise Invalid(
                    "the health check names no port and the app declares none", hint="add a port to the check"
                )
            self._port = target.ports.get(f"{port}/tcp", port)

    @classmethod
    def of_hook(cls, hook: Hook, target: Target, budget: float | None = None) -> Prober:
        """A hook is a probe that is asked once."""
        return cls(Check(probe=hook.action, timeout=hook.timeout if budget is None else budget), target)

    async def results(self, offset: float = 0.0) -> AsyncGenerator[tuple[Health, Result]]:
        """Probes for ever and says after each what is known; see `Health.begin` for `offset`."""
        check, now = self._check, self._target.now
        health = Health.begin(now(), offset)
        while True:
            # Never longer than a round takes, even if the clock was set back meanwhile.
            await asyncio.sleep(min(max(0.0, health.due - now()), max(offset, check.interval, SHORTEST)))
            result = await self.probe()
            health = health.after(check, result, now())
            yield health, result

    async def probe(self) -> Result:
        """Asks once. Everything that goes wrong with the container is a result, not an error."""
        began = self._target.now()
        result = await self._asked()
        latency = max(0.0, self._target.now() - began)
        if result.timed_out and (doing := await self._target.explain()):
            # A hung container is told from a slow one by what its processes do meanwhile.
            result = replace(result, output=f"{result.output}; {doing}")
        return replace(result, latency=latency)

    async def _asked(self) -> Result:
        try:
            async with asyncio.timeout(self.budget) as limit:
                return await self._once()
        except TimeoutError:
            if not limit.expired():
                return Result(False, f"{self._what()}: timed out", timed_out=True)
            return Result(
                False, f"{self._what()}: no answer within {show_seconds(self.budget)}", timed_out=True
            )
        except OSError as error:
            return Result(False, f"{self._what()}: {_plain(error)}"[:OUTPUT])
        except HivemindError as error:
            return Result(False, f"{self._what()}: {error}"[:OUTPUT])

    async def _once(self) -> Result:
        probe, ip = self._check.probe, self._target.ip
        if isinstance(probe, CommandProbe):
            code, output = await self._target.run(probe.command)
            said = output[-OUTPUT:].rstrip()
            return Result(code == 0, said or ("" if code == 0 else f"{self._what()}: exit code {code}"))
        if isinstance(probe, HttpProbe):
            ok, said = await get(probe, ip, self._port)
        elif isinstance(probe, GrpcProbe):
            from hivemind.agent.checks.grpc import ask  # brings an HTTP/2 library

            ok, said = await ask(probe.service, ip, self._port)
        else:
            _, writer = await asyncio.open_connection(ip, self._port)
            writer.close()
            ok, said = True, "accepted"
        return Result(ok, f"{self._what()}: {said}")

    def _what(self) -> str:
        probe, ip = self._check.probe, self._target.ip
        where = f"[{ip}]:{self._port}" if ":" in ip else f"{ip}:{self._port}"
        if isinstance(probe, CommandProbe):
            return " ".join(probe.command)[:200]
        if isinstance(probe, HttpProbe):
            return f"GET {shown_url(probe, where)}"
        if isinstance(probe, GrpcProbe):
            return f"gRPC health of {probe.service or 'the server'} at {where}"
        return f"connecting to {where}"


def _plain(error: OSError) -> str:
    """asyncio puts the address into `strerror`, so the number gives the plain words; those of TLS have no number
    of the system's."""
    if why := getattr(error, "reason", ""):
        return f"TLS: {str(why).replace('_', ' ').lower()}"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
