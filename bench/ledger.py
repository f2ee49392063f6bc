"""Durable operations per second of one node's ledger, against bare SQLite in the same run.

An operation is signed by its author beforehand, then verified, agreed in a
batch, synced to disk and applied to the real state. The peer writes the same bytes to SQLite with the same
settings: one insert for each transaction when one client waits for each answer, groups when many clients do.
The ledger does what the peer does plus verification, hashing, the state and its digest, which all cost CPU.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.row import Row
from hivemind.ledger.local import LocalLedger
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.envelope import Envelope, seal
from hivemind.security.identity import Identity
from hivemind.state.operations import Operation, PutProject, RegisterPrincipal, encode_operation

HIVE = "bench"
AUTHOR = Identity(bytes(32))
OPERATIONS = 2_000
CLIENTS = (1, 64)
ROUNDS = 3


def envelopes(round: int) -> list[Envelope]:
    """Writes to a hundred projects, each with another label, so that each changes the state."""
    made = []
    for index in range(OPERATIONS):
        manifest = ProjectManifest(name=f"p{index % 100}", labels={"turn": f"{round}-{index}"})
        made.append(_sealed(f"{round}-{index}", PutProject(manifest=manifest)))
    return made


def _sealed(nonce: str, operation: Operation) -> Envelope:
    return seal(AUTHOR, HIVE, nonce, encode_operation(operation))


async def ledger_rate(directory: Path, clients: int) -> list[float]:
    """Operations a second, in each of the rounds."""
    ledger = await LocalLedger.open(directory, hive=HIVE, clock=lambda: time.time_ns() // 1_000_000)
    founder = Principal(id=AUTHOR.public, name="bench", kind="person", role=Role.ADMIN)
    await ledger.submit(_sealed("found", RegisterPrincipal(principal=founder)))
    rates = []
    for round in range(ROUNDS):
        waiting = iter(envelopes(round))

        async def client(mine: Any = waiting) -> None:
            for envelope in mine:
                await ledger.submit(envelope)

        begin = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        rates.append(OPERATIONS / (time.perf_counter() - begin))
    await ledger.close()
    return rates


def sqlite_rate(path: Path, clients: int) -> list[float]:
    """Rows a second, `clients` of them to a transaction."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)")
    rates = []
    for round in range(ROUNDS):
        rows = [(envelope.payload + envelope.signature,) for envelope in envelopes(round)]
        begin = time.perf_counter()
        for at in range(0, OPERATIONS, clients):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO row (body) VALUES (?)", rows[at : at + clients])
            db.execute("COMMIT")
        rates.append(OPERATIONS / (time.perf_counter() - begin))
    db.close()
    return rates


def run() -> list[Row]:
    rows: list[Row] = []
    for clients in CLIENTS:
        with tempfile.TemporaryDirectory(prefix="hivemind-bench-") as home:
            ours = statistics.median(asyncio.run(ledger_rate(Path(home) / "ledger", clients)))
            peer = statistics.median(sqlite_rate(Path(home) / "peer.db", clients))
        rows.append(
            {
                "name": f"durable operations, {clients} client{'s' if clients > 1 else ''}",
                "value": round(ours),
                "unit": "op/s",
                "peer": f"bare SQLite, {clients} row{'s' if clients > 1 else ''} a transaction: {peer:.0f}/s",
                "ratio": round(ours / peer, 3),
                "budget": None,
                "ok": True,
            }
        )
    return rows
