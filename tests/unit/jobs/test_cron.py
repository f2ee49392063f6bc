"""Cron: fields, and what clocks that are changed do to them."""

from __future__ import annotations

from datetime import datetime

import pytest

from hivemind.errors import Invalid
from hivemind.jobs import cron
from hivemind.jobs.zones import instant, moment, wall, zone

PARIS, NEW_YORK, LORD_HOWE, SAO_PAULO = (
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
)


def _times(text: str, name: str, begin: str, end: str) -> list[str]:
    """What clocks show each time it comes from `begin` up to `end`, with their offset."""
    found, at = [], moment(begin, name) - 1
    parsed = cron.parse(text)
    while (coming := parsed.after(at, name)) is not None and coming < moment(end, name):
        assert coming > at
        at = coming
        found.append(wall(at, name).strftime("%d %H:%M:%S %z").replace(":00 ", " "))
    return found


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 L * *", [31, 28, 31]),
        ("0 0 L-2 * *", [29, 26, 29]),
        ("0 0 LW * *", [30, 27, 31]),
        ("0 0 15W * *", [15, 16, 16]),
        ("0 0 1W * *", [1, 2, 2]),
        ("0 0 * * 5L", [30, 27, 27]),
        ("0 0 * * MON#2", [12, 9, 9]),
        ("0 0 * * 0#5", [29]),
        ("0 0 13 * 5", [2, 9, 13, 16, 23, 30, 6, 13, 20, 27, 6, 13, 20, 27]),
        ("0 0 13 * ?", [13, 13, 13]),
        ("0 0 */10 * 5", []),  # as with Vixie's, what begins with a star does not widen the other
        ("0 0 1-3/2,10 FEB *", [1, 3, 10]),
        ("0 0 31 * *", [31, 31]),
        ("0 0 * 2 SAT-SUN", [1, 7, 8, 14, 15, 21, 22, 28]),
        ("0 0 * 2 7", [1, 8, 15, 22]),
        ("@monthly", [1, 1, 1]),
    ],
)  # fmt: skip
def test_days(text: str, days: list[int]) -> None:
    """In the first three months of 2026."""
    assert [int(one[:2]) for one in _times(text, "UTC", "2026-01-01", "2026-04-01")] == days


@pytest.mark.parametrize(
    ("text", "begin", "count"),
    [
        ("* * * * *", "2026-01-01T00:00", 1440),
        ("*/15 * * * * *", "2026-01-01T00:00", 5760),
        ("30 */7 * * *", "2026-01-01T00:00", 4),
        ("0 9-17/4 * * MON-FRI", "2026-01-01T00:00", 3),
        ("5/20 3 * * *", "2026-01-01T00:00", 3),
        ("59 59 23 * * *", "2026-01-01T00:00", 1),
        ("@hourly", "2026-01-01T00:00", 24),
        ("@DAILY", "2026-01-01T00:00", 1),
        ("0 0 29 2 *", "2028-02-29T00:00", 1),
    ],
)
def test_times_of_a_day(text: str, begin: str, count: int) -> None:
    end = wall(moment(begin) + 86_400_000).strftime("%Y-%m-%dT%H:%M")
    assert len(_times(text, "UTC", begin, end)) == count


def test_leap_days_that_are_far_away() -> None:
    at = cron.parse("0 0 29 2 *").after(moment("2096-03-01"), "UTC")
    assert at == moment("2104-02-29")
    assert cron.parse("0 0 29 2 *").after(moment("2200-06-01"), "UTC") is None


@pytest.mark.parametrize(
    ("text", "name", "begin", "end", "times"),
    [
        # Fixed times: once each day, whatever happens.
        (
            "30 2 * * *",
            PARIS,
            "2026-03-28",
            "2026-03-31",
            ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"],
        ),
        (
            "30 2 * * *",
            PARIS,
            "2026-10-24",
            "2026-10-27",
            ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"],
        ),
        (
            "0 2 * * *",
            NEW_YORK,
            "2026-03-07",
            "2026-03-10",
            ["07 02:00 -0500", "08 03:00 -0400", "09 02:00 -0400"],
        ),
        (
            "30 1 * * *",
            NEW_YORK,
            "2026-10-31",
            "2026-11-03",
            ["31 01:30 -0400", "01 01:30 -0400", "02 01:30 -0500"],
        ),
        (
            "15 2 * * *",
            LORD_HOWE,
            "2026-10-03",
            "2026-10-06",
            ["03 02:15 +1030", "04 02:30 +1100", "05 02:15 +1100"],
        ),
        (
            "45 1 * * *",
            LORD_HOWE,
            "2026-04-04",
            "2026-04-07",
            ["04 01:45 +1100", "05 01:45 +1100", "06 01:45 +1030"],
        ),
        (
            "0 0 * * *",
            SAO_PAULO,
            "2018-11-03",
            "2018-11-06",
            ["03 00:00 -0300", "04 01:00 -0200", "05 00:00 -0200"],
        ),
        (
            "30 23 * * *",
            SAO_PAULO,
            "2018-02-16",
            "2018-02-19",
            ["16 23:30 -0200", "17 23:30 -0200", "18 23:30 -0300"],
        ),
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29",
            "2012-01-01",
            ["29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400"],
        ),
        # Several of them within the hour that is left out are made up for by one.
        ("0,20,40 2 * * *", PARIS, "2026-03-29", "2026-03-30", ["29 03:00 +0200"]),
        (
            "0 0-4/2 * * *",
            PARIS,
            "2026-03-29",
            "2026-03-30",
            ["29 00:00 +0100", "29 03:00 +0200", "29 04:00 +0200"],
        ),
        ("0,30 2 * * *", PARIS, "2026-10-25", "2026-10-26", ["25 02:00 +0200", "25 02:30 +0200"]),
        # What comes every so many minutes within a restricted hour comes in both passes.
        ("*/30 2 * * *", PARIS, "2026-03-29", "2026-03-30", ["29 03:00 +0200"]),
        (
            "*/30 2 * * *",
            PARIS,
            "2026-10-25",
            "2026-10-26",
            ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"],
        ),
        # What comes in every hour follows real time.
        (
            "30 * * * *",
            PARIS,
            "2026-03-29T01:00",
            "2026-03-29T05:00",
            ["29 01:30 +0100", "29 03:30 +0200", "29 04:30 +0200"],
        ),
        (
            "30 * * * *",
            PARIS,
            "2026-10-25T01:00",
            "2026-10-25T04:00",
            ["25 01:30 +0200", "25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"],
        ),
        (
            "*/20 * * * *",
            LORD_HOWE,
            "2026-04-05T01:00",
            "2026-04-05T02:30",
            [
                "05 01:00 +1100",
                "05 01:20 +1100",
                "05 01:40 +1100",
                "05 01:40 +1030",
                "05 02:00 +1030",
                "05 02:20 +1030",
            ],
        ),
        (
            "*/20 * * * *",
            LORD_HOWE,
            "2026-10-04T01:30",
            "2026-10-04T03:10",
            ["04 01:40 +1030", "04 02:40 +1100", "04 03:00 +1100"],
        ),
    ],
)
def test_clocks_that_are_changed(text: str, name: str, begin: str, end: str, times: list[str]) -> None:
    assert _times(text, name, begin, end) == times


