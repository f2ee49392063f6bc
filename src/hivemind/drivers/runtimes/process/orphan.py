"""What runs without a shim is ended: nobody can learn how it ends by itself."""

from __future__ import annotations

import asyncio
import time

from hivemind.drivers.runtimes.contract import Exit
from hivemind.drivers.runtimes.process.record import Birth
from hivemind.drivers.runtimes.process.tree import kill_all, start_time


async def end_orphan(birth: Birth, boot: str, groups: list[str], mark: str) -> Exit:
    """Returns when all of it is dead. `boot`: this boot's id; `groups` and `mark` as for `kill_all`."""
    if birth.boot != boot:
        return _unknown("the machine restarted while it ran")
    alive = start_time(birth.pid) == birth.start_time
    session = birth.pid if alive else 0
    while kill_all(groups, mark, session):  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0.005)
    how = "it was killed, because nobody could learn how it ends" if alive else "it ended meanwhile"
    return _unknown(f"the process that watched it died; {how}")


def _unknown(reason: str) -> Exit:
    return Exit(code=None, at=time.time_ns() // 1_000_000, reason=reason)
