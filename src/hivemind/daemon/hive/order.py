"""The etcd that decides the order where a hive was founded with it, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Invalid

if TYPE_CHECKING:
    from hivemind.ledger.etcd.settings import Etcd


def etcd(settings: ClusterSettings) -> Etcd | None:
    """None: no setting names one."""
    if not settings.etcd_endpoints:
        return None
    from hivemind.ledger.etcd.settings import Etcd

    return Etcd(
        endpoints=settings.etcd_endpoints,
        ca=settings.etcd_ca,
        certificate=settings.etcd_cert,
        key=settings.etcd_key,
    )


def check(engine: str, settings: ClusterSettings) -> None:
    """Raises `Invalid` when the hive's order would be asked of an etcd that this node does not know."""
    if engine == "etcd" and not settings.etcd_endpoints:
        raise Invalid(
            "no etcd is named in this node's configuration",
            hint="start the daemon with --etcd-endpoints http://HOST:2379, on this node and on all that join",
        )
