"""Progress: painted over on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import pty

import pytest

from hivemind.cli.live import Line, Live
from hivemind.cli.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("not a file")


def test_plain_output_has_each_change_once() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    with Live(terminal) as live:
        for state in ("starting", "starting", "running"):
            live.update("title", [Line("web.0", state, "more")])
    assert terminal.err.getvalue() == "web.0: starting  more\nweb.0: running  more\n"  # type: ignore[attr-defined]


def test_a_terminal_is_painted_over_and_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal(Screen(), Screen())
    with Live(terminal) as live:
        live.update("web", [Line("web.0", "starting", "x" * 100), Line("web.1", "starting")])
        live.update("web", [Line("web.0", "running")])
        live.clear()
    shown = terminal.err.getvalue()  # type: ignore[attr-defined]
    assert shown.startswith("\x1b[?25l")
    assert shown.endswith("\x1b[2A\x1b[J\x1b[?25h")
    assert "\x1b[3A" in shown
    assert "x" * 30 not in shown


def test_colour_only_on_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Terminal(Screen(), Screen()).mood("running") == "\x1b[32mrunning\x1b[0m"
    assert Terminal(io.StringIO(), io.StringIO()).mood("running") == "running"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal(Screen(), Screen()).mood("running") == "running"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert Terminal(Screen(), Screen()).mood("running") == "running"


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as screen:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(screen.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 30, 57, 0, 0))
        assert Terminal(screen, screen).width == 57
    os.close(master)
    assert Terminal(io.StringIO(), io.StringIO()).width > 10**5
