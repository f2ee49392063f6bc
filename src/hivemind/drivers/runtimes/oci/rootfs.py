"""A container's root file system: its image's layers, read-only, below a writable one (overlayfs).

All of it runs inside the runtime's mount namespace, on a thread whose working directory is its own: options name
the layers relative to it (`layers/0:layers/1:…`), because the kernel takes no more than a page of them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hivemind.drivers.runtimes.contract import ContainerSpec, Mount
from hivemind.drivers.runtimes.oci import idmap, kernel
from hivemind.drivers.runtimes.oci.idmap import Unmappable, Users
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Unavailable, Unsupported


def mount_rootfs(directory: Directory, layers: Sequence[Path], users: Users | None = None) -> Path:
    """`layers`: unpacked, lowest first. With `users` they are seen through that map. Returns where it is.

    Raises `Unmappable`."""
    place = directory.place(users)
    place.mkdir(exist_ok=True)
    if users:
        place.chmod(0o711)
    links = directory.path / "layers"
    for made in (links, place / "rootfs", directory.path / "upper", directory.path / "work"):
        made.mkdir(exist_ok=True)
        made.chmod(0o755)  # whatever the daemon's umask: the upper directory's mode is that of `/` inside
        if users:
            os.chown(made, users.first, users.first)
    lay(links, layers, users)
    os.chdir(directory.path)
    try:
        lowest_last = [f"layers/{index}" for index in reversed(range(len(layers)))]
        options = f"lowerdir={':'.join(lowest_last)},upperdir=upper,workdir=work"
        kernel.mount("overlay", str(place / "rootfs"), "overlay", options=options)
    except OSError as error:
        if users and error.errno == errno.EINVAL:
            raise Unmappable("overlayfs does not take layers that are seen through a map") from error
        raise _refusal(error, directory.path) from error
    finally:
        os.chdir("/")
        if users:
            _lift(links)  # the overlay has copies of its own
    return place / "rootfs"


def unmount_rootfs(directory: Directory) -> None:
    clear_remains(directory)
    for place in _places(directory):
        _detach(place / "rootfs")
        _detach(place / "sys")
        for source in _sources(place):
            _detach(source)
    if (directory.path / "layers").exists():
        _lift(directory.path / "layers")
    if directory.staged and directory.staged.exists():
        for source in _sources(directory.staged):
            source.rmdir() if source.is_dir() else source.unlink()
        for mounted in ("rootfs", "sys"):
            with suppress(FileNotFoundError):
                (
                    directory.staged / mounted
                ).rmdir()  # never recursively: behind a mount left over are somebody's data
        shutil.rmtree(directory.staged)


def remove_directory(directory: Directory) -> None:
    """Forgets the container's files. Nothing may be mounted below; a mount left over stops the removal."""
    directory.record.unlink(missing_ok=True)
    for source in _sources(directory.path):  # one by one: behind a mount left over are somebody's data
        source.rmdir() if source.is_dir() else source.unlink()
    directory.told.unlink(missing_ok=True)
    if directory.path.exists():
        shutil.rmtree(directory.path)


def attach_sources(directory: Directory, trees: dict[str, int], users: Users | None = None) -> dict[str, str]:
    """Makes mount sources reachable in this namespace; `trees` are from `kernel.clone_tree`, by target."""
    sources = directory.place(users) / "sources"
    found = {}
    for index, (target, tree) in enumerate(trees.items()):
        place = sources / str(index)
        sources.mkdir(exist_ok=True)
        sources.chmod(0o755)
        if os.path.isdir(f"/proc/self/fd/{tree}"):
            place.mkdir()
        else:
            place.touch()
        kernel.attach_tree(tree, str(place))
        # A copy of a shared mount would take the host's own inner mounts along when it goes.
        kernel.mount("", str(place), flags=kernel.MS_REC | kernel.MS_PRIVATE)
        found[target] = str(place)
    return found


def give_owned(spec: ContainerSpec, trees: dict[str, int], account: Account, users: Users | None) -> None:
    """What was made for this container alone becomes its user's."""
    uid, gid = account.uid, account.gid
    if users:
        uid, gid = users.outside(uid), users.outside(gid)
    for mount in spec.mounts:
        if mount.owned and mount.source:
            top = f"/proc/self/fd/{trees[mount.target]}"
            os.chown(top, uid, gid)
            if os.path.isdir(top):
                for name in os.listdir(top):
                    os.chown(os.path.join(top, name), uid, gid, follow_symlinks=False)


