"""One process that looks for others: `python discovery_node.py NUMBER COUNT`. It says at which port of loopback it is,
and reads the port of the one that it knows, or 0. Once it knows all others it says when that was, on the clock that all
processes of the machine share, and how many seconds of processor time it took; then it stays until it reads a line."""

from __future__ import annotations

import asyncio
import sys
import time

from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.seeds import Seeds

_HOST = "127.0.0.1"
_HIVE, _SECRET = "hive", b"s" * 32


class _Others:
    def __init__(self, count: int) -> None:
        self.known: set[str] = set()
        self.all = asyncio.Event()
        self._count = count

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.known.add(node)
        if len(self.known) >= self._count - 1:
            self.all.set()


async def _heard() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def main(number: int, count: int) -> None:
    identity = Identity(number.to_bytes(32, "big"))
    datagrams = UdpDatagrams(identity)
    datagrams.enter(_HIVE, _SECRET)
    await datagrams.start(_HOST, 0)
    own, others = datagrams.address, _Others(count)

    def dht(outside: object) -> Dht:
        return Dht(datagrams, identity, verify, hive=_HIVE, own=own, admits=lambda node: True)

    print(own[1], flush=True)
    seed, spent = int(await _heard()), time.process_time()
    discovery = Discovery(
        dht,
        lambda _: [Seeds([(_HOST, seed)] if seed else [])],
        name="office",
        secret=_SECRET,
        addresses=[own],
        found=others.found,
    )
    await discovery.start()
    await others.all.wait()
    print(time.monotonic(), time.process_time() - spent, flush=True)
    await _heard()
    await discovery.close()
    datagrams.close()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
