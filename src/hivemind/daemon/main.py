"""`hivemind daemon`: parse, build, run."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from pathlib import Path

from hivemind.daemon import heap
from hivemind.daemon.settings import Settings
from hivemind.daemon.systemd import notify
from hivemind.errors import Conflict

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Containers keep running."""
    from hivemind.telemetry.logs import configure

    configure(settings.log.log_format, settings.log.log_level)
    heap.share()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from hivemind.daemon.node import Node

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node = Node(settings)
    await node.start()
    heap.settle()
    giving_back = asyncio.create_task(heap.keep_giving_back())
    notify("READY=1")
    try:
        await stop.wait()
    finally:
        giving_back.cancel()
        notify("STOPPING=1")
        log.info("stopping; containers keep running")
        await node.stop()


def destroy(settings: Settings) -> None:
    """Removes every trace of a node that does not run: containers, network, data. There is no way back."""
    from hivemind.daemon.destroy import destroy_machinery
    from hivemind.ledger.lock import DirectoryLock

    data, runs = Path(settings.node.data_dir), Path(settings.node.run_dir)
    if data.exists():
        try:
            lock = DirectoryLock(data / "ledger")
        except Conflict as error:
            raise Conflict(f"the node still runs: {error.message}", hint="stop it first") from None
        lock.release()
        asyncio.run(destroy_machinery(settings))
        _remove(data)
    if runs.exists():
        _remove(runs)


def _remove(directory: Path) -> None:
    """A file system of its own stays, empty: it is for whoever has mounted it to take away."""
    if not directory.is_mount():
        shutil.rmtree(directory)
        return
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
