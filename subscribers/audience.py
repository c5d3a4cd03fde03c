"""Who may be mailed, as statements to be read or joined: they are not executed here.

Decides nothing else: which of them has something new to read is known where the articles are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, Select, exists, literal, select

from subscribers.model import SubscriptionStatus
from subscribers.tables import subscriber, subscription, suppression

__all__ = ["select_active", "select_mailable"]

#: Suppression has the last word. An erased person has no row, so a keyed suppression needs no look here.
_IS_MAILABLE: Final[ColumnElement[bool]] = (subscription.c.status == SubscriptionStatus.ACTIVE) & ~exists(
    select(literal(1)).where(suppression.c.email_key == subscriber.c.email_key).correlate(subscriber)
)


def select_active(newsletter_id: int, cadence: str | None) -> Select[int, int, str, str, int, str, str]:
    """The active, unsuppressed subscriptions of a newsletter with one cadence (None: any).

    One row per subscription, by subscriber id: subscriber_id, subscription_id, address, name, watermark,
    cadence, and topics as sorted slugs joined by commas ("" is every topic).
    """
    query = (
        select(
            subscriber.c.id.label("subscriber_id"),
            subscription.c.id.label("subscription_id"),
            subscriber.c.email.label("address"),
            subscriber.c.name.label("name"),
            subscription.c.watermark.label("watermark"),
            subscription.c.cadence.label("cadence"),
            subscription.c.topics.label("topics"),
        )
        .join(subscription, subscription.c.subscriber_id == subscriber.c.id)
        .where(subscription.c.newsletter_id == newsletter_id, _IS_MAILABLE)
        .order_by(subscriber.c.id)
    )
    return query if cadence is None else query.where(subscription.c.cadence == cadence)


def select_mailable(subscription_ids: Collection[int]) -> Select[int]:
    """Those of the given subscriptions that may be mailed at this moment, as a column of their ids."""
    return (
        select(subscription.c.id)
        .join(subscriber, subscriber.c.id == subscription.c.subscriber_id)
        .where(subscription.c.id.in_(subscription_ids), _IS_MAILABLE)
    )
