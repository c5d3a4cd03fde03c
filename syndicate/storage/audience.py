"""Who gets an edition: the audience, frozen when it opens, and what becomes of older copies then.

Whether somebody may be mailed at all is said by ``subscribers.audience``.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from subscribers.audience import select_active
from subscribers.tables import subscription_topic
from syndicate.model import DeliveryState, Edition, EditionState, UncertainPolicy
from syndicate.storage.deliveries import SENDER_GONE
from syndicate.storage.tables import article, article_topic, delivery, edition, edition_article

__all__ = ["freeze_audience", "list_selections", "lowest_watermark", "supersede"]

_S: Final = DeliveryState

#: States of an edition in which nobody is attempted.
_STANDING: Final = (EditionState.DRAFT, EditionState.PAUSED, EditionState.HELD, EditionState.CANCELLED)


def lowest_watermark(conn: Connection, newsletter_id: int, cadence: str | None) -> int | None:
    """The lowest watermark among the active readers of a cadence (None: any), or None without readers."""
    return conn.execute(
        select(func.min(select_active(newsletter_id, cadence).subquery().c.watermark))
    ).scalar()


def _audience(opened: Edition) -> Subquery:
    """The active readers of an edition, with ``served``: the sequence up to which they need nothing more."""
    active = select_active(opened.newsletter_id, opened.cadence_filter).subquery()
    copy, other = delivery.alias(), edition.alias()
    uncertain = func.coalesce(
        select(func.max(other.c.cutoff))
        .select_from(copy.join(other, other.c.id == copy.c.edition_id))
        .where(
            # What is uncertain counts as served where at most once was asked for, and where the operator has
            # to decide: the newer edition neither repeats it nor waits for that.
            copy.c.subscription_id == active.c.subscription_id,
            copy.c.state == _S.UNCERTAIN,
            or_(
                other.c.policy == UncertainPolicy.HOLD,
                other.c.state.in_([EditionState.HELD, EditionState.PAUSED]),
            ),
        )
        .correlate(active)
        .scalar_subquery(),
        0,
    )
    served = case((uncertain > active.c.watermark, uncertain), else_=active.c.watermark)
    return select(active, served.label("served")).subquery()


def freeze_audience(conn: Connection, opened: Edition, *, reason: str) -> int:
    """Fixes an edition's readers in one statement and returns their number.

    In it is who is active, not suppressed, has the edition's cadence, has at least one of the edition's
    articles still to come, and has no copy with the same articles of another edition under way.
    Call ``supersede`` first.
    """
    audience = _audience(opened)
    chosen = subscription_topic.alias()
    wanted = or_(
        audience.c.topics == "",
        exists(
            select(literal(1))
            .select_from(chosen.join(article_topic, article_topic.c.topic == chosen.c.topic))
            .where(
                chosen.c.subscription_id == audience.c.subscription_id,
                article_topic.c.article_id == edition_article.c.article_id,
            )
            # Named, since only the nearest of two enclosing queries would be taken by itself: with a list of
            # all readers of its own in here, a topic that anybody chose would be everybody's.
            .correlate(audience, edition_article)
        ),
    )
    has_articles = exists(
        select(literal(1))
        .select_from(edition_article.join(article, article.c.id == edition_article.c.article_id))
        .where(edition_article.c.edition_id == opened.id, article.c.sequence > audience.c.served, wanted)
    )
    other = edition.alias()
    under_way = exists(
        select(literal(1))
        .select_from(delivery.join(other, other.c.id == delivery.c.edition_id))
        .where(
            delivery.c.subscription_id == audience.c.subscription_id,
            other.c.id != opened.id,
            other.c.cutoff > audience.c.served,
            or_(
                delivery.c.state.in_([_S.PENDING, _S.ATTEMPTING, _S.DEFERRED]),
                and_(
                    delivery.c.state == _S.UNCERTAIN,
                    other.c.policy == UncertainPolicy.RESEND,
                    other.c.state.in_([EditionState.APPROVED, EditionState.SENDING]),
                ),
            ),
        )
    )
    rows = (
        select(
            literal(opened.id),
            audience.c.subscriber_id,
            audience.c.subscription_id,
            audience.c.address,
            audience.c.name,
            literal(reason),
            audience.c.served,
            audience.c.topics,
            literal(_S.PENDING.value),
            literal(0),
            literal(0),
            literal(""),
        )
        .where(has_articles, ~under_way)
        .order_by(audience.c.subscriber_id)
    )
    columns = [
        "edition_id",
        "subscriber_id",
        "subscription_id",
        "address",
        "name",
        "reason",
        "watermark",
        "topics",
        "state",
        "attempts",
        "fence",
        "reply",
    ]
    # Without the option the number of rows is known on SQLite only.
    frozen = conn.execute(
        insert(delivery).from_select(columns, rows), execution_options={"preserve_rowcount": True}
    )
    return frozen.rowcount


def supersede(conn: Connection, opened: Edition) -> None:
    """Makes room for a newer edition of the same newsletter, so that nobody gets an article twice.

    What is deferred in an older edition fails, and what waits in an edition that stands still is skipped:
    those readers get the same articles with the newer one. What is being sent right now is left alone, and so
    is a copy that the operator had put back after the reader was served newer articles.
    """
    older = select(edition.c.id).where(
        edition.c.newsletter_id == opened.newsletter_id, edition.c.id < opened.id
    )
    standing = older.where(edition.c.state.in_(_STANDING))
    # Nobody takes over an edition that stands still, so what its sender left when it died is found here.
    abandoned = standing.where(
        or_(edition.c.lease_expires_at.is_(None), edition.c.lease_expires_at <= opened.opened_at)
    )
    note = f"superseded by edition {opened.id}"
    for editions, state, becomes, reply in (
        (abandoned, _S.ATTEMPTING, _S.UNCERTAIN, SENDER_GONE),  # first, since it counts for what was served
        (older, _S.DEFERRED, _S.FAILED, note),
        (standing, _S.PENDING, _S.SKIPPED, note),
    ):
        conn.execute(
            update(delivery)
            .where(delivery.c.edition_id.in_(editions), delivery.c.state == state, _comes_with(opened))
            .values(state=becomes, reply=reply, next_attempt_at=None)
        )


def _comes_with(opened: Edition) -> ColumnElement[bool]:
    """Whether a delivery's reader gets its articles with a newer edition, too."""
    audience, own = _audience(opened), edition.alias()
    return exists(
        select(literal(1))
        .select_from(audience.join(own, own.c.cutoff > audience.c.served))
        .where(own.c.id == delivery.c.edition_id, audience.c.subscriber_id == delivery.c.subscriber_id)
        .correlate(delivery)
    )


def list_selections(conn: Connection, edition_id: int) -> dict[tuple[int, tuple[str, ...]], int]:
    """How many readers share each (watermark, topics), which decides what they get."""
    query = (
        select(delivery.c.watermark, delivery.c.topics, func.count())
        .where(delivery.c.edition_id == edition_id)
        .group_by(delivery.c.watermark, delivery.c.topics)
        .order_by(delivery.c.watermark, delivery.c.topics)
    )
    return {
        (watermark, tuple(topics.split(",")) if topics else ()): count
        for watermark, topics, count in conn.execute(query)
    }
