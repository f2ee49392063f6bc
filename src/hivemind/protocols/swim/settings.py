"""How fast the members watch each other."""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import MILLISECOND, SECOND, Micros


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are for a LAN. They follow from two wishes that pull in opposite directions.

    A node that stands still for 3 s must not be failed. It may have stopped just before it was pinged, so it is
    accused `2 * timeout` = 0.5 s later at the earliest; its refutation needs a moment after it goes on. With
    `suspicion` = 2.9 s nobody fails it before 3.4 s.

    A crash must be known to all of ten nodes within 5 s. Nine nodes ping someone at random every 0.3 s, so the
    first ping that a crashed node does not answer comes after 0.2 s on average, and after more than 1.2 s in one
    case of 200. Those who hear the accusation check it at once, so two confirmations are there long before the
    time of suspicion is over: 0.2 + 0.5 + 2.9 s and the gossip make 3.8 s on average, 4.9 s in the worst of 200.

    Lifeguard's slower suspicion while confirmations are missing is kept shorter than in its paper (3 times
    `suspicion` instead of 6): there it is what protects against a lone accuser, here a lone accuser never suffices.
    """

    interval: Micros = 300 * MILLISECOND
    """Between two pings to members in turn. Probes overlap: each lasts up to `2 * timeout`."""
    timeout: Micros = 250 * MILLISECOND
    """Until helpers are asked; as long again until the member is suspected."""
    helpers: int = 3
    """How many others are asked to ping who has not answered (k of SWIM)."""
    awareness: int = 7
    """The worst that a node may think of its own health; interval and timeout are multiplied by 1 to 1 + this."""
    suspicion: Micros = 2_900 * MILLISECOND
    """How long enough accusers suspect somebody until it is failed. For each doubling of the members beyond ten one
    `gossip_interval` is added: a refutation takes one round more to reach all."""
    suspicion_max: int = 3
    """As many times `suspicion` while nobody confirms it."""
    confirmations: int = 2
    """After so many further accusers it is down to `suspicion`."""
    checkers: int = 16
    """How many nodes, about, ping out of turn whom another one accuses; and compare out of turn when one joins."""
    gossip_interval: Micros = 100 * MILLISECOND
    fanout: int = 3
    """Nodes that are told in each gossip interval, while there is news."""
    retransmit: int = 4
    """News is passed on this often, times the digits of the number of members."""
    mtu: int = 1_200
    """Bytes of one datagram."""
    push_pull: Micros = 30 * SECOND
    """Between two comparisons of everything with another node, times log2 of the members beyond 32."""
    reconnect: Micros = 2 * SECOND
    """Between two pings to members that are failed, one at a time."""
    gossip_to_failed: Micros = 30 * SECOND
    """How long a failed member is still told news, which may include that it is held to be failed."""
    reclaim: Micros = 3_600 * SECOND
    """After which failed and departed members are forgotten, but for their last words."""
