from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.rhythm import (
    Check,
    decide_interval_s,
    decide_next_check,
    decide_state,
    decide_validators,
    is_slot_check_due,
)
from syndicate.model import SourceState

NOW = datetime(2026, 11, 24, 12, 20, tzinfo=UTC)  # a Tuesday
HOUR = 3600.0
DAY = 24 * HOUR


def wait(*, jitter=0.5, interval_s=HOUR, **known):
    """Seconds until the next look."""
    return (
        decide_next_check(Check(interval_s=interval_s, **known), now=NOW, jitter=jitter) - NOW
    ).total_seconds()


CHECKS = st.builds(
    Check,
    interval_s=st.floats(900, 6 * HOUR),
    state=st.sampled_from([SourceState.ACTIVE, SourceState.LOST]),
    failures=st.integers(0, 10_000),
    retry_after_s=st.none() | st.floats(60, 7 * DAY),
    fresh_s=st.none() | st.floats(0, DAY),
    min_interval_s=st.none() | st.floats(0, 100 * DAY),
    skip_hours=st.frozensets(st.integers(0, 23)),
    skip_days=st.frozensets(st.integers(0, 6)),
    is_pushed=st.booleans(),
)
JITTER = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("new_articles", "watched_s", "interval_s"),
    [
        (0, 0, HOUR),
        (90, 0.9 * DAY, HOUR),
        (0, 2 * DAY, HOUR),
        (96, 2 * DAY, HOUR / 2),
        (0, 7 * DAY, 6 * HOUR),
        (1, 7 * DAY, 6 * HOUR),
        (42, 7 * DAY, 4 * HOUR),
        (168, 7 * DAY, HOUR),
        (168, 700 * DAY, HOUR),
        (100_000, 7 * DAY, HOUR / 4),
    ],
)
def test_the_interval_is_how_long_it_takes_until_something_new_is_there(new_articles, watched_s, interval_s):
    assert decide_interval_s(new_articles=new_articles, watched_s=watched_s) == interval_s


def test_the_operators_limits_hold_for_every_interval():
    limits = {"shortest_s": 2 * HOUR, "longest_s": 3 * HOUR}
    assert decide_interval_s(new_articles=0, watched_s=0, **limits) == 2 * HOUR
    assert decide_interval_s(new_articles=1000, watched_s=7 * DAY, **limits) == 2 * HOUR
    assert decide_interval_s(new_articles=0, watched_s=7 * DAY, **limits) == 3 * HOUR


def test_a_source_that_is_well_is_asked_once_in_its_interval_give_or_take_a_tenth():
    assert [wait(jitter=jitter) for jitter in (0.0, 0.5, 1.0)] == pytest.approx([3240, 3600, 3960])


@pytest.mark.parametrize(
    ("known", "seconds"),
    [
        ({"fresh_s": 7200.0}, 7200),
        ({"min_interval_s": 7200.0}, 7200),
        ({"fresh_s": 7200.0, "min_interval_s": 10_800.0}, 10_800),
        ({"fresh_s": 60.0, "min_interval_s": 60.0}, 3600),
        ({"min_interval_s": 40 * DAY}, DAY),
        ({"is_pushed": True}, DAY),
        ({"state": SourceState.LOST}, DAY),
    ],
)
def test_hints_hub_and_loss_make_the_wait_longer_up_to_a_day_and_never_shorter(known, seconds):
    assert wait(**known) == seconds


def test_each_failure_doubles_the_wait_up_to_a_day():
    assert [wait(failures=n) for n in (1, 2, 3, 4, 5, 90)] == [7200, 14_400, 28_800, 57_600, DAY, DAY]


def test_a_source_that_is_asked_less_than_once_a_day_is_not_asked_more_often_for_failing():
    assert wait(interval_s=3 * DAY, failures=1) >= 3 * DAY
    assert wait(interval_s=3 * DAY, failures=1, jitter=0.0) < wait(interval_s=3 * DAY, failures=1, jitter=0.9)


def test_what_the_server_asks_for_comes_before_everything():
    assert wait(failures=1, retry_after_s=60.0) == 7200
    assert wait(failures=1, retry_after_s=10_000.0) == 10_000
    assert wait(failures=1, retry_after_s=7 * DAY) == 7 * DAY


