"""One mount namespace for all containers of a node.

Root file systems are mounted there and not in the host's table: other programs neither see nor hold them, and
the tree can be shaped for the runtimes (crun refuses the `unified` directory of a hybrid cgroup layout, so an
empty one covers it in here). Mounts that the host makes later arrive where the host shares its tree (systemd does);
where it does not, sources are handed over as descriptors (`kernel.clone_tree`).

A bind mount of the namespace's file keeps it while the daemon is down. If that pin is lost, or the kernel refuses
it, nothing breaks: containers own copies of their mounts, and a new namespace serves the next ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Unsupported

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_UNIFIED = "/sys/fs/cgroup/unified"


class MountNamespace:
    """Blocking work that must happen inside runs on its threads: `await namespace.run(function, …)`."""

    def __init__(self, pin: Path, witness: Path) -> None:
        """`pin` is the file the namespace is bound to; `witness` a directory that must look the same inside."""
        self._pin = pin
        self._witness = witness
        self._fd = -1
        self._made = False
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Enters the pinned namespace, or makes and pins a new one. Raises `Unsupported` without the rights."""
        self._made = not self._reenter()
        if self._made:
            try:
                self._make()
            except OSError as error:
                with suppress(OSError):  # what forbids mounting forbids unmounting
                    self.destroy()
                if not isinstance(error, PermissionError):
                    raise
                raise Unsupported(
                    f"containers need a mount namespace: {error.strerror}",
                    hint="run the daemon as root, or with --runtime process",
                ) from error
        workers = (os.cpu_count() or 1) * 2
        self._threads = ThreadPoolExecutor(workers, "oci", initializer=self._enter)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        assert self._threads is not None, "not open"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def abandon(self) -> None:
        """Takes back `open`: a namespace that it made goes, one that was there before stays."""
        if self._made:
            self.destroy()
        else:
            self.close()

    def destroy(self) -> None:
        """Unpins the namespace: it ends with its last process."""
        self.close()
        _unmount_all(self._pin)
        _unmount_all(self._pin.parent)
        self._pin.unlink(missing_ok=True)

    def _enter(self) -> None:
        kernel.unshare(kernel.CLONE_FS)  # setns refuses threads that share their working directory
        kernel.setns(self._fd, kernel.CLONE_NEWNS)

    def _reenter(self) -> bool:
        """Whether the pinned namespace is there and sees the same state directory as the host does."""
        try:
            if os.stat(self._pin).st_dev == os.stat(self._pin.parent).st_dev:
                return False  # a plain file: nothing is bound to it (any more)
            self._fd = os.open(self._pin, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        with ThreadPoolExecutor(1, initializer=self._enter) as thread:
            try:
                inside = thread.submit(os.stat, self._witness).result()
            except OSError:
                inside = None
        outside = self._witness.stat()
        if inside and (inside.st_dev, inside.st_ino) == (outside.st_dev, outside.st_ino):
            return True
        os.close(self._fd)
        self._fd = -1
        return False

    def _make(self) -> None:
        # A namespace cannot be pinned in a tree that propagates into it, hence a private mount around the pin.
        here = self._pin.parent
        here.mkdir(parents=True, exist_ok=True)
        _unmount_all(self._pin)
        _unmount_all(here)
        kernel.mount(str(here), str(here), flags=kernel.MS_BIND)
        kernel.mount("", str(here), flags=kernel.MS_PRIVATE)
        self._pin.touch()
        self._fd = self._pinned()

    def _pinned(self) -> int:
        """A new namespace, bound to the pin.

        The kernel pins only younger namespaces than the one it is asked in, and tells age by numbers that each
        processor counts for itself: one made where the daemon's own was made is younger. If the daemon may not
        run there, the namespace stays without a pin and lives as long as the daemon or a container holds it."""
        made = -1
        for processor in range(os.cpu_count() or 1):
            if made >= 0:
                os.close(made)
            with ThreadPoolExecutor(1) as thread:
                made = thread.submit(_unshare, processor).result()
            try:
                kernel.mount(f"/proc/self/fd/{made}", str(self._pin), flags=kernel.MS_BIND)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    os.close(made)
                    raise
            else:
                return made
        _log.info(
            "the kernel does not pin the containers' mount namespace here; the next start makes a new one"
        )
        return made


def _unshare(processor: int) -> int:
    """Moves the calling thread to a processor and into a new mount namespace; its descriptor."""
    with suppress(OSError):  # One that this process may not use, or that is switched off.
        os.sched_setaffinity(0, {processor})
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", flags=kernel.MS_SLAVE | kernel.MS_REC)
    if os.path.ismount("/sys/fs/cgroup/memory") and os.path.ismount(_UNIFIED):
        # crun takes it for the real hierarchy unless something else is there, and then still writes files to it.
        kernel.mount("tmpfs", _UNIFIED, "tmpfs")
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _unmount_all(path: Path) -> None:
    """Takes away every mount at `path`, none included (EINVAL: not a mount; ENOENT: not even a file)."""
    try:
        while True:
            kernel.umount(str(path))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
