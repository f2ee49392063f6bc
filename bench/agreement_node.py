"""One voter of the hive that `agreement` measures: a ledger over real connections, in a process of its own.

`python -m bench.agreement_node DIRECTORY NUMBER PEER-PORTS CLIENT-PORT`, the ports of the peers with commas between
them. Clients send envelopes, each with its length before it, and get one byte for each, in their order: 1 when it was
agreed, 0 when not. An empty one asks who the primary is, and the answer is that voter's number.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from hivemind.errors import HivemindError
from hivemind.ledger.hive import HiveLedger
from hivemind.security.envelope import Envelope
from hivemind.security.identity import Identity
from hivemind.transport.peers import TcpPeers

HIVE = "bench"
LOOPBACK = "127.0.0.1"


def identity(number: int) -> Identity:
    return Identity(bytes([100 + number]) * 32)


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


async def opened(directory: Path, number: int) -> HiveLedger:
    return await HiveLedger.open(directory, hive=HIVE, signer=identity(number), clock=milliseconds)


async def connected(number: int, ports: list[int]) -> TcpPeers:
    """Voter `number` listens at the port of that number, and knows where the others do."""
    ids = [identity(each).public for each in range(len(ports))]
    peers = TcpPeers(identity(number), ids.__contains__, hive=HIVE)
    await peers.start(LOOPBACK, ports[number])
    for node, port in zip(ids, ports, strict=True):
        peers.learn(node, [(LOOPBACK, port)])
    return peers


async def _serve(directory: Path, number: int, ports: list[int], port: int) -> None:
    ledger = await opened(directory, number)
    peers = await connected(number, ports)
    ledger.connect(peers)
    decoder = msgspec.msgpack.Decoder(Envelope)
    ids = [identity(each).public for each in range(len(ports))]

    async def answer(message: bytes) -> int:
        if not message:
            return ids.index(ledger.status().primary)
        try:
            await ledger.submit(decoder.decode(message))
        except HivemindError as error:
            print(error.message, error.hint, file=sys.stderr)
            return 0
        return 1

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                writer.write(bytes([await answer(await reader.readexactly(length))]))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(client, LOOPBACK, port)
    await server.serve_forever()


if __name__ == "__main__":
    _, home, which, all, listening = sys.argv
    asyncio.run(_serve(Path(home), int(which), [int(each) for each in all.split(",")], int(listening)))
