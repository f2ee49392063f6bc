"""What a node leaves on its machine, taken away."""

from __future__ import annotations

import os
from pathlib import Path

from hivemind.daemon.keys import identity
from hivemind.daemon.runtimes import MODULES, assembler
from hivemind.daemon.runtimes.site import Site
from hivemind.daemon.settings import Settings
from hivemind.daemon.volumes import destroy_volumes
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.memory import forget_memory
from hivemind.errors import HivemindError


async def destroy_machinery(settings: Settings) -> None:
    """Containers of every runtime first, then the networks that they were in. What stands in the way of one of them
    is raised once the others are done."""
    data = Path(settings.node.data_dir)
    site = Site(settings, identity(data / "node.key").public, Images(ImageStore(data / "images")))
    problems: list[HivemindError] = []
    for name in MODULES:
        if (data / name).exists():
            try:
                await assembler(name).destroy(site)
            except HivemindError as error:  # an engine that is gone; everything else goes all the same
                problems.append(error)
    if os.geteuid() == 0 and any((data / "network").glob("network.json*")):
        await site.routed_driver().destroy()
    await site.host_driver().destroy()
    for name in ("direct", "loopback"):
        await site.direct_driver(name, None).destroy()
    if os.geteuid() == 0:
        await site.isolated_driver().destroy()
    await destroy_volumes(data, Path(settings.node.run_dir), site.node)
    forget_memory(Path(settings.node.run_dir) / "contents")
    if problems:
        raise problems[0]
