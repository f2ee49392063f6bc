"""Who comes and goes in the world of the hive: nodes join with a token, leave, are expelled, and take turns in voting.

One world has some of it, as its seed says, and never so much that fewer voters remain than those bear who may lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from hivemind.model.hive import PROTOCOL
from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft.quorum import quorum
from hivemind.security.joining import joining
from hivemind.sim.hosts.hive.application import HIVE
from hivemind.sim.keys import Keyring
from hivemind.state.operations import ExpelNode, JoinHive, LeaveHive, Operation

_SEATS = 7
_TERMS = (300, 600, 900)
TOKEN = "token"


class Turnover(msgspec.Struct, frozen=True, kw_only=True):
    voters: int
    """How many found the hive and vote; as many more as `beside` only work."""
    beside: int
    newcomers: int
    """How many want to come in later."""
    most: int
    """Voters that the hive wants at most."""
    rotation: int
    """Milliseconds of a voter's term; 0: for ever."""

    @classmethod
    def planned(cls, dice: Random, nodes: int, *, lying: bool) -> Turnover:
        """Who lies needs its turn among the first voters: then there are no terms."""
        newcomers = dice.randrange(2 + (nodes > 6)) if nodes > 4 else 0
        founders = nodes - newcomers
        beside = max(founders - _SEATS, dice.randrange(2) if founders > 4 else 0)
        voters = founders - beside
        most = dice.choice((voters, _SEATS))
        rotation = 0 if lying else dice.choice((0, *_TERMS))
        return cls(
            voters=voters, beside=beside, newcomers=newcomers, most=max(most, voters), rotation=rotation
        )

    @property
    def founders(self) -> int:
        return self.voters + self.beside

    def departures(self, dice: Random, harmed: int) -> int:
        """How many may go, where that many lie or forgot."""
        spare = self.voters - max(3 * harmed + 1, 3)
        return dice.randrange(min(spare, 2) + 1) if spare > 0 else 0

    def expels(self, harmed: int) -> bool:
        """Who leaves votes until others do in its place; who is expelled is missing at once, beside those that are
        harmed."""
        return all(count - quorum(count) > harmed for count in (self.voters - 1, self.voters))


def departure(name: str, *, expelled: bool) -> Operation:
    return ExpelNode(node=name, reason="somebody said so") if expelled else LeaveHive(node=name)


def arrival(keyring: Keyring, node: str, name: str, administrator: str, version: int) -> JoinHive:
    """With the token that the hive has for its world."""
    token = keyring.identity(TOKEN)
    signed = joining(HIVE, keyring.named[node].public, administrator)
    return JoinHive(
        node=node,
        name=name,
        role="member",
        administrator=administrator,
        token=token.public,
        proof=token.sign(signed),
        consent=keyring.named[node].sign(signed),
        protocol=PROTOCOL + version,
    )


def when(dice: Random, span: Micros) -> Micros:
    """In the middle of what else happens."""
    return span // 8 + dice.randrange(span // 2)


def changes(reason: str) -> Sequence[str]:
    """What a change of voters was for, as coverage."""
    told = {
        " came": "a voter came",
        " went": "a voter went",
        " served its term": "voters took turns",
        " is lost": "a lost voter was replaced",
    }
    return [what for words, what in told.items() if words in reason]
