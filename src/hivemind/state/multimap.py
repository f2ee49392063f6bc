"""Indexes by which members are found: key -> members. A key without members is not kept."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
M = TypeVar("M")


def add(index: dict[K, set[M]], key: K, member: M) -> None:
    index.setdefault(key, set()).add(member)


def drop(index: dict[K, set[M]], key: K, member: M) -> None:
    """One that is not there is none the less gone."""
    members = index.get(key)
    if members:
        members.discard(member)
        if not members:
            del index[key]
