"""PBFT's messages as people read them."""

from __future__ import annotations

from hivemind.protocols.pbft import wire


def described(message: bytes) -> str:
    try:
        packet = wire.decode(message)
        return _said(packet) if isinstance(packet, wire.Said) else _asked(packet)
    except wire.Malformed as error:
        return f"malformed ({len(message)} bytes): {error}"


def _said(packet: wire.Said) -> str:
    body = wire.decode_body(packet.statement)
    prefix = f"e{packet.epoch}"
    match body:
        case wire.PrePrepare():
            attached = wire.decode_proposal(packet.attached).requests if packet.attached else ()
            wishes = ",".join(request.id.rpartition("/")[2] for request in attached)
            text = f"PRE-PREPARE {body.view}/{body.sequence} {body.digest.hex()[:6]} [{wishes}]"
        case wire.Prepare():
            text = f"PREPARE {body.view}/{body.sequence} {body.digest.hex()[:6]}"
        case wire.Commit():
            text = f"COMMIT {body.view}/{body.sequence} {body.digest.hex()[:6]}"
        case wire.Checkpoint():
            text = f"CHECKPOINT {body.sequence} {body.digest.hex()[:6]}{' next' if body.next else ''}"
        case wire.ViewChange():
            text = f"VIEW-CHANGE {body.view} h={_stable(body.stable)} P={_prepared(body)}"
        case wire.NewView():
            text = f"NEW-VIEW {body.view} V={len(body.changes)} O={len(body.proposals)}"
        case wire.Reply():
            text = f"REPLY {body.view} {','.join(id.rpartition('/')[2] for id, _ in body.results)}"
    return f"{prefix} {text}"


def _stable(certificate: wire.CheckpointCertificate | None) -> int | str:
    return certificate.checkpoint.sequence if certificate is not None else "-"


def _prepared(body: wire.ViewChange) -> str:
    return ",".join(f"{one.view}/{one.sequence}" for one in body.prepared) or "-"


def _asked(packet: wire.Packet) -> str:
    match packet:
        case wire.Wish():
            return f"WISH {packet.request.id.rpartition('/')[2]}"
        case wire.Status():
            state = "" if packet.active else " changing"
            more = f" lacks {packet.lacking}" if packet.lacking else ""
            return f"STATUS e{packet.epoch} v{packet.view}{state} h={packet.stable} n={packet.executed}{more}"
        case wire.FetchDecided():
            return f"FETCH from {packet.first}"
        case wire.Decisions():
            return f"DECISIONS {packet.first}+{len(packet.decided)}"
        case wire.Bodies():
            return f"BODIES {len(packet.proposals)}"
        case wire.Chain():
            return f"CHAIN {[one.certificate.checkpoint.sequence for one in packet.boundaries]}"
        case wire.Stable():
            return f"STABLE {packet.certificate.checkpoint.sequence}"
        case _:
            return type(packet).__name__.upper()
