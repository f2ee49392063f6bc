"""The log of a container that has ended, put where it outlives the container: see `Runtime.keep_log`.

A kept log is a directory with the files `log`, `log.1` …, which `logs.read_log` reads; one without any output is
no directory at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from hivemind.drivers.runtimes.contract import LogLine
from hivemind.drivers.runtimes.logfile import LogFile

NAME = "log"


def move(newest: Path, directory: Path) -> None:
    """`newest` with its older files (`.1`, `.2` …). What was moved before a crash stays moved: the newest goes last."""
    older = sorted(newest.parent.glob(f"{newest.name}.[0-9]*"))
    try:
        empty = not newest.stat().st_size
    except FileNotFoundError:
        return
    if empty and not older:
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in (*older, newest):
        _rename(file, directory / f"{NAME}{file.name.removeprefix(newest.name)}")


async def write(lines: AsyncIterator[LogLine], directory: Path, max_size: int, max_files: int) -> None:
    """For engines that keep logs themselves. Whole or not at all; nothing happens when it was kept before."""
    if directory.exists():
        return
    draft = directory.with_name(f".{directory.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    file: LogFile | None = None
    try:
        async for line in lines:
            if file is None:
                draft.mkdir(parents=True, mode=0o700)
                file = LogFile(str(draft / NAME), max_size, max_files)
            file.write(line.stream.encode(), f"{line.text}\n".encode("utf-8", "replace"), line.time)
        if file is not None:
            file.close()
            os.rename(draft, directory)
    except BaseException:
        if file is not None:
            file.close()
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = target.with_name(f".{target.name}.draft")
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        shutil.copyfile(source, draft)
        os.rename(draft, target)
        source.unlink()
