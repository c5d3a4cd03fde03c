from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.dates import parse_date, plausible
from syndicate.model import DateQuality

ZURICH = ZoneInfo("Europe/Zurich")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "February 8, 2024",
        "Feb 8, 2024",
        "feb. 8 2024",
        "8 February 2024",
        "8th February 2024",
        "Thursday, February 8, 2024",
        "Thu, Feb 8, 2024",
        "  2024-02-08 ",
        "08 Feb 2024",
    ],
)
def test_a_date_without_a_time_is_midnight_in_the_given_zone(text):
    assert parse_date(text, zone=ZURICH) == (datetime(2024, 2, 7, 23, tzinfo=UTC), DateQuality.DAY)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2024-02-08T10:30:00Z", 10),
        ("2024-02-08T10:30:00.123456789Z", 10),
        ("2024-02-08 10:30", 9),
        ("2024-02-08T10:30:00+02:00", 8),
        ("2024-02-08T10:30:00-0500", 15),
        ("Thu, 08 Feb 2024 10:30:00 GMT", 10),
        ("Thu, 8 Feb 2024 10:30:00 +0100", 9),
        ("08 Feb 24 10:30 EST", 15),
        ("8 Feb 2024 10:30 XYZ", 10),
        ("February 8, 2024 at 10:30", 9),
        ("Thu, 08-Feb-2024 10:30:00 UTC", 10),
    ],
)
def test_a_time_is_read_with_its_zone_or_in_the_given_one(text, hour):
    assert parse_date(text, zone=ZURICH) == (datetime(2024, 2, 8, hour, 30, tzinfo=UTC), DateQuality.GIVEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02/08/2024",
        "8.2.2024",
        "2024-02-30",
        "0000-00-00",
        "0000-00-00T00:00:00Z",
        "1707382800",
        "2024",
        "today",
        "February 2024",
        "on February 8, 2024 we met",
        "2024-02-08T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "8 Foo 2024",
        "2024-02-08T10:30:00+99:99",
    ],
)
def test_what_is_not_wholly_one_date_is_none(text):
    assert parse_date(text, zone=UTC) == (None, DateQuality.FIRST_SEEN)


@given(st.datetimes(timezones=st.timezones()))
def test_every_iso_time_comes_back_as_the_same_instant(at):
    at = at.replace(microsecond=0)
    offset = at.utcoffset()
    if 1900 < at.year < 2100 and offset is not None and offset.total_seconds() % 60 == 0:
        assert parse_date(at.isoformat(), zone=UTC)[0] == at.astimezone(UTC)


@given(st.text() | st.text("0123456789-:TZ+ JanFeb,", max_size=30))
def test_no_text_makes_it_fail(text):
    at, _ = parse_date(text, zone=ZURICH)
    assert at is None or at.tzinfo is UTC


def test_only_times_since_1990_and_up_to_tomorrow_are_plausible():
    assert plausible(NOW + timedelta(hours=24), NOW) is not None
    assert plausible(NOW + timedelta(hours=24, seconds=1), NOW) is None
    assert plausible(datetime(1990, 1, 1, tzinfo=UTC), NOW) is not None
    assert plausible(datetime(1970, 1, 1, tzinfo=UTC), NOW) is None
    assert plausible(None, NOW) is None
