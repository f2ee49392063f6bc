"""One node of a hive behind whatever there is: `python nat_node.py NUMBER HOST SEED...`. It says as lines of JSON what
it finds and how it is seen, and does what it is told by lines: `call NODE`, `way NODE`."""

from __future__ import annotations

import asyncio
import json
import sys

from hivemind.errors import HivemindError
from hivemind.protocols.kademlia.events import Translation
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.seeds import Seeds
from hivemind.transport.peers import TcpPeers
from hivemind.transport.relay import Relay

PORT = 7946
SECRET = b"s" * 32


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def echo(sender: str, question: bytes) -> bytes:
    return question


async def main(number: int, host: str, seeds: list[Address]) -> None:
    me = identity(number)
    peers, datagrams = TcpPeers(me, lambda node: True, hive="hive"), UdpDatagrams(me)
    datagrams.enter("hive", SECRET)
    await peers.start(host, PORT)
    await datagrams.start(host, PORT)
    relay = Relay(peers)
    relay.start()
    peers.answer("echo", echo)

    def found(node: str, addresses: tuple[Address, ...]) -> None:
        peers.learn(node, addresses)
        say(found=node, addresses=addresses)

    def outside(translation: Translation, address: Address | None) -> None:
        say(translation=translation.value, seen=address)

    def table(heard) -> Dht:  # type: ignore[no-untyped-def]
        def both(translation: Translation, address: Address | None) -> None:
            outside(translation, address)
            heard(translation, address)

        own = datagrams.address
        return Dht(datagrams, me, verify, hive="hive", own=own, admits=lambda node: True, outside=both)

    discovery = Discovery(
        table,
        lambda _: [Seeds(seeds)],
        name="office",
        secret=SECRET,
        addresses=[(host, PORT)],
        found=found,
    )
    await discovery.start()
    for each in seeds:  # who is hidden calls whom it reaches: over these connections others reach it
        other = next(n for n in (1, 2, 3) if seeds_of(n) == each)
        peers.learn(identity(other).public, [each])
        await reached(peers, identity(other).public)
    say(ready=me.public)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, node = line.split()
        if command == "call":
            try:
                answer = await peers.call(node, "echo", b"through", timeout=15)
                say(answer=answer.decode(), through=relay.through.get(node, ""))
            except HivemindError as error:
                say(error=error.message)
        else:
            say(way=discovery.dht.openings.open.get(node))
    await discovery.close()
    await relay.close()
    await peers.close()
    datagrams.close()


async def reached(peers: TcpPeers, node: str) -> None:
    """All start at once: it may not listen yet."""
    while True:
        try:
            await peers.call(node, "echo", b"", timeout=10)
            return
        except HivemindError:
            await asyncio.sleep(0.1)


def seeds_of(number: int) -> Address:
    return f"203.0.113.{number}", PORT


if __name__ == "__main__":
    number, host, *words = sys.argv[1:]
    asyncio.run(main(int(number), host, [seeds_of(int(word)) for word in words]))
