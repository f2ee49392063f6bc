"""One real process that looks for others: `python discovering.py NUMBER COUNT PORT FIRST`, the last being the port of
the one that all know. Says when it is ready, waits for a line, then tells after how many seconds it knew all others."""

from __future__ import annotations

import asyncio
import sys
import time

from hivemind.protocols.kademlia.ids import topic
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.discovery.dht import Dht

SECRET = b"s" * 32


class Others:
    def __init__(self, count: int) -> None:
        self.known: set[str] = set()
        self.all = asyncio.Event()
        self._count = count

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.known.add(node)
        if len(self.known) >= self._count - 1:
            self.all.set()

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        raise AssertionError("there is only the table")


async def main(number: int, count: int, port: int, first: int) -> None:
    identity = Identity(number.to_bytes(32, "big"))
    datagrams = UdpDatagrams(identity)
    datagrams.enter("hive", SECRET)
    begun = time.monotonic()
    await datagrams.start("127.0.0.1", port)
    here = datagrams.address
    dht = Dht(datagrams, identity, verify, hive="hive", own=here, admits=lambda node: True)
    others = Others(count)
    await dht.start(others)
    dht.join(topic("office", SECRET), [here])
    if port != first:
        dht.meet([("127.0.0.1", first)])
    await others.all.wait()
    print(time.monotonic() - begun, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)  # until all know all
    dht.close()
    datagrams.close()


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main(*map(int, sys.argv[1:])))
