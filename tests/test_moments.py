"""Moments: a date means its end where the asker is, and what is no date is one sentence."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lhub.errors import UsageError
from lhub.moments import parse_moment, parse_span, timestamp
from lhub.session import seconds

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
MIDNIGHT = "BRT3BRST,M10.3.0/0,M2.3.0/0"
"""A zone whose summer ends when Saturday would: 23:00 to 24:00 comes twice."""

dates = st.dates()
times = st.datetimes(timezones=st.none()).map(lambda moment: moment.replace(microsecond=0))


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Move this process to another time zone, by its POSIX name; it is back home when the test ends."""

    def move(name: str) -> None:
        patch.setenv("TZ", name)
        time.tzset()

    with pytest.MonkeyPatch.context() as patch:
        yield move
    time.tzset()


# what a date means


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("2026-03", "2026-03-31T23:59:59"),
        ("2026-03-01", "2026-03-01T23:59:59"),
        ("2026-03-01 12:00", "2026-03-01T12:00:59"),
        ("2026-03-01T12:00", "2026-03-01T12:00:59"),
        ("2026-03-01 12:00:07", "2026-03-01T12:00:07"),
        ("2026-03-01 00:00", "2026-03-01T00:00:59"),
        ("2026-03-01T12:00Z", "2026-03-01T12:00:59+00:00"),
        ("2026-03-01T12:00:07Z", "2026-03-01T12:00:07+00:00"),
        ("2026-03-01 12:00+02:00", "2026-03-01T12:00:59+02:00"),
        ("2026-03-01 12:00-0530", "2026-03-01T12:00:59-05:30"),
        ("2024-02-29", "2024-02-29T23:59:59"),
        ("2000-02-29", "2000-02-29T23:59:59"),
        ("2024-02", "2024-02-29T23:59:59"),
        ("2026-02", "2026-02-28T23:59:59"),
        ("2026-12", "2026-12-31T23:59:59"),
        ("2026-01", "2026-01-31T23:59:59"),
        (" 2026-03-01 ", "2026-03-01T23:59:59"),
    ],
)
def test_a_date_means_its_last_second(text: str, last: str) -> None:
    assert parse_moment(text) == datetime.fromisoformat(last)


@LAW
@given(dates)
@example(date(9999, 12, 31))
def test_a_day_ends_one_second_before_the_next_begins(day: date) -> None:
    begins = datetime(day.year, day.month, day.day)
    assert parse_moment(day.isoformat()) - begins == timedelta(seconds=86_399)


@LAW
@given(st.integers(1, 9999), st.integers(1, 12))
@example(9999, 12)
def test_a_month_ends_with_its_last_day(year: int, month: int) -> None:
    last = calendar.monthrange(year, month)[1]
    assert parse_moment(f"{year:04}-{month:02}") == parse_moment(f"{year:04}-{month:02}-{last}")


@LAW
@given(times, st.integers(-23 * 60, 23 * 60), st.booleans())
def test_a_second_with_a_zone_is_the_same_second_everywhere(moment: datetime, minutes: int, colon: bool) -> None:
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{':' if colon else ''}{abs(minutes) % 60:02}"
    read = parse_moment(f"{moment.isoformat()}{offset}")
    assert read == moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))


# where the asker is


@pytest.mark.parametrize("name", ["UTC0", "XXX-14", "XXX12", "IST-5:30", "NPT-5:45", BERLIN])
def test_a_day_ends_when_the_next_begins_where_one_is(zone: Callable[[str], None], name: str) -> None:
    zone(name)
    for month, day in ((1, 1), (2, 28), (3, 28), (3, 29), (6, 30), (10, 24), (10, 25), (12, 31)):
        following = time.mktime((2026, month, day + 1, 0, 0, 0, -1, -1, -1))
        assert seconds(f"2026-{month:02}-{day:02}") == following - 1


def test_the_same_date_is_another_moment_after_a_journey(zone: Callable[[str], None]) -> None:
    zone("XXX-14")
    east = seconds("2026-03-01")
    zone("XXX12")
    assert seconds("2026-03-01") - east == 26 * 3600


def test_a_date_with_a_zone_is_the_same_moment_after_a_journey(zone: Callable[[str], None]) -> None:
    zone("XXX-14")
    east = seconds("2026-03-01 12:00Z")
    zone("XXX12")
    assert seconds("2026-03-01 12:00Z") == east == calendar.timegm((2026, 3, 1, 12, 0, 59))


def test_a_day_in_summer_ends_by_summer_time(zone: Callable[[str], None]) -> None:
    zone(BERLIN)
    assert seconds("2026-07-01") == calendar.timegm((2026, 7, 1, 21, 59, 59))
    assert seconds("2026-01-01") == calendar.timegm((2026, 1, 1, 22, 59, 59))


def test_a_day_that_loses_an_hour_ends_23_hours_after_the_one_before(zone: Callable[[str], None]) -> None:
    zone(BERLIN)
    assert seconds("2026-03-29") - seconds("2026-03-28") == 23 * 3600
    assert seconds("2026-10-25") - seconds("2026-10-24") == 25 * 3600


