"""When a schedule starts its job.

A *tick* is a time that the schedule names; it is known by that time (ms), and runs are named after it. Its *start* is
up to `jitter` later, but before the next tick, so that ticks start in their order. Both follow from the schedule and
the salt alone: every node computes the same. A tick whose start is not longer ago than a minute is on time; older ones
were missed, and `missed` and `window` say what becomes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple, Protocol

from hivemind.errors import Invalid
from hivemind.jobs import cron
from hivemind.jobs.zones import moment, zone
from hivemind.model.job import Schedule

ON_TIME_MS = 60_000
MOST_AT_ONCE = 1000
"""Ticks that `due` returns; if so many, there may be more, after the last of them."""
MOST_BETWEEN = 10_000
_SHORTEST_MS = 1000
_EARLIEST_MS, _LATEST_MS = -2_208_988_800_000, 7_258_118_400_000
"""The years 1900 and 2200: what is outside is no time at all."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


def check(schedule: Schedule) -> None:
    """Raises `Invalid` that says what is wrong with it."""
    given = [name for name in ("cron", "every", "at") if getattr(schedule, name) is not None]
    if len(given) != 1:
        what = f"has {' and '.join(given)}" if given else "has no time"
        raise Invalid(
            f"a schedule {what}", hint="write one of cron: '0 2 * * *', every: 5m, at: 2026-12-24T18:00"
        )
    ticks = _ticks(schedule)
    if ticks.until is not None and ticks.until <= ticks.since:
        raise Invalid(
            f"the schedule ends before it begins: until {schedule.until} is not after since {schedule.since}",
            hint="exchange them, or leave one out",
        )
    if schedule.at is not None and (schedule.since or schedule.until):
        raise Invalid("a schedule with at needs no since and no until", hint="leave them out")
    if ticks.after(ticks.since - 1) is None:
        raise Invalid("the schedule names no time between since and until", hint="make that period longer")


def next_time(schedule: Schedule, after_ms: int, salt: str) -> int | None:
    """The first start (ms) of a tick that is later than `after_ms`; None: there is none any more."""
    ticks = _ticks(schedule)
    pending = ticks.last(after_ms) if ticks.jitter else None
    if pending is not None and ticks.start(pending, salt) > after_ms:
        return ticks.start(pending, salt)
    coming = ticks.after(after_ms)
    return None if coming is None else ticks.start(coming, salt)


def due(schedule: Schedule, seen_ms: int, now_ms: int, salt: str) -> list[int]:
    """The ticks that shall start now, the oldest first, of those later than `seen_ms`, the last one decided about.

    The last of them is the next `seen_ms`; when it is `MOST_AT_ONCE`, there may be more behind it."""
    ticks = _ticks(schedule)
    window = max(_milliseconds(schedule.window), ON_TIME_MS)
    oldest = now_ms - (window if schedule.missed == "all" else ON_TIME_MS)
    coming = (
        tick
        for tick in ticks.between(max(seen_ms + 1, oldest - ticks.jitter), now_ms + 1)
        if oldest <= ticks.start(tick, salt) <= now_ms
    )
    found = list(islice(coming, MOST_AT_ONCE))
    if found or schedule.missed != "last":
        return found
    last = _started(ticks, now_ms, salt)
    return [last] if last is not None and last > seen_ms and last >= now_ms - window else []


def _started(ticks: Ticks, now_ms: int, salt: str) -> int | None:
    """The last tick whose start is not later than now."""
    last = ticks.last(now_ms)
    if last is not None and ticks.start(last, salt) > now_ms:
        return ticks.last(last - 1)
    return last


def between(schedule: Schedule, since_ms: int, until_ms: int) -> list[int]:
    """All ticks (ms) in [since, until), for a backfill. Raises `Invalid` for more than `MOST_BETWEEN`."""
    found = list(islice(_ticks(schedule).between(since_ms, until_ms), MOST_BETWEEN + 1))
    if len(found) > MOST_BETWEEN:
        raise Invalid(
            f"the schedule has more than {MOST_BETWEEN:,} times in that period", hint="backfill a shorter one"
        )
    return found


