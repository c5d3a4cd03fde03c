"""Who gets an edition: the audience, frozen when it opens, and what becomes of older copies then.

Whether somebody may be mailed at all is said by ``subscribers.audience``.

A million readers are frozen in about the time that it takes to write their rows. So of the clauses about
other editions only those are there that can matter, and they ask only the editions that ``settled`` names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Row,
    Subquery,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from subscribers.audience import select_active
from subscribers.tables import subscription_topic
from syndicate.model import DeliveryState, Edition, EditionState, UncertainPolicy
from syndicate.storage.deliveries import SENDER_GONE
from syndicate.storage.settled import finds, list_unsettled, note_settled
from syndicate.storage.tables import article, article_topic, delivery, edition, edition_article, shard

__all__ = ["freeze_audience", "iter_selections", "lowest_watermark", "supersede"]

_S: Final = DeliveryState

#: States of an edition in which nobody is attempted.
_STANDING: Final = (EditionState.DRAFT, EditionState.PAUSED, EditionState.HELD, EditionState.CANCELLED)

#: States in which an edition waits for the operator.
_WAITING: Final = (EditionState.HELD, EditionState.PAUSED)

#: States in which an edition is, or is about to be, sent.
_GOING_ON: Final = (EditionState.APPROVED, EditionState.SENDING)


def lowest_watermark(conn: Connection, newsletter_id: int, cadence: str | None) -> int | None:
    """The lowest watermark among the active readers of a cadence (None: any), or None without readers."""
    active = select_active(newsletter_id, cadence).order_by(None).subquery()
    return conn.execute(select(func.min(active.c.watermark))).scalar()


def _audience(opened: Edition, unsettled: Collection[Row[Any]]) -> Subquery:
    """The active readers of an edition, with ``served``: the sequence up to which they need nothing more."""
    active = select_active(opened.newsletter_id, opened.cadence_filter).order_by(None).subquery()
    # What is uncertain counts as served where at most once was asked for, and where the operator has to
    # decide: the newer edition neither repeats it nor waits for that.
    doubted = [e.id for e in unsettled if e.policy == UncertainPolicy.HOLD or e.state in _WAITING]
    if not doubted:
        return select(active, active.c.watermark.label("served")).subquery()
    copy, other = delivery.alias(), edition.alias()
    uncertain = func.coalesce(
        select(func.max(other.c.cutoff))
        .select_from(copy.join(other, other.c.id == copy.c.edition_id))
        .where(
            copy.c.edition_id.in_(doubted),
            copy.c.subscriber_id == active.c.subscriber_id,
            copy.c.state == _S.UNCERTAIN,
        )
        .correlate(active)
        .scalar_subquery(),
        0,
    )
    served = case((uncertain > active.c.watermark, uncertain), else_=active.c.watermark)
    return select(active, served.label("served")).subquery()


def _is_under_way(audience: Subquery, unsettled: Collection[Row[Any]]) -> ColumnElement[bool]:
    """Whether a reader may still get articles of other editions that count as not served."""
    copy, other = delivery.alias(), edition.alias()
    resent = [e.id for e in unsettled if e.policy == UncertainPolicy.RESEND and e.state in _GOING_ON]
    return finds(
        select(literal(1))
        .select_from(copy.join(other, other.c.id == copy.c.edition_id))
        .where(
            copy.c.edition_id.in_([e.id for e in unsettled]),
            copy.c.subscriber_id == audience.c.subscriber_id,
            other.c.cutoff > audience.c.served,
            or_(
                copy.c.state.in_([_S.PENDING, _S.ATTEMPTING, _S.DEFERRED]),
                and_(copy.c.state == _S.UNCERTAIN, copy.c.edition_id.in_(resent)),
            ),
        )
        .correlate(audience)
    )


def _newest_by_topic(edition_id: int) -> CTE:
    """The highest sequence of an edition's articles on each topic."""
    return (
        select(article_topic.c.topic, func.max(article.c.sequence).label("sequence"))
        .select_from(
            edition_article.join(article, article.c.id == edition_article.c.article_id).join(
                article_topic, article_topic.c.article_id == article.c.id
            )
        )
        .where(edition_article.c.edition_id == edition_id)
        .group_by(article_topic.c.topic)
        # Not worked out for each reader. Nested, since in front of an INSERT it would keep SQLite's driver
        # from counting the rows.
        .cte("newest", nesting=True)
        .prefix_with("MATERIALIZED")
    )


