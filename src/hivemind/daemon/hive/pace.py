"""How fast the nodes of a hive expect each other to answer, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from hivemind.daemon.settings import ClusterSettings
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros

if TYPE_CHECKING:
    from hivemind.ledger.agreed.settings import Agreement
    from hivemind.protocols.swim.settings import Settings as SwimSettings

_SUSPICION = 29 / 3
"""A node is suspected for the time of so many probes until it counts as failed: see `protocols.swim.settings`."""
_SILENCE = 6
"""After so many times the agreement's timeout a voter that says nothing counts as missing."""


def swim(settings: ClusterSettings) -> SwimSettings:
    """The pace of everything follows the pace of the probes."""
    from hivemind.protocols.swim.settings import Settings

    usual = Settings()
    interval = max(_micros(settings.probe_interval), 10 * MILLISECOND)
    return Settings(
        interval=interval,
        timeout=max(_micros(settings.probe_timeout), 5 * MILLISECOND),
        suspicion=round(interval * _SUSPICION),
        gossip_interval=min(usual.gossip_interval, interval),
        reconnect=min(usual.reconnect, 4 * interval),
    )


def agreement(settings: ClusterSettings) -> Agreement | None:
    """None: as usual, and a node that is alone need not even know what that is."""
    if settings.agreement_timeout == ClusterSettings().agreement_timeout:
        return None
    from hivemind.ledger.agreed.settings import Agreement

    usual, timeout = Agreement().protocol, max(_micros(settings.agreement_timeout), 50 * MILLISECOND)
    protocol = replace(
        usual,
        request_timeout=timeout,
        view_change_timeout=timeout,
        status_interval=min(usual.status_interval, timeout // 4),
        idle_interval=min(usual.idle_interval, timeout * 2),
    )
    return Agreement(protocol=protocol, silence=_SILENCE * timeout / SECOND)


def _micros(seconds: float) -> Micros:
    return round(seconds * SECOND)
