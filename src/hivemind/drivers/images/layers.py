"""Unpacked layers, `layers/<hex of the diff id>`: each unpacked once, then shared by all images that have it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, cast

from hivemind.drivers.images.blobs import PREFIX, Blobs, disk_errors, hex_of, sync_directory
from hivemind.drivers.images.limits import Limits
from hivemind.errors import Corrupt, Invalid, TooLarge


class Layers:
    def __init__(self, root: Path, blobs: Blobs, limits: Limits) -> None:
        self.folder = root / "layers"
        self.blobs = blobs
        self.limits = limits
        self._sizes: dict[str, int] = {}

    def open(self) -> None:
        with disk_errors("the image store", self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)  # set-uid programs of images are not for everyone

    def path(self, diff_id: str) -> Path:
        return self.folder / hex_of(diff_id)

    def has(self, diff_id: str) -> bool:
        return self.path(diff_id).is_dir()

    def ensure(self, blob: str, diff_id: str) -> Path:
        """The directory of a layer, unpacked from `blob` if it is not there.

        Raises `Corrupt` when the blob does not hold that layer; nothing is left behind then."""
        target = self.path(diff_id)
        with self.blobs.only_one(f"layer {diff_id}"):
            if not target.is_dir():
                self._unpack(blob, diff_id, target)
        return target

    def _unpack(self, blob: str, diff_id: str, target: Path) -> None:
        with disk_errors("a layer", self.folder):
            self._unpack_aside(blob, diff_id, target)

    def _unpack_aside(self, blob: str, diff_id: str, target: Path) -> None:
        from hivemind.drivers.images.plain import Counted, decompressed
        from hivemind.drivers.images.unpack import unpack

        work = Path(tempfile.mkdtemp(dir=self.blobs.incoming))
        try:
            content = work / "content"
            content.mkdir(mode=0o755)
            try:
                with self.blobs.path(blob).open("rb") as file, decompressed(file) as plain:
                    size = os.fstat(file.fileno()).st_size
                    stream = Counted(plain, self.limits, size, self.blobs.check_room)
                    unpack(cast(IO[bytes], stream), content, self.limits)
                    found = stream.finish()
            except (Invalid, TooLarge):
                self.blobs.verify(blob)  # a bad disk, not a bad image?
                raise
            if found != diff_id:
                self.blobs.verify(blob)
                raise Corrupt(
                    f"layer {blob} unpacks to {found} where the image promises {diff_id}",
                    hint="the image is damaged; pull it again or from elsewhere",
                )
            _sync_filesystem(content)
            content.rename(target)
            sync_directory(self.folder)
        finally:
            shutil.rmtree(work)

    def diff_ids(self) -> list[str]:
        return [PREFIX + entry.name for entry in self.folder.iterdir()]

    def usage(self) -> int:
        """Bytes on the disk. Each layer is walked through once: they do not change."""
        there = set(self.diff_ids())
        self._sizes = {diff_id: size for diff_id, size in self._sizes.items() if diff_id in there}
        for diff_id in there - self._sizes.keys():
            self._sizes[diff_id] = _disk_usage(self.path(diff_id))
        return sum(self._sizes.values())

    def remove(self, diff_id: str) -> None:
        """Moved aside first: a crash in the middle must not leave half a layer under its name."""
        doomed = self.blobs.incoming / f"{hex_of(diff_id)}.removed"
        self.path(diff_id).rename(doomed)
        shutil.rmtree(doomed)


def _disk_usage(path: Path) -> int:
    """A file with several names counts once."""
    seen: set[int] = set()
    total = 0
    for folder, _, files in os.walk(path):
        for name in (*files, "."):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
    return total


def _sync_filesystem(path: Path) -> None:
    """Thousands of new files become durable with one call instead of one for each."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs failed")
    finally:
        os.close(fd)
