"""Containers of the machine's own containerd, in the routed network that `oci` uses, too."""

from __future__ import annotations

import os

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.containerd.runtime import ContainerdRuntime
from hivemind.drivers.runtimes.contract import Runtime


async def assemble(site: Site) -> tuple[Runtime, Network]:
    network = await site.routed()
    runtime = _driver(site)
    await runtime.open()
    return runtime, network


async def destroy(site: Site) -> None:
    """Raises `Unavailable` when containerd does not run: what it holds of this node cannot be taken away then."""
    if os.geteuid() != 0:
        return
    runtime = _driver(site)
    await runtime.open()
    await runtime.destroy()


def _driver(site: Site) -> ContainerdRuntime:
    engines = site.settings.engines
    return ContainerdRuntime(
        site.data / "containerd",
        site.run / "containerd",
        site.images,
        address=engines.containerd_address,
        namespace=engines.containerd_namespace,
    )