def mount_memory(directory: Directory, mounts: Sequence[Mount], users: Users | None = None) -> dict[str, str]:
    """The tmpfs of a spec, by target. Mounted here, because runc gives one the mode of the directory it covers."""
    sources = directory.place(users) / "sources"
    found = {}
    for index, mount in enumerate(mounts):
        place = sources / f"memory{index}"
        sources.mkdir(exist_ok=True)
        sources.chmod(0o755)
        place.mkdir()
        owner = users.first if users else 0
        size = f",size={mount.size}" if mount.size else ""
        kernel.mount(
            "tmpfs", str(place), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV,
            f"mode={mount.mode:o},uid={owner},gid={owner}{size}",
        )  # fmt: skip
        found[mount.target] = str(place)
    return found


def mount_sysfs(directory: Directory) -> str:
    """A /sys of the calling thread's network namespace, for a container that has no right to mount one."""
    assert directory.staged is not None
    place = directory.staged / "sys"
    place.mkdir()
    flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("sysfs", str(place), "sysfs", flags)
    return str(place)


def _places(directory: Directory) -> list[Path]:
    return [place for place in (directory.path, directory.staged) if place]


def clear_remains(directory: Directory) -> None:
    """What `remains.open_root` left when it was killed, if it did. Never recursively: see `remove_directory`."""
    place = directory.remains
    if not place.exists():
        return
    _detach(place / "rootfs")
    if (place / "layers").exists():
        _lift(place / "layers")
        for link in (place / "layers").iterdir():
            link.unlink() if link.is_symlink() else link.rmdir()
    for made in (place / "layers", place / "rootfs", place):
        with suppress(FileNotFoundError):
            made.rmdir()


def lay(links: Path, layers: Sequence[Path], users: Users | None) -> None:
    """Makes each layer reachable as `links`/INDEX, seen through that map if there is one."""
    if not users:
        for index, layer in enumerate(layers):
            (links / str(index)).symlink_to(layer)
        return
    map = idmap.namespace(users)
    try:
        for index, layer in enumerate(layers):
            (links / str(index)).mkdir(exist_ok=True)
            idmap.attach_layer(str(layer), str(links / str(index)), map)
    finally:
        os.close(map)


def _lift(links: Path) -> None:
    for link in links.iterdir():
        if not link.is_symlink():
            _detach(link)


def make_workdir(root: int, workdir: str, owner: int = 0) -> None:
    """Makes a working directory that the image lacks. Its links are followed as the container would follow them,
    so none leads out. Raises `NotADirectoryError` where something else is in the way."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    reached, at = "/", kernel.open_in_root(root, "/", flags)
    try:
        for part in Path(workdir).parts[1:]:
            reached = os.path.join(reached, part)
            try:
                inner = kernel.open_in_root(root, reached, flags)
            except FileNotFoundError:
                try:
                    os.mkdir(part, dir_fd=at)
                    os.chown(part, owner, owner, dir_fd=at, follow_symlinks=False)
                except FileExistsError as error:
                    raise NotADirectoryError(f"{reached} is a link to nowhere") from error
                inner = kernel.open_in_root(root, reached, flags)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise NotADirectoryError(f"{reached} is a link to itself") from error
            os.close(at)
            at = inner
    finally:
        os.close(at)


def _sources(place: Path) -> list[Path]:
    places = place / "sources"
    return list(places.iterdir()) if places.exists() else []


def _detach(path: Path) -> None:
    try:
        while True:
            kernel.umount(str(path))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def _refusal(error: OSError, path: Path) -> Unavailable | Unsupported:
    if error.errno == errno.ENODEV:
        return Unsupported("this kernel has no overlay file system", hint="load it: modprobe overlay")
    if error.errno == errno.EINVAL:
        return Unsupported(
            f"the file system of {path} cannot hold an overlay's writable layer",
            hint="put the data directory on ext4 or xfs (ftype=1)",
        )
    return Unavailable(f"mounting the root file system failed: {error.strerror}")
