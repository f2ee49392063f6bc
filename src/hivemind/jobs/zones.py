"""Time zones, and what the clocks in them show.

Their rules come from the pinned package `tzdata`, never from the machine: what one node computes, all must. A zone is
loaded when it is first named, and what reads zones with the first: a daemon without schedules needs neither.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from hivemind.errors import Invalid

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}\Z")
_HINT = "write it like 2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00+01:00"
_YEARS = range(1900, 2201)


@lru_cache(128)
def zone(name: str) -> ZoneInfo:
    """Raises `Invalid` for one that is unknown."""
    if name not in names():
        raise Invalid(f"there is no time zone {name[:80]!r}", hint=_near(name))
    from zoneinfo import ZoneInfo

    with _data("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@lru_cache(1)
def names() -> frozenset[str]:
    """All zones there are."""
    text = _data("zones").read_text("utf-8")
    return frozenset(line for line in text.split() if _NAME.match(line))


def _data(*path: str) -> Traversable:
    from importlib import resources

    return resources.files("tzdata").joinpath(*path)


def _near(name: str) -> str:
    """Zones that look like it, or end like it: people write `paris`."""
    import difflib

    by_end = {one.rsplit("/", 1)[-1].casefold(): one for one in sorted(names())}
    whole = {one.casefold(): one for one in sorted(names())}
    wanted = name[:80].casefold().replace(" ", "_")
    close = [whole[one] for one in difflib.get_close_matches(wanted, whole, n=3, cutoff=0.7)]
    close += [by_end[one] for one in difflib.get_close_matches(wanted, by_end, n=3, cutoff=0.8)]
    if not close:
        return "zones are named as in UTC, Europe/Paris, America/New_York"
    return f"did you mean {' or '.join(dict.fromkeys(close[:3]))}?"


def wall(milliseconds: int, name: str = "UTC") -> datetime:
    """What the clocks in a zone show at that moment. Raises `OverflowError` far outside our time."""
    return (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone(name))


def instant(local: datetime) -> int:
    """The moment (ms) at which clocks show that; of two the one that `fold` says, of none the same distance behind
    the gap as it is in it."""
    return (local.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)


def moment(text: str, name: str = "UTC") -> int:
    """The moment (ms) that a text in ISO 8601 names, in that zone unless it names an offset. Raises `Invalid`."""
    found = zone(name)
    try:
        if not text.isascii() or len(text) > 40:
            raise ValueError
        local = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text[:80]!r} is not a time", hint=_HINT) from None
    if local.year not in _YEARS:
        raise Invalid(f"{text!r} is too far away", hint=f"years are from {_YEARS[0]} to {_YEARS[-1]}")
    return instant(local if local.tzinfo else local.replace(tzinfo=found))
