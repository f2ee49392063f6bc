"""Reading tars that come from strangers: one entry at a time, with no entry able to fill the memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from hivemind.errors import Invalid

CHUNK = 2**18
HEADER_LIMIT = 2**20
"""Bytes of an extension header (long names, attributes); honest ones have a few hundred."""


class _Entry(tarfile.TarInfo):
    """Extension headers are read into memory whole; oversized ones are refused before that."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extension = self.type in (
            *tarfile.GNU_TYPES,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        )
        if extension and self.type != tarfile.GNUTYPE_SPARSE and self.size > HEADER_LIMIT:
            raise Invalid(f"the archive has an extension header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


@contextmanager
def opened(stream: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """A tar that is read once from front to back; `stream` need not seek."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Entry, bufsize=CHUNK) as archive:
        yield archive


def entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Each entry once; an entry's content must be read before the next is asked for."""
    while entry := archive.next():
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep every one of them
        yield entry
