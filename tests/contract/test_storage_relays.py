from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from syndicate.storage.engine import open_engine, writing
from syndicate.storage.relays import RelayUsage, give_back, list_usage, take_turns

DAY = date(2026, 3, 14)
SECOND = timedelta(seconds=1)


def take(connection: Connection, now: datetime, limit: int = 100, **changes: Any) -> int:
    values: dict[str, Any] = {"relay": "smtp", "rate_s": 0.0, "day": DAY, "per_day": None}
    return take_turns(connection, limit=limit, now=now, **values | changes)


def test_without_a_limit_everything_is_granted_and_counted(connection: Connection, now: datetime) -> None:
    assert take(connection, now, 7) == 7
    assert take(connection, now, 0) == 0
    assert take(connection, now, 5) == 5
    assert list_usage(connection, DAY) == [RelayUsage(relay="smtp", sent=12)]


def test_a_day_gives_no_more_than_its_cap_and_the_next_one_begins_anew(
    connection: Connection, now: datetime
) -> None:
    assert [take(connection, now, 4, per_day=10) for _ in range(4)] == [4, 4, 2, 0]
    assert take(connection, now, 4, per_day=0) == 0
    assert take(connection, now, 20, per_day=10, day=DAY + timedelta(days=1)) == 10
    assert list_usage(connection, DAY) == [RelayUsage(relay="smtp", sent=10)]


def test_a_cap_that_was_lowered_below_what_is_sent_grants_nothing(
    connection: Connection, now: datetime
) -> None:
    take(connection, now, 8)

    assert take(connection, now, 4, per_day=5) == 0
    assert take(connection, now, 4, per_day=9) == 1


def test_relays_do_not_touch_each_other_and_are_listed_by_name(connection: Connection, now: datetime) -> None:
    assert take(connection, now, 9, relay="two", per_day=3) == 3
    assert take(connection, now, 9, relay="one", per_day=5) == 5

    assert list_usage(connection, DAY) == [
        RelayUsage(relay="one", sent=5),
        RelayUsage(relay="two", sent=3),
    ]
    assert list_usage(connection, DAY + timedelta(days=1)) == []


def test_a_rate_gives_what_falls_due_within_a_second(connection: Connection, now: datetime) -> None:
    assert take(connection, now, rate_s=10.0) == 10
    assert take(connection, now, rate_s=10.0) == 0
    assert take(connection, now + SECOND / 2, rate_s=10.0) == 5
    assert take(connection, now + SECOND, 3, rate_s=10.0) == 3
    assert take(connection, now + SECOND, rate_s=10.0) == 2
    assert take(connection, now + 9 * SECOND, rate_s=10.0) == 10, "unused turns do not add up"


def test_a_slow_rate_gives_one_after_the_other(connection: Connection, now: datetime) -> None:
    granted = [take(connection, now + seconds * SECOND, rate_s=0.1) for seconds in range(21)]

    assert sum(granted[:9]) == 1
    assert sum(granted) == 3
    assert set(granted) == {0, 1}


def test_a_rate_goes_on_over_midnight(connection: Connection, now: datetime) -> None:
    assert take(connection, now, rate_s=10.0) == 10
    assert take(connection, now, rate_s=10.0, day=DAY + timedelta(days=1)) == 0
    assert take(connection, now + SECOND / 2, rate_s=10.0, day=DAY + timedelta(days=1)) == 5


def test_the_tighter_limit_holds_and_leaves_the_other_ones_turns(
    connection: Connection, now: datetime
) -> None:
    assert take(connection, now, rate_s=10.0, per_day=4) == 4
    assert take(connection, now, rate_s=10.0, per_day=100) == 6
    assert take(connection, now, rate_s=10.0, per_day=100) == 0


def test_a_clock_that_was_wrong_once_does_not_stop_the_relay(connection: Connection, now: datetime) -> None:
    assert take(connection, now + timedelta(days=365), rate_s=10.0) == 10

    assert take(connection, now, rate_s=10.0) == 10
    assert take(connection, now, rate_s=10.0) == 0


def test_a_sender_whose_clock_is_behind_waits_for_the_turns_of_the_other(
    connection: Connection, now: datetime
) -> None:
    assert take(connection, now + 5 * SECOND, rate_s=10.0) == 10

    assert take(connection, now, rate_s=10.0) == 0


def test_what_was_not_sent_is_given_back_and_never_more_than_was_taken(
    connection: Connection, now: datetime
) -> None:
    take(connection, now, 8, per_day=8)

    give_back(connection, "smtp", DAY, 3)
    assert take(connection, now, 9, per_day=8) == 3
    give_back(connection, "smtp", DAY, 99)
    assert list_usage(connection, DAY) == [RelayUsage(relay="smtp", sent=0)]
    give_back(connection, "unknown", DAY, 1)
    assert len(list_usage(connection, DAY)) == 1


def test_what_a_transaction_took_and_did_not_commit_was_never_taken(engine: Engine, now: datetime) -> None:
    def take_and_fail() -> None:
        with writing(engine) as conn:
            assert take(conn, now, 5, per_day=5) == 5
            raise LookupError

    with pytest.raises(LookupError):
        take_and_fail()

    with writing(engine) as conn:
        assert take(conn, now, 9, per_day=5) == 5


def test_senders_at_once_never_exceed_the_days_cap_together(database_url: str, now: datetime) -> None:
    senders, cap = 4, 50
    start = threading.Barrier(senders)

    def send(number: int) -> int:
        engine, taken, granted = open_engine(database_url), 0, 1
        try:
            start.wait(timeout=30)
            while granted:
                with writing(engine) as conn:
                    granted = take(conn, now, 1 + number, per_day=cap)
                taken += granted
        finally:
            engine.dispose()
        return taken

    with ThreadPoolExecutor(senders) as pool:
        taken = list(pool.map(send, range(senders)))

    assert sum(taken) == cap
    engine = open_engine(database_url)
    with writing(engine) as conn:
        assert list_usage(conn, DAY) == [RelayUsage(relay="smtp", sent=cap)]
    engine.dispose()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate_s=st.floats(0.5, 50),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 60)), min_size=1, max_size=12),
)
def test_in_no_span_more_is_granted_than_the_rate_and_one_second_ahead(
    engine: Engine, now: datetime, rate_s: float, steps: list[tuple[float, int]]
) -> None:
    granted: list[tuple[float, int]] = []
    elapsed_s = 0.0
    with writing(engine) as conn:
        for step_s, limit in steps:
            elapsed_s += step_s
            count = take(conn, now + timedelta(seconds=elapsed_s), limit, rate_s=rate_s)
            assert count <= limit
            granted.append((elapsed_s, count))
        conn.rollback()
    for first, (begin_s, _) in enumerate(granted):
        total = sum(count for _, count in granted[first:])
        # One turn more for the fraction at the beginning, and microseconds are rounded.
        assert total <= (elapsed_s - begin_s + 1) * rate_s + 1 + 1e-3
