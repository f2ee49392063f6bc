"""Artifacts: files of a task that outlive it, kept on its node and read from there as a tar.

`report.html` or `dist` is that file or directory; a pattern, such as `logs/**/*.txt` or `*.whl`, is a directory of
all that match, by their paths from where the pattern begins. Kept are files and directories, no links and no devices:
nobody who reads them is led anywhere else.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote

from hivemind.agent.tasks.results import ReadFiles
from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.model.job import Artifact
from hivemind.model.quantity import show_bytes

_WILD = re.compile(r"[*?\[]")
_BLOCK = 1 << 18
_MOST_FILES = 100_000


class Kept(NamedTuple):
    name: str
    size: int
    """Bytes, over all its `files`."""
    files: int


async def keep(
    artifacts: Sequence[Artifact], files: ReadFiles, directory: Path, most: int, *, strict: bool
) -> None:
    """Copies them into `directory`, all or none. `most`: bytes in all. `strict`: one that is missing, and not
    optional, is `NotFound`. Raises `Invalid`, `OSError`."""
    draft = directory.with_name(f".{directory.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    try:
        left = most
        for artifact in artifacts:
            left -= await _copy(artifact, files, draft, left, most, strict=strict)
        if not any(draft.iterdir()):
            return
        shutil.rmtree(directory, ignore_errors=True)
        os.rename(draft, directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        _clear_empty(directory)


def kept_in(directory: Path) -> list[Kept]:
    """By name. Blocks."""
    if not directory.is_dir():
        return []
    return sorted(_measure(place) for place in directory.iterdir())


def read(directory: Path, name: str) -> AsyncIterator[bytes]:
    """As a tar, whose first name is the artifact's. Raises `NotFound`."""
    from hivemind.drivers.runtimes.files import read_tar

    place = directory / _file_name(name)
    if not place.exists():
        raise NotFound(f"there is no artifact {name!r}", hint="hivemind job artifacts lists them")
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_tar(root, place.name)
    finally:
        os.close(root)


async def _copy(
    artifact: Artifact, files: ReadFiles, draft: Path, left: int, most: int, *, strict: bool
) -> int:
    """Bytes that it has."""
    from hivemind.drivers.runtimes.files import flow

    base, pattern = split(artifact.path)
    target = draft / _file_name(artifact.name or PurePosixPath(artifact.path).name or "files")
    taken = _Taken(target, pattern, left, most)
    try:
        await flow.inward(files(base), partial(_unpack, taken))
    except (NotFound, Conflict) as error:
        if not isinstance(error, NotFound):
            raise Invalid(
                f"the artifact {artifact.path} cannot be kept: {error.message}", hint=error.hint
            ) from None
    if not taken.files and not artifact.optional and strict:
        raise NotFound(
            f"there is no artifact {artifact.path}",
            hint="let the task write it, or let it be optional: {path: …, optional: true}",
        )
    return taken.size


def split(path: str) -> tuple[str, re.Pattern[str] | None]:
    """Where the files of a pattern begin, and what their paths from there look like; None: it is no pattern."""
    parts = PurePosixPath(path).parts
    for number, part in enumerate(parts):
        if _WILD.search(part):
            return str(PurePosixPath(*parts[:number])), _compiled(parts[number:])
    return path, None


def _compiled(parts: Sequence[str]) -> re.Pattern[str]:
    """`**` is any number of directories, `*` and `?` stay within a name."""
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += "".join(_sign(sign) for sign in re.findall(r"\[[^\]/]+\]|.", part)) + (
                "" if last else "/"
            )
    return re.compile(text + r"\Z", re.DOTALL)


def _sign(sign: str) -> str:
    if sign == "*":
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    if len(sign) > 1:
        inner = sign[1:-1].replace("\\", "\\\\")
        return f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
    return re.escape(sign)


class _Taken:
    """What one artifact has got so far."""

    def __init__(self, target: Path, pattern: re.Pattern[str] | None, left: int, most: int) -> None:
        self.target = target
        self.pattern = pattern
        self.files = 0
        self.size = 0
        self._left = left
        self._most = most

    def place(self, name: str) -> Path | None:
        """Where that entry of the archive goes; None: it is not wanted."""
        inner = PurePosixPath(name).parts[1:] if not name.startswith("./") else PurePosixPath(name).parts
        if ".." in inner:
            return None
        if self.pattern and not self.pattern.match("/".join(inner)):
            return None
        return self.target.joinpath(*inner)

    def count(self, size: int) -> None:
        self.files += 1
        self.size += size
        if self.size > self._left or self.files > _MOST_FILES:
            raise Invalid(
                f"the artifacts are larger than {show_bytes(self._most)}, or are more than {_MOST_FILES} files",
                hint="keep less, write them to a volume, or let the node keep more: --artifact-limit",
            )


def _unpack(taken: _Taken, source: int) -> None:
    import tarfile

    try:
        with (
            os.fdopen(os.dup(source), "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]
                place = taken.place(info.name)
                if place is None:
                    continue
                if info.isdir() and taken.pattern is None:
                    place.mkdir(parents=True, exist_ok=True)
                    taken.files += place == taken.target
                elif info.isfile():
                    taken.count(info.size)
                    _write(archive, info, place)
    except (tarfile.TarError, EOFError) as error:
        raise Invalid(f"the artifact cannot be read: {error}") from None
    while os.read(source, _BLOCK):  # what follows the end of an archive is padding
        pass


def _write(archive: object, info: object, place: Path) -> None:
    content = archive.extractfile(info)  # type: ignore[attr-defined]
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
    place.chmod(info.mode & 0o755 | 0o600)  # type: ignore[attr-defined]
    os.utime(place, (info.mtime, info.mtime))  # type: ignore[attr-defined]


def _measure(place: Path) -> Kept:
    name = unquote(place.name)
    if not place.is_dir():
        return Kept(name, place.stat().st_size, 1)
    sizes = [
        os.stat(os.path.join(folder, file), follow_symlinks=False).st_size
        for folder, _, inner in os.walk(place)
        for file in inner
    ]
    return Kept(name, sum(sizes), len(sizes))


def _file_name(name: str) -> str:
    """Of any name; none that begins with a dot, so that drafts and `..` are nobody's."""
    text = quote(name, safe=" +@,=")
    return (f"%2E{text[1:]}" if text.startswith(".") else text)[:250]


def _clear_empty(directory: Path) -> None:
    """That of the run, if nothing came of it."""
    with contextlib.suppress(OSError):
        os.rmdir(directory.parent)
