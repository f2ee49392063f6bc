"""The files of a fake container: a few in memory, enough to copy out, in, and to tell what changed.

Links are kept and told, never followed."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import AsyncIterator

from hivemind.drivers.runtimes.contract import FileChange
from hivemind.errors import Invalid, NotFound

_IMAGE: dict[str, bytes | None] = {
    "/": None,
    "/etc": None,
    "/etc/hosts": b"127.0.0.1 localhost\n",
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "/tmp": None,
}
"""Content by path; None for a directory."""


class Files:
    def __init__(self) -> None:
        self._now: dict[str, tarfile.TarInfo | None] = dict.fromkeys(_IMAGE)
        self._content = {path: content for path, content in _IMAGE.items() if content is not None}
        self._touched: set[str] = set()

    def read(self, path: str) -> bytes:
        top = posixpath.normpath("/" + path.lstrip("/"))
        if top not in self._now:
            raise NotFound(f"there is no {path} in the container")
        inner = [name for name in sorted(self._now) if name == top or name.startswith(f"{top.rstrip('/')}/")]
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in inner:
                self._add(archive, name, f"{posixpath.basename(top) or '.'}{name[len(top.rstrip('/')) :]}")
        return out.getvalue()

    async def write(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        top = posixpath.normpath("/" + path.lstrip("/"))
        data = b"".join([chunk async for chunk in chunks])
        if top not in self._now:
            raise NotFound(f"there is no {path} in the container")
        if top in self._content:
            raise Invalid(f"{path} is no directory in the container")
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for info in archive:
                    self._put(top, archive, info)
        except (tarfile.TarError, EOFError) as error:
            raise Invalid(f"this is no whole tar archive: {error}") from error

    def changes(self) -> list[FileChange]:
        return [FileChange("changed" if path in _IMAGE else "added", path) for path in sorted(self._touched)]

    def _put(self, top: str, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        parts = [part for part in info.name.split("/") if part not in ("", ".")]
        if ".." in parts or not (info.isreg() or info.isdir() or info.issym()):
            raise Invalid(f"{info.name} cannot be copied into a container")
        if not parts:
            return
        for depth in range(1, len(parts)):
            self._now.setdefault(posixpath.join(top, *parts[:depth]), None)
        place = posixpath.join(top, *parts)
        if info.isdir() and self._now.get(place) is None and place in self._now:
            return
        self._now[place] = info
        self._touched |= {place, top} - {"/"}
        if info.isreg():
            content = archive.extractfile(info)
            self._content[place] = content.read() if content else b""

    def _add(self, archive: tarfile.TarFile, path: str, told: str) -> None:
        info, known = tarfile.TarInfo(told.rstrip("/")), self._now[path]
        if known is not None:
            info.mode, info.mtime, info.uid, info.gid = known.mode, known.mtime, known.uid, known.gid
            info.type, info.linkname = known.type, known.linkname
        elif path not in self._content:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        content = self._content.get(path, b"")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
