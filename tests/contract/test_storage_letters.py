from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from syndicate.model import DeliveryState
from syndicate.storage import letters, tables
from syndicate.storage.engine import open_engine, reading, writing
from syndicate.storage.letters import Letter

LEASE_S = 60.0
LEASE = timedelta(seconds=LEASE_S)


def add(connection: Connection, now: datetime, **changes: Any) -> int:
    values: dict[str, Any] = {
        "kind": "confirmation",
        "subscription_id": 7,
        "sender": "letters@example.org",
        "recipient": "ada@example.com",
        "message": b"Subject: x\r\n\r\n\xff.\r\n",
    }
    return letters.add_letter(connection, now=now, **values | changes)


def mark(connection: Connection, at: datetime, limit: int = 10) -> list[int]:
    return [one.id for one in letters.mark_letters(connection, limit=limit, now=at, lease_s=LEASE_S)]


def test_a_queued_letter_is_taken_at_once_byte_by_byte_and_counts_its_attempt(
    connection: Connection, now: datetime
) -> None:
    key = add(connection, now)

    assert letters.mark_letters(connection, limit=1, now=now, lease_s=LEASE_S) == [
        Letter(
            id=key,
            sender="letters@example.org",
            recipient="ada@example.com",
            message=b"Subject: x\r\n\r\n\xff.\r\n",
            attempts=1,
            created_at=now,
        )
    ]


def test_letters_are_taken_oldest_first_up_to_the_limit(connection: Connection, now: datetime) -> None:
    keys = [add(connection, now) for _ in range(5)]
    to_come = add(connection, now + timedelta(seconds=1))

    assert mark(connection, now, limit=2) == keys[:2]
    assert mark(connection, now, limit=2) == keys[2:4]
    assert mark(connection, now, limit=2) == keys[4:]
    assert mark(connection, now) == []
    assert mark(connection, now + timedelta(seconds=1)) == [to_come]


def test_a_letter_whose_sender_is_gone_comes_up_again_after_the_lease(
    connection: Connection, now: datetime
) -> None:
    key = add(connection, now)
    mark(connection, now)

    assert mark(connection, now + LEASE - timedelta(seconds=1)) == []
    (again,) = letters.mark_letters(connection, limit=1, now=now + LEASE, lease_s=LEASE_S)
    assert (again.id, again.attempts, again.created_at) == (key, 2, now)


def test_a_letter_that_is_settled_never_comes_up_again(connection: Connection, now: datetime) -> None:
    for state in (DeliveryState.SENT, DeliveryState.FAILED):
        key = add(connection, now)
        mark(connection, now)
        letters.record_letter(connection, key, state=state, reply="250 ok", next_attempt_at=None)

    assert mark(connection, now + timedelta(days=365)) == []


def test_a_letter_that_was_put_off_comes_up_when_its_time_has_come(
    connection: Connection, now: datetime
) -> None:
    key = add(connection, now)
    mark(connection, now)
    due_at = now + timedelta(minutes=5)

    letters.record_letter(
        connection, key, state=DeliveryState.PENDING, reply="450 later", next_attempt_at=due_at
    )

    assert mark(connection, due_at - timedelta(seconds=1)) == []
    assert mark(connection, due_at) == [key]


def test_a_reply_is_kept_up_to_what_its_column_holds(connection: Connection, now: datetime) -> None:
    key = add(connection, now)

    letters.record_letter(
        connection, key, state=DeliveryState.FAILED, reply="550 " + "é" * 600, next_attempt_at=None
    )

    assert connection.execute(select(tables.letter.c.reply)).scalar() == "550 " + "é" * 496


def test_recent_letters_are_counted_by_subscription_in_whatever_state(
    connection: Connection, now: datetime
) -> None:
    for minutes in (-61, -60, -5):
        add(connection, now + timedelta(minutes=minutes))
    add(connection, now, subscription_id=8)
    sent = add(connection, now)
    letters.record_letter(connection, sent, state=DeliveryState.SENT, reply="", next_attempt_at=None)

    since = now - timedelta(hours=1)
    assert letters.count_recent_letters(connection, 7, since=since) == 3
    assert letters.count_recent_letters(connection, 9, since=since) == 0


def test_an_erased_person_has_no_letters_left(connection: Connection, now: datetime) -> None:
    add(connection, now)
    sent = add(connection, now)
    letters.record_letter(connection, sent, state=DeliveryState.SENT, reply="", next_attempt_at=None)
    stays = add(connection, now, recipient="grace@example.com")

    letters.forget(connection, "ada@example.com")

    assert connection.execute(select(tables.letter.c.id)).scalars().all() == [stays]


def test_two_senders_take_no_letter_twice(postgresql_url: str, now: datetime) -> None:
    engine = open_engine(postgresql_url)
    with writing(engine) as conn:
        keys = [add(conn, now) for _ in range(4)]
    with writing(engine) as first, writing(engine) as second:
        taken = [mark(first, now, limit=2), mark(second, now, limit=4)]
    engine.dispose()

    assert taken == [keys[:2], keys[2:]]


def test_a_letter_is_queued_or_not_together_with_what_causes_it(engine: Engine, now: datetime) -> None:
    def queue_and_fail() -> None:
        with writing(engine) as conn:
            add(conn, now)
            raise LookupError

    with pytest.raises(LookupError):
        queue_and_fail()

    with reading(engine) as conn:
        assert conn.execute(select(tables.letter.c.id)).all() == []
