"""The log of a container that has ended, put where it outlives the container: see `Runtime.keep_log`.

A kept log is a file, with older ones beside it (`.1`, `.2` …), which `logs.read_log` reads; one without any output is
no file at all.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from hivemind.drivers.runtimes.contract import LogLine
from hivemind.drivers.runtimes.logfile import LogFile


def move(newest: Path, file: Path) -> None:
    """`newest` with its older files. The oldest goes first, so that after a crash the others are still found."""
    try:
        empty = not os.stat(newest).st_size
    except FileNotFoundError:
        return
    older = _older(newest)
    if empty and not older:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for one in (*reversed(older), newest):
        _rename(one, file.with_name(file.name + one.name.removeprefix(newest.name)))


async def write(lines: AsyncIterator[LogLine], file: Path, max_size: int, max_files: int) -> None:
    """For engines that keep logs themselves. Whole or not at all; nothing happens when it was kept before."""
    if file.exists():
        return
    draft = file.with_name(f".{file.name}.draft")
    _remove(draft)
    log: LogFile | None = None
    try:
        async for line in lines:
            if log is None:
                draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                log = LogFile(str(draft), max_size, max_files)
            log.write(line.stream.encode(), f"{line.text}\n".encode("utf-8", "replace"), line.time)
    finally:
        if log is not None:
            log.close()
    if log is not None:
        move(draft, file)


def _older(newest: Path) -> list[Path]:
    found: list[Path] = []
    while (one := newest.with_name(f"{newest.name}.{len(found) + 1}")).exists():
        found.append(one)
    return found


def _remove(newest: Path) -> None:
    for one in (*_older(newest), newest):
        one.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = target.with_name(f".{target.name}.draft")
        shutil.copyfile(source, draft)
        os.rename(draft, target)
        source.unlink()
