"""Progress that repaints itself on a terminal, and is plain new lines everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from hivemind.cli.tables import cut, display_width
from hivemind.cli.terminal import Terminal

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Line:
    """One line of the view: a key that stays, a word for its state, and more about it."""

    def __init__(self, key: str, state: str, detail: str = "") -> None:
        self.key, self.state, self.detail = key, state, detail

    @property
    def plain(self) -> str:
        return f"{self.key}: {self.state}" + (f"  {self.detail}" if self.detail else "")


class Live:
    """A view of some lines. On a terminal they are painted over; else each is printed when it changes.

    It paints on standard error, so that what a program reads from standard output stays clean.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._err = terminal.err
        self.animated = terminal.interactive and _stays_on(terminal)
        self._painted = 0
        self._printed: dict[str, str] = {}
        self._turn = 0
        self.begun = False
        """Something has been shown."""

    def __enter__(self) -> Live:
        if self.animated:
            self._err.write(_HIDE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.animated:
            self._err.write(_SHOW)
            self._err.flush()

    def update(self, title: str, lines: Sequence[Line]) -> None:
        """`title` is repainted only; plain output has lines alone."""
        self.begun = True
        if self.animated:
            self._paint(title, lines)
            return
        for line in lines:
            if self._printed.get(line.key) != line.plain:
                self._printed[line.key] = line.plain
                self._err.write(line.plain + "\n")
        self._err.flush()

    def clear(self) -> None:
        """Takes the view away, for what comes instead of it."""
        if self.animated and self._painted:
            self._err.write(f"\x1b[{self._painted}A\x1b[J")
            self._err.flush()
        self._painted = 0

    def _paint(self, title: str, lines: Sequence[Line]) -> None:
        self._turn += 1
        spin = _SPINNER[self._turn % len(_SPINNER)]
        width = max(self._terminal.width - 1, 20)
        rows = [f"{self._terminal.paint(spin, 'cyan')} {cut(title, width - 2)}"]
        lead = max((display_width(line.key) for line in lines), default=0)
        room = self._height() - 2
        for line in lines[:room]:
            state = cut(line.state, 14)
            left = width - lead - 18
            detail = self._terminal.paint(cut(line.detail, left), "dim") if left > 4 else ""
            rows.append(
                f"  {line.key:<{lead}}  {self._terminal.mood(state)}{' ' * (14 - len(state))}{detail}"
            )
        if len(lines) > room:
            rows.append(f"  … and {len(lines) - room} more")
        back = f"\x1b[{self._painted}A" if self._painted else ""
        body = "".join(f"\r{row}\x1b[K\n" for row in rows)
        self._err.write(f"{back}{body}\x1b[J")
        self._err.flush()
        self._painted = len(rows)

    def _height(self) -> int:
        import os

        try:
            return max(os.get_terminal_size(self._err.fileno()).lines, 6)
        except (OSError, ValueError):
            return 24


def _stays_on(terminal: Terminal) -> bool:
    try:
        return terminal.err.isatty()
    except ValueError:  # it was closed
        return False