class Times(Protocol):
    """What a schedule names, without end."""

    def after(self, milliseconds: int) -> int | None: ...

    def last(self, milliseconds: int, reach: int) -> int | None:
        """The last that is not later; None: it is longer ago than `reach`, or there is none."""


class Ticks(NamedTuple):
    times: Times
    since: int
    until: int | None
    """The end, itself not included."""
    jitter: int
    reach: int
    """How far back a tick can be that matters still."""

    def after(self, milliseconds: int) -> int | None:
        if milliseconds >= _LATEST_MS:
            return None
        found = self.times.after(max(milliseconds, self.since - 1))
        return found if found is not None and (self.until is None or found < self.until) else None

    def last(self, milliseconds: int) -> int | None:
        newest = milliseconds if self.until is None else min(milliseconds, self.until - 1)
        if newest < self.since:
            return None
        found = self.times.last(min(newest, _LATEST_MS), self.reach + ON_TIME_MS)
        return found if found is not None and found >= self.since else None

    def between(self, since: int, until: int) -> Iterator[int]:
        tick = self.after(since - 1)
        while tick is not None and tick < until:
            yield tick
            tick = self.after(tick)

    def start(self, tick: int, salt: str) -> int:
        if not self.jitter:
            return tick
        following = self.times.after(tick)
        room = self.jitter if following is None else min(self.jitter, following - tick - 1)
        dice = int.from_bytes(blake2b(f"{salt}/{tick}".encode(), digest_size=8).digest(), "big")
        return tick + (dice * (room + 1) >> 64)


class _Cron(NamedTuple):
    cron: cron.Cron
    zone: str

    def after(self, milliseconds: int) -> int | None:
        return self.cron.after(milliseconds, self.zone)

    def last(self, milliseconds: int, reach: int) -> int | None:
        """Looked for in ever longer times back, so that few ticks have to be passed."""
        back = 1000
        while True:
            back = min(back, reach)
            found = self.after(milliseconds - back - 1)
            if found is not None and found <= milliseconds:
                break
            if back == reach:
                return None
            back *= 4
        while (following := self.after(found)) is not None and following <= milliseconds:
            found = following
        return found


class _Every(NamedTuple):
    period: int
    anchor: int

    def after(self, milliseconds: int) -> int | None:
        return self.anchor + ((milliseconds - self.anchor) // self.period + 1) * self.period

    def last(self, milliseconds: int, reach: int) -> int | None:
        return self.anchor + (milliseconds - self.anchor) // self.period * self.period


class _At(NamedTuple):
    time: int

    def after(self, milliseconds: int) -> int | None:
        return self.time if self.time > milliseconds else None

    def last(self, milliseconds: int, reach: int) -> int | None:
        return self.time if self.time <= milliseconds else None


@lru_cache(10_000)
def _made(
    at: tuple[str | None, float | None, str | None], zone_name: str, since: str | None, until: str | None
) -> tuple[Times, int, int | None]:
    zone(zone_name)
    begin = moment(since, zone_name) if since else None
    expression, every, once = at
    times: Times
    if expression is not None:
        times = _Cron(cron.parse(expression), zone_name)
    elif every is not None:
        period = _milliseconds(every)
        if period < _SHORTEST_MS:
            raise Invalid(f"a schedule every {every:g} s comes too often", hint="the shortest is every: 1s")
        times = _Every(period, begin or 0)
    else:
        times = _At(moment(once or "", zone_name))
    return times, _EARLIEST_MS if begin is None else begin, _end(until, zone_name) if until else None


def _ticks(schedule: Schedule) -> Ticks:
    """Raises `Invalid`."""
    at = schedule.cron, schedule.every, schedule.at
    times, since, until = _made(at, schedule.timezone, schedule.since, schedule.until)
    jitter = _milliseconds(schedule.jitter)
    return Ticks(times, since, until, jitter, max(jitter, _milliseconds(schedule.window)))


def _end(until: str, zone_name: str) -> int:
    """A day is meant with all its hours."""
    if _DAY.match(until):
        moment(until, zone_name)  # is it a day at all
        return moment((date.fromisoformat(until) + timedelta(days=1)).isoformat(), zone_name)
    return moment(until, zone_name)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
