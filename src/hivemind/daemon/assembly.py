"""Which runtimes and networks this machine gets: the best it can, or exactly what was asked for."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from hivemind.daemon.runtimes import assembler
from hivemind.daemon.runtimes.site import Site
from hivemind.daemon.settings import NodeSettings, Settings
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.network.contract import Network
from hivemind.drivers.runtimes.contract import Runtime
from hivemind.errors import HivemindError, Unsupported

log = logging.getLogger(__name__)


class Machinery(msgspec.Struct, frozen=True, kw_only=True):
    """`runtimes` by name, the default first; `networks` by the name of the runtime that they serve, where several
    may share one; those of another mode as `oci/host`."""

    images: Images
    runtimes: dict[str, Runtime]
    networks: dict[str, Network]
    problems: tuple[str, ...]

    @property
    def default(self) -> str:
        return next(iter(self.runtimes))

    def troubles(self) -> list[str]:
        """Of runtimes that cannot do their work just now."""
        return [runtime.trouble for runtime in self.runtimes.values() if runtime.trouble]

    def each_network(self) -> list[Network]:
        """Every network once."""
        return list({id(network): network for network in self.networks.values()}.values())


async def assemble(settings: Settings, node: str) -> Machinery:
    """Everything open and adopted. Raises `Unsupported` or `Unavailable` when a runtime that was asked for cannot
    be had; nothing is open then."""
    images = Images(ImageStore(Path(settings.node.data_dir) / "images"))
    await images.open()
    problems = [f"a damaged image was set aside: {what}" for what in images.store.damaged]
    site = Site(settings, node, images)
    runtimes: dict[str, Runtime] = {}
    networks: dict[str, Network] = {}
    try:
        for name in wanted(settings.node):
            try:
                runtimes[name], networks[name] = await assembler(name).assemble(site)
            except Unsupported as error:
                if settings.node.runtime != "auto" or name in settings.node.runtimes:
                    raise
                problems.append(
                    f"no containers: {error.message}" + (f" ({error.hint})" if error.hint else "")
                )
                log.warning("no containers on this machine: %s", error.message)
        networks |= await site.modes(networks)
        await site.close_unused(list(networks.values()))
    except BaseException:
        await _close(runtimes, site)
        raise
    return Machinery(
        images=images, runtimes=runtimes, networks=networks, problems=(*problems, *site.problems)
    )


def wanted(settings: NodeSettings) -> tuple[str, ...]:
    """Runtimes in the order of preference. Plain processes need nothing, so every node can run them."""
    first = "oci" if settings.runtime == "auto" else settings.runtime
    return tuple(dict.fromkeys((first, *settings.runtimes, "process")))


async def _close(runtimes: dict[str, Runtime], site: Site) -> None:
    for runtime in runtimes.values():
        try:
            await runtime.close()
        except (HivemindError, OSError) as error:
            log.warning("runtime %s could not be closed: %s", runtime.name, error)
    await site.close_unused([])
