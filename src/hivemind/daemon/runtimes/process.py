"""Plain processes, in the network of the machine."""

from __future__ import annotations

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.memory import forget_memory, prefer_memory
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime


async def assemble(site: Site) -> tuple[Runtime, Network]:
    prefer_memory(site.run / "process")  # what containers shall keep secret may lie there
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
    forget_memory(site.run / "process")


def _driver(site: Site) -> ProcessRuntime:
    return ProcessRuntime(site.data / "process", site.run / "process")