def _has_articles(opened: Edition, audience: Subquery) -> ColumnElement[bool]:
    """Whether a reader has one of the edition's articles to come. Only who chose topics is looked up."""
    newest, chosen = _newest_by_topic(opened.id), subscription_topic.alias()
    newest_of_all = (
        select(func.max(article.c.sequence))
        .select_from(edition_article.join(article, article.c.id == edition_article.c.article_id))
        .where(edition_article.c.edition_id == opened.id)
        .scalar_subquery()
    )
    has_chosen = exists(
        select(literal(1))
        .select_from(chosen.join(newest, newest.c.topic == chosen.c.topic))
        .where(
            chosen.c.subscription_id == audience.c.subscription_id,
            newest.c.sequence > audience.c.served,
        )
        .correlate(audience)
    )
    return case((audience.c.topics == "", newest_of_all > audience.c.served), else_=has_chosen)


def freeze_audience(conn: Connection, opened: Edition, *, reason: str) -> int:
    """Fixes an edition's readers in one statement and returns their number.

    In it is who is active, not suppressed, has the edition's cadence, has at least one of the edition's
    articles still to come, and has no copy with the same articles of another edition under way.
    Call ``supersede`` first.
    """
    unsettled = list_unsettled(conn, opened)
    audience = _audience(opened, unsettled)
    frozen = {
        "edition_id": literal(opened.id),
        "subscriber_id": audience.c.subscriber_id,
        "subscription_id": audience.c.subscription_id,
        "address": audience.c.address,
        "name": audience.c.name,
        "reason": literal(reason),
        "watermark": audience.c.served,
        "topics": audience.c.topics,
        "state": literal(_S.PENDING.value),
        "attempts": literal(0),
        "fence": literal(0),
        "reply": literal(""),
    }
    rows = (
        select(*frozen.values())
        .where(_has_articles(opened, audience), ~_is_under_way(audience, unsettled) if unsettled else true())
        .order_by(audience.c.subscriber_id)
    )
    # Without the option the number of rows is known on SQLite only.
    return conn.execute(
        insert(delivery).from_select(list(frozen), rows), execution_options={"preserve_rowcount": True}
    ).rowcount


def supersede(conn: Connection, opened: Edition) -> None:
    """Makes room for a newer edition of the same newsletter, so that nobody gets an article twice.

    What is deferred in an older edition fails, and what waits in an edition that stands still is skipped:
    those readers get the same articles with the newer one. What is being sent right now is left alone, and so
    is a copy that the operator had put back after the reader was served newer articles.
    """
    note_settled(conn, opened)
    unsettled = list_unsettled(conn, opened)
    older = [e.id for e in unsettled if e.id < opened.id]
    standing = [e.id for e in unsettled if e.id < opened.id and e.state in _STANDING]
    # Nobody takes over an edition that stands still, so what its sender left when it died is found here.
    has_sender = finds(
        select(literal(1))
        .where(
            shard.c.edition_id == delivery.c.edition_id,
            delivery.c.subscriber_id.between(shard.c.first_id, shard.c.last_id),
            shard.c.lease_expires_at > opened.opened_at,
        )
        .correlate(delivery)
    )
    was_left = (delivery.c.state == _S.ATTEMPTING) & ~has_sender
    note = f"superseded by edition {opened.id}"
    for editions, condition, becomes, reply in (
        (standing, was_left, _S.UNCERTAIN, SENDER_GONE),  # first, since it counts for what was served
        (older, delivery.c.state == _S.DEFERRED, _S.FAILED, note),
        (standing, delivery.c.state == _S.PENDING, _S.SKIPPED, note),
    ):
        if editions:
            conn.execute(
                update(delivery)
                .where(delivery.c.edition_id.in_(editions), condition, _comes_with(opened, unsettled))
                .values(state=becomes, reply=reply, next_attempt_at=None)
            )


def _comes_with(opened: Edition, unsettled: Collection[Row[Any]]) -> ColumnElement[bool]:
    """Whether a delivery's reader gets its articles with a newer edition, too."""
    audience, own = _audience(opened, unsettled), edition.alias()
    return finds(
        select(literal(1))
        .select_from(audience.join(own, own.c.cutoff > audience.c.served))
        .where(own.c.id == delivery.c.edition_id, audience.c.subscriber_id == delivery.c.subscriber_id)
        .correlate(delivery)
    )


def iter_selections(conn: Connection, edition_id: int) -> Iterator[tuple[int, tuple[str, ...], int]]:
    """Each (watermark, topics), which decide what a reader gets, with the number of readers who share it."""
    query = (
        select(delivery.c.watermark, delivery.c.topics, func.count())
        .where(delivery.c.edition_id == edition_id)
        .group_by(delivery.c.watermark, delivery.c.topics)
        .order_by(delivery.c.watermark, delivery.c.topics)
    )
    for watermark, topics, count in conn.execute(query, execution_options={"yield_per": 1000}):
        yield watermark, tuple(topics.split(",")) if topics else (), count
