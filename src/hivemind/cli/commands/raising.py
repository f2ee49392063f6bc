"""`hivemind job event`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.errors import Invalid


def event(context: Context) -> int:
    """Exits with 1 when a job that should have been started was not."""
    args = context.args
    raised = context.hive.jobs.raise_event(
        args.type, _payload(args.data), context.project, key=args.key or ""
    )
    if args.output in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(raised))
    else:
        for run in raised.runs:
            context.print(run.name)
        if not raised.runs and not raised.problems:
            context.note(f"no job of {context.project} waits for {args.type}, or its conditions do not hold")
        for problem in raised.problems:
            context.note(problem)
    return 1 if raised.problems else 0


def _payload(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(_held(text) if text.startswith("@") else text.encode())
    except msgspec.DecodeError as error:
        raise Invalid(f"--data is not JSON: {error}", hint="quote texts twice: --data '\"text\"'") from None


def _held(text: str) -> bytes:
    path = text.removeprefix("@")
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise Invalid(f"--data: {path} cannot be read: {error.strerror}") from None