@pytest.mark.parametrize(
    "name", [PARIS, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "Asia/Kolkata", "Europe/Dublin"]
)
def test_hourly_ones_come_once_in_each_real_hour_of_a_year(name: str) -> None:
    if name == LORD_HOWE:  # half an hour is left out, half an hour is repeated: 1:30 to 2:00
        assert len(_times("0 * * * *", name, "2026-10-04", "2026-10-05")) == 23
        assert len(_times("45 * * * *", name, "2026-04-05", "2026-04-06")) == 25
        return
    parsed, at, end = cron.parse("0 * * * *"), moment("2026-01-01", name), moment("2027-01-01", name)
    while at < end:
        coming = parsed.after(at, name)
        assert coming == at + 3_600_000
        at = coming


@pytest.mark.parametrize("name", [PARIS, NEW_YORK, LORD_HOWE, SAO_PAULO, "Africa/Casablanca", "Asia/Gaza"])
@pytest.mark.parametrize("text", ["30 2 * * *", "0 0 * * *", "45 1 * * *", "15 3 * * *"])
def test_daily_ones_come_once_on_each_day_of_ten_years(name: str, text: str) -> None:
    parsed, at, days = cron.parse(text), moment("2010-01-01", name) - 1, []
    while (coming := parsed.after(at, name)) is not None and coming < moment("2020-01-01", name):
        days.append(wall(coming, name).date())
        at = coming
    assert len(days) == len(set(days)) == 3652


def test_it_does_not_matter_where_the_search_begins() -> None:
    """From any moment around a change, the answer is the first of the times that are later."""
    for text in ("30 2 * * *", "*/10 2 * * *", "*/25 * * * *", "10,40 * * * *", "0 3 * * *"):
        for begin, end in (
            ("2026-03-29T00:00", "2026-03-29T06:00"),
            ("2026-10-25T00:00", "2026-10-25T06:00"),
        ):
            parsed, low, high = cron.parse(text), moment(begin, PARIS), moment(end, PARIS)
            all_times, at = [], low - 1
            while (coming := parsed.after(at, PARIS)) is not None and coming < high:
                all_times.append(coming)
                at = coming
            for start in range(low, all_times[-1], 61_000):
                assert parsed.after(start, PARIS) == next(one for one in all_times if one > start), (
                    text,
                    start,
                )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        ("0 0 L-30 2 *", "never comes"),
        ("60 * * * *", "'60' is no minute"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day"),
        ("* * * 13 *", "no month"),
        ("* * * * 8", "no weekday"),
        ("* * *", "3 fields"),
        ("* * * * * * *", "7 fields"),
        ("", "0 fields"),
        ("@reboot", "not understood"),
        ("@every 5m", "every: 5m"),
        ("*/0 * * * *", "step of 0"),
        ("5-1 * * * *", "backwards"),
        ("TZ=UTC * * * * *", "timezone:"),
        ("* * * JANUARY *", "no month"),
        ("* * * * 1#6", "five times"),
        ("a * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("-5 * * * *", "minute"),
        ("١ * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("\x00 * * * *", "minute"),
        ("* * 32W * *", "no day"),
        ("* * * * L5", "weekday"),
        ("*5 * * * *", "minute"),
        ("9" * 5000 + " * * * *", "fields"),
        ("0," * 400 + "0 * * * *", ""),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    if not said:
        assert cron.parse(text).minutes == (0,)
        return
    with pytest.raises(Invalid) as refused:
        cron.parse(text)
    assert said in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Pariss", "Europe/Paris"),
        ("paris", "Europe/Paris"),
        ("new york", "America/New_York"),
        ("Middle/Earth", "zones are"),
        ("../../etc/passwd", ""),
        ("/etc/localtime", ""),
        ("", ""),
        ("Europe/Paris\x00", "Europe/Paris"),
        ("utc", "UTC"),
    ],
)
def test_zones_that_are_unknown(name: str, near: str) -> None:
    with pytest.raises(Invalid) as refused:
        zone(name)
    assert near in refused.value.hint


def test_zones_come_from_the_package_and_not_from_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import zoneinfo

    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    assert instant(datetime(2026, 7, 1, 12, tzinfo=zone("Asia/Tokyo"))) == moment("2026-07-01T03:00")
