from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.deliver.backoff import decide_next_attempt


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(0, 5), (1, 5), (2, 15), (3, 30), (4, 60), (5, 60), (10_000, 60)]
)
def test_a_delivery_waits_longer_after_each_attempt_and_then_an_hour(
    now: datetime, attempts: int, minutes: int
) -> None:
    assert decide_next_attempt(attempts, now=now, jitter=0.0) == now + timedelta(minutes=minutes)


def test_chance_makes_the_wait_a_fifth_longer_at_the_most(now: datetime) -> None:
    assert decide_next_attempt(4, now=now, jitter=1.0) == now + timedelta(minutes=72)
    assert decide_next_attempt(4, now=now, jitter=0.5) == now + timedelta(minutes=66)


@given(attempts=st.integers(1, 100), jitter=st.floats(0, 1), other=st.floats(0, 1))
def test_a_later_attempt_never_comes_up_sooner_than_its_own_turn(
    attempts: int, jitter: float, other: float
) -> None:
    start = datetime(2026, 3, 14)  # noqa: DTZ001 - only differences count here
    wait = decide_next_attempt(attempts, now=start, jitter=jitter) - start

    assert timedelta(minutes=5) <= wait <= timedelta(minutes=72)
    longer = decide_next_attempt(attempts + 3, now=start, jitter=other) - start
    assert longer >= min(wait, timedelta(minutes=60))
