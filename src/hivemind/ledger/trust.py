"""What a node that enters a hive believes at first, and the chain by which it comes to believe the rest.

Believed outright is what came over the channel of the node that vouched for it: the hive's id and one epoch, its set
of voters. From there on each epoch is believed because the voters of the one before certified it.
"""

from __future__ import annotations

import msgspec

from hivemind.model.hive import Epoch, domain


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """`epoch`: of which the hive's voters are believed, from its `since` on. `lineage`: which recovery by force this
    belongs to; what an older one says does not count."""

    hive: str
    lineage: int = 0
    epoch: Epoch

    @property
    def domain(self) -> str:
        return domain(self.hive, self.lineage)


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who lets a node in gives it over their first channel: enough to be a follower of the hive."""

    trust: Trust
    snapshot: bytes
    """Of the state at a certified checkpoint."""
    head: bytes
    """The chain's hash there."""
    proof: bytes
    """The certificate of that checkpoint, by the voters of `trust.epoch`."""
