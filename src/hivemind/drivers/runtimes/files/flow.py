"""Work that blocks (reading and writing files) on a thread of its own, its bytes carried by a pipe.

The pipe holds the faster side back, and closing it ends the other: whoever stops listening ends the thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

_BLOCK = 1 << 18
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SIZE = 1031


def _pipe() -> tuple[int, int]:
    import fcntl

    reader, writer = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # an ordinary user may have used up what all his pipes may hold
        fcntl.fcntl(writer, _F_SETPIPE_SIZE, _PIPE_SIZE)
    return reader, writer


async def outward(work: Callable[[int], None]) -> AsyncIterator[bytes]:
    """What `work` writes into the descriptor that it is given; its error when it ends. It may end a little later
    than the iterator is closed, so what it needs must be its own."""
    reader, writer = _pipe()
    done = _run(work, writer)
    os.set_blocking(reader, False)
    try:
        while data := await _read(reader):
            yield data
        await asyncio.shield(done)
    finally:
        os.close(reader)


async def inward(chunks: AsyncIterator[bytes], work: Callable[[int], None]) -> None:
    """Feeds `chunks` to `work`, which reads them from the descriptor that it is given until their end. When this
    is cancelled, or `chunks` fails, it comes to a sudden end of them a little later."""
    reader, writer = _pipe()
    done = _run(work, reader)
    os.set_blocking(writer, False)
    try:
        async for chunk in chunks:
            if not await _write(writer, chunk):
                break  # it does not listen any more, and says why below
    finally:
        os.close(writer)
    await asyncio.shield(done)


def _run(work: Callable[[int], None], fd: int) -> asyncio.Future[None]:
    """A thread of its own, and not one of a pool: `work` may change what the kernel takes its thread for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # it may be told to nobody

    def finish(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None or isinstance(error, BrokenPipeError):
            done.set_result(None)
        else:
            done.set_exception(error)

    def body() -> None:
        error: BaseException | None = None
        try:
            work(fd)
        except BaseException as problem:
            error = problem
        finally:
            os.close(fd)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=body, name="files", daemon=True).start()
    return done


async def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _BLOCK)
        except BlockingIOError:
            await _ready(fd, asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)


async def _write(fd: int, data: bytes) -> bool:
    """False when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)
        except BrokenPipeError:
            return False
    return True


async def _ready(fd: int, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    add(fd, wake)
    try:
        await waiting
    finally:
        remove(fd)
