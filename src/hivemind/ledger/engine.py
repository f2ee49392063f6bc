"""What decides which batch comes next: `local` alone, `agreed` by PBFT, `etcd` by an etcd that is there already.

A node has one engine at a time, and changes it without anyone above noticing: what was submitted to an engine that
stops is submitted to the one after it, and is done once whichever of them decided it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from hivemind.errors import Invalid, TooLarge, Unauthenticated
from hivemind.ledger.contract import LedgerStatus, Receipt
from hivemind.model.base import UNREADABLE
from hivemind.model.json_text import is_deep
from hivemind.security.envelope import Envelope, genuine
from hivemind.state.operations import Operation, decode_operation

_DEEPEST = 100


class Superseded(Exception):
    """This engine has stopped, and did not decide about the operation: ask the next one."""


class Engine(Protocol):
    async def submit(self, envelope: Envelope) -> Receipt:
        """As `Ledger.submit`; besides, raises `Superseded`."""

    def status(self) -> LedgerStatus: ...

    async def stop(self) -> None:
        """Finishes what is being written, and takes nothing more. Twice is once."""


class Pending(msgspec.Struct, frozen=True):
    envelope: Envelope
    operation: Operation


class Answers:
    """Who waits for what became of which operation, by `<signer>/<nonce>`. One that is asked twice is waited for
    together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, asyncio.Future[Receipt]] = {}

    def waiting(self) -> list[str]:
        return list(self._waiting)

    def expect(self, envelope: Envelope, begin: Callable[[], None]) -> asyncio.Future[Receipt]:
        """Calls `begin` for the first who asks."""
        key = key_of(envelope)
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = self._loop.create_future()
            # Whoever asked may be gone when the answer is an error; that is no "never retrieved" defect.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            begin()
        return answer

    def give(self, key: str, receipt: Receipt) -> None:
        answer = self._waiting.pop(key, None)
        if answer:
            answer.set_result(receipt)

    def refuse(self, key: str, error: Exception) -> None:
        answer = self._waiting.pop(key, None)
        if answer:
            answer.set_exception(error)

    def refuse_all(self, error: Exception) -> None:
        for key in self.waiting():
            self.refuse(key, error)


def key_of(envelope: Envelope) -> str:
    return f"{envelope.signer}/{envelope.nonce}"


async def outcome_of(answer: asyncio.Future[Receipt]) -> Receipt:
    """Raises what state refused it with. Who is cancelled while waiting does not take others along."""
    receipt = await asyncio.shield(answer)
    receipt.outcome.raise_for_error()
    return receipt


def checked(envelope: Envelope, hive: str, largest: int) -> Operation:
    """What the envelope holds, if every node can read it and its signer said so. Raises `TooLarge`, `Invalid` or
    `Unauthenticated`."""
    if len(envelope.payload) > largest:
        raise TooLarge(
            f"the operation has more than {largest} bytes",
            hint="make it smaller; large things belong into images and volumes",
        )
    if is_deep(envelope.payload, _DEEPEST):
        raise Invalid(
            "the operation is nested too deeply", hint=f"{_DEEPEST} lists and objects within each other"
        )
    if not genuine(envelope, hive):
        raise Unauthenticated(
            "the signature of the operation does not match",
            hint="sign it for this hive with the key it names",
        )
    try:
        return decode_operation(envelope.payload)
    except (*UNREADABLE, ValueError) as error:
        raise Invalid(f"this is not an operation: {error}") from None
