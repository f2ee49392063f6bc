"""The order in which several manifests are applied: what others need comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Key = tuple[str, str]


def after_what_they_need(
    things: Sequence[T], key: Callable[[T], Key], needs: Callable[[T], Iterable[Key]]
) -> list[T]:
    """Each behind all of `things` that it needs, else in the order given. A circle is broken somewhere: the hive
    refuses it with the way around."""
    known = {key(thing): thing for thing in things}
    placed: dict[Key, T] = {}
    for thing in things:
        way = {} if key(thing) in placed else {key(thing): thing}
        while way:
            name, last = next(reversed(way.items()))
            missing = [n for n in needs(last) if n in known and n not in placed and n not in way]
            if missing:
                way[missing[0]] = known[missing[0]]
            else:
                placed[name] = way.pop(name)
    return list(placed.values())
