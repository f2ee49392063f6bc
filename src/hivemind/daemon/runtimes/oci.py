"""The embedded runtime, in the routed network."""

from __future__ import annotations

import os

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.memory import forget_memory, prefer_memory
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.oci.runtime import OciRuntime
from hivemind.errors import Unsupported


async def assemble(site: Site) -> tuple[Runtime, Network]:
    network = await site.routed()
    prefer_memory(site.run / "oci")  # what containers shall keep secret may lie there
    runtime = _driver(site)
    await runtime.open()
    if runtime.why_host_users and site.settings.node.container_users != "off":
        site.problems.append(f"root in containers is root of this machine: {runtime.why_host_users}")
    return runtime, network


async def destroy(site: Site) -> None:
    if os.geteuid() != 0 or not (site.data / "oci").exists():
        return
    runtime = _driver(site)
    try:
        await runtime.open()
    except Unsupported:
        # What made the containers is not here any more; what it left still is.
        pass
    await runtime.destroy()
    forget_memory(site.run / "oci")


def _driver(site: Site) -> OciRuntime:
    users = site.settings.node.container_users
    return OciRuntime(site.data / "oci", site.run / "oci", site.images, container_users=users)
