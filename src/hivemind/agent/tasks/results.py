"""What an attempt that has ended leaves to those after it: outputs, and the step that it was at."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from hivemind.agent.tasks.reading import decoded, read_text
from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.jobs.order import STATUS, Order
from hivemind.jobs.outputs import MOST_A_VALUE, MOST_IN_ALL, parse_outputs, typed

_MOST_STATUS = 64 * 1024
_TAR_OVERHEAD = 16 * 1024

ReadFiles = Callable[[str], AsyncIterator[bytes]]
"""A tar of what is at that path of the attempt's files, as `Runtime.read_files`."""


def written(told: Path, order: Order) -> dict[str, Any]:
    """What it wrote to `$HIVEMIND_OUTPUT`, which is in `told`. Raises `Invalid`."""
    text = read_text(told, "output", MOST_IN_ALL, "what it wrote to $HIVEMIND_OUTPUT")
    if not text:
        return {}
    return parse_outputs(text, {name: spec for name, spec in order.outputs.items() if not spec.file})


async def filed(order: Order, files: ReadFiles) -> dict[str, Any]:
    """Outputs that are the text of a file, without the line end that it ends with. Raises `Invalid`, `NotFound`."""
    found: dict[str, Any] = {}
    for name, spec in order.outputs.items():
        if spec.file:
            found[name] = typed(name, await _text(name, spec.file, files), spec)
    return found


def step_reached(told: Path, order: Order) -> str:
    """`step 'test'`: the one that was begun last and did not end well; empty when that is not known."""
    if not order.steps:
        return ""
    try:
        text = read_text(told, f"steps/{STATUS}", _MOST_STATUS, "its status") or ""
    except Invalid:
        return ""
    at = 0
    for words in map(str.split, text.splitlines()):
        match words:
            case ["begin", number] if number.isdigit():
                at = int(number)
            case ["end", number, "0"] if number == str(at):
                at = 0
    return f"step {order.steps[at - 1]!r}" if 0 < at <= len(order.steps) else ""


async def _text(name: str, path: str, files: ReadFiles) -> str:
    what = f"the file {path} of the output {name}"
    try:
        data = b""
        stream = files(path)
        async for chunk in stream:
            data += chunk
            if len(data) > MOST_A_VALUE + _TAR_OVERHEAD:
                await stream.aclose()  # type: ignore[attr-defined]
                decoded(bytes(MOST_A_VALUE + 1), MOST_A_VALUE, what)
    except (NotFound, Conflict) as error:
        raise Invalid(f"{what} cannot be read: {error.message}", hint=error.hint) from None
    return decoded(_only_file(data, what), MOST_A_VALUE, what).removesuffix("\n")


def _only_file(data: bytes, what: str) -> bytes:
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            first = archive.next()
            content = archive.extractfile(first) if first is not None and first.isfile() else None
            if content is None:
                raise Invalid(f"{what} is a directory or a link, and no file")
            return content.read(MOST_A_VALUE + 1)
    except tarfile.TarError as error:
        raise Invalid(f"{what} cannot be read: {error}") from None
