"""Containers of the machine's own containerd, in the routed network that `oci` uses, too."""

from __future__ import annotations

import logging
import os

import msgspec

from hivemind.daemon.runtimes.site import Site
from hivemind.daemon.settings import EngineSettings
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.containerd.runtime import ContainerdRuntime
from hivemind.drivers.runtimes.contract import Runtime

_log = logging.getLogger(__name__)
_KEPT = "engine.json"


async def assemble(site: Site) -> tuple[Runtime, Network]:
    network = await site.routed()
    runtime = _driver(site, site.settings.engines)
    await runtime.open()
    (site.data / "containerd" / _KEPT).write_bytes(msgspec.json.encode(site.settings.engines))
    return runtime, network


async def destroy(site: Site) -> None:
    """In the containerd that was used last. Raises `Unavailable` when that does not answer: what it holds of this
    node cannot be taken away then."""
    if os.geteuid() != 0:
        return
    try:
        engines = msgspec.json.decode((site.data / "containerd" / _KEPT).read_bytes(), type=EngineSettings)
    except FileNotFoundError:
        return
    if not os.path.exists(engines.containerd_address):
        _log.warning("containerd at %s is gone, and with it what it held", engines.containerd_address)
        return
    runtime = _driver(site, engines)
    await runtime.open()
    await runtime.destroy()


def _driver(site: Site, engines: EngineSettings) -> ContainerdRuntime:
    return ContainerdRuntime(
        site.data / "containerd",
        site.run / "containerd",
        site.images,
        address=engines.containerd_address,
        namespace=engines.containerd_namespace,
    )
