"""One running command as the shim knows it. Standard library only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from hivemind.drivers.runtimes.logfile import LogFile

Done = Callable[["Command", dict[str, Any]], None]


class Command:
    """Until its exit is recorded. `done` is called once all of it is dead; `beside`: id of the command in whose care
    it was started, which it does not outlive."""

    def __init__(self, pid: int, request: dict[str, Any], done: Done) -> None:
        order = request["order"]
        self.pid = pid
        self.id: str = request.get("id", "")
        self.beside: str = request.get("beside", "")
        self.groups: list[str] = order["groups"]
        self.mark: str = order["mark"]
        self.tag = 0
        self.record: str = request.get("record", "")
        self._copy: str = request.get("copy", "")
        self.oom_path: str = request.get("oom", "")
        self.pipes: dict[int, bytes] = {}
        self.code: int | None = None
        self.trouble = ""
        self.done = done
        self._log: LogFile | None = None
        self._log_order: dict[str, Any] = request.get("log", {})

    def write(self, stream: bytes, data: bytes) -> None:
        """The log appears with the first output: most short commands have none."""
        try:
            if self._log is None:
                os.makedirs(os.path.dirname(self._log_order["path"]), mode=0o700, exist_ok=True)
                self._log = LogFile(**self._log_order)
                self._copy_record()
            self._log.write(stream, data, time.time_ns())
        except OSError as error:
            self.trouble = f"part of its output is lost: {error.strerror}"

    def born(self, birth: dict[str, Any]) -> None:
        """Raises `OSError` when that cannot be recorded."""
        self._append({"born": birth})

    def ended(self, exit: dict[str, Any]) -> None:
        """Raises `OSError` when that cannot be recorded; one that was removed meanwhile needs no record."""
        try:
            self._append({"exit": exit})
        except FileNotFoundError:
            pass

    def exit(self) -> tuple[dict[str, Any], int]:
        """How it ended, and how many of its processes the kernel killed at the memory limit."""
        if self._log is not None:
            self._log.close()
        kills = self._oom_kills() if self.oom_path else 0
        exit = {
            "code": self.code,
            "oom": bool(kills) and self.code == 137,
            "at": time.time_ns() // 10**6,
            "reason": self.trouble,
        }
        return exit, kills

    def _copy_record(self) -> None:
        """So that it is known whose log that is, whatever becomes of the machine."""
        if self._copy:
            with open(self.record, "rb") as record, open(self._copy, "wb", opener=_private) as copy:
                copy.write(record.read())

    def _append(self, line: dict[str, Any]) -> None:
        """The line end comes first: then a line that was cut short by a full disk spoils no other."""
        fd = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            text = b"\n" + json.dumps(line).encode()
            if os.write(fd, text) != len(text):
                raise OSError(28, os.strerror(28))
        finally:
            os.close(fd)

    def _oom_kills(self) -> int:
        try:
            with open(self.oom_path, "rb") as file:
                rows = [line.split() for line in file]
        except OSError:
            return 0
        return next((int(row[1]) for row in rows if row[0] == b"oom_kill"), 0)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
