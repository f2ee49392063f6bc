"""Containers by the docker engine of this machine, in a network that it makes."""

from __future__ import annotations

from pathlib import Path

from hivemind.daemon.runtimes.site import Site
from hivemind.drivers.network.contract import Network
from hivemind.drivers.network.records import write_whole
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.docker.runtime import DockerRuntime


async def assemble(site: Site) -> tuple[Runtime, Network]:
    socket = site.settings.engines.docker_socket
    runtime = _driver(site, socket)
    await runtime.open()
    try:
        write_whole(_note(site), socket.encode())
        return runtime, await site.docker()
    except BaseException:
        await runtime.close()
        raise


async def destroy(site: Site) -> None:
    """On the engine that was used, whatever the settings say by now."""
    note = _note(site)
    socket = note.read_text() if note.exists() else site.settings.engines.docker_socket
    runtime = _driver(site, socket)
    await runtime.open()
    await runtime.destroy()
    for network in (
        site.docker_driver(socket),
        site.no_docker_driver(),
        site.direct_driver("docker-host", None),
    ):
        await network.destroy()


def _driver(site: Site, socket: str) -> DockerRuntime:
    return DockerRuntime(socket, site.owner, site.data / "docker", site.images)


def _note(site: Site) -> Path:
    return site.data / "docker" / "socket"
