"""Content-addressed files, `blobs/sha256/<hex>` of an OCI image layout.

A blob appears whole or not at all: bytes go to a file of their own under `incoming/`, are hashed on the way,
made durable and only then renamed. What a crash leaves in `incoming/` is swept away by `open()`. A download that
broke off stays in `partial/<hex>`, and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from hivemind.errors import Corrupt, Invalid, NotFound, Unavailable

PREFIX = "sha256:"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(Unavailable):
    """The disk is full, or so nearly full that nothing more may be brought."""


def hex_of(digest: str) -> str:
    """The part of a digest that is safe as a file name. Raises `Invalid` for anything else."""
    name = digest.removeprefix(PREFIX)
    if not digest.startswith(PREFIX) or len(name) != 64 or set(name) - set("0123456789abcdef"):
        raise Invalid(f"{digest!r} is not a digest that can be checked", hint="only sha256 digests are known")
    return name


@contextlib.contextmanager
def disk_errors(what: str, where: Path) -> Iterator[None]:
    """A full or read-only disk becomes an error that says which disk and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise NoRoom(
                f"the disk that holds {where} is full; {what} could not be stored",
                hint="free space there, for example by removing unused images, and try again",
            ) from error
        if error.errno == errno.EROFS:
            raise Unavailable(
                f"{where} is read-only; {what} could not be stored", hint="remount it writable and try again"
            ) from error
        raise


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes, incoming: Path) -> None:
    """Replaces `path` by `data` so that a crash leaves either the old bytes or the new ones."""
    with disk_errors(path.name, path.parent):
        fd, temporary = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_directory(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Unbuffered, so that a full disk is met here and not when a file is closed."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


class Incoming:
    """A blob on its way in. `size` counts what arrived; `commit` checks it and gives it its place."""

    def __init__(self, blobs: Blobs, file: FileIO) -> None:
        self.size = 0
        self._blobs = blobs
        self._file = file
        self._hash = hashlib.sha256()
        while data := file.read(2**20):  # of a download that broke off before
            self._hash.update(data)
            self.size += len(data)

    def write(self, data: bytes) -> None:
        self._blobs.check_room(len(data))
        with disk_errors("the image", self._blobs.root):
            write_all(self._file.fileno(), data)
        self._hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Forgets what arrived, for a sender that cannot go on from the middle."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self._hash = 0, hashlib.sha256()

    def commit(self, expected: str = "") -> str:
        """The digest. Raises `Corrupt` when it is not `expected`; nothing is kept then."""
        digest = PREFIX + self._hash.hexdigest()
        if expected and digest != expected:
            self.restart()
            raise Corrupt(
                f"the bytes received for {expected} have the digest {digest}",
                hint="the sender or a proxy on the way damages data; try again or fetch it from elsewhere",
            )
        with disk_errors("the image", self._blobs.root):
            os.fsync(self._file.fileno())
            os.rename(self._file.name, self._blobs.path(digest))
            sync_directory(self._blobs.folder)
        return digest


class Blobs:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "blobs" / "sha256"
        self.incoming = root / "incoming"
        self.partial = root / "partial"
        self.check_room: Callable[[int], None] = lambda size: None
        """Asked before that many bytes are written. Raises `NoRoom`."""
        self._lock = threading.Lock()
        self._receiving: dict[str, threading.Lock] = {}

    def open(self) -> None:
        """Makes the directories and sweeps away what a crash left half received."""
        with disk_errors("the image store", self.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.incoming.exists():
                shutil.rmtree(self.incoming)
            self.incoming.mkdir(mode=0o700)
            self.partial.mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self.folder / hex_of(digest)

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def read(self, digest: str, limit: int) -> bytes:
        """A small blob, checked again. Raises `NotFound`, or `Corrupt` when the disk lost its bytes."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise self._missing(digest) from None
        if len(data) > limit:
            raise Invalid(f"blob {digest} is larger than {limit} bytes, too large for what it should be")
        if PREFIX + hashlib.sha256(data).hexdigest() != digest:
            raise self._rotten(digest)
        return data

    def open_blob(self, digest: str) -> BinaryIO:
        """Raises `NotFound`."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise self._missing(digest) from None

    @staticmethod
    def _missing(digest: str) -> NotFound:
        return NotFound(f"blob {digest} is not in the image store", hint="pull the image again")

    def verify(self, digest: str) -> None:
        """Reads a blob of any size again. Raises `Corrupt` when the disk lost its bytes."""
        with self.path(digest).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if PREFIX + found != digest:
            raise self._rotten(digest)

    def _rotten(self, digest: str) -> Corrupt:
        """The damaged bytes go, so that the next pull or load brings good ones."""
        self.path(digest).unlink(missing_ok=True)
        return Corrupt(
            f"blob {digest} did not match its digest any more and was removed",
            hint="pull or load the image again, and check the disk",
        )

    def put(self, data: bytes) -> str:
        digest = PREFIX + hashlib.sha256(data).hexdigest()
        write_durably(self.path(digest), data, self.incoming)
        return digest

    @contextlib.contextmanager
    def receive(self) -> Iterator[Incoming]:
        """Whatever is not committed at the end is deleted."""
        with disk_errors("the image", self.root):
            fd, name = tempfile.mkstemp(dir=self.incoming)
        with open(name, "r+b", buffering=0) as file:
            os.close(fd)
            try:
                yield Incoming(self, file)
            finally:
                with contextlib.suppress(FileNotFoundError):  # committed: renamed to its digest
                    os.unlink(name)

    @contextlib.contextmanager
    def receive_rest(self, digest: str) -> Iterator[Incoming]:
        """What is still missing of the blob `digest`; what is not committed stays for the next time. Within
        `only_one(digest)`."""
        path = self.partial / hex_of(digest)
        with disk_errors("the image", self.root):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.close(fd)
        with open(path, "r+b", buffering=0) as file:
            incoming = Incoming(self, file)
            try:
                yield incoming
            finally:
                if not incoming.size:
                    path.unlink(missing_ok=True)

    def forget_partial(self) -> int:
        """Bytes freed. Only while nothing arrives."""
        freed = 0
        for path in self.partial.iterdir():
            freed += path.stat().st_size
            path.unlink()
        return freed

    @contextlib.contextmanager
    def only_one(self, key: str) -> Iterator[None]:
        """Those who want the same thing at the same time wait for the first, then find it there."""
        with self._lock:
            lock = self._receiving.setdefault(key, threading.Lock())
        with lock:
            yield

    def digests(self) -> list[str]:
        return [PREFIX + entry.name for entry in self.folder.iterdir()]

    def usage(self) -> int:
        """Bytes of all blobs, also of those that are not whole yet."""
        total = 0
        for folder in (self.folder, self.partial):
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
        return total

    def remove(self, digest: str) -> int:
        """Bytes freed."""
        path = self.path(digest)
        size = path.stat().st_size
        path.unlink()
        return size
