"""The signs of the pictures: one set for terminals that know Unicode, one for those that do not."""

from __future__ import annotations

from typing import NamedTuple

from hivemind.cli.terminal import BAD, FAINT, GOOD, WARN, Terminal


class Marks(NamedTuple):
    states: dict[str, str]
    other: str
    """Of a task that has no state: of a definition."""
    branch: str
    last: str
    beam: str
    gap: str
    heads: dict[str, str]
    """Arrow heads, by the outcome that is needed."""
    asks: str
    """The head of an arrow with an expression."""
    corners: str
    """Of boxes: top left, top right, bottom left, bottom right."""
    flat: str
    upright: str
    bar: str
    failed_bar: str
    waiting: str


UNICODE = Marks(
    states={
        "pending": "○", "blocked": "◐", "queued": "◌", "running": "●", "succeeded": "✓", "failed": "✗",
        "canceled": "⊘", "skipped": "↷", "timed out": "⧖", "lost": "☇",
    },
    other="□",
    branch="├─ ", last="└─ ", beam="│  ", gap="   ",
    heads={"success": "▼", "failure": "✗", "done": "▽", "always": "▽"},
    asks="?",
    corners="┌┐└┘", flat="─", upright="│",
    bar="█", failed_bar="▒", waiting="·",
)  # fmt: skip
ASCII = Marks(
    states={
        "pending": ".", "blocked": "%", "queued": "o", "running": "*", "succeeded": "+", "failed": "x",
        "canceled": "-", "skipped": "~", "timed out": "T", "lost": "!",
    },
    other="#",
    branch="|- ", last="`- ", beam="|  ", gap="   ",
    heads={"success": "v", "failure": "x", "done": "o", "always": "o"},
    asks="?",
    corners="++++", flat="-", upright="|",
    bar="#", failed_bar="x", waiting=".",
)  # fmt: skip

MOODS = {
    "succeeded": GOOD, "running": "cyan", "failed": BAD, "timed out": BAD, "lost": BAD, "blocked": WARN,
    "queued": WARN, "pending": FAINT, "skipped": FAINT, "canceled": WARN,
}  # fmt: skip


def marks_for(terminal: Terminal, *, ascii: bool = False) -> Marks:
    """Those that the terminal can show; `ascii` asks for the plain ones."""
    encoding = getattr(terminal.out, "encoding", None) or "utf-8"
    try:
        "✓│█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        ascii = True
    return ASCII if ascii else UNICODE


def painted(terminal: Terminal, text: str, state: str) -> str:
    """`text` in the colour of a state."""
    mood = MOODS.get(state)
    return terminal.paint(text, mood) if mood else text


def span(milliseconds: float) -> str:
    """How long something took, short: `80ms`, `2.1s`, `42s`, `3m05s`, `2h07m`."""
    seconds = milliseconds / 1000
    if seconds < 0.9995:
        return f"{max(round(milliseconds), 0)}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
