"""Whoever is inside a volume while its files are copied cannot lead the copy out of it."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hivemind.drivers.volumes.commands import Failed
from hivemind.drivers.volumes.links import unfollowed
from hivemind.drivers.volumes.local import copy_tree

pytestmark = pytest.mark.real

_RENAME_EXCHANGE = 2
_ROUNDS = 25


def test_links_are_told_and_not_followed(tmp_path: Path) -> None:
    place, outside = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("s")
    (place / "way").symlink_to(outside)
    (place / "file").write_text("f")
    with unfollowed(place) as seen:
        assert os.readlink(seen / "way") == str(outside)
        assert (seen / "file").read_text() == "f"
        for path in (seen / "way" / "secret", seen / "way" / "new"):
            with pytest.raises(OSError) as refused:
                path.open("ab" if path.name == "new" else "rb")
            assert refused.value.errno == errno.ELOOP
        (seen / "made").mkdir()
    assert (place / "made").is_dir() and os.listdir(outside) == ["secret"]


@contextmanager
def exchanged(one: Path, other: Path) -> Iterator[None]:
    """All the while, as fast as it goes."""
    libc, over = ctypes.CDLL(None), threading.Event()

    def run() -> None:
        names = os.fsencode(one), os.fsencode(other)
        while not over.is_set():
            libc.renameat2(-100, names[0], -100, names[1], _RENAME_EXCHANGE)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_directory_exchanged_for_a_link_leads_no_copy_outside(tmp_path: Path) -> None:
    source, outside = tmp_path / "volume", tmp_path / "node"
    for directory in (source / "d", outside):
        directory.mkdir(parents=True)
        for name in range(40):
            (directory / f"{name}").write_text("mine" if directory != outside else "the node's")
    (source / "e").symlink_to(outside)
    with exchanged(source / "d", source / "e"):
        for round in range(_ROUNDS):
            target = tmp_path / f"copy-{round}"
            with suppress(Failed):  # it may well say that the files changed below it
                asyncio.run(copy_tree(source, target))
            copied = [path for path in target.rglob("*") if path.is_file() and not path.is_symlink()]
            stolen = [p for p in copied if not p.parent.is_symlink() and p.read_text() == "the node's"]
            assert stolen == []
