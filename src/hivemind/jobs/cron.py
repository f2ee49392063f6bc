"""Cron: when the clocks in a zone show what five or six fields say.

`minute hour day month weekday`, or with seconds first. In each `*`, `7`, `1-5`, `*/15`, `8-18/2`, `1,15`; names `JAN`
and `MON`; Sunday is 0 or 7. Of days also `L` (the last), `L-2`, `15W` (the weekday nearest to the 15th), `LW`; of
weekdays `5L` (the last Friday) and `1#2` (the second Monday). `?` is `*`. `@hourly` and the like stand for all fields.
When neither day nor weekday begins with `*`, either is enough, as in every cron since Vixie's.

When clocks are changed:

* With `*` as its hour a schedule follows real time: it goes on after the hour that is left out, and comes in both
  passes of the hour that is repeated.
* With any other hour, what would have come in the time that is left out comes once, at the first moment after it. In
  the time that is repeated it comes in the first pass only, unless its minute or second is `*` or `*/n`: then in both.

So nothing that is due at a fixed time is left out or comes twice.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple

from hivemind.errors import Invalid
from hivemind.jobs.zones import instant, wall

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_HINT = "write it like '30 2 * * *': minute hour day month weekday"
_SECOND, _NONE = timedelta(seconds=1), timedelta(0)
_LAST_YEAR = 2200


class _Range(NamedTuple):
    name: str
    least: int
    most: int
    names: Mapping[str, int] = {}


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Range("second", 0, 59),
    _Range("minute", 0, 59),
    _Range("hour", 0, 23),
    _Range("day", 1, 31),
    _Range("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Range("weekday", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


class Days(NamedTuple):
    """Which days of a month."""

    days: frozenset[int]
    before_last: tuple[int, ...]
    """`L-2` is 2."""
    nearest: tuple[int, ...]
    """Weekdays nearest to these days, to the last one for 0."""
    any_day: bool
    weekdays: frozenset[int]
    """Sunday is 0."""
    nth: frozenset[tuple[int, int]]
    """Weekday, and which of the month; 0: the last."""
    any_weekday: bool

    def match(self, day: date) -> bool:
        if self.any_day or self.any_weekday:
            return self._by_day(day) and self._by_weekday(day)
        return self._by_day(day) or self._by_weekday(day)

    def _by_day(self, day: date) -> bool:
        if day.day in self.days:
            return True
        if not self.before_last and not self.nearest:
            return False
        last = monthrange(day.year, day.month)[1]
        return last - day.day in self.before_last or any(
            _nearest_weekday(day, wanted or last, last) == day.day for wanted in self.nearest
        )

    def _by_weekday(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if weekday in self.weekdays:
            return True
        if not self.nth:
            return False
        if (weekday, (day.day + 6) // 7) in self.nth:
            return True
        return (weekday, 0) in self.nth and day.day + 7 > monthrange(day.year, day.month)[1]


def _nearest_weekday(within: date, wanted: int, last: int) -> int:
    """The day from Monday to Friday nearest to `wanted`, never in another month; 0 when the month is too short."""
    if wanted > last:
        return 0
    weekday = within.replace(day=wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 7:
        return wanted + 1 if wanted < last else wanted - 2
    return wanted


class Cron(NamedTuple):
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    days: Days
    follows_time: bool
    """Its hour is `*`."""
    repeats: bool
    """It comes in both passes of an hour that is repeated."""

    def after(self, milliseconds: int, zone: str) -> int | None:
        """The first moment (ms) that is later; None: there is none before the year 2201."""
        begin = wall(milliseconds, zone)
        local = self.shown_after(begin)
        if self.repeats and _doubt(begin) < _NONE and not begin.fold:
            return self._in_first_pass(begin, local)
        while local is not None:
            there = local.replace(tzinfo=begin.tzinfo)
            if _doubt(there) > _NONE:
                end = _change(there)
                if not self.follows_time:
                    return end
                there = wall(end, zone) - _SECOND
            else:
                found = instant(there.replace(fold=begin.fold if self.repeats else 0))
                if found > milliseconds:
                    return found
            local = self.shown_after(there)
        return None

    def _in_first_pass(self, begin: datetime, local: datetime | None) -> int | None:
        """From within the first pass of a repeated time: the rest of it, then the second, then what follows."""
        if local is not None and _doubt(there := local.replace(tzinfo=begin.tzinfo)) < _NONE:
            return instant(there)
        turned, zone = _change(begin), str(begin.tzinfo)
        again = wall(turned, zone)
        shown = self.shown_after(again - _SECOND) == again.replace(tzinfo=None, fold=0)
        return turned if shown else self.after(turned, zone)

    def shown_after(self, begin: datetime) -> datetime | None:
        """The first time later than `begin` that clocks without a zone would show."""
        start = begin.replace(tzinfo=None, microsecond=0, fold=0) + _SECOND
        if start.month in self.months and self.days.match(start):
            of_day = self._time_from(start.hour, start.minute, start.second)
            if of_day is not None:
                return datetime.combine(start, of_day)
        first = time(self.hours[0], self.minutes[0], self.seconds[0])
        day = next(self._days_after(start.date()), None)
        return datetime.combine(day, first) if day else None

    def _time_from(self, hour: int, minute: int, second: int) -> time | None:
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        at = bisect_left(hours, hour)
        if at < len(hours) and hours[at] == hour:
            at_minute = bisect_left(minutes, minute)
            if at_minute < len(minutes) and minutes[at_minute] == minute:
                at_second = bisect_left(seconds, second)
                if at_second < len(seconds):
                    return time(hour, minute, seconds[at_second])
                at_minute += 1
            if at_minute < len(minutes):
                return time(hour, minutes[at_minute], seconds[0])
            at += 1
        return time(hours[at], minutes[0], seconds[0]) if at < len(hours) else None

    def _days_after(self, day: date, last_year: int = _LAST_YEAR) -> Iterator[date]:
        year, month, first = day.year, day.month, day.day + 1
        while year <= last_year:
            if month in self.months:
                for number in range(first, monthrange(year, month)[1] + 1):
                    if self.days.match(one := date(year, month, number)):
                        yield one
            year, month, first = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)

    def ever(self) -> bool:
        """Whether there is such a day at all: every combination of leap years and weekdays comes in 40 years."""
        return next(self._days_after(date(2000, 1, 1), 2040), None) is not None


def _doubt(local: datetime) -> timedelta:
    """Negative where clocks show that twice, positive where they never do."""
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return _NONE if first is None or second is None else second - first


def _change(local: datetime) -> int:
    """The moment at which clocks are changed so that what `local` shows is in doubt."""
    before, after = sorted((instant(local.replace(fold=0)), instant(local.replace(fold=1))))
    name = str(local.tzinfo)
    old = wall(before, name).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if wall(middle, name).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


@lru_cache(256)
def parse(text: str) -> Cron:
    """Raises `Invalid` for what is not understood, and for what never comes."""
    words = _fields(text)
    seconds, minutes, hours = (_numbers(text, words[at], _FIELDS[at]) for at in range(3))
    cron = Cron(
        tuple(sorted(seconds)),
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        _numbers(text, words[4], _FIELDS[4]),
        _days(text, words[3], words[5]),
        follows_time=words[2] == "*",
        repeats=words[2] == "*" or words[1].startswith("*") or words[0].startswith("*"),
    )
    if not cron.ever():
        raise Invalid(
            f"cron {text!r} never comes: no such day is in those months", hint="30 2 28-31 2 * comes"
        )
    return cron


def _fields(text: str) -> list[str]:
    """The six words."""
    bare = text.strip()
    if bare.startswith("@"):
        if bare.lower() not in _NICKNAMES:
            hint = (
                "for intervals write every: 5m"
                if bare.startswith("@every")
                else f"there are {', '.join(_NICKNAMES)}"
            )
            raise Invalid(f"cron {text[:80]!r} is not understood", hint=hint)
        bare = _NICKNAMES[bare.lower()]
    if "=" in bare.split(" ")[0]:
        raise Invalid(f"cron {text[:80]!r} names a zone", hint="write it apart, as timezone: Europe/Paris")
    words = bare.upper().split()
    if len(words) not in (5, 6) or len(text) > 1000:
        raise Invalid(f"cron {text[:80]!r} has {len(words)} fields, not 5 or 6", hint=_HINT)
    return words if len(words) == 6 else ["0", *words]


def _numbers(text: str, word: str, range_: _Range) -> frozenset[int]:
    return frozenset(number for part in word.split(",") for number in _part(text, part, range_))


_PART = re.compile(r"(?:\*|\?|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", re.ASCII)


def _part(text: str, part: str, range_: _Range) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise _wrong(text, part, range_)
    low, high, step = match[1], match[2], match[3]
    if step is not None and int(step) == 0:
        raise _wrong(text, part, range_, "a step of 0 never comes to an end")
    if low is None:
        least, most = range_.least, 6 if range_.name == "weekday" else range_.most
    else:
        least = _number(text, low, range_)
        most = range_.most if step and not high else least if high is None else _number(text, high, range_)
        if range_.name == "weekday" and high == "SUN":
            most = 7
    if most < least:
        raise _wrong(text, part, range_, "the range runs backwards")
    return range(least, most + 1, int(step or 1))


def _number(text: str, word: str, range_: _Range) -> int:
    if word in range_.names:
        return range_.names[word]
    if not word.isdecimal() or len(word) > 4 or not range_.least <= int(word) <= range_.most:
        raise _wrong(text, word, range_)
    return int(word)


_DAY = re.compile(r"L(?:-(\d{1,2}))?|(?:L|(\d{1,2}))W", re.ASCII)
_NTH = re.compile(r"(\w+?)(?:L|#(\d))", re.ASCII)


def _days(text: str, day_word: str, weekday_word: str) -> Days:
    days, before_last, nearest = set[int](), list[int](), list[int]()
    for part in day_word.split(","):
        if match := _DAY.fullmatch(part):
            if part.endswith("W"):
                nearest.append(_number(text, match[2], _FIELDS[3]) if match[2] else 0)
            else:
                before_last.append(int(match[1] or 0))
        else:
            days.update(_part(text, part, _FIELDS[3]))
    weekdays, nth = set[int](), set[tuple[int, int]]()
    for part in weekday_word.split(","):
        if match := _NTH.fullmatch(part):
            weekday = _number(text, match[1], _FIELDS[5]) % 7
            if match[2] and not 1 <= int(match[2]) <= 5:
                raise _wrong(text, part, _FIELDS[5], "a month has a weekday five times at most")
            nth.add((weekday, int(match[2] or 0)))
        else:
            weekdays.update(number % 7 for number in _part(text, "6" if part == "L" else part, _FIELDS[5]))
    return Days(
        frozenset(days),
        tuple(before_last),
        tuple(nearest),
        day_word.startswith(("*", "?")),
        frozenset(weekdays),
        frozenset(nth),
        weekday_word.startswith(("*", "?")),
    )


def _wrong(text: str, part: str, range_: _Range, why: str = "") -> Invalid:
    reason = why or f"{range_.least} to {range_.most} is possible"
    hint = f"or {', '.join(range_.names)}" if range_.names and not why else _HINT
    return Invalid(f"cron {text[:80]!r}: {part[:40]!r} is no {range_.name}: {reason}", hint=hint)
