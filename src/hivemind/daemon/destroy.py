"""What a node leaves on its machine, taken away."""

from __future__ import annotations

import os
from pathlib import Path

from hivemind.daemon.assembly import container_drivers
from hivemind.daemon.keys import identity
from hivemind.daemon.settings import Settings
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.network.host import HostNetwork
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
from hivemind.errors import Unsupported


async def destroy_machinery(settings: Settings) -> None:
    data, run = Path(settings.node.data_dir), Path(settings.node.run_dir)
    node = identity(data / "node.key").public
    if os.geteuid() == 0 and (data / "oci").exists():
        images = Images(ImageStore(data / "images"))
        runtime, network = container_drivers(settings, node, images)
        try:
            await runtime.open()
        except Unsupported:
            # What made the containers is not here any more; what it left still is.
            pass
        await runtime.destroy()
        await network.destroy()
    process = ProcessRuntime(data / "process", run / "process")
    await process.open()
    await process.destroy()
    await HostNetwork(data / "network", bind=settings.network.publish_host).destroy()
