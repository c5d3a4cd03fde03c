from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import Connection, select

from subscribers import store, suppression
from subscribers.addresses import parse_address
from subscribers.audience import is_mailable, select_active
from subscribers.model import Cadence, SubscriptionStatus, SuppressionReason
from subscribers.tables import subscription

S = SubscriptionStatus


@pytest.fixture
def ids(connection: Connection, now: datetime) -> dict[str, int]:
    """Subscriptions to newsletter 1 by the reader's name; one of each kind."""
    found: dict[str, int] = {}
    for name, newsletter_id, status, cadence, topics in (
        ("weekly", 1, S.ACTIVE, Cadence.WEEKLY, ()),
        ("daily", 1, S.ACTIVE, Cadence.DAILY, ("woods", "coast")),
        ("pending", 1, S.PENDING, Cadence.DAILY, ()),
        ("paused", 1, S.PAUSED, Cadence.DAILY, ()),
        ("gone", 1, S.UNSUBSCRIBED, Cadence.DAILY, ()),
        ("suppressed", 1, S.ACTIVE, Cadence.DAILY, ()),
        ("elsewhere", 2, S.ACTIVE, Cadence.DAILY, ()),
    ):
        person = store.create_or_get_subscriber(
            connection,
            parse_address(f"{name.upper()}@example.com"),
            name=name.title(),
            language="",
            time_zone="",
            now=now,
        )
        found[name] = store.add_subscription(
            connection,
            subscriber_id=person.id,
            newsletter_id=newsletter_id,
            status=status,
            cadence=cadence,
            topics=topics,
            watermark=4,
            now=now,
        ).id
    suppression.suppress(
        connection,
        "suppressed@example.com",
        reason=SuppressionReason.COMPLAINT,
        now=now,
        evidence="",
    )
    return found


def test_the_audience_is_who_is_active_and_not_suppressed(
    connection: Connection, ids: dict[str, int]
) -> None:
    rows = connection.execute(select_active(1, None)).all()
    assert [tuple(row)[1:] for row in rows] == [
        (ids["weekly"], "WEEKLY@example.com", "Weekly", 4, "weekly", ""),
        (ids["daily"], "DAILY@example.com", "Daily", 4, "daily", "coast,woods"),
    ]
    assert rows[0]._fields == (
        "subscriber_id",
        "subscription_id",
        "address",
        "name",
        "watermark",
        "cadence",
        "topics",
    )
    assert [row.subscriber_id for row in rows] == sorted(row.subscriber_id for row in rows)


def test_an_audience_can_be_of_one_cadence(connection: Connection, ids: dict[str, int]) -> None:
    rows = connection.execute(select_active(1, "daily"))
    assert [row.subscription_id for row in rows] == [ids["daily"]]
    assert connection.execute(select_active(1, "monthly")).all() == []


def test_who_may_be_mailed_is_asked_again_at_the_last_moment(
    connection: Connection, ids: dict[str, int], now: datetime
) -> None:
    asked = [*ids.values(), 404]

    def mailable() -> set[int]:
        asked_for = select(subscription.c.id).where(subscription.c.id.in_(asked))
        return set(connection.execute(asked_for.where(is_mailable(subscription.c.id))).scalars())

    assert mailable() == {ids["weekly"], ids["daily"], ids["elsewhere"]}
    store.set_status(connection, ids["weekly"], S.UNSUBSCRIBED)
    suppression.suppress(
        connection,
        "elsewhere@example.com",
        reason=SuppressionReason.HARD_BOUNCE,
        now=now,
        evidence="550 5.1.1",
    )
    assert mailable() == {ids["daily"]}
    store.delete_subscriber(connection, "daily@example.com")
    assert mailable() == set()
