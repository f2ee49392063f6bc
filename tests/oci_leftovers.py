"""What a test run that was killed left of its containers: the next run finds it by a note and takes it away.

A note is a file that names a test's directory (with `state` and `run` in it) and the process that used it. Only
what a note of a dead process names is touched.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOTES = Path(tempfile.gettempdir()) / f"hivemind-test-notes-{os.getuid()}"


@contextmanager
def noted(directory: Path) -> Iterator[None]:
    """While it is entered, the next run will clear `directory` should this one be killed."""
    _NOTES.mkdir(mode=0o700, exist_ok=True)
    descriptor, note = tempfile.mkstemp(prefix=f"{os.getpid()}.{_born(os.getpid())}.", dir=_NOTES)
    with open(descriptor, "w") as file:
        file.write(str(directory))
    yield
    os.unlink(note)  # not when the test's own clearing failed: then the next run tries again


def sweep() -> list[Path]:
    """Clears what dead processes noted; the directories."""
    cleared = []
    for note in sorted(_NOTES.glob("*.*.*")):
        pid, born, _ = note.name.split(".")
        if _born(int(pid)) != born:
            directory = Path(note.read_text())
            _clear(directory)
            note.unlink(missing_ok=True)
            cleared.append(directory)
    return cleared


def _clear(directory: Path) -> None:
    from hivemind.drivers.runtimes.oci.runtime import OciRuntime

    run = directory / "run"
    if run.is_symlink():  # into memory, which may have been emptied
        run.readlink().mkdir(exist_ok=True)

    async def destroy() -> None:
        runtime = OciRuntime(directory / "state", directory / "run", None)  # type: ignore[arg-type]
        await runtime.open()
        await runtime.destroy()

    if directory.exists():
        asyncio.run(destroy())
        if run.is_symlink():
            shutil.rmtree(run.readlink(), ignore_errors=True)


def _born(pid: int) -> str:
    """When the process began, which tells it from a later one with its number; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