@pytest.mark.parametrize(
    ("hours", "days", "expected"),
    [
        ([], [], NOW.replace(hour=13)),
        ([13], [], NOW.replace(hour=14)),
        ([12], [], NOW.replace(hour=13)),
        (range(13, 24), [], NOW.replace(day=25, hour=0)),
        ([], [1], NOW.replace(day=25, hour=0)),
        ([], [1, 2], NOW.replace(day=25, hour=12)),  # a day at most
        (range(24), range(7), NOW.replace(day=25, hour=12)),
    ],
)
def test_quiet_hours_and_days_are_passed_over_up_to_a_day(hours, days, expected):
    check = Check(interval_s=HOUR, skip_hours=frozenset(hours), skip_days=frozenset(days))
    assert decide_next_check(check, now=NOW, jitter=0.5) == expected


@given(CHECKS, JITTER)
def test_no_wait_is_shorter_than_a_healthy_one_or_than_the_server_asked_for(check, jitter):
    at = decide_next_check(check, now=NOW, jitter=jitter)
    seconds = (at - NOW).total_seconds() + 0.001
    assert seconds >= check.interval_s * (1.0 if check.failures else 0.9)
    assert seconds >= min(max(check.fresh_s or 0, check.min_interval_s or 0), DAY) * 0.9
    assert seconds >= (check.retry_after_s or 0)


@given(CHECKS, JITTER)
def test_every_source_is_asked_again_within_little_more_than_a_day_unless_the_server_forbids_it(
    check, jitter
):
    at = decide_next_check(check, now=NOW, jitter=jitter)
    assert (at - NOW).total_seconds() <= max(1.1 * DAY, check.retry_after_s or 0) + 0.001


@pytest.mark.parametrize(
    ("state", "reason", "days", "after"),
    [
        ("active", "", None, "active"),
        ("active", "gone", 0, "gone"),
        ("lost", "gone", 90, "gone"),
        ("active", "http_404", 0, "active"),
        ("active", "http_404", 29, "active"),
        ("active", "http_404", 30, "lost"),
        ("active", "dns", 300, "active"),
        ("lost", "http_404", 31, "lost"),
        ("lost", "timeout", 31, "lost"),
        ("lost", "", None, "active"),
        ("paused", "", None, "paused"),
        ("paused", "http_404", 31, "paused"),
    ],
)
def test_410_ends_a_source_and_404_for_a_month_makes_it_lost_until_it_is_found(state, reason, days, after):
    since = None if days is None else NOW - timedelta(days=days)
    found = decide_state(SourceState(state), reason=reason, failing_since=since, now=NOW)
    assert found == SourceState(after)


def test_once_a_week_a_document_is_asked_for_without_validators():
    def sent(full_fetch_at):
        return decide_validators(etag='"x"', last_modified="then", full_fetch_at=full_fetch_at, now=NOW)

    assert sent(NOW - timedelta(days=6.9)) == ('"x"', "then")
    assert sent(NOW - timedelta(days=7)) == ("", "")
    assert sent(None) == ("", "")


@pytest.mark.parametrize(
    ("minutes_to_slot", "checked_minutes_ago", "waits_minutes", "is_due"),
    [
        (11, 60, None, False),
        (10, 60, None, True),
        (1, 60, None, True),
        (1, None, None, True),
        (0, 60, None, False),
        (-5, 60, None, False),
        (5, 4, None, False),
        (5, 6, None, True),
        (5, 60, 1, False),
        (5, 60, 0, True),
        (5, 60, -9, True),
    ],
)
def test_shortly_before_a_slot_a_source_is_asked_once_more_unless_the_server_forbids_it(
    minutes_to_slot, checked_minutes_ago, waits_minutes, is_due
):
    def at(minutes):
        return None if minutes is None else NOW + timedelta(minutes=minutes)

    found = is_slot_check_due(
        slot_at=at(minutes_to_slot),
        last_checked_at=at(None if checked_minutes_ago is None else -checked_minutes_ago),
        waits_until=at(waits_minutes),
        now=NOW,
    )
    assert found is is_due
