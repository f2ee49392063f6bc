"""What an entry of the store says. Any node of the hive may write any key, and another one may run another version of
the program, or lie: what cannot be read says nothing, and of what one node alone can know only its own word counts."""

from __future__ import annotations

from typing import TypeVar

from hivemind.model.base import UNREADABLE, decode
from hivemind.store.contract import Entry

T = TypeVar("T")


def said(entry: Entry | None, type: type[T], by: str = "") -> T | None:
    """`by`: whose word it has to be; empty: anybody's. None: nothing that counts."""
    if entry is None or entry.value is None or by not in ("", entry.writer):
        return None
    try:
        return decode(entry.value, type)
    except (*UNREADABLE, ValueError):
        return None
