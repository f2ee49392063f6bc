"""Which runtimes and networks this machine gets: the best it can, or exactly what was asked for."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hivemind.daemon.settings import Settings
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.network.contract import Network
from hivemind.drivers.network.host import HostNetwork
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
from hivemind.errors import Unsupported

if TYPE_CHECKING:
    from hivemind.drivers.network.routed import RoutedNetwork
    from hivemind.drivers.runtimes.oci.runtime import OciRuntime

log = logging.getLogger(__name__)


class Machinery(msgspec.Struct, frozen=True, kw_only=True):
    """`runtimes` by name, the default first; `networks` by the name of the runtime that they serve."""

    images: Images
    runtimes: dict[str, Runtime]
    networks: dict[str, Network]
    problems: tuple[str, ...]

    @property
    def default(self) -> str:
        return next(iter(self.runtimes))


async def assemble(settings: Settings, node: str) -> Machinery:
    """Everything open and adopted. Raises `Unsupported` when the runtime that was asked for cannot be had."""
    data, run = Path(settings.node.data_dir), Path(settings.node.run_dir)
    images = Images(ImageStore(data / "images"))
    await images.open()
    problems = [f"a damaged image was set aside: {what}" for what in images.store.damaged]
    runtimes: dict[str, Runtime] = {}
    networks: dict[str, Network] = {}
    if settings.node.runtime in ("auto", "oci"):
        try:
            runtimes["oci"], networks["oci"] = await _containers(settings, node, images)
        except Unsupported as error:
            if settings.node.runtime == "oci":
                raise
            problems.append(f"no containers: {error.message}" + (f" ({error.hint})" if error.hint else ""))
            log.warning("no containers on this machine: %s", error.message)
    process = ProcessRuntime(data / "process", run / "process")
    await process.open()
    host = HostNetwork(data / "network", bind=settings.network.publish_host)
    await host.open()
    runtimes["process"], networks["process"] = process, host
    return Machinery(images=images, runtimes=runtimes, networks=networks, problems=tuple(problems))


async def _containers(settings: Settings, node: str, images: Images) -> tuple[Runtime, Network]:
    if os.geteuid() != 0:
        raise Unsupported("containers need root", hint="start the daemon as root")
    runtime, network = container_drivers(settings, node, images)
    await network.open()
    try:
        await runtime.open()
    except BaseException:
        await network.close()
        raise
    return runtime, network


def container_drivers(settings: Settings, node: str, images: Images) -> tuple[OciRuntime, RoutedNetwork]:
    """Not yet open."""
    from hivemind.drivers.network.routed import RoutedNetwork
    from hivemind.drivers.runtimes.oci.runtime import OciRuntime

    data, run = Path(settings.node.data_dir), Path(settings.node.run_dir)
    return (
        OciRuntime(data / "oci", run / "oci", images),
        RoutedNetwork(
            node,
            data / "network",
            run / "network",
            subnet=settings.network.subnet,
            published_at=settings.network.publish_host,
        ),
    )
