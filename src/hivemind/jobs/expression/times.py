"""Moments as expressions see them: milliseconds since 1970, or text as in ISO 8601. No clock: `now` is an input."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.expression.budget import Budget, Refused
from hivemind.jobs.expression.values import is_number, kind, number
from hivemind.jobs.zones import instant, moment, wall

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_FIELD = re.compile(r"%(.?)", re.DOTALL)


def date(budget: Budget, time: Any, zone: Any = "UTC", format: Any = "%Y-%m-%d") -> str:
    """Parts of a time as a clock in that zone shows them."""
    if kind(format) != "text":
        raise Refused(f"the format must be a text, not {kind(format)}", "for example '%Y-%m-%d %H:%M'")
    budget.text(30 * len(format))
    local = _local(time, _zone(zone))
    fields = _fields(local)

    def field(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise Refused(
                f"%{match[1]} is not understood", f"there are {' '.join('%' + one for one in fields)}"
            )
        return fields[match[1]]

    return _FIELD.sub(field, format)


def timestamp(budget: Budget, time: Any, zone: Any = "UTC") -> int:
    """Milliseconds since 1970 of a text such as 2026-12-24T18:00, in that zone unless it names an offset."""
    if is_number(time):
        return int(number(time))
    return instant(_local(time, _zone(zone)))


def _zone(zone: Any) -> str:
    if kind(zone) != "text":
        raise Refused(f"the zone must be a text, not {kind(zone)}", "for example 'Europe/Paris'")
    return str(zone)


def _local(time: Any, zone: str) -> datetime:
    try:
        if is_number(time):
            return wall(int(number(time)), zone)
        if kind(time) == "text":
            return wall(moment(time, zone), zone)
    except Invalid as error:
        raise Refused(error.message, error.hint) from None
    except OverflowError:
        raise Refused("the time is out of range", "a time is milliseconds since 1970") from None
    raise Refused(
        f"a time cannot be {kind(time)}", "it is milliseconds since 1970, or a text: 2026-12-24T18:00"
    )


def _fields(local: datetime) -> dict[str, str]:
    year, week, day = local.isocalendar()
    offset = (local.utcoffset() or timedelta(0)) // timedelta(minutes=1)
    shown = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}{abs(offset) % 60:02}"
    return {
        "Y": f"{local.year:04}",
        "y": f"{local.year % 100:02}",
        "m": f"{local.month:02}",
        "d": f"{local.day:02}",
        "H": f"{local.hour:02}",
        "M": f"{local.minute:02}",
        "S": f"{local.second:02}",
        "L": f"{local.microsecond // 1000:03}",
        "j": f"{local.timetuple().tm_yday:03}",
        "u": str(day),
        "V": f"{week:02}",
        "G": f"{year:04}",
        "B": _MONTHS[local.month - 1],
        "b": _MONTHS[local.month - 1][:3],
        "A": _DAYS[day - 1],
        "a": _DAYS[day - 1][:3],
        "F": f"{local.year:04}-{local.month:02}-{local.day:02}",
        "T": f"{local.hour:02}:{local.minute:02}:{local.second:02}",
        "s": str(instant(local) // 1000),
        "z": shown,
        "%": "%",
    }
