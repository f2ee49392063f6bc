"""Runs a Python file for the jobs that it defines. Only ever on the side, and by the will, of the person who has it."""

from __future__ import annotations

import linecache
import sys
import traceback
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from hivemind.authoring.decorators import JobFunction
from hivemind.authoring.source import Located
from hivemind.errors import HivemindError

_NAME = "hivemind_job_file"


class Defined(NamedTuple):
    document: dict[str, Any]
    line: int
    lines: dict[str, int]

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """Where that part of the document was written, as far as that can be told."""
        for key, inner in pairwise(path):
            if key == "tasks":
                return self.lines.get(str(inner), self.line)
        return self.line


def jobs_of(path: Path, text: str) -> list[Defined]:
    """In the order of the file. Raises `Invalid` with a `line` for whatever goes wrong in it."""
    module = ModuleType(_NAME)
    module.__file__ = str(path)
    name = str(path.resolve())
    # What tasks are made of is the text that was read, whatever becomes of the file meanwhile.
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    sys.modules[_NAME] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(compile(text, name, "exec"), module.__dict__)  # noqa: S102 - the person's own file, asked for by name
        jobs = [value for value in vars(module).values() if isinstance(value, JobFunction)]
        own = [job for job in dict.fromkeys(jobs) if job.function.__code__.co_filename == name]
        found = [Defined(job.document(), job.line, job.lines) for job in own]
    except (Exception, SystemExit) as error:
        raise _told(error, name) from None
    finally:
        sys.path.remove(str(path.resolve().parent))
        sys.modules.pop(_NAME, None)
    if not found:
        raise Located("there is no job in it", hint="decorate a function with @job of hivemind.authoring")
    return found


def _told(error: BaseException, name: str) -> Located:
    if isinstance(error, Located):
        return error
    if isinstance(error, HivemindError):
        told = Located(error.message, hint=error.hint)
    elif isinstance(error, SystemExit):
        told = Located("it exits while it defines its jobs", hint="leave that to `if __name__ == '__main__'`")
    else:
        told = Located(f"{type(error).__name__}: {getattr(error, 'msg', None) or error}")
    told.line = _line(error, name)
    return told


def _line(error: BaseException, name: str) -> int:
    """The innermost line of the file that led there."""
    if isinstance(error, SyntaxError) and error.filename == name:
        return error.lineno or 1
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return (frames[-1].lineno or 1) if frames else 1
