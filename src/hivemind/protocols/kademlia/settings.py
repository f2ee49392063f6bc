"""How the table is kept, how patiently others are asked, how long is remembered. The defaults fit any network."""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import MILLISECOND, SECOND, Micros

MINUTE: Micros = 60 * SECOND


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    k: int = 20
    """Nodes in a bucket, and at how many something is stored."""
    alpha: int = 10
    """Questions of one lookup that are under way at once."""
    window: int = 80
    """Questions of all that are under way at once; the others wait."""
    queue: int = 2_000
    timeout: Micros = 300 * MILLISECOND
    """For the first answer; doubles with each further try. Who has not answered by then does not hold up a lookup."""
    tries: int = 4
    ping_every: Micros = 40 * SECOND
    """Those that were heard least recently are asked whether they are there."""
    pings: int = 3
    refresh_every: Micros = 5 * MINUTE
    """The neighbourhood, and a random place, are looked at anew."""
    settled_after: Micros = 20 * MINUTE
    """Behind a translated address, that long unchanged and reached unasked, a node begins to carry for others."""
    token_every: Micros = 450 * SECOND
    """A new secret for tokens; those of the one before are still taken."""
    record_time: Micros = 20 * MINUTE
    """How long an announcement is kept."""
    announce_every: Micros = 10 * MINUTE
    """How often it is renewed, a little sooner or later; well within `record_time`."""
    value_time: Micros = 48 * 60 * MINUTE
    converge: tuple[Micros, ...] = tuple(250 * MILLISECOND << turn for turn in range(12))
    """After announcing it is looked again so soon: who began at the same moment was not there yet, and who was slow to
    answer is there later. 0.25, 0.5, 1, 2 s, and on until it would be renewed anyway."""
    look_every: Micros = 30 * SECOND
    """How often a hidden node looks who else is there."""
    bootstrap_every: Micros = 250 * MILLISECOND
    """While nobody answers; doubles up to the longest."""
    bootstrap_longest: Micros = 30 * SECOND
    drift: Micros = 60 * SECOND
    """How far ahead another node's clock may be in what it signs."""
    oldest: Micros = 6 * 60 * MINUTE
    """Nobody is believed to be there by what it signed longer ago."""
    keep_open: Micros = 15 * SECOND
    """How often what keeps a translated address open is sent."""
    max_records: int = 65_536
    max_of_signer: int = 64
    """Topics, and values, of one node: whoever says more replaces its own."""
    requests: int = 200
    """Of one node at once, and as many again each second."""
    stranger_requests: int = 40
    all_requests: int = 4_000
