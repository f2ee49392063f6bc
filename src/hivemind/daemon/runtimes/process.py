"""Plain processes, in the network of the machine."""

from __future__ import annotations

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime


async def assemble(site: Site) -> tuple[Runtime, Network]:
    runtime = _driver(site)
    await runtime.open()
    try:
        return runtime, await site.host()
    except BaseException:
        await runtime.close()
        raise


async def destroy(site: Site) -> None:
    runtime = _driver(site)
    await runtime.open()
    await runtime.destroy()


def _driver(site: Site) -> ProcessRuntime:
    return ProcessRuntime(site.data / "process", site.run / "process")
