"""A hive of voters whose ledgers run in processes of their own, and what its clients say to it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.agreement_node import HIVE, LOOPBACK, connected, identity, milliseconds, opened
from bench.home import CLONE
from hivemind.ledger.hive import HiveLedger
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.envelope import Envelope, seal
from hivemind.security.identity import Identity
from hivemind.security.joining import joining
from hivemind.state.operations import (
    FoundHive,
    JoinHive,
    Operation,
    PutJoinToken,
    PutProject,
    ReadyToVote,
    RegisterNode,
    RegisterPrincipal,
    encode_operation,
)

AUTHOR = Identity(bytes(32))
_TOKEN = Identity(bytes(range(32)))
_LATE = 60.0
_nonces = itertools.count()


def sealed(operation: Operation, by: Identity = AUTHOR) -> Envelope:
    return seal(by, HIVE, f"{next(_nonces)}", encode_operation(operation))


def wish() -> Envelope:
    """A write to one of a hundred projects, with another label each time, so that each changes the state."""
    turn = next(_nonces)
    return sealed(PutProject(manifest=ProjectManifest(name=f"p{turn % 100}", labels={"turn": f"{turn}"})))


def free_ports(count: int) -> list[int]:
    """Of loopback, all different."""
    probes = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Hive:
    """`connect` gives a client's line to one of its voters."""

    def __init__(self, home: Path, voters: int) -> None:
        self._home, self._voters = home, voters
        self._peer_ports, self._client_ports = free_ports(voters), free_ports(voters)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        """The voters come together in this process, and go on in processes of their own."""
        await _grow([self._home / str(number) for number in range(self._voters)], self._peer_ports)
        for number, port in enumerate(self._client_ports):
            self._processes.append(self._voter(number, port))
        lines = [await self.connect(number) for number in range(self._voters)]
        for line in lines:
            await line.put(line.value())
            line.close()

    def _voter(self, number: int, port: int) -> subprocess.Popen[bytes]:
        ports = ",".join(str(each) for each in self._peer_ports)
        return subprocess.Popen(
            (sys.executable, "-m", "bench.agreement_node", self._home / str(number), str(number), ports, str(port)),
            env={**os.environ, "PYTHONPATH": f"{CLONE}/src:{CLONE}"},
        )  # fmt: skip

    async def connect(self, number: int) -> Line:
        port = self._client_ports[number % self._voters]
        async with asyncio.timeout(_LATE):
            while True:
                try:
                    return Line(*await asyncio.open_connection(LOOPBACK, port))
                except ConnectionError:
                    await asyncio.sleep(0.05)

    async def leader(self) -> int:
        line = await self.connect(0)
        found = await line.ask(b"")
        line.close()
        return found

    def kill(self, number: int) -> None:
        self._processes[number].kill()

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Line:
    """One client's connection; a question after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def value(self) -> bytes:
        """What `put` takes: made before anything is measured."""
        return msgspec.msgpack.encode(wish())

    async def put(self, value: bytes) -> None:
        if not await self.ask(value):
            raise RuntimeError("the hive did not agree")

    async def ask(self, question: bytes) -> int:
        self._writer.write(len(question).to_bytes(4, "big") + question)
        return (await self._reader.readexactly(1))[0]

    def close(self) -> None:
        self._writer.close()


async def _grow(directories: list[Path], ports: list[int]) -> None:
    ledgers: list[HiveLedger] = []
    peers = []
    for number, directory in enumerate(directories):
        directory.mkdir(parents=True)
        ledger = await opened(directory, number)
        peers.append(await connected(number, ports))
        ledger.connect(peers[-1])
        ledgers.append(ledger)
        if number:
            await _join(ledgers[0], ledger, number)
        else:
            await _found(ledger)
    async with asyncio.timeout(_LATE):
        while any(len(ledger.status().voters) < len(ledgers) for ledger in ledgers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for ledger, each in zip(ledgers, peers, strict=True):
        await ledger.close()
        await each.close()


async def _found(ledger: HiveLedger) -> None:
    me = identity(0)
    for operation in (
        RegisterPrincipal(
            principal=Principal(id=AUTHOR.public, name="bench", kind="person", role=Role.ADMIN)
        ),
        RegisterPrincipal(principal=Principal(id=me.public, name="n0", kind="node")),
    ):
        await ledger.submit(sealed(operation))
    await ledger.submit(sealed(_registration(0), me))
    await ledger.submit(sealed(FoundHive(name="bench", node=me.public)))
    await ledger.submit(sealed(PutJoinToken(id=_TOKEN.public, uses=100, expires=milliseconds() + 10**9)))


async def _join(sponsor: HiveLedger, ledger: HiveLedger, number: int) -> None:
    me = identity(number)
    signed = joining(HIVE, me.public, AUTHOR.public)
    await sponsor.submit(
        sealed(
            JoinHive(
                node=me.public,
                name=f"n{number}",
                role="member",
                administrator=AUTHOR.public,
                token=_TOKEN.public,
                proof=_TOKEN.sign(signed),
                consent=me.sign(signed),
            ),
            identity(0),
        )
    )
    await ledger.become(await sponsor.handover())
    await ledger.submit(sealed(_registration(number), me))
    await ledger.submit(sealed(ReadyToVote(node=me.public), me))


def _registration(number: int) -> RegisterNode:
    me = identity(number).public
    return RegisterNode(id=me, name=f"n{number}", cpus=4.0, memory=2**33, runtimes=("process",))
