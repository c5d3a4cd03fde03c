from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select

from subscribers import store, tables
from subscribers.addresses import parse_address
from subscribers.errors import UnknownSubscriber
from subscribers.model import Cadence, ConsentMethod, Subscriber, Subscription, SubscriptionStatus

S = SubscriptionStatus


def person(connection: Connection, now: datetime, email: str = "reader@example.com") -> Subscriber:
    return store.create_or_get_subscriber(
        connection, parse_address(email), name="Reader", language="de", time_zone="Europe/Berlin", now=now
    )


def subscription(
    connection: Connection,
    now: datetime,
    email: str = "reader@example.com",
    *,
    newsletter_id: int = 1,
    status: SubscriptionStatus = S.ACTIVE,
    topics: tuple[str, ...] = (),
    watermark: int = 5,
) -> Subscription:
    return store.add_subscription(
        connection,
        subscriber_id=person(connection, now, email).id,
        newsletter_id=newsletter_id,
        status=status,
        cadence=Cadence.DAILY,
        topics=topics,
        watermark=watermark,
        now=now,
    )


def topic_rows(connection: Connection, subscription_id: int) -> list[str]:
    table = tables.subscription_topic
    query = select(table.c.topic).where(table.c.subscription_id == subscription_id)
    return sorted(connection.execute(query).scalars())


def test_the_migrations_make_the_tables_that_the_code_declares(connection: Connection) -> None:
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables,
        },
    )
    assert compare_metadata(context, tables.metadata) == []


def test_a_person_is_stored_once_and_keeps_the_first_name(connection: Connection, now: datetime) -> None:
    first = person(connection, now, "Reader@Example.com")
    again = store.create_or_get_subscriber(
        connection, parse_address("reader@EXAMPLE.com"), name="Other", language="", time_zone="", now=now
    )
    assert again == first
    assert first == Subscriber(
        id=first.id,
        email="Reader@example.com",
        email_key="reader@example.com",
        name="Reader",
        language="de",
        time_zone="Europe/Berlin",
        created_at=now,
    )
    assert store.find_by_email(connection, "reader@example.com") == first
    assert store.find_by_email(connection, "nobody@example.com") is None


def test_details_can_be_changed(connection: Connection, now: datetime) -> None:
    first = person(connection, now)
    store.set_details(connection, first.id, name="Ré", language="fr", time_zone="")
    changed = store.find_by_email(connection, first.email_key)
    assert changed is not None
    assert (changed.name, changed.language, changed.time_zone) == ("Ré", "fr", "")


def test_a_subscription_is_read_as_it_was_stored(connection: Connection, now: datetime) -> None:
    stored = subscription(connection, now, topics=("woods", "coast", "woods"))
    assert stored == Subscription(
        id=stored.id,
        subscriber_id=stored.subscriber_id,
        newsletter_id=1,
        status=S.ACTIVE,
        cadence=Cadence.DAILY,
        topics=("coast", "woods"),
        watermark=5,
        created_at=now,
        confirmed_at=now,
    )
    assert store.get_subscription(connection, stored.id) == stored
    assert store.find_subscription(connection, stored.subscriber_id, 1) == stored
    assert store.find_subscription(connection, stored.subscriber_id, 2) is None
    reader = store.get_reader(connection, stored.id, lock=True)
    assert (reader.subscriber.email_key, reader.subscription) == ("reader@example.com", stored)


def test_only_an_active_subscription_begins_confirmed(connection: Connection, now: datetime) -> None:
    assert subscription(connection, now, status=S.PENDING).confirmed_at is None


def test_an_unknown_number_is_named(connection: Connection) -> None:
    with pytest.raises(UnknownSubscriber, match="unknown subscription 404"):
        store.get_subscription(connection, 404)
    with pytest.raises(UnknownSubscriber, match="unknown subscription 404"):
        store.get_reader(connection, 404, lock=True)


def test_topics_stand_in_both_places_alike(connection: Connection, now: datetime) -> None:
    its = subscription(connection, now, topics=("coast", "woods"))
    other = subscription(connection, now, newsletter_id=2, topics=("coast",))
    assert topic_rows(connection, its.id) == ["coast", "woods"]
    store.set_preferences(connection, its.id, cadence=Cadence.WEEKLY, topics=["night-sky", "craft"])
    changed = store.get_subscription(connection, its.id)
    assert (changed.cadence, changed.topics) == (Cadence.WEEKLY, ("craft", "night-sky"))
    assert topic_rows(connection, its.id) == ["craft", "night-sky"]
    store.set_preferences(connection, its.id, cadence=Cadence.WEEKLY, topics=[])
    assert store.get_subscription(connection, its.id).topics == ()
    assert topic_rows(connection, its.id) == []
    assert topic_rows(connection, other.id) == ["coast"]


def test_activating_keeps_the_first_time_and_sets_the_watermark(
    connection: Connection, now: datetime
) -> None:
    its = subscription(connection, now, status=S.PENDING)
    later = now + timedelta(days=1)
    store.activate(connection, its.id, watermark=9, now=now)
    store.set_status(connection, its.id, S.PAUSED)
    store.activate(connection, its.id, watermark=12, now=later)
    active = store.get_subscription(connection, its.id)
    assert (active.status, active.watermark, active.confirmed_at) == (S.ACTIVE, 12, now)


