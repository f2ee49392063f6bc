"""The plain bytes of what came compressed, with an eye on how many there are.

Apart from the layers themselves: a node that only runs what it has need not know how to decompress.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO, cast

from hivemind.drivers.images.blobs import PREFIX
from hivemind.drivers.images.limits import Limits
from hivemind.drivers.images.manifest import GZIP, ZSTD
from hivemind.drivers.images.tarball import CHUNK
from hivemind.errors import Invalid, TooLarge

DAMAGED = (zlib.error, gzip.BadGzipFile, EOFError)


class Counted:
    """Hashes what is read and stops a layer whose archive alone, files or padding, outgrows the limits, or the disk."""

    def __init__(
        self, source: IO[bytes], limits: Limits, compressed: int, check_room: Callable[[int], None]
    ) -> None:
        self._source = source
        self._check_room = check_room
        self._left = limits.bytes + limits.entries * 2048 + 2**20
        self._suspicious = self._left - max(limits.ratio_from, compressed * limits.ratio)
        """What is left when so much came of so little that it can only be a bomb."""
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except DAMAGED as error:
            raise Invalid(f"a layer cannot be decompressed: {error}", hint="the image is damaged") from error
        self._left -= len(data)
        if self._left < max(self._suspicious, 0):
            raise TooLarge(
                "a layer unpacks to far more than it may, as if to fill the disk",
                hint="do not trust where it came from",
            )
        self._check_room(len(data))
        self._hash.update(data)
        return data

    def finish(self) -> str:
        """The digest of everything, also of what follows the archive's end."""
        while self.read(CHUNK):
            pass
        return PREFIX + self._hash.hexdigest()


@contextlib.contextmanager
def decompressed(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The plain bytes of a plain, gzip or zstd file, which must be able to seek. Reading raises one of `DAMAGED`
    where the compressed bytes make no sense."""
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP):
        with gzip.GzipFile(fileobj=file) as plain:
            yield cast(IO[bytes], plain)
    elif magic == ZSTD:
        with _plain_of_zstd(file) as plain:
            yield plain
    else:
        yield file


@contextlib.contextmanager
def _plain_of_zstd(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Frames that want a window of more than 128 MiB are refused: who decompresses has to keep it in memory."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
    with decompressor.stream_reader(file, read_across_frames=True, closefd=False) as plain:
        yield cast(IO[bytes], _Zstd(plain))


class _Zstd:
    """Its errors as one that is known without importing the library."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        import zstandard

        try:
            return self._source.read(size)
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from error
