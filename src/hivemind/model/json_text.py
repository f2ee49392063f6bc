"""JSON that strangers wrote. What is nested without end is refused by rule: otherwise it would depend on the machine,
and on who asks, whether a value can be read, and state must come out the same everywhere."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, Final

import msgspec

DEEPEST_VALUE: Final = 64
"""Lists and objects within each other, of a value."""
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


class TooDeep(msgspec.DecodeError):
    """It is nested more deeply than anything that makes sense."""


def decode_value(text: str | bytes) -> Any:
    """The value that the text stands for. Raises `msgspec.DecodeError`, `TooDeep` being one."""
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise msgspec.DecodeError("it holds half of a surrogate pair") from None
    if is_deep(data, DEEPEST_VALUE):
        raise TooDeep(f"it is nested more than {DEEPEST_VALUE} deep")
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError:
        raise msgspec.DecodeError("it is not UTF-8") from None


def is_deep(data: bytes, most: int) -> bool:
    """Whether lists and objects stand within each other more than `most` deep. Of JSON; of anything else any answer."""
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    steps = _TEXT.sub(b"", data).translate(_STEPS, _OTHERS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > most
