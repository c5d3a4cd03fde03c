from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subscribers.model import Cadence
from syndicate.model import Schedule
from syndicate.schedule.slots import Slot, find_due_slot, find_next_slot, local_name

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def make_schedule(cadence: Cadence = Cadence.DAILY, **changes: Any) -> Schedule:
    """Daily at 02:30, or on Sundays, or on the 25th."""
    values: dict[str, Any] = {
        "newsletter_id": 1,
        "hour": 2,
        "minute": 30,
        "weekday": 6 if cadence is Cadence.WEEKLY else None,
        "monthday": 25 if cadence is Cadence.MONTHLY else None,
        "after_local": "",
    }
    return Schedule(cadence=cadence, **values | changes)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fire(schedule: Schedule, zone: ZoneInfo, instants: Iterable[datetime]) -> Iterator[Slot]:
    """What opens when a clock looks at these instants, each time dealing with what is due."""
    for instant in instants:
        slot = find_due_slot(schedule, zone, instant)
        if slot is not None:
            yield slot
            schedule = replace(schedule, after_local=slot.local)


def walk(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += step


@pytest.mark.parametrize(
    ("zone", "cadence", "hour_minute", "day", "expected"),
    [
        # Daylight saving begins: an hour that is skipped comes as much later as the clock was put forward.
        ("Europe/Berlin", Cadence.DAILY, (2, 30), "2026-03-29", "2026-03-29T01:30"),
        ("Europe/Berlin", Cadence.WEEKLY, (2, 30), "2026-03-29", "2026-03-29T01:30"),
        ("Europe/Berlin", Cadence.MONTHLY, (2, 30), "2026-03-29", "2026-03-29T01:30"),
        ("America/New_York", Cadence.DAILY, (2, 30), "2026-03-08", "2026-03-08T07:30"),
        ("America/New_York", Cadence.WEEKLY, (2, 30), "2026-03-08", "2026-03-08T07:30"),
        ("America/New_York", Cadence.MONTHLY, (2, 30), "2026-03-08", "2026-03-08T07:30"),
        ("Australia/Lord_Howe", Cadence.DAILY, (2, 15), "2026-10-04", "2026-10-03T15:45"),
        ("Australia/Lord_Howe", Cadence.WEEKLY, (2, 30), "2026-10-04", "2026-10-03T15:30"),
        ("Australia/Lord_Howe", Cadence.MONTHLY, (2, 30), "2026-10-04", "2026-10-03T15:30"),
        # It ends: of an hour that comes twice, the first one counts.
        ("Europe/Berlin", Cadence.DAILY, (2, 30), "2026-10-25", "2026-10-25T00:30"),
        ("Europe/Berlin", Cadence.WEEKLY, (2, 30), "2026-10-25", "2026-10-25T00:30"),
        ("Europe/Berlin", Cadence.MONTHLY, (2, 30), "2026-10-25", "2026-10-25T00:30"),
        ("America/New_York", Cadence.DAILY, (1, 30), "2026-11-01", "2026-11-01T05:30"),
        ("America/New_York", Cadence.DAILY, (2, 30), "2026-11-01", "2026-11-01T07:30"),
        ("Australia/Lord_Howe", Cadence.DAILY, (1, 45), "2026-04-05", "2026-04-04T14:45"),
        ("Australia/Lord_Howe", Cadence.DAILY, (2, 30), "2026-04-05", "2026-04-04T16:00"),
        # No daylight saving, and three quarters of an hour.
        ("Asia/Kathmandu", Cadence.DAILY, (2, 30), "2026-03-29", "2026-03-28T20:45"),
        ("Asia/Kathmandu", Cadence.WEEKLY, (2, 30), "2026-10-25", "2026-10-24T20:45"),
        ("Asia/Kathmandu", Cadence.MONTHLY, (2, 30), "2026-10-25", "2026-10-24T20:45"),
    ],
)
def test_a_slot_comes_once_and_at_the_right_instant_where_the_clock_is_changed(
    zone: str, cadence: Cadence, hour_minute: tuple[int, int], day: str, expected: str
) -> None:
    hour, minute = hour_minute
    local = f"{day}T{hour:02}:{minute:02}"
    schedule = make_schedule(
        cadence,
        hour=hour,
        minute=minute,
        monthday=int(day[-2:]) if cadence is Cadence.MONTHLY else None,
        after_local=f"{day}T00:00",
    )
    slot = Slot(local=local, at=at(expected))

    assert find_due_slot(schedule, ZoneInfo(zone), slot.at - timedelta(seconds=1)) is None
    assert find_due_slot(schedule, ZoneInfo(zone), slot.at) == slot
    assert find_next_slot(schedule, ZoneInfo(zone), slot.at - timedelta(seconds=1)) == slot
    fired = list(fire(schedule, ZoneInfo(zone), walk(slot.at - 3 * HOUR, slot.at + 20 * HOUR, 5 * MINUTE)))
    assert fired == [slot]


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (Cadence.DAILY, "2026-06-20T02:30"),
        (Cadence.WEEKLY, "2026-06-14T02:30"),
        (Cadence.MONTHLY, "2026-05-25T02:30"),
    ],
)
@pytest.mark.parametrize("after_local", ["", "2026-01-01T00:00"])
def test_of_slots_that_were_missed_the_newest_is_due_and_then_none(
    cadence: Cadence, expected: str, after_local: str
) -> None:
    schedule = make_schedule(cadence, after_local=after_local)
    now = at("2026-06-20T12:00")

    slots = list(fire(schedule, BERLIN, [now, now, now + HOUR]))

    assert [slot.local for slot in slots] == [expected]


