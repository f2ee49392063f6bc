"""A look into a container's root file system before it is made: who its user is, whether its directory is there.

containerd mounts it only for the container itself. So its layers are mounted here for a moment, read-only, in a mount
namespace of a thread that ends with it: no other program sees it, and nothing is left over, however this process
ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hivemind.drivers.runtimes.oci import kernel, rootfs, users
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Invalid, Unavailable, Unsupported

T = TypeVar("T")
_MS_REMOUNT = 0x20


class Layers(NamedTuple):
    """The directories of an overlay, highest first; without an upper one it is not an overlay."""

    upper: Path | None
    lower: tuple[Path, ...]


async def look_inside(mounts: Sequence[dict[str, Any]], place: Path, user: str, workdir: str) -> Account:
    """`mounts`: as containerd tells them; `place`: an empty directory. A working directory that is not there is made
    by the OCI runtime.

    Raises `Invalid` for a user or a directory that cannot be."""
    return await _alone(lambda: _look(mounts, place, user, workdir))


def layers_of(mounts: Sequence[dict[str, Any]]) -> Layers:
    options = dict(option.partition("=")[::2] for mount in mounts for option in mount["options"])
    lower = tuple(Path(path) for path in options.get("lowerdir", "").split(":") if path)
    return Layers(Path(options["upperdir"]) if "upperdir" in options else None, lower)


def _look(mounts: Sequence[dict[str, Any]], place: Path, user: str, workdir: str) -> Account:
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("", "/", flags=kernel.MS_SLAVE | kernel.MS_REC)
        _mount(mounts, place)
    except PermissionError as error:
        raise Unsupported(
            f"containers need the right to mount: {error.strerror}", hint="run the daemon as root"
        ) from error
    except OSError as error:
        raise Unavailable(f"the root file system cannot be mounted: {error.strerror}") from error
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        account = users.find_account(root, user)
        if not workdir.startswith("/"):
            raise Invalid(f"the working directory {workdir!r} is not absolute", hint="begin it with /")
        rootfs.make_workdir(root, workdir)
    except NotADirectoryError as error:
        raise Invalid(
            f"the working directory {workdir} cannot be made: something else is in its place in the image",
            hint="choose another one",
        ) from error
    except OSError as error:
        if error.errno != errno.EROFS:  # it is missing, and nothing stands in its way
            raise
    finally:
        os.close(root)
        kernel.umount(str(place))
    return account


def _mount(mounts: Sequence[dict[str, Any]], place: Path) -> None:
    """Only what is below the writable layer: unmounting that would write its whole file system to the disk."""
    lower = layers_of(mounts).lower
    if len(lower) < 2:
        source = str(lower[0]) if lower else mounts[0]["source"]
        kernel.mount(source, str(place), flags=kernel.MS_BIND)
        kernel.mount("", str(place), flags=kernel.MS_BIND | _MS_REMOUNT | kernel.MS_RDONLY)
        return
    # The kernel takes no more than a page of options, so paths are said from where the layers are.
    base = os.path.commonpath(lower)
    os.chdir(base)
    options = f"lowerdir={':'.join(os.path.relpath(path, base) for path in lower)}"
    kernel.mount("overlay", str(place), "overlay", kernel.MS_RDONLY, options)


async def _alone(work: Callable[[], T]) -> T:
    """Runs `work` on a thread of its own, which may change its namespace."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            loop.call_soon_threadsafe(_tell, done, None, error)
        else:
            loop.call_soon_threadsafe(_tell, done, result, None)

    threading.Thread(target=run, name="containerd-rootfs", daemon=True).start()
    return await done


def _tell(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
