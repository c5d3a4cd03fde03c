"""Statements about subscribers, their subscriptions and the consent record.

Every function takes a Connection and neither commits nor opens one. Decides nothing: ``consent`` does, and
``subscribing`` brings the two together. Suppressions have a module of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, Table, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from subscribers.addresses import Address
from subscribers.errors import UnknownSubscriber
from subscribers.model import (
    Cadence,
    Consent,
    ConsentMethod,
    Subscriber,
    Subscription,
    SubscriptionStatus,
)
from subscribers.tables import consent, subscriber, subscription, subscription_topic

__all__ = [
    "Reader",
    "activate",
    "add_subscription",
    "advance_watermarks",
    "clean_text",
    "count_by_status",
    "create_or_get_subscriber",
    "delete_subscriber",
    "find_by_email",
    "find_subscription",
    "find_withdrawn_at",
    "get_reader",
    "get_subscription",
    "insert_for",
    "list_consent",
    "list_subscribers",
    "list_subscriptions",
    "record_consent",
    "set_details",
    "set_preferences",
    "set_status",
    "to_subscriber",
    "to_subscription",
]

#: SQLite takes 32,766 values in one statement, PostgreSQL's driver 65,535.
_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A subscriber together with one subscription."""

    subscriber: Subscriber
    subscription: Subscription