def test_watermarks_advance_together_and_never_go_back(connection: Connection, now: datetime) -> None:
    low = subscription(connection, now, "a@example.com", watermark=3)
    high = subscription(connection, now, "b@example.com", watermark=30)
    other = subscription(connection, now, "c@example.com", watermark=3)
    store.advance_watermarks(connection, subscription_ids=[low.id, high.id], sequence=20)
    store.advance_watermarks(connection, subscription_ids=[], sequence=99)
    marks = [store.get_subscription(connection, s.id).watermark for s in (low, high, other)]
    assert marks == [20, 30, 3]


def test_watermarks_of_more_readers_than_one_statement_takes(connection: Connection, now: datetime) -> None:
    its = subscription(connection, now, watermark=3)
    ids = [*range(1_000_000, 1_070_000), its.id]
    store.advance_watermarks(connection, subscription_ids=ids, sequence=4)
    assert store.get_subscription(connection, its.id).watermark == 4


def test_subscribers_are_listed_page_by_page(connection: Connection, now: datetime) -> None:
    ids = [
        subscription(connection, now, f"r{n}@example.com", status=S.ACTIVE if n % 2 else S.PENDING).id
        for n in range(5)
    ]
    elsewhere = subscription(connection, now, "r1@example.com", newsletter_id=2, topics=("coast",))

    def page(newsletter_id: int | None = 1, **choice: object) -> list[int]:
        found = store.list_subscribers(connection, newsletter_id, limit=2, **choice)  # type: ignore[arg-type]  # a table of cases
        return [reader.subscription.id for reader in found]

    assert page() == ids[:2]
    assert page(after_id=ids[1]) == ids[2:4]
    assert page(after_id=ids[3]) == ids[4:]
    assert page(status=S.ACTIVE) == [ids[1], ids[3]]
    assert page(None, after_id=ids[4]) == [elsewhere.id]
    (reader,) = store.list_subscribers(connection, 2, limit=10)
    assert reader.subscription == elsewhere
    assert reader.subscriber == store.find_by_email(connection, "r1@example.com")
    assert store.list_subscriptions(connection, elsewhere.subscriber_id) == [
        store.get_subscription(connection, ids[1]),
        elsewhere,
    ]


def test_every_status_is_counted(connection: Connection, now: datetime) -> None:
    subscription(connection, now, "a@example.com")
    subscription(connection, now, "b@example.com")
    subscription(connection, now, "c@example.com", status=S.UNSUBSCRIBED)
    subscription(connection, now, "c@example.com", newsletter_id=2)
    assert store.count_by_status(connection, 1) == {
        S.PENDING: 0,
        S.ACTIVE: 2,
        S.PAUSED: 0,
        S.UNSUBSCRIBED: 1,
    }


def test_the_consent_record_is_kept_in_order(connection: Connection, now: datetime) -> None:
    its = subscription(connection, now)
    for newsletter_id, action, minutes in ((1, "granted", 0), (1, "withdrawn", 1), (2, "withdrawn", 2)):
        store.record_consent(
            connection,
            subscriber_id=its.subscriber_id,
            newsletter_id=newsletter_id,
            action=action,
            method=ConsentMethod.FORM,
            now=now + timedelta(minutes=minutes),
            text="the form\0",
            proof="2001:db8::1 \udc80",
        )
    record = store.list_consent(connection, its.subscriber_id)
    assert [(c.newsletter_id, c.action, c.method) for c in record] == [
        (1, "granted", ConsentMethod.FORM),
        (1, "withdrawn", ConsentMethod.FORM),
        (2, "withdrawn", ConsentMethod.FORM),
    ]
    assert (record[0].at, record[0].text, record[0].proof) == (now, "the form", "2001:db8::1 ?")
    assert store.find_withdrawn_at(connection, its.subscriber_id, 1) == now + timedelta(minutes=1)
    assert store.find_withdrawn_at(connection, its.subscriber_id, 3) is None


def test_leaving_everything_counts_for_every_newsletter(connection: Connection, now: datetime) -> None:
    its = subscription(connection, now)
    store.record_consent(
        connection,
        subscriber_id=its.subscriber_id,
        newsletter_id=None,
        action="withdrawn",
        method=ConsentMethod.ONE_CLICK,
        now=now,
        text="",
        proof="",
    )
    assert store.find_withdrawn_at(connection, its.subscriber_id, 1) == now
    assert store.find_withdrawn_at(connection, its.subscriber_id, 3) == now


def test_a_deleted_person_leaves_nothing_and_gives_the_number_to_nobody(
    connection: Connection, now: datetime
) -> None:
    its = subscription(connection, now, topics=("coast",))
    store.record_consent(
        connection,
        subscriber_id=its.subscriber_id,
        newsletter_id=1,
        action="granted",
        method=ConsentMethod.FORM,
        now=now,
        text="",
        proof="",
    )
    assert store.delete_subscriber(connection, "reader@example.com")
    assert not store.delete_subscriber(connection, "reader@example.com")
    for table in tables.metadata.tables.values():
        assert connection.execute(select(table)).all() == []
    again = subscription(connection, now)
    assert again.id > its.id
    assert again.subscriber_id > its.subscriber_id


def test_an_instant_without_a_zone_is_a_mistake(connection: Connection) -> None:
    with pytest.raises(Exception, match="naive instant"):
        person(connection, datetime(2026, 3, 14))  # noqa: DTZ001  the mistake


def test_instants_of_other_zones_come_back_in_utc(connection: Connection) -> None:
    local = datetime.fromisoformat("2026-03-14T10:26:53.589793+02:00")
    created_at = person(connection, local).created_at
    assert created_at == local
    assert created_at.tzinfo is UTC
