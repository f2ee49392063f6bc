"""A small hive to agree in: a founder, a clock that goes by hand, and operations of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from hivemind.ledger.contract import Receipt
from hivemind.ledger.local import LocalLedger, Settings
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.envelope import Envelope, seal
from hivemind.security.identity import Identity
from hivemind.state.operations import Operation, PutProject, RegisterPrincipal, encode_operation

HIVE = "test-hive"
FOUNDER = Identity(bytes(range(32)))


class Clock:
    """Milliseconds; stands still until moved."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


_nonces = itertools.count()


def begin_nonces() -> None:
    """From the first one again, so that a run can be repeated exactly."""
    global _nonces
    _nonces = itertools.count()


def wish(operation: Operation, *, nonce: str = "", by: Identity = FOUNDER, hive: str = HIVE) -> Envelope:
    return seal(by, hive, nonce or f"n{next(_nonces)}", encode_operation(operation))


def found() -> Operation:
    return RegisterPrincipal(
        principal=Principal(id=FOUNDER.public, name="founder", kind="person", role=Role.ADMIN)
    )


def project(name: str, **labels: str) -> Operation:
    return PutProject(manifest=ProjectManifest(name=name, labels=labels))


async def open_ledger(
    directory: Path, clock: Callable[[], int] | None = None, settings: Settings | None = None
) -> LocalLedger:
    return await LocalLedger.open(directory, hive=HIVE, clock=clock or Clock(), settings=settings)


async def founded(
    directory: Path, clock: Callable[[], int] | None = None, settings: Settings | None = None
) -> LocalLedger:
    ledger = await open_ledger(directory, clock, settings)
    await ledger.submit(wish(found(), nonce="found"))
    return ledger


async def put(ledger: LocalLedger, name: str, *, nonce: str = "") -> Receipt:
    return await ledger.submit(wish(project(name), nonce=nonce))
