"""Structured logs on the standard library's logging.

`console` lines are for people: time, level, where, message and the extra fields; coloured on a terminal only.
Under systemd's journal, which knows the time itself, a line begins with the journal's priority prefix instead.
`json` writes one object a line. Fields are given as `logger.info("started", extra={"app": "web"})`.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from hivemind.errors import Invalid

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure(format: str = "console", level: str = "info", stream: TextIO | None = None) -> None:
    """Sends everything that is logged in this process to `stream` (stderr) and nowhere else.

    Raises `Invalid` for an unknown format or level."""
    out = stream or sys.stderr
    if level not in LEVELS:
        raise Invalid(f"there is no log level {level!r}", hint=f"the levels are {', '.join(LEVELS)}")
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter(format, out))
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])


def formatter(format: str, stream: TextIO) -> logging.Formatter:
    """`auto` is console on a terminal, else json. Raises `Invalid` for an unknown format."""
    if format == "auto":
        format = "console" if stream.isatty() else "json"
    if format == "json":
        return JsonLines()
    if format != "console":
        raise Invalid(f"there is no log format {format!r}", hint="the formats are auto, console and json")
    if _is_journal(stream):
        return Journal()
    return Console(coloured=stream.isatty() and "NO_COLOR" not in os.environ)


class Console(logging.Formatter):
    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname.lower():<8}"
        colour = _COLOURS.get(record.levelno, "") if self._coloured else ""
        if colour:
            level = f"\x1b[{colour}m{level}\x1b[0m"
        return f"{time} {level}{_text(self, record)}"


class Journal(logging.Formatter):
    """`<6>where: message`: the priority prefix of sd-daemon(3), on every line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in _text(self, record).splitlines())


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in _fields(record).items() if key not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=repr).decode()


def _text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Line breaks in a message are escaped, so that nobody can forge a second line."""
    where = record.name.removeprefix("hivemind.")
    message = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in record.getMessage()
    )
    fields = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
    text = f"{where}: {message}{fields}"
    return text + "\n" + formatter.formatException(record.exc_info) if record.exc_info else text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _shown(value: Any) -> str:
    text = str(value)
    plain = text.isprintable() and not any(char in text for char in ' "=')
    return text if text and plain else msgspec.json.encode(text).decode()


def _is_journal(stream: TextIO) -> bool:
    """systemd names the device and inode of the journal's socket in JOURNAL_STREAM."""
    announced = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file
        return False
    return announced == f"{found.st_dev}:{found.st_ino}"
