"""`hivemind cp`: files between this machine and a replica, by docker's rules."""

from __future__ import annotations

import os
import posixpath
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from hivemind.cli.archives import Stream, pack, stream_of, unpack
from hivemind.cli.context import Context
from hivemind.cli.targets import looked_into
from hivemind.errors import Invalid, NotFound
from hivemind.model.quantity import show_bytes

_MOST_LINKS = 10
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Remote:
    target: str
    path: str
    """As written, made absolute: a `/` or `/.` at its end means something."""


def copy(context: Context) -> None:
    args = context.args
    source, target = _place(args.source), _place(args.target)
    if isinstance(source, Remote) and isinstance(target, Remote):
        raise Invalid(
            "both are in containers",
            hint="copy by way of this machine: hivemind cp A:/f - | hivemind cp - B:/",
        )
    if isinstance(source, Remote):
        _out(context, source, str(args.target))
    elif isinstance(target, Remote):
        _in(context, str(args.source), target)
    else:
        raise Invalid(
            "neither is in a container", hint="write TARGET:/path for the one that is, like web.0:/etc/hosts"
        )


def _place(text: str) -> Remote | None:
    """`web:/etc`; what begins with `/` or `.`, and `-`, is here."""
    target, colon, path = text.partition(":")
    if not colon or text[:1] in ("/", ".") or text == "-" or not target:
        return None
    return Remote(target, path if path.startswith("/") else f"/{path}")


class Inside:
    """The files of one replica."""

    def __init__(self, context: Context, remote: Remote) -> None:
        self._hive = context.hive
        self._replica, self._container = looked_into(context, remote.target)
        self.name = self._replica.name

    def read(self, path: str) -> Iterator[bytes]:
        return self._hive.allocations.read_files(
            self._replica.id, path, self._replica.project, container=self._container
        )

    def write(self, path: str, chunks: Iterator[bytes]) -> None:
        self._hive.allocations.write_files(
            self._replica.id, path, chunks, self._replica.project, container=self._container
        )

    def look(self, path: str) -> tarfile.TarInfo | None:
        """What is there: a link itself, not what it leads to."""
        try:
            with closing(stream_of(self.read(path))) as stream:
                return stream.next()
        except NotFound:
            return None

    def resolve(self, path: str) -> tuple[str, tarfile.TarInfo | None]:
        """Where a link, if it is one, leads to, and what is there."""
        for _ in range(_MOST_LINKS):
            found = self.look(path)
            if found is None or not found.issym():
                return path, found
            path = posixpath.join(posixpath.dirname(path.rstrip("/")), found.linkname)
        raise Invalid(f"{path} is a link to a link to a link …")


def _out(context: Context, source: Remote, target: str) -> None:
    inside, args = Inside(context, source), context.args
    path = _clean(source.path)
    if args.follow_link:
        path, _ = inside.resolve(path)
    if target == "-":
        if sys.stdout.isatty():
            raise Invalid("a tar archive is nothing for a terminal", hint="write it to a file: … > files.tar")
        for chunk in inside.read(path):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with closing(stream_of(inside.read(path))) as stream:
        first = stream.next()
        assert first is not None
        contents = source.path.endswith("/.")
        directory, name = _here(target, first, contents=contents)
        size = unpack(stream, first, directory, name, owners=args.archive)
    _done(context, size, f"{inside.name}:{path}", target)


def _here(target: str, first: tarfile.TarInfo, *, contents: bool) -> tuple[str, str]:
    """The directory to unpack into, and what the first entry is called there (empty: it is that directory)."""
    if os.path.isdir(target):
        return (target, "") if first.isdir() and contents else (target, first.name.rsplit("/", 1)[-1])
    if os.path.exists(target) and first.isdir():
        raise Invalid(f"{target} is a file, and what is to be copied a directory")
    if not first.isdir() and target.endswith("/"):
        raise Invalid(f"there is no directory {target}", hint=f"make it first: mkdir -p {target}")
    directory, name = os.path.split(os.path.abspath(target))
    if not os.path.isdir(directory):
        raise Invalid(f"there is no directory {directory}", hint=f"make it first: mkdir -p {directory}")
    return directory, name


def _in(context: Context, source: str, target: Remote) -> None:
    args = context.args
    if source != "-" and not os.path.lexists(source.rstrip("/") or "/"):
        raise Invalid(f"there is no {source} here", hint="check its name")
    inside = Inside(context, target)
    path, there = inside.resolve(_clean(target.path))
    if source == "-":
        if there is None or not there.isdir():
            raise Invalid(f"{inside.name} has no directory {path}", hint="a tar archive is unpacked into one")
        inside.write(path, iter(lambda: sys.stdin.buffer.read(_BLOCK), b""))
        return
    real = os.path.realpath(source) if args.follow_link else source.rstrip("/") or "/"
    is_directory = os.path.isdir(real) and not os.path.islink(real)
    directory, name = _there(inside, target.path, path, there, source, is_directory=is_directory)
    stream = Stream(pack(real, name, owners=args.archive))
    inside.write(directory, iter(stream))
    _done(context, stream.size, source, f"{inside.name}:{target.path}")


def _there(
    inside: Inside, written: str, path: str, there: tarfile.TarInfo | None, source: str, *, is_directory: bool
) -> tuple[str, str]:
    """The directory inside to unpack into, and the name there (empty: it is that directory)."""
    if there is not None and there.isdir():
        contents = is_directory and source.endswith("/.")
        return (path, "") if contents else (path, os.path.basename(os.path.abspath(source)))
    if there is not None and is_directory:
        raise Invalid(f"{path} is a file in {inside.name}, and {source} a directory")
    if there is None and not is_directory and written.endswith("/"):
        raise Invalid(
            f"{inside.name} has no directory {path}", hint="leave out the / to give the file that name"
        )
    return posixpath.dirname(path), posixpath.basename(path)


def _clean(path: str) -> str:
    return path.removesuffix("/.").rstrip("/") or "/"


def _done(context: Context, size: int, source: str, target: str) -> None:
    if not context.args.quiet and context.terminal.interactive:
        context.note(f"copied {show_bytes(size)} from {source} to {target}")
