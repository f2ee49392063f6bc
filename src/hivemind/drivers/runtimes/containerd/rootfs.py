"""A look into a container's root file system before it is made: who its user is, whether its directory is there.

containerd mounts it only for the container itself. So it is mounted here for a moment, in a mount namespace of a
thread that ends with it: no other program sees it, and nothing is left over, however this process ends.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hivemind.drivers.runtimes.oci import kernel, rootfs, users
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Invalid, Unavailable, Unsupported

T = TypeVar("T")


class Layers(NamedTuple):
    """The directories of an overlay, highest first; without an upper one it is not an overlay."""

    upper: Path | None
    lower: tuple[Path, ...]


async def look_inside(mounts: Sequence[dict[str, Any]], place: Path, user: str, workdir: str) -> Account:
    """`mounts`: as containerd tells them; `place`: an empty directory. Makes the working directory.

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
        for mount in mounts:
            _mount(mount, place)
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
    finally:
        os.close(root)
        kernel.umount(str(place))
    return account


def _mount(mount: dict[str, Any], place: Path) -> None:
    if mount["type"] == "bind":
        kernel.mount(mount["source"], str(place), flags=kernel.MS_BIND | kernel.MS_REC)
        return
    # The kernel takes no more than a page of options, so paths are said from where the layers are.
    base = os.path.commonpath([path for option in mount["options"] for path in _paths(option)] or ["/"])
    os.chdir(base)
    options = ",".join(_relative(option, base) for option in mount["options"] if option not in ("rw", "ro"))
    kernel.mount(mount["source"], str(place), mount["type"], options=options)


def _paths(option: str) -> list[str]:
    name, _, value = option.partition("=")
    return value.split(":") if name in ("lowerdir", "upperdir", "workdir") else []


def _relative(option: str, base: str) -> str:
    paths = _paths(option)
    if not paths:
        return option
    return f"{option.partition('=')[0]}={':'.join(os.path.relpath(path, base) for path in paths)}"


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
