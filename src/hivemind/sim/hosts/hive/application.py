"""Real state as what PBFT agrees on."""

from __future__ import annotations

import msgspec

from hivemind.model.allocation import Allocation
from hivemind.model.hive import PROTOCOL, Epoch, Hive
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.protocols.pbft.events import Position
from hivemind.protocols.pbft.wire import Request
from hivemind.sim.clock import EPOCH
from hivemind.sim.hosts.pbft.application import command_of
from hivemind.state.operations import (
    Operation,
    PutJoinToken,
    PutProject,
    RegisterNode,
    RegisterPrincipal,
    decode_operation,
)
from hivemind.state.state import Signed, State

HIVE = "sim"
ADMIN = "admin"
_GOOD_FOR = 3_600_000
_STUCK = 50
"""Milliseconds until a timer that a batch did not satisfy wants another one."""


def registration(node: str, name: str, incarnation: int, version: int = 0) -> RegisterNode:
    return RegisterNode(
        id=node,
        name=name,
        cpus=8.0,
        memory=2**34,
        runtimes=("oci",),
        incarnation=incarnation,
        protocol=PROTOCOL + version,
    )


class HiveApplication:
    """`results`: what state remembers, as in a ledger: the refusals of strangers are not among it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.results: dict[str, bytes] = {
            key: msgspec.msgpack.encode(reply.outcome.code) for key, reply in state.replies.items()
        }

    @classmethod
    def founded(cls, names: dict[str, str], admin: str, hive: Hive, token: str) -> HiveApplication:
        """`names`: node -> its name. Batch 1 makes them known, the epoch of `hive` begins with the next. With `token`
        others may join."""
        state = State(HIVE)
        state.tables.put(state.hives, HIVE, hive)
        person = Principal(id=admin, name=ADMIN, kind="person", role=Role.ADMIN)
        operations: list[tuple[str, Operation]] = [
            (admin, RegisterPrincipal(principal=person)),
            (admin, PutProject(manifest=ProjectManifest(name="default"))),
        ]
        for node, name in names.items():
            principal = Principal(id=node, name=name, kind="node")
            operations.append((admin, RegisterPrincipal(principal=principal)))
            operations.append((node, registration(node, name, 1)))
        operations.append((admin, PutJoinToken(id=token, uses=9, expires=EPOCH + _GOOD_FOR)))
        state.apply(
            1,
            EPOCH,
            [Signed(signer, f"founding {number}", one) for number, (signer, one) in enumerate(operations)],
        )
        return cls(state)

    @property
    def sequence(self) -> int:
        return self.state.sequence

    @property
    def next(self) -> Epoch | None:
        hive = self.state.hive_record
        return hive.next if hive else None

    def execute(self, sequence: int, time: int, requests: tuple[Request, ...]) -> dict[str, bytes]:
        signed = []
        for one in requests:
            signer, _, nonce = one.id.partition("/")
            signed.append(Signed(signer, nonce, decode_operation(command_of(one).value.encode())))
        nodes = len(self.state.nodes)
        outcomes = self.state.apply(sequence, max(time, self.state.time), signed)
        told = {
            one.id: msgspec.msgpack.encode(outcome.code)
            for one, outcome in zip(requests, outcomes, strict=True)
        }
        self.results |= {id: result for id, result in told.items() if id in self.state.replies}
        if len(self.state.nodes) < nodes:  # what they were told went with them
            self.results = {id: told for id, told in self.results.items() if id in self.state.replies}
        return told

    def position(self) -> Position:
        due = self.state.deadline()
        if due is not None:
            due = max(due, self.state.time + _STUCK)
        return Position(sequence=self.sequence, digest=self.digest(), due=due, next=self.next)

    def encoded(self) -> bytes:
        return self.state.snapshot()

    def digest(self) -> bytes:
        return self.state.digest()

    def restored(self, encoded: bytes) -> HiveApplication:
        return HiveApplication(State.restore(encoded))

    def live(self) -> list[Allocation]:
        """Placed, and not ended."""
        return [one for one in self.state.allocations.values() if one.live and one.node]
