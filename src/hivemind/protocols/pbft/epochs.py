"""The chain of epochs: from a first one that is trusted, each next one certified by the one before.

The last sequence of an epoch has a checkpoint that names the next epoch; a quorum of the *old* epoch signs it. So
whoever knows the first epoch can find out which voters count today from the certificates alone, told by anyone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from hivemind.errors import Invalid
from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Signer
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.certificate import checkpoint_holds
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import Boundary, Checkpoint, CheckpointCertificate, Next


class Epochs:
    """`first` is trusted: the hive's founding epoch, or what a person recovered by force. Raises `Invalid` when
    `boundaries` are not an unbroken, certified chain from it."""

    def __init__(self, first: Epoch, boundaries: Iterable[Boundary] = (), *, signatures: Signatures) -> None:
        if not sound(first):
            raise Invalid(f"epoch {first.number} is no sorted set of voters")
        self.signatures = signatures
        self.current = first
        """The last one known."""
        self._epochs = [first]
        self._boundaries: list[Boundary] = []
        for boundary in boundaries:
            if self.extend(boundary) is None:
                raise Invalid(
                    f"the chain of epochs breaks after epoch {self.current.number}",
                    hint="restore it from a snapshot, or join this node anew",
                )

    @property
    def boundary(self) -> Boundary | None:
        """What proves the current one; None: it is the first, trusted one."""
        return self._boundaries[-1] if self._boundaries else None

    def extend(self, boundary: Boundary) -> Epoch | None:
        """The epoch that it begins; None when it is not the next link or does not hold."""
        epoch, certificate = self.current, boundary.certificate
        following = certificate.checkpoint.next
        if (
            following is None
            or following.number != epoch.number + 1
            or following.since != certificate.checkpoint.sequence + 1
            or not sound(following.epoch())
            or not checkpoint_holds(certificate, epoch, self.signatures)
        ):
            return None
        self.current = following.epoch()
        self._epochs.append(self.current)
        self._boundaries.append(boundary)
        return self.current

    def numbered(self, number: int) -> Epoch | None:
        index = number - self._epochs[0].number
        return self._epochs[index] if 0 <= index < len(self._epochs) else None

    def deciding(self, sequence: int) -> Epoch | None:
        """The epoch that `sequence` belongs to, as far as the chain is known; None before the first."""
        index = bisect_right(self._epochs, sequence, key=lambda epoch: epoch.since) - 1
        return self._epochs[index] if index >= 0 else None

    def after(self, number: int, most: int = limits.LISTED) -> tuple[Boundary, ...]:
        """The links that who stands in epoch `number` lacks, the first of them first."""
        start = number - self._epochs[0].number
        return tuple(self._boundaries[start : start + most]) if start >= 0 else ()


def sound(epoch: Epoch) -> bool:
    """Voters are there, not too many, sorted, each once."""
    voters = list(epoch.voters)
    return (
        0 < len(voters) <= limits.VOTERS
        and voters == sorted(set(voters))
        and epoch.number >= 0
        and epoch.since >= 0
    )


def handover(
    signer: Signer, epoch: Epoch, sequence: int, digest: bytes, following: Epoch, signatures: Signatures
) -> Boundary:
    """The boundary that the only voter of `epoch` makes alone, when it has executed `sequence`, the last of that
    epoch: how a node that was alone begins the first epoch with others."""
    if epoch.voters != (signer.public,) or following.since != sequence + 1:
        raise Invalid("only a single voter hands over alone, right before the next epoch")
    body = Checkpoint(sequence, digest, Next.of(following))
    statement = signatures.sign(signer, epoch.number, body)
    pair = (statement.signer, statement.signature)
    return Boundary(CheckpointCertificate(epoch.number, body, (pair,)))
