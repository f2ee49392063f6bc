"""Where attempts have their files.

    live/<allocation>/           while the hive knows it and something of it may be here
        work/                    of a plain command: its working directory, HOME and TMPDIR
        told/                    of a container: mounted at /run/hivemind
        output steps/            what it writes to $HIVEMIND_OUTPUT and $HIVEMIND_STEPS; below told/ of a container
        late                     it was told to end because its time was over
    kept/<run>/<allocation>/     until the hive forgets the run
        log/ artifacts/
    boot                         the start of the machine in which the last daemon ran

An attempt that says nothing and keeps nothing leaves no file at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Container
from pathlib import Path

_NAME = re.compile(r"[0-9a-z][0-9a-z-]*")
_OTHERS = 0o007


class Places:
    def __init__(self, top: Path) -> None:
        """`top`: a directory of its own in the data directory."""
        self._top = top.absolute()
        self._live = self._top / "live"
        self._kept = self._top / "kept"
        self._open_to_users = False

    def open(self, boot: str) -> bool:
        """Whether the machine was started anew since the last daemon: what began then may have left no trace."""
        # Commands of other users must get through to their own directory, but see no other.
        self._top.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._live.mkdir(exist_ok=True, mode=0o711)
        self._kept.mkdir(exist_ok=True, mode=0o700)
        marker = self._top / "boot"
        last = marker.read_text() if marker.exists() else ""
        if last != boot:
            draft = marker.with_suffix(".draft")
            draft.write_text(boot)
            os.replace(draft, marker)
        return last not in ("", boot)

    def live(self, allocation: str) -> Path:
        return self._live / allocation

    def kept(self, run: str, allocation: str) -> Path:
        return self._kept / run / allocation

    def find(self, allocation: str) -> Path | None:
        """What is kept of an attempt whose run is not at hand."""
        if not _NAME.fullmatch(allocation) or not self._kept.is_dir():
            return None
        with os.scandir(self._kept) as runs:
            for run in runs:
                place = Path(run.path, allocation)
                if place.is_dir():
                    return place
        return None

    def let_users_through(self) -> None:
        """To the directories of their own attempts: the data directory lets them pass, what else lies in it does not
        let them in."""
        if self._open_to_users:
            return
        data = self._top.parent
        for entry in data.iterdir():
            mode = entry.lstat().st_mode
            if entry != self._top and not entry.is_symlink() and mode & 0o006:
                entry.chmod(mode & 0o7777 & ~_OTHERS)
        data.chmod(data.stat().st_mode & 0o7777 | 0o011)
        self._open_to_users = True

    def clear(self, allocation: str) -> bool:
        """Whether nothing is left of its live directory but what takes a thread to remove: see `destroy`."""
        place = self._live / allocation
        try:
            for name in ("output", "late"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place / name)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(place / "work")
            os.rmdir(place)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def destroy(self, allocation: str) -> None:
        """Blocks for as long as it takes. Links that a task made are removed, not followed."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._live / allocation)

    def forget(self, run: str) -> None:
        """Everything that is kept of a run. Blocks."""
        if _NAME.fullmatch(run):
            shutil.rmtree(self._kept / run, ignore_errors=True)

    def has_kept(self, run: str) -> bool:
        return (self._kept / run).exists()

    def live_ones(self) -> list[Path]:
        """Live directories, by whomever they were made."""
        return list(self._live.iterdir())

    def prune(self, wanted: Callable[[str], bool], runs: Container[str]) -> None:
        """Live directories but of those allocations that are `wanted`, what is kept but of those runs. Blocks."""
        for place in self._live.iterdir():
            if not wanted(place.name):
                shutil.rmtree(place, ignore_errors=True)
        for place in self._kept.iterdir():
            if place.name not in runs:
                shutil.rmtree(place, ignore_errors=True)
