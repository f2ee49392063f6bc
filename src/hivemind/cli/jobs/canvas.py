"""A picture that is painted over as it changes, with room above it for what shall stay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType

from hivemind.cli.terminal import Terminal

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Canvas:
    """Paints on standard error, so that what a program reads from standard output stays clean. Without a terminal it
    paints nothing, and prints only what stays."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._err = terminal.err
        self.animated = terminal.interactive and terminal.err.isatty()
        self._painted = 0

    def __enter__(self) -> Canvas:
        if self.animated:
            self._err.write(_HIDE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.animated:
            self._err.write(_SHOW)
            self._err.flush()

    def paint(self, lines: Sequence[str]) -> None:
        """In place of what was painted before; lines are not cut, so they have to fit."""
        if not self.animated:
            return
        room = self._height() - 1
        shown = list(lines[:room])
        if len(lines) > room:
            shown[-1] = f"… and {len(lines) - room + 1} more lines"
        back = f"\x1b[{self._painted}A" if self._painted else ""
        self._err.write(back + "".join(f"\r{line}\x1b[K\n" for line in shown) + "\x1b[J")
        self._err.flush()
        self._painted = len(shown)

    def say(self, lines: Sequence[str]) -> None:
        """Above the picture, to stay there."""
        self.clear()
        for line in lines:
            self._err.write(f"{line}\n")
        self._err.flush()

    def clear(self) -> None:
        if self._painted:
            self._err.write(f"\x1b[{self._painted}A\x1b[J")
            self._err.flush()
        self._painted = 0

    def _height(self) -> int:
        try:
            return max(os.get_terminal_size(self._err.fileno()).lines, 6)
        except (OSError, ValueError):
            return 24
