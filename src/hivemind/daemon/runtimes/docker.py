"""Containers by the docker engine of this machine, in a network that it makes."""

from __future__ import annotations

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.docker.runtime import DockerRuntime


async def assemble(site: Site) -> tuple[Runtime, Network]:
    runtime = _driver(site)
    await runtime.open()
    try:
        return runtime, await site.docker()
    except BaseException:
        await runtime.close()
        raise


async def destroy(site: Site) -> None:
    runtime = _driver(site)
    await runtime.open()
    await runtime.destroy()
    for network in (site.docker_driver(), site.no_docker_driver(), site.direct_driver("docker-host", None)):
        await network.destroy()


def _driver(site: Site) -> DockerRuntime:
    return DockerRuntime(site.settings.engines.docker_socket, site.owner, site.data / "docker", site.images)