def test_a_slot_that_was_dealt_with_is_not_due_again_even_if_the_clock_goes_back() -> None:
    schedule = make_schedule(after_local="2026-06-20T02:30")

    for hours in (-48, -1, 0, 1, 23):
        assert find_due_slot(schedule, BERLIN, at("2026-06-20T00:30") + hours * HOUR) is None
    assert find_due_slot(schedule, BERLIN, at("2026-06-21T00:30")) is not None


def test_a_schedule_is_not_due_for_what_came_before_it_was_made() -> None:
    made_at = at("2026-06-20T00:31")
    schedule = make_schedule(after_local=local_name(made_at, BERLIN))

    assert find_due_slot(schedule, BERLIN, made_at + 12 * HOUR) is None
    slot = find_due_slot(schedule, BERLIN, made_at + DAY)
    assert slot is not None
    assert slot.local == "2026-06-21T02:30"


def test_a_newsletter_that_moves_to_another_zone_repeats_no_slot() -> None:
    schedule = make_schedule(after_local="2026-06-20T02:30")
    moved = ZoneInfo("America/Los_Angeles")

    slots = list(fire(schedule, moved, walk(at("2026-06-19T17:30"), at("2026-06-22T00:00"), 10 * MINUTE)))

    assert [slot.local for slot in slots] == ["2026-06-21T02:30"]


def test_a_monthly_slot_on_a_day_that_a_month_does_not_have_is_on_its_last_day() -> None:
    schedule = make_schedule(Cadence.MONTHLY, monthday=31, after_local="2028-01-31T02:30")

    slots = fire(schedule, BERLIN, walk(at("2028-02-01T00:00"), at("2028-07-01T00:00"), DAY))

    assert [slot.local[:10] for slot in slots] == [
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
        "2028-05-31",
        "2028-06-30",
    ]


def test_a_nominal_day_that_the_date_line_took_away_does_not_stop_the_days_after_it() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    schedule = make_schedule(hour=8, minute=0, after_local="2011-12-28T08:00")

    slots = list(fire(schedule, apia, walk(at("2011-12-28T19:00"), at("2012-01-02T00:00"), HOUR)))

    assert [slot.local[:10] for slot in slots] == ["2011-12-29", "2011-12-31", "2012-01-01", "2012-01-02"]


