"""One sequence number while it is voted on."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.protocols.pbft.wire import CommitCertificate, PreparedCertificate, Proposal
from hivemind.security.statement import Statement


class Ballot:
    __slots__ = ("digest", "good", "statement")

    def __init__(self, statement: Statement, digest: bytes, good: bool) -> None:
        self.statement, self.digest, self.good = statement, digest, good


class Ballots:
    """The first vote of each voter. A signature is verified when a quorum depends on it, and not before."""

    __slots__ = ("cast",)

    def __init__(self) -> None:
        self.cast: dict[str, Ballot] = {}

    def add(self, statement: Statement, digest: bytes, good: bool) -> Ballot | None:
        """The earlier ballot of the same voter, if there is one; then nothing was added."""
        earlier = self.cast.get(statement.signer)
        if earlier is None:
            self.cast[statement.signer] = Ballot(statement, digest, good)
        return earlier

    def gathered(
        self, digest: bytes, count: int, genuine: Callable[[Statement], bool]
    ) -> dict[str, Statement] | None:
        """`count` verified votes for `digest`, as soon as there are. What is not genuine makes room again."""
        for_it = [signer for signer, ballot in self.cast.items() if ballot.digest == digest]
        if len(for_it) < count:
            return None
        found: dict[str, Statement] = {}
        # Those that are verified already first: they cost nothing.
        for signer in sorted(for_it, key=lambda signer: (not self.cast[signer].good, signer)):
            if len(found) == count:
                break
            ballot = self.cast[signer]
            if ballot.good or genuine(ballot.statement):
                ballot.good = True
                found[signer] = ballot.statement
            else:
                del self.cast[signer]
        return found if len(found) == count else None

    def leading(self, count: int) -> list[bytes]:
        """Digests that may have so many votes."""
        tally: dict[bytes, int] = {}
        for ballot in self.cast.values():
            tally[ballot.digest] = tally.get(ballot.digest, 0) + 1
        return [digest for digest, votes in tally.items() if votes >= count]


class Slot:
    __slots__ = (
        "again",
        "arrived",
        "certificate",
        "commits",
        "digest",
        "given",
        "offer",
        "prepared",
        "prepares",
        "proposal",
        "refused",
        "sequence",
        "spoken",
        "view",
        "voted",
    )

    def __init__(self, sequence: int, view: int) -> None:
        self.sequence = sequence
        self.prepared: PreparedCertificate | None = None
        """Of the highest view in which it was."""
        self.certificate: CommitCertificate | None = None
        self.clear(view)

    def clear(self, view: int) -> None:
        """A view begins: its votes are votes anew."""
        self.view = view
        self.offer: Statement | None = None
        """PRE-PREPARE of this view, genuine."""
        self.digest = b""
        """Of what is offered."""
        self.given = False
        """Offered by the NEW-VIEW, which proves it: no question of taste."""
        self.proposal: Proposal | None = None
        """Accepted: it is offered, in order, known and sound."""
        self.refused = ""
        """Why it never will be accepted."""
        self.again = 0
        """When one that was not timely is looked at again."""
        self.voted = False
        """PREPARE was sent, or my PRE-PREPARE."""
        self.spoken = False
        """COMMIT was sent."""
        self.prepares = Ballots()
        self.commits = Ballots()
        self.arrived = 0
        """When the offer came."""

    def digests(self) -> list[bytes]:
        """Of all proposals that this slot may still need."""
        certificates = (self.prepared, self.certificate)
        return [self.digest, *(certificate.digest for certificate in certificates if certificate is not None)]
