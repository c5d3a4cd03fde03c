"""Who may be mailed, as statements to be read or joined: they are not executed here.

Decides nothing else: which of them has something new to read is known where the articles are.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Select, exists, literal, select

from subscribers.model import SubscriptionStatus
from subscribers.tables import subscriber, subscription, suppression

__all__ = ["is_mailable", "select_active"]

#: Suppression has the last word. An erased person has no row, so a keyed suppression needs no look here.
#: Asked by number, not by address: PostgreSQL then reads the suppressions once, not once for each reader.
_suppressed: Final = subscriber.alias("suppressed")
_IS_MAILABLE: Final[ColumnElement[bool]] = (subscription.c.status == SubscriptionStatus.ACTIVE) & ~exists(
    select(literal(1))
    .select_from(_suppressed.join(suppression, suppression.c.email_key == _suppressed.c.email_key))
    .where(_suppressed.c.id == subscription.c.subscriber_id)
    .correlate(subscription)
)


def select_active(newsletter_id: int, cadence: str | None) -> Select[int, int, str, str, int, str, str]:
    """The active, unsuppressed subscriptions of a newsletter with one cadence (None: any).

    One row per subscription, by subscriber id: subscriber_id, subscription_id, address, name, watermark,
    cadence, and topics as sorted slugs joined by commas ("" is every topic).
    """
    query = (
        select(
            subscription.c.subscriber_id,
            subscription.c.id.label("subscription_id"),
            subscriber.c.email.label("address"),
            subscriber.c.name.label("name"),
            subscription.c.watermark.label("watermark"),
            subscription.c.cadence.label("cadence"),
            subscription.c.topics.label("topics"),
        )
        .select_from(subscription.join(subscriber, subscriber.c.id == subscription.c.subscriber_id))
        .where(subscription.c.newsletter_id == newsletter_id, _IS_MAILABLE)
        .order_by(subscription.c.subscriber_id)
    )
    return query if cadence is None else query.where(subscription.c.cadence == cadence)


def is_mailable(subscription_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the subscription of a column may be mailed at this moment, as a condition on its row."""
    theirs, person = subscription.alias(), subscriber.alias()
    return exists(
        select(literal(1))
        .select_from(theirs.join(person, person.c.id == theirs.c.subscriber_id))
        .where(
            theirs.c.id == subscription_id,
            theirs.c.status == SubscriptionStatus.ACTIVE,
            ~exists(
                select(literal(1)).where(suppression.c.email_key == person.c.email_key).correlate(person)
            ),
        )
    )