def test_a_day_whose_last_hour_comes_twice_ends_with_the_second(zone: Callable[[str], None]) -> None:
    """What was pushed in that hour was pushed on that day."""
    zone(MIDNIGHT)
    assert seconds("2026-02-14") == time.mktime((2026, 2, 15, 0, 0, 0, -1, -1, -1)) - 1


def test_a_minute_that_a_journey_of_the_clock_skips_is_still_a_moment(zone: Callable[[str], None]) -> None:
    zone(BERLIN)
    assert seconds("2026-03-29 01:59") < seconds("2026-03-29 02:30") < seconds("2026-03-29 04:00")


@pytest.mark.parametrize("name", ["UTC0", "XXX-14", "XXX12"])
@pytest.mark.parametrize("text", ["0001-01-01", "0001-01", "9999-12-31", "9999-12", "0001-01-01 00:00+14:00"])
def test_the_first_and_the_last_day_are_moments_or_one_sentence(
    zone: Callable[[str], None], name: str, text: str
) -> None:
    zone(name)
    try:
        moment = seconds(text)
    except UsageError as error:
        assert error.hint
    else:
        assert moment < seconds("1900-01-01") or moment > seconds("2500-01-01")


# what is no date

NONSENSE = [
    "",
    " ",
    "yesterday",
    "now",
    "2026",
    "26-03-01",
    "2026-3-1",
    "2026-03-1",
    "2026/03/01",
    "01.03.2026",
    "20260301",
    "2026-00",
    "2026-13",
    "2026-99",
    "2026-00-10",
    "2026-13-01",
    "2026-03-00",
    "2026-03-32",
    "2026-04-31",
    "2026-02-29",
    "1900-02-29",
    "0000-01-01",
    "0000-12",
    "-2026-03-01",
    "12026-03-01",
    "2026-03-01 24:00",
    "2026-03-01 12:60",
    "2026-03-01 12:00:60",
    "2026-03-01 12",
    "2026-03-01  12:00",
    "2026-03-01t12:00",
    "2026-03-01Z",
    "2026-03Z",
    "2026-03-01 12:00 Z",
    "2026-03-01 12:00z",
    "2026-03-01 12:00+2",
    "2026-03-01 12:00+24:00",
    "2026-03-01 12:00+99:99",
    "2026-03-01 12:00+05:60",
    "2026-03-01 12:00+05:99",
    "2026-03-01 12:00:00.5",
    "2026-03-01 12:00 CET",
    "2026-03-01}",
    "2026-03-01\n2026-03-02",
    "2026-03-01\0",
    "\u0662\u0660\u0662\u0666-03-01",
    "2026-03-0\uff11",
    "2026\u201303\u201301",
    "\x1b[31m2026-03-01",
    "2" * 100_000,
    "2026-03-01" * 1000,
]


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: ascii(text)[1:24])
def test_what_is_no_date_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as told:
        seconds(text)
    assert "is not a date" in str(told.value)
    assert (len(str(told.value)) < 200, str(told.value).isprintable()) == (True, True)
    assert "2026-03-01" in told.value.hint


@LAW
@given(st.text("0123456789-: TZ+", max_size=26) | st.text(max_size=12))
@example("2026-13")
@example("0001-01-01")
def test_any_text_is_a_moment_or_one_sentence(text: str) -> None:
    try:
        moment = seconds(text)
    except UsageError as error:
        assert error.hint
    else:
        assert abs(moment) < 1e12


@LAW
@given(dates, dates)
def test_a_later_day_is_a_later_moment(one: date, other: date) -> None:
    assume(one < other)
    assert parse_moment(one.isoformat()) < parse_moment(other.isoformat())


# spans


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", 90), ("10m", 600), ("36h", 129_600), ("14d", 1_209_600), ("2w", 1_209_600), ("0s", 0), (" 1d ", 86_400)],
)
def test_a_span_is_a_number_and_a_unit(text: str, length: float) -> None:
    assert parse_span(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "d", "14", "14 d", "-1d", "+1d", "1.5h", "1h30m", "14D", "1y", "9999999d", "inf", "nan", "\u0661d", "1d\n1d"],
)
def test_what_is_no_span_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="is not a span of time") as told:
        parse_span(text)
    assert told.value.hint


# times in documents


@LAW
@given(times)
def test_a_time_in_a_document_is_utc_and_read_back(moment: datetime) -> None:
    assume(moment.year >= 1000)
    when = moment.replace(tzinfo=timezone.utc).timestamp()
    assume(when)
    assert timestamp(when) == f"{moment.isoformat()}Z"
    assert seconds(f"{moment.isoformat()}Z") == when


def test_never_is_no_time() -> None:
    assert timestamp(0) is None
    assert timestamp(0.0) is None


@pytest.mark.parametrize("when", [1e300, -1e300, float("inf"), float("nan"), 2.0**63, -(2.0**63)])
def test_what_no_calendar_has_is_no_time(when: float) -> None:
    assert timestamp(when) is None


def test_a_time_before_1970_is_a_time() -> None:
    assert timestamp(-1) == "1969-12-31T23:59:59Z"
