import random
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from scripts.bench_day import list_sources, simulate_day
from syndicate.collect.rhythm import Check, decide_interval_s, decide_next_check, decide_state
from syndicate.model import SourceState

NOW = datetime(2026, 11, 24, 12, 20, tzinfo=UTC)
DAY = 86_400.0


def test_a_day_of_ten_thousand_sources_goes_by_the_plan_and_no_host_is_asked_twice_in_a_second():
    dice = random.Random(20261124)
    day = simulate_day(list_sources(10_000, dice), dice)
    assert day.made == pytest.approx(day.planned, rel=0.05)
    assert day.smallest_gap_s >= 0.999
    assert day.most_per_host > 500
    assert day.gone >= 50
    assert day.after_gone == 0


def test_a_year_of_one_source_goes_by_the_plan_through_quiet_weeks_outages_and_its_end():
    dice = random.Random(7)
    at, ends_at = NOW, NOW + timedelta(days=365)
    published: deque = deque()
    planned, made, failures, failing_since, state = 0.0, 0, 0, None, SourceState.ACTIVE
    previous_at = at
    while state is not SourceState.GONE:
        made += 1
        day = (at - NOW).days
        if dice.random() < (at - previous_at) / timedelta(hours=3 if day % 60 < 30 else 12):
            published.append(at)
        while published and at - published[0] >= timedelta(days=7):
            published.popleft()
        reason = "gone" if at >= ends_at else "timeout" if day % 50 == 20 else ""
        failures = failures + 1 if reason else 0
        failing_since = (failing_since or at) if reason else None
        state = decide_state(state, reason=reason, failing_since=failing_since, now=at)
        interval_s = decide_interval_s(
            new_articles=len(published),
            watched_s=(at - NOW).total_seconds(),
        )
        planned_s = min(interval_s * 2**failures, DAY)
        check = Check(interval_s=interval_s, state=state, failures=failures)
        next_at = decide_next_check(check, now=at, jitter=dice.random())
        planned += (min(next_at, ends_at) - at).total_seconds() / planned_s
        previous_at, at = at, next_at
    assert at - ends_at < timedelta(days=2)
    assert made == pytest.approx(planned, rel=0.05)
    assert made > 1500
