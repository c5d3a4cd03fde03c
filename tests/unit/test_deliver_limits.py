from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.deliver.limits import DomainLimit, DomainLimits, Turns, decide_daily_cap
from syndicate.settings import SmtpSettings

FIRST_DAY = date(2026, 12, 1)


def cap(days: int, **settings: Any) -> int | None:
    return decide_daily_cap(SmtpSettings(**settings), FIRST_DAY + timedelta(days=days))


def warm_up(**settings: Any) -> dict[str, Any]:
    return {"warm_up_from": FIRST_DAY, "warm_up_start": 50} | settings


def test_without_warm_up_each_day_has_the_same_cap_or_none() -> None:
    assert cap(0) is None
    assert cap(5, per_day=10_000) == 10_000


def test_a_warm_up_grows_from_its_first_day_until_it_reaches_the_days_limit() -> None:
    assert [cap(day, **warm_up(warm_up_growth=2.0, per_day=300)) for day in range(-2, 5)] == [
        0,
        0,
        50,
        100,
        200,
        300,
        300,
    ]


def test_a_warm_up_without_a_days_limit_goes_on_growing() -> None:
    assert cap(3, **warm_up()) == 168
    assert cap(4000, **warm_up()) is None
    assert cap(4000, **warm_up(per_day=7)) == 7


@given(
    start=st.integers(1, 10**6),
    growth=st.floats(1.01, 10),
    per_day=st.integers(0, 10**9),
    days=st.integers(0, 40_000),
)
def test_a_warm_up_never_shrinks_and_never_exceeds_the_days_limit(
    start: int, growth: float, per_day: int, days: int
) -> None:
    caps = [
        cap(day, **warm_up(warm_up_start=start, warm_up_growth=growth, per_day=per_day))
        for day in range(days, days + 3)
    ]
    for one, next_one in pairwise(caps):
        assert next_one is None or (one is not None and one <= next_one)
    if per_day:
        assert all(one is not None and one <= per_day for one in caps)


def test_a_domain_that_is_not_named_has_the_limit_of_all_others() -> None:
    limits = DomainLimits(named={"big.example": DomainLimit(connections=5)}, others=DomainLimit(rate_s=1.0))

    assert limits.get("big.example").connections == 5
    assert limits.get("small.example").rate_s == 1.0
    assert limits.are_set
    assert not DomainLimits(named={"a.example": DomainLimit()}).are_set


@pytest.mark.parametrize(("rate_s", "group"), [(0.5, 1), (10.0, 1), (100.0, 10), (1000.0, 100)])
def test_a_group_is_what_falls_due_in_a_tenth_of_a_second(rate_s: float, group: int) -> None:
    turns, taken = Turns(rate_s), 0
    while turns.is_due(50.0):
        turns.take(50.0)
        taken += 1
    assert taken == group
    assert turns.is_due(turns.due_s)


@given(rate_s=st.floats(0.01, 1000), steps_s=st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_no_more_turns_than_the_rate_and_one_group(rate_s: float, steps_s: list[float]) -> None:
    turns, now_s, taken_s = Turns(rate_s), 0.0, []
    for step_s in steps_s:
        now_s += step_s
        while turns.is_due(now_s) and len(taken_s) < 300:
            turns.take(now_s)
            taken_s.append(now_s)
    group = max(1, int(rate_s * 0.1))
    for first, begin_s in enumerate(taken_s):
        assert len(taken_s) - first <= (taken_s[-1] - begin_s) * rate_s + group + 1e-4
