"""Which older editions an opening has to look at: those that are not known to be settled.

Without this each opening would look at every delivery of every edition that there ever was. A shard in which
no copy can matter to a newer edition is noted as settled, once, by the first opening that finds it so.
What becomes of the copies that do matter is said in ``audience``.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from subscribers.tables import subscription
from syndicate.model import DeliveryState, Edition, EditionState
from syndicate.storage.tables import delivery, edition, shard

__all__ = ["finds", "list_unsettled", "note_settled"]

_S: Final = DeliveryState

#: States of a copy that may still arrive, or has perhaps.
_UNSETTLED: Final = (_S.PENDING, _S.ATTEMPTING, _S.DEFERRED, _S.UNCERTAIN)


def finds(query: Select[int]) -> ColumnElement[bool]:
    """Whether a query finds anything, as a condition that is looked up row by row, by key.

    PostgreSQL makes a join of what is written with EXISTS. Of an edition that was opened a moment ago it does
    not know yet that all is pending, and it may choose one that compares each reader with each delivery.
    """
    return query.limit(1).scalar_subquery().is_not(None)


def list_unsettled(conn: Connection, opened: Edition) -> list[Row[Any]]:
    """Number, state and policy of the newsletter's other editions that may matter to one, by number."""
    is_unsettled = exists().where(shard.c.edition_id == edition.c.id, ~shard.c.is_settled)
    query = select(edition.c.id, edition.c.state, edition.c.policy).where(
        edition.c.newsletter_id == opened.newsletter_id, edition.c.id != opened.id, is_unsettled
    )
    return list(conn.execute(query.order_by(edition.c.id)))


def note_settled(conn: Connection, opened: Edition) -> None:
    """Notes the shards of other editions in which no copy can matter to a newer edition any more: it is
    settled, or its reader has been served as much since. Watermarks only grow, so that stays so.

    Only where no sender comes by itself: then a retry is all that opens a copy, and it says so to the shard.
    """
    theirs = select(edition.c.id).where(
        edition.c.newsletter_id == opened.newsletter_id, edition.c.id != opened.id
    )
    cancelled = theirs.where(edition.c.state == EditionState.CANCELLED)
    is_at_rest = and_(
        shard.c.edition_id.in_(theirs),
        ~shard.c.is_settled,
        or_(shard.c.due_at.is_(None), shard.c.edition_id.in_(cancelled)),
    )
    # In the order in which everybody locks them, and before they are looked into: what a retry commits while
    # this waits for it is seen by the next statement only.
    in_order = select(shard.c.number).where(is_at_rest).order_by(shard.c.edition_id, shard.c.number)
    conn.execute(select(func.count()).select_from(in_order.with_for_update().subquery()))
    conn.execute(update(shard).where(is_at_rest, ~_matters()).values(is_settled=True))


def _matters() -> ColumnElement[bool]:
    """Whether a shard has a copy that is not settled, with articles that its reader was not served since."""
    own = edition.alias()
    return finds(
        select(literal(1))
        .select_from(
            delivery.join(subscription, subscription.c.id == delivery.c.subscription_id).join(
                own, own.c.id == delivery.c.edition_id
            )
        )
        .where(
            delivery.c.edition_id == shard.c.edition_id,
            delivery.c.subscriber_id.between(shard.c.first_id, shard.c.last_id),
            delivery.c.state.in_(_UNSETTLED),
            subscription.c.watermark < own.c.cutoff,
        )
        .correlate(shard)
    )
