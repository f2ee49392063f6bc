"""Where attempts have their files.

    live/<allocation>/           while something of it may be here
        work/                    of a plain command: its working directory, HOME and TMPDIR
        told/                    of a container: mounted at /run/hivemind
        output steps/            what it writes to $HIVEMIND_OUTPUT and $HIVEMIND_STEPS; below told/ of a container
        late                     it was told to end because its time was over
    live/any-<n>/                the same for whichever plain command is next; one that is left empty is used again
    kept/<run>/<allocation>.log, .artifacts/     until the hive forgets the run
    boot                         the start of the machine in which the last daemon ran

Making and removing a directory costs a disk more than all else that a short command needs of it. An attempt that says
nothing and keeps nothing leaves no file at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Container
from itertools import count
from pathlib import Path

_NAME = re.compile(r"[0-9a-z][0-9a-z-]*")
_ANY = "any-"
_MOST_IDLE = 256
_OTHERS = 0o007


class Places:
    def __init__(self, top: Path) -> None:
        """`top`: a directory of its own in the data directory."""
        self._top = top.absolute()
        self._live = self._top / "live"
        self._kept = self._top / "kept"
        self._idle: list[Path] = []
        self._numbers = count(1)
        self._open_to_users = False

    def open(self, boot: str) -> bool:
        """Whether the machine was started anew since the last daemon: what began then may have left no trace."""
        # Commands of other users must get through to their own directory, but see no other.
        self._top.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._live.mkdir(exist_ok=True, mode=0o711)
        self._kept.mkdir(exist_ok=True, mode=0o700)
        taken = [int(name.removeprefix(_ANY)) for name in os.listdir(self._live) if name.startswith(_ANY)]
        self._numbers = count(max(taken, default=0) + 1)
        marker = self._top / "boot"
        last = marker.read_text() if marker.exists() else ""
        if last != boot:
            draft = marker.with_suffix(".draft")
            draft.write_text(boot)
            os.replace(draft, marker)
        return last not in ("", boot)

    # -- live ------------------------------------------------------------------------------------------------

    def live(self, name: str) -> Path:
        """`name`: an allocation, or that of a place which was `taken`."""
        return Path(f"{self._live}/{name}")

    def take(self) -> Path:
        """A place with an empty `work`, for a plain command of the daemon's own user. Raises `OSError`."""
        if self._idle:
            return self._idle.pop()
        place = self._live / f"{_ANY}{next(self._numbers)}"
        os.mkdir(place, 0o700)
        os.mkdir(place / "work", 0o700)
        return place

    def give_back(self, place: Path) -> bool:
        """Whether nothing is left in it, so that the next may have it, or it is gone; otherwise see `destroy`."""
        try:
            for name in (left := os.listdir(place)):
                if name in ("output", "late"):
                    os.unlink(f"{place}/{name}")
            if set(left) - {"output", "late"} != {"work"} or os.listdir(f"{place}/work"):
                return False
        except FileNotFoundError:
            return not place.exists()
        except OSError:
            return False
        usable = place.name.startswith(_ANY) and len(self._idle) < _MOST_IDLE
        if usable:
            self._idle.append(place)
        return usable

    def destroy(self, *places: Path) -> None:
        """Blocks for as long as it takes. Links that a task made are removed, not followed."""
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(place)

    def live_ones(self) -> list[Path]:
        """By whomever they were made."""
        return list(self._live.iterdir())

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

    # -- kept ------------------------------------------------------------------------------------------------

    def log(self, run: str, allocation: str) -> Path:
        return Path(f"{self._kept}/{run}/{allocation}.log")

    def artifacts(self, run: str, allocation: str) -> Path:
        return Path(f"{self._kept}/{run}/{allocation}.artifacts")

    def run_of(self, allocation: str) -> str | None:
        """The run of an attempt of which something is kept."""
        if not _NAME.fullmatch(allocation) or not self._kept.is_dir():
            return None
        for run in os.listdir(self._kept):
            if self.log(run, allocation).exists() or self.artifacts(run, allocation).exists():
                return run
        return None

    def forget(self, run: str) -> None:
        """Everything that is kept of a run. Blocks."""
        if _NAME.fullmatch(run):
            shutil.rmtree(self._kept / run, ignore_errors=True)

    def has_kept(self, run: str) -> bool:
        return (self._kept / run).exists()

    def stale(self, wanted: Callable[[str], bool], runs: Container[str]) -> list[Path]:
        """Live places but those whose name is `wanted`, what is kept but of those runs."""
        live = [place for place in self._live.iterdir() if not wanted(place.name)]
        return live + [place for place in self._kept.iterdir() if place.name not in runs]
