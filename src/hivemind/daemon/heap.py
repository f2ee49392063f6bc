"""What is left of memory that was only needed for a moment goes back to the kernel.

The C library keeps what Python frees below something that is still used, in a heap for each thread: after the start, a
join or a large answer that is a megabyte or two, for good.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc

_EVERY = 15.0
"""Seconds between two looks; one takes about a millisecond."""
_M_ARENA_MAX = -8
_libc = ctypes.CDLL(None)
_trim = getattr(_libc, "malloc_trim", None)  # of glibc alone


def share() -> None:
    """One heap for all threads, which never run at the same time anyway. To be called before there is a second one."""
    if _trim is not None:
        _libc.mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """What is there now stays as long as the daemon, and the collector needs not look at it again."""
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    if _trim is not None:
        _trim(0)


async def keep_giving_back() -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(_EVERY)
        give_back()