@pytest.mark.parametrize(
    ("cadence", "now", "expected"),
    [
        (Cadence.DAILY, "2026-06-20T00:29", "2026-06-20T02:30"),
        (Cadence.DAILY, "2026-06-20T00:30", "2026-06-21T02:30"),
        (Cadence.WEEKLY, "2026-06-20T12:00", "2026-06-21T02:30"),
        (Cadence.WEEKLY, "2026-06-21T00:30", "2026-06-28T02:30"),
        (Cadence.MONTHLY, "2026-06-20T12:00", "2026-06-25T02:30"),
        (Cadence.MONTHLY, "2026-06-25T12:00", "2026-07-25T02:30"),
        (Cadence.DAILY, "2026-12-31T12:00", "2027-01-01T02:30"),
    ],
)
def test_the_next_slot_is_the_first_that_is_still_to_come(cadence: Cadence, now: str, expected: str) -> None:
    slot = find_next_slot(make_schedule(cadence), BERLIN, at(now))

    assert slot.local == expected
    assert slot.at > at(now)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2026-03-29T00:59:59", "2026-03-29T01:59"),
        ("2026-03-29T01:00:00", "2026-03-29T03:00"),
        ("2026-10-25T00:30:00", "2026-10-25T02:30"),
        ("2026-10-25T01:30:00", "2026-10-25T02:30"),
    ],
)
def test_an_instant_is_named_by_the_local_time_to_the_minute(instant: str, expected: str) -> None:
    assert local_name(at(instant), BERLIN) == expected


def is_slot_day(cadence: Cadence, day: date) -> bool:
    match cadence:
        case Cadence.WEEKLY:
            return day.isoweekday() == 7
        case Cadence.MONTHLY:
            return day.day == 25
        case _:
            return True


@settings(max_examples=20, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    cadence=st.sampled_from([Cadence.DAILY, Cadence.WEEKLY, Cadence.MONTHLY]),
    hour=st.integers(0, 23),
    minute=st.sampled_from([0, 15, 30, 45, 59]),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2025, 12, 31)),  # noqa: DTZ001 - given its zone below
    steps=st.lists(st.integers(1, 20 * 60), min_size=1, max_size=20).filter(lambda s: sum(s) > 60 * len(s)),
)
def test_a_clock_that_looks_at_random_moments_meets_each_nominal_day_exactly_once(
    zone: str, cadence: Cadence, hour: int, minute: int, start: datetime, steps: list[int]
) -> None:
    place = ZoneInfo(zone)
    begin = start.replace(tzinfo=UTC)
    end = begin + 731 * DAY
    schedule = make_schedule(cadence, hour=hour, minute=minute, after_local=local_name(begin, place))

    def looks() -> Iterator[datetime]:
        look = begin
        for step in cycle(steps):
            yield look
            look += step * MINUTE
            if look > end:
                return

    slots = list(fire(schedule, place, looks()))

    days = [date.fromisoformat(slot.local[:10]) for slot in slots]
    # Whether the slots of the first and last days are met depends on the hour; those between always are.
    first, last = begin.astimezone(place).date() + 2 * DAY, end.astimezone(place).date() - 2 * DAY
    expected = [day for n in range((last - first).days) if is_slot_day(cadence, day := first + n * DAY)]
    assert [day for day in days if first <= day < last] == expected
    assert days == sorted(set(days))
    assert {slot.local[11:] for slot in slots} <= {f"{hour:02}:{minute:02}"}
    assert all(begin <= slot.at <= end for slot in slots)


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    cadence=st.sampled_from([Cadence.DAILY, Cadence.WEEKLY, Cadence.MONTHLY]),
    hour=st.integers(0, 23),
    now=st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - given its zone below
)
def test_what_is_announced_as_next_is_what_is_due_when_its_instant_has_come(
    zone: str, cadence: Cadence, hour: int, now: datetime
) -> None:
    place, instant = ZoneInfo(zone), now.replace(tzinfo=UTC)
    last = find_due_slot(make_schedule(cadence, hour=hour), place, instant)
    assert last is not None

    coming = find_next_slot(make_schedule(cadence, hour=hour), place, instant)

    waiting = make_schedule(cadence, hour=hour, after_local=last.local)
    assert last.at <= instant < coming.at
    assert find_due_slot(waiting, place, coming.at - timedelta(microseconds=1)) is None
    assert find_due_slot(waiting, place, coming.at) == coming
