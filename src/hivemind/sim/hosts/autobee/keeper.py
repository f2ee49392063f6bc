"""The store's machine with its logs: what it wants kept becomes records, and what it wants served is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.log import Piece, refined
from hivemind.protocols.autobee.replica import Replica
from hivemind.protocols.autobee.serving import answer
from hivemind.protocols.machine import Micros, Persist, Send
from hivemind.security.statement import Statement


class Durable(msgspec.Struct, frozen=True):
    """Everything before this is: the machine may be told that its own log is."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One change of what is kept of a writer."""

    writer: str
    kind: str
    pieces: tuple[Piece, ...] = ()
    behind: tuple[Piece, ...] = ()
    head: Statement | None = None
    ack: Statement | None = None
    evidence: bytes = b""


_decoder = msgspec.msgpack.Decoder(Record)


class Keeper:
    def __init__(self, records: Sequence[bytes], make: Callable[[list[steps.Restored]], Replica]) -> None:
        self._kept: dict[str, steps.Restored] = {}
        for record in records:
            self._apply(_decoder.decode(record))
        self.replica = make(list(self._kept.values()))

    def handle(self, event: Any, now: Micros) -> list[Any]:
        done: list[Any] = []
        for effect in list(self.replica.handle(event, now)):
            done += self._performed(effect)
        return done

    def deadline(self) -> Micros | None:
        return self.replica.deadline()

    def check(self) -> None:
        self.replica.check()

    def _performed(self, effect: Any) -> list[Any]:
        match effect:
            case steps.Store():
                kind = "whole" if effect.whole else "more"
                kept = self._keep(Record(effect.writer, kind, effect.pieces, effect.behind, effect.head))
                return [kept, Durable()] if effect.writer == self.replica.node else [kept]
            case steps.Refine():
                return [self._keep(Record(effect.writer, "finer", effect.pieces))]
            case steps.Note():
                return [self._keep(Record(effect.writer, "ack", ack=effect.ack))]
            case steps.Drop():
                return [self._keep(Record(effect.writer, "drop"))]
            case steps.Convict():
                return [self._keep(Record(effect.writer, "guilty", evidence=effect.evidence)), effect]
            case steps.Serve():
                kept_log = self._kept.get(effect.writer)
                chunk = answer(kept_log, effect) if kept_log is not None else None
                return [Send(effect.to, wire.encode(chunk))] if chunk is not None else []
            case _:
                return [effect]

    def _keep(self, record: Record) -> Persist:
        self._apply(record)
        return Persist(msgspec.msgpack.encode(record))

    def _apply(self, record: Record) -> None:
        writer = record.writer
        old = self._kept.get(writer) or steps.Restored(writer, [], None)
        match record.kind:
            case "more":
                pieces = [*old.pieces, *record.pieces]
                self._kept[writer] = steps.Restored(
                    writer, pieces, record.head, record.behind, old.ack, old.evidence
                )
            case "whole":
                ack = old.ack if old.head is not None else None
                self._kept[writer] = steps.Restored(
                    writer, list(record.pieces), record.head, record.behind, ack, old.evidence
                )
            case "finer":
                pieces = refined(old.pieces, record.pieces)
                self._kept[writer] = msgspec.structs.replace(old, pieces=pieces)
            case "ack":
                self._kept[writer] = msgspec.structs.replace(old, ack=record.ack)
            case "guilty":
                self._kept[writer] = msgspec.structs.replace(old, evidence=record.evidence)
            case _:
                self._kept.pop(writer, None)
