"""Log lines for people, for journals and for programs."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.errors import Invalid
from hivemind.telemetry.logs import Console, Journal, JsonLines, configure, formatter


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(format: str = "console", level: str = "info", stream: io.StringIO | None = None) -> io.StringIO:
    out = stream if stream is not None else io.StringIO()
    configure(format, level, out)
    logger = logging.getLogger("hivemind.agent.loop")
    logger.debug("quiet")
    logger.info("started %s", "web", extra={"app": "web", "note": "two words"})
    logger.warning("line one\nforged line")
    return out


def test_console_lines() -> None:
    first, second = written().getvalue().splitlines()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} info    agent.loop: started web app=web note="two words"', first
    )
    assert second.endswith(r"warning agent.loop: line one\nforged line")


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33m" in written(stream=Terminal()).getvalue()
    assert "\x1b" not in written().getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written(stream=Terminal()).getvalue()


def test_auto_is_for_people_on_a_terminal_only() -> None:
    assert isinstance(formatter("auto", Terminal()), Console)
    assert isinstance(formatter("auto", io.StringIO()), JsonLines)


def test_levels() -> None:
    assert "quiet" in written(level="debug").getvalue()
    assert "started" not in written(level="warning").getvalue()


def test_json_lines() -> None:
    lines = [json.loads(line) for line in written(format="json").getvalue().splitlines()]
    assert lines[0]["message"] == "started web"
    assert lines[0]["logger"] == "hivemind.agent.loop"
    assert (lines[0]["level"], lines[0]["app"], lines[0]["note"]) == ("info", "web", "two words")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", lines[0]["time"])
    assert lines[1]["message"] == "line one\nforged line"


def test_exceptions_and_odd_fields_in_every_format() -> None:
    for layout in (JsonLines(), Console(coloured=False), Journal()):
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        handler.setFormatter(layout)
        logger = logging.getLogger("hivemind.test.exceptions")
        logger.addHandler(handler)
        try:
            raise ValueError("my own fault")
        except ValueError:
            logger.exception("failed", extra={"thing": object(), "level": "mine"})
        finally:
            logger.removeHandler(handler)
        assert "my own fault" in out.getvalue()
        assert "Traceback" in out.getvalue()
        assert "object object" in out.getvalue()


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure(stream=stream)
        logging.getLogger("hivemind.x").warning("careful")
        stream.flush()
        assert (tmp_path / "journal").read_text() == "<4>x: careful\n"
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        assert isinstance(formatter("console", stream), Console)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(Invalid, match="format"):
        configure(format="xml")
    with pytest.raises(Invalid, match="level"):
        configure(level="loud")
