"""The tables of this package: subscriber, subscription, topics chosen, consent, suppression.

No statements: they are in ``store`` and ``audience``. A newsletter is only a number here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "NAMING",
    "Key",
    "UtcDateTime",
    "consent",
    "metadata",
    "subscriber",
    "subscription",
    "subscription_topic",
    "suppression",
]

#: Named constraints, so that a migration can find them again on both databases.
NAMING: Final = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: A 64-bit key. SQLite gives out row numbers only to a column that is declared INTEGER.
Key: Final = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC. SQLite keeps no zone, so it is taken off and put back here; a naive value
    is a mistake of ours and refused.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into the database: UTC, without a zone on SQLite."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive instant {value!r}: every instant is aware and in UTC")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002  SQLAlchemy gives it
    ) -> datetime | None:
        """Out of the database: aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata: Final = MetaData(naming_convention=NAMING)

subscriber: Final = Table(
    "subscriber",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email", String(320), nullable=False),
    Column("email_key", String(320), nullable=False),
    Column("name", String(200), nullable=False),
    Column("language", String(35), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("email_key"),
    sqlite_autoincrement=True,  # a deleted person's number is never given to somebody else
)

subscription: Final = Table(
    "subscription",
    metadata,
    Column("id", Key, primary_key=True),
    Column("subscriber_id", Key, ForeignKey("subscriber.id", ondelete="CASCADE"), nullable=False),
    Column("newsletter_id", Key, nullable=False),
    Column("status", String(16), nullable=False),
    Column("cadence", String(16), nullable=False),
    # The slugs of subscription_topic once more, sorted and joined by commas, so that an audience is read and
    # frozen without gathering rows, which each database does with another function.
    Column("topics", Text, nullable=False),
    Column("watermark", Key, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("confirmed_at", UtcDateTime, nullable=True),
    UniqueConstraint("subscriber_id", "newsletter_id"),
    CheckConstraint("status IN ('pending', 'active', 'paused', 'unsubscribed')", name="status"),
    CheckConstraint("cadence IN ('immediate', 'daily', 'weekly', 'monthly')", name="cadence"),
    # In the order in which an audience is frozen, so that nothing has to be sorted. Named by hand: by the
    # convention it would be longer than the 63 bytes that PostgreSQL keeps of a name.
    Index("ix_subscription_audience", "newsletter_id", "status", "subscriber_id", "cadence"),
    Index(None, "newsletter_id", "id"),  # for lists, page by page
    sqlite_autoincrement=True,
)

#: The topics that a reader chose; no row means every topic. Written together with ``subscription.topics``.
subscription_topic: Final = Table(
    "subscription_topic",
    metadata,
    Column("subscription_id", Key, ForeignKey("subscription.id", ondelete="CASCADE"), primary_key=True),
    Column("topic", String(80), primary_key=True),
)

#: Append-only: nothing in this package updates or deletes a row of it, except erasure of the person.
consent: Final = Table(
    "consent",
    metadata,
    Column("id", Key, primary_key=True),
    Column("subscriber_id", Key, ForeignKey("subscriber.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("newsletter_id", Key, nullable=True),
    Column("action", String(16), nullable=False),
    Column("method", String(24), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
    Column("proof", Text, nullable=False),
    sqlite_autoincrement=True,
)

suppression: Final = Table(
    "suppression",
    metadata,
    Column("email_key", String(320), primary_key=True),
    Column("reason", String(24), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("evidence", Text, nullable=False),
)