def insert_for(conn: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, which each database has in a dialect of its own."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def clean_text(text: str) -> str:
    """A text of others as both databases can keep it: PostgreSQL takes neither NUL nor half a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def to_subscriber(values: Mapping[Any, Any]) -> Subscriber:
    """A row of ``subscriber``, by column, as a value."""
    return Subscriber(**values)


def to_subscription(values: Mapping[Any, Any]) -> Subscription:
    """A row of ``subscription``, by column, as a value."""
    return Subscription(
        **dict(values)
        | {
            "status": SubscriptionStatus(values["status"]),
            "cadence": Cadence(values["cadence"]),
            "topics": tuple(values["topics"].split(",")) if values["topics"] else (),
        }
    )


def find_by_email(conn: Connection, email_key: str) -> Subscriber | None:
    """The subscriber with this key (``Address.key``), or None."""
    row = conn.execute(select(subscriber).where(subscriber.c.email_key == email_key)).mappings().one_or_none()
    return to_subscriber(row) if row else None


def create_or_get_subscriber(
    conn: Connection, address: Address, *, name: str, language: str, time_zone: str, now: datetime
) -> Subscriber:
    """The subscriber with this address; the other values are taken only if there was none.

    The row is locked until the commit, so that what is decided about one person is decided in turn.
    """
    conn.execute(
        insert_for(conn, subscriber)
        .values(
            email=address.email,
            email_key=address.key,
            name=name,
            language=language,
            time_zone=time_zone,
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["email_key"])
    )
    query = select(subscriber).where(subscriber.c.email_key == address.key)
    return to_subscriber(conn.execute(_locked(query)).mappings().one())


def set_details(conn: Connection, subscriber_id: int, *, name: str, language: str, time_zone: str) -> None:
    """Stores what a person says about itself."""
    conn.execute(
        update(subscriber)
        .where(subscriber.c.id == subscriber_id)
        .values(name=name, language=language, time_zone=time_zone)
    )


def delete_subscriber(conn: Connection, email_key: str) -> bool:
    """Deletes a person with everything that refers to it; True if there was one."""
    return conn.execute(delete(subscriber).where(subscriber.c.email_key == email_key)).rowcount > 0


def find_subscription(conn: Connection, subscriber_id: int, newsletter_id: int) -> Subscription | None:
    """A person's subscription to a newsletter, or None."""
    row = (
        conn.execute(
            select(subscription).where(
                subscription.c.subscriber_id == subscriber_id, subscription.c.newsletter_id == newsletter_id
            )
        )
        .mappings()
        .one_or_none()
    )
    return to_subscription(row) if row else None


def get_subscription(conn: Connection, subscription_id: int) -> Subscription:
    """The subscription with this number. Raises UnknownSubscriber."""
    row = (
        conn.execute(select(subscription).where(subscription.c.id == subscription_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise UnknownSubscriber(subscription_id)
    return to_subscription(row)


def get_reader(conn: Connection, subscription_id: int, *, lock: bool = False) -> Reader:
    """The subscription with this number and its owner. Raises UnknownSubscriber.

    With ``lock`` the owner's row is held until the commit. The subscription is read only after that: in one
    statement PostgreSQL would wait for the owner's row and then give the subscription as it was before.
    """
    owner = select(subscription.c.subscriber_id).where(subscription.c.id == subscription_id)
    query = select(subscriber).where(subscriber.c.id == owner.scalar_subquery())
    row = conn.execute(_locked(query) if lock else query).mappings().one_or_none()
    if row is None:
        raise UnknownSubscriber(subscription_id)
    return Reader(subscriber=to_subscriber(row), subscription=get_subscription(conn, subscription_id))


def _locked(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    # Not FOR UPDATE, which would also stop others from adding rows that refer to this one.
    return query.with_for_update(key_share=True)


def list_subscriptions(conn: Connection, subscriber_id: int) -> list[Subscription]:
    """A person's subscriptions, by newsletter."""
    query = (
        select(subscription)
        .where(subscription.c.subscriber_id == subscriber_id)
        .order_by(subscription.c.newsletter_id)
    )
    return [to_subscription(row) for row in conn.execute(query).mappings()]


def list_subscribers(
    conn: Connection,
    newsletter_id: int | None = None,
    *,
    status: SubscriptionStatus | None = None,
    after_id: int = 0,
    limit: int,
) -> list[Reader]:
    """A page of the subscriptions of a newsletter (None: of all) in a status (None: in any), by number.

    The next page begins after the last subscription's id.
    """
    query = (
        select(subscription, *(column.label(f"owner_{column.name}") for column in subscriber.c))
        .join(subscriber, subscriber.c.id == subscription.c.subscriber_id)
        .where(subscription.c.id > after_id)
        .order_by(subscription.c.id)
        .limit(limit)
    )
    if newsletter_id is not None:
        query = query.where(subscription.c.newsletter_id == newsletter_id)
    if status is not None:
        query = query.where(subscription.c.status == status)
    return [_to_reader(row) for row in conn.execute(query).mappings()]


def _to_reader(values: RowMapping) -> Reader:
    return Reader(
        subscriber=to_subscriber({c.name: values[f"owner_{c.name}"] for c in subscriber.c}),
        subscription=to_subscription({c.name: values[c.name] for c in subscription.c}),
    )


def count_by_status(conn: Connection, newsletter_id: int) -> dict[SubscriptionStatus, int]:
    """How many subscriptions of a newsletter are in each status; every status is there, with 0 if need be."""
    query = (
        select(subscription.c.status, func.count())
        .where(subscription.c.newsletter_id == newsletter_id)
        .group_by(subscription.c.status)
    )
    found = {row[0]: row[1] for row in conn.execute(query)}
    return {status: found.get(status.value, 0) for status in SubscriptionStatus}


def add_subscription(
    conn: Connection,
    *,
    subscriber_id: int,
    newsletter_id: int,
    status: SubscriptionStatus,
    cadence: Cadence,
    topics: Sequence[str],
    watermark: int,
    now: datetime,
) -> Subscription:
    """Stores a new subscription; the owner's row must be locked."""
    subscription_id = conn.execute(
        insert(subscription)
        .values(
            subscriber_id=subscriber_id,
            newsletter_id=newsletter_id,
            status=status,
            cadence=cadence,
            topics="",
            watermark=watermark,
            created_at=now,
            confirmed_at=now if status is SubscriptionStatus.ACTIVE else None,
        )
        .returning(subscription.c.id)
    ).scalar_one()
    set_preferences(conn, subscription_id, cadence=cadence, topics=topics)
    return get_subscription(conn, subscription_id)


def set_status(conn: Connection, subscription_id: int, status: SubscriptionStatus) -> None:
    """Stores a status other than active, for which there is ``activate``."""
    conn.execute(update(subscription).where(subscription.c.id == subscription_id).values(status=status))


def activate(conn: Connection, subscription_id: int, *, watermark: int, now: datetime) -> None:
    """Makes a subscription active from a watermark on; the first time is kept."""
    conn.execute(
        update(subscription)
        .where(subscription.c.id == subscription_id)
        .values(
            status=SubscriptionStatus.ACTIVE,
            watermark=watermark,
            confirmed_at=func.coalesce(subscription.c.confirmed_at, now),
        )
    )


def set_preferences(
    conn: Connection, subscription_id: int, *, cadence: Cadence, topics: Sequence[str]
) -> None:
    """Stores a reader's choices in both places where topics are kept; no topic means every topic."""
    chosen = sorted(set(topics))
    conn.execute(
        update(subscription)
        .where(subscription.c.id == subscription_id)
        .values(cadence=cadence, topics=",".join(chosen))
    )
    conn.execute(delete(subscription_topic).where(subscription_topic.c.subscription_id == subscription_id))
    if chosen:
        conn.execute(
            insert(subscription_topic),
            [{"subscription_id": subscription_id, "topic": topic} for topic in chosen],
        )


def advance_watermarks(conn: Connection, *, subscription_ids: Sequence[int], sequence: int) -> None:
    """Says that these subscriptions have been served up to a sequence; a watermark never goes back."""
    for start in range(0, len(subscription_ids), _AT_ONCE):
        some = subscription_ids[start : start + _AT_ONCE]
        conn.execute(
            update(subscription)
            .where(subscription.c.id.in_(some), subscription.c.watermark < sequence)
            .values(watermark=sequence)
        )


def record_consent(
    conn: Connection,
    *,
    subscriber_id: int,
    newsletter_id: int | None,
    action: str,
    method: ConsentMethod,
    now: datetime,
    text: str,
    proof: str,
) -> None:
    """Adds a line to the record; there is no function that changes one."""
    conn.execute(
        insert(consent).values(
            subscriber_id=subscriber_id,
            newsletter_id=newsletter_id,
            action=action,
            method=method,
            at=now,
            text=clean_text(text),
            proof=clean_text(proof),
        )
    )


def list_consent(conn: Connection, subscriber_id: int) -> list[Consent]:
    """What a person agreed to and took back, the oldest first."""
    query = select(consent).where(consent.c.subscriber_id == subscriber_id).order_by(consent.c.id)
    return [Consent(**row._asdict() | {"method": ConsentMethod(row.method)}) for row in conn.execute(query)]


def find_withdrawn_at(conn: Connection, subscriber_id: int, newsletter_id: int) -> datetime | None:
    """When a person last left a newsletter, or all of them; None if never."""
    return conn.execute(
        select(func.max(consent.c.at)).where(
            consent.c.subscriber_id == subscriber_id,
            or_(consent.c.newsletter_id == newsletter_id, consent.c.newsletter_id.is_(None)),
            consent.c.action == "withdrawn",
        )
    ).scalar()
