"""What several nodes agreed to, compared in their ledgers' files, of nodes that do not run."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.ledger.journal import FILE
from hivemind.ledger.log import Log
from tests.e2e.cluster import Member


def same(members: Sequence[Member]) -> int:
    """How many sequences at least two of them still know; they must have agreed to the same there, in the same state.
    Each file must be sound."""
    known: dict[int, tuple[str, bytes, bytes]] = {}
    compared: set[int] = set()
    for member in members:
        log = Log(member.data / "ledger" / FILE)
        try:
            found = [(stored.batch.sequence, stored.hash, stored.before) for stored in log.batches()]
        finally:
            log.close()
        for sequence, hash, before in found:
            if sequence not in known:
                known[sequence] = (member.name, hash, before)
                continue
            name, *other = known[sequence]
            assert other == [hash, before], f"{name} and {member.name} differ at {sequence}"
            compared.add(sequence)
    return len(compared)
