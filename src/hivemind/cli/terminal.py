"""Where the command line prints: how wide it is, whether it is a terminal, whether it wants colour."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip
GOOD, WARN, BAD, FAINT = "green", "yellow", "red", "dim"

_MOODS = {
    GOOD: {"running", "ready", "healthy", "succeeded", "passing", "complete", "completed", "ok"},
    WARN: {
        "deploying", "pending", "pulling", "starting", "waiting", "placed", "stopping", "degraded", "cordoned",
        "drained", "backoff", "warning", "superseded", "warn",
    },
    BAD: {"failing", "failed", "unhealthy", "lost", "error", "fail"},
    FAINT: {"stopped", "none", "ended"},
}  # fmt: skip
_MOOD_OF = {word: mood for mood, words in _MOODS.items() for word in words}


class Terminal:
    """Standard output and error, as they are when the command starts."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.interactive = _is_terminal(self.out)
        self.colour = self.interactive and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int:
        """Columns; without a terminal (and without COLUMNS) so many that nothing is cut."""
        if os.environ.get("COLUMNS", "").isdigit() and int(os.environ["COLUMNS"]) > 0:
            return int(os.environ["COLUMNS"])
        if not self.interactive:
            return 10**6
        try:
            return os.get_terminal_size(self.out.fileno()).columns or 80
        except OSError:
            return 80

    def print(self, text: str = "") -> None:
        self.out.write(text + "\n")

    def note(self, text: str) -> None:
        """For the person, not for the program that reads the output."""
        self.out.flush()
        self.err.write(text + "\n")
        self.err.flush()

    def paint(self, text: str, *styles: str) -> str:
        if not self.colour or not styles or not text:
            return text
        return f"\x1b[{';'.join(_CODES[s] for s in styles)}m{text}\x1b[0m"

    def mood(self, word: str) -> str:
        """The word in the colour of how good it is."""
        style = _MOOD_OF.get(word)
        return self.paint(word, style) if style else word


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it was closed
        return False
