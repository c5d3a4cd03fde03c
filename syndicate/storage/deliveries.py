"""The ledger: one row for each reader of an edition, and every transition of it.

    (none)    -> pending     freeze_audience
    pending   -> attempting  mark_window          durable before the first byte goes out
    pending   -> skipped     mark_window          unsubscribed or suppressed since; cancel_open; supersede
    attempting-> sent, deferred, failed, uncertain, pending      record_outcomes
    attempting-> uncertain   recover_attempts, supersede          its sender is gone
    deferred  -> attempting  mark_window          its time has come
    deferred  -> failed      expire_deferred, supersede
    uncertain -> pending     resend_uncertain, retry
    failed    -> pending     retry                only by the operator

sent and skipped are final; freeze_audience and supersede are in ``audience``. Statements are set-based: one
for a window, not one for a row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from subscribers.audience import select_mailable
from subscribers.tables import subscription
from syndicate.model import Delivery, DeliveryState, EditionState, UncertainPolicy
from syndicate.storage.tables import delivery, edition

__all__ = [
    "SENDER_GONE",
    "DeliveryOutcome",
    "anonymise",
    "cancel_open",
    "count_resendable",
    "count_states",
    "expire_deferred",
    "find_next_attempt",
    "list_deliveries",
    "mark_window",
    "record_outcomes",
    "recover_attempts",
    "resend_uncertain",
    "retry",
]

_S: Final = DeliveryState

#: States in which a reader's copy of an edition is not settled.
_OPEN: Final = (_S.PENDING, _S.ATTEMPTING, _S.DEFERRED, _S.UNCERTAIN)

#: What is told of an attempt whose sender is gone.
SENDER_GONE: Final = "the sender stopped before it could record an answer"

#: Attempts after which an unclear answer is not tried again by itself; our choice.
_MOST_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """What became of one attempt."""

    subscriber_id: int
    state: DeliveryState  #: sent, deferred, failed, uncertain, or pending if nothing was begun
    reply: str
    next_attempt_at: datetime | None = None  #: deferred and uncertain only


def _delivery(row: Row[Any]) -> Delivery:
    values = row._asdict()
    del values["fence"]
    topics = tuple(row.topics.split(",")) if row.topics else ()
    return Delivery(**values | {"topics": topics, "state": DeliveryState(row.state)})


def mark_window(
    conn: Connection, edition_id: int, *, fence: int, limit: int, now: datetime, after: int = 0
) -> list[Delivery]:
    """Marks the next readers as being attempted and returns them, by subscriber; call it with the lease.

    Who has unsubscribed or been suppressed since the freeze is skipped here: the mark has the last word.
    ``after`` is the subscriber from whom on to look: a sender that begins at the first one each time would
    pass by all who have been served, window after window.
    """
    while rows := _lock_ready(conn, edition_id, limit, now, after):
        after = rows[-1].subscriber_id
        mailable = set(conn.execute(select_mailable([row.subscription_id for row in rows])).scalars())
        refused = [row.subscriber_id for row in rows if row.subscription_id not in mailable]
        taken = [row.subscriber_id for row in rows if row.subscription_id in mailable]
        mine = delivery.c.edition_id == edition_id
        if refused:
            conn.execute(
                update(delivery)
                .where(mine, delivery.c.subscriber_id.in_(refused))
                .values(
                    state=_S.SKIPPED,
                    reply="unsubscribed or suppressed since the edition opened",
                    next_attempt_at=None,
                )
            )
        if taken:
            marked = conn.execute(
                update(delivery)
                .where(mine, delivery.c.subscriber_id.in_(taken))
                .values(
                    state=_S.ATTEMPTING,
                    attempts=delivery.c.attempts + 1,
                    fence=fence,
                    attempted_at=now,
                    next_attempt_at=None,
                )
                .returning(delivery)
            )
            return sorted(map(_delivery, marked), key=lambda row: row.subscriber_id)
    return []


def _lock_ready(
    conn: Connection, edition_id: int, limit: int, now: datetime, after: int
) -> Sequence[Row[int, int]]:
    ready = or_(
        delivery.c.state == _S.PENDING,
        (delivery.c.state == _S.DEFERRED) & (delivery.c.next_attempt_at <= now),
    )
    return conn.execute(
        select(delivery.c.subscriber_id, delivery.c.subscription_id)
        .where(delivery.c.edition_id == edition_id, delivery.c.subscriber_id > after, ready)
        .order_by(delivery.c.subscriber_id)
        .limit(limit)
        .with_for_update()
    ).all()


def record_outcomes(
    conn: Connection, edition_id: int, outcomes: Sequence[DeliveryOutcome], *, fence: int, cutoff: int
) -> int:
    """Stores what became of a window and returns how many rows that were; 0 for a fence that is old.

    A reader's watermark moves to the cutoff in the same transaction that says ``sent``.
    """
    if not outcomes:
        return 0
    statement = (
        update(delivery)
        .where(
            delivery.c.edition_id == edition_id,
            delivery.c.subscriber_id == bindparam("key"),
            delivery.c.state == _S.ATTEMPTING,
            delivery.c.fence == fence,
        )
        .values(
            state=bindparam("to_state"),
            # The relay's words often quote the address, which an erased person has left here.
            reply=case((delivery.c.address == "", "erased"), else_=bindparam("to_reply")),
            next_attempt_at=bindparam("to_next_attempt_at"),
            attempts=delivery.c.attempts - bindparam("unattempted"),
        )
    )
    result = conn.execute(
        statement,
        [
            {
                "key": o.subscriber_id,
                "to_state": o.state.value,
                "to_reply": o.reply[:500],
                "to_next_attempt_at": o.next_attempt_at,
                # Proof that nothing was begun: it counts as no attempt.
                "unattempted": 1 if o.state is _S.PENDING else 0,
            }
            for o in outcomes
        ],
    )
    served = [o.subscriber_id for o in outcomes if o.state is _S.SENT]
    if served:
        subscriptions = select(delivery.c.subscription_id).where(
            delivery.c.edition_id == edition_id,
            delivery.c.subscriber_id.in_(served),
            delivery.c.state == _S.SENT,
            delivery.c.fence == fence,
        )
        conn.execute(
            update(subscription)
            .where(subscription.c.id.in_(subscriptions), subscription.c.watermark < cutoff)
            .values(watermark=cutoff)
        )
    return result.rowcount


def recover_attempts(conn: Connection, edition_id: int, *, fence: int) -> int:
    """Turns what a sender that is gone left in ``attempting`` into ``uncertain``; returns how many."""
    return conn.execute(
        update(delivery)
        .where(
            delivery.c.edition_id == edition_id,
            delivery.c.state == _S.ATTEMPTING,
            delivery.c.fence < fence,
        )
        .values(
            state=_S.UNCERTAIN,
            next_attempt_at=None,
            reply=SENDER_GONE,
        )
    ).rowcount


def resend_uncertain(conn: Connection, edition_id: int, *, now: datetime) -> int:
    """Puts uncertain deliveries back whose time has come, as the policy ``resend`` says; returns how many.

    A relay that never answers must not give one reader copies without end: after some attempts a delivery
    stays uncertain until the operator decides.
    """
    due = or_(delivery.c.next_attempt_at.is_(None), delivery.c.next_attempt_at <= now)
    return conn.execute(
        update(delivery).where(_is_resendable(edition_id), due).values(state=_S.PENDING, next_attempt_at=None)
    ).rowcount


def count_resendable(conn: Connection, edition_id: int) -> int:
    """How many uncertain deliveries the policy ``resend`` would still send again."""
    return int(
        conn.execute(
            select(func.count()).select_from(delivery).where(_is_resendable(edition_id))
        ).scalar_one()
    )


def _is_resendable(edition_id: int) -> ColumnElement[bool]:
    return and_(
        delivery.c.edition_id == edition_id,
        delivery.c.state == _S.UNCERTAIN,
        delivery.c.attempts < _MOST_ATTEMPTS,
    )


def retry(conn: Connection, edition_id: int, states: Collection[DeliveryState]) -> int:
    """Puts failed or uncertain deliveries back because the operator says so; returns how many.

    Left out is who has, or is about to get, the same articles with another edition.
    """
    allowed = set(states) & {_S.FAILED, _S.UNCERTAIN}
    cutoff = select(edition.c.cutoff).where(edition.c.id == edition_id).scalar_subquery()
    copy, other = delivery.alias(), edition.alias()
    has_another = exists(
        select(literal(1))
        .select_from(copy.join(other, other.c.id == copy.c.edition_id))
        .where(
            copy.c.subscription_id == delivery.c.subscription_id,
            copy.c.edition_id != edition_id,
            copy.c.state.in_([*_OPEN, _S.SENT]),
            # What is uncertain in a cancelled edition brings nobody anything.
            or_(copy.c.state != _S.UNCERTAIN, other.c.state != EditionState.CANCELLED),
            copy.c.watermark < cutoff,
            other.c.cutoff > delivery.c.watermark,
        )
        .correlate(delivery)
    )
    return conn.execute(
        update(delivery)
        .where(delivery.c.edition_id == edition_id, delivery.c.state.in_(allowed), ~has_another)
        .values(state=_S.PENDING, next_attempt_at=None)
    ).rowcount


def expire_deferred(conn: Connection, edition_id: int, *, opened_before: datetime) -> int:
    """Gives up what is still deferred in an edition that opened before an instant; returns how many."""
    expired = select(edition.c.id).where(edition.c.id == edition_id, edition.c.opened_at < opened_before)
    return conn.execute(
        update(delivery)
        .where(delivery.c.edition_id.in_(expired), delivery.c.state == _S.DEFERRED)
        .values(
            state=_S.FAILED,
            next_attempt_at=None,
            reply=func.substr(literal("given up; last answer: ") + delivery.c.reply, 1, 500),
        )
    ).rowcount


def cancel_open(conn: Connection, edition_id: int) -> int:
    """Skips everybody who has not been attempted yet, since the edition was cancelled; returns how many."""
    return conn.execute(
        update(delivery)
        .where(delivery.c.edition_id == edition_id, delivery.c.state.in_([_S.PENDING, _S.DEFERRED]))
        .values(state=_S.SKIPPED, reply="the edition was cancelled", next_attempt_at=None)
    ).rowcount


def anonymise(conn: Connection, subscriber_id: int) -> None:
    """Takes a person out of the ledger: what was open is skipped, the counts stay. Address and name go, and
    the server's replies with them, since these quote the address.
    """
    mine = delivery.c.subscriber_id == subscriber_id
    conn.execute(
        update(delivery)
        .where(mine, delivery.c.state.in_([_S.PENDING, _S.DEFERRED, _S.UNCERTAIN]))
        .values(state=_S.SKIPPED, next_attempt_at=None)
    )
    conn.execute(update(delivery).where(mine).values(address="", name="", reply="erased"))


def count_states(conn: Connection, edition_id: int) -> dict[DeliveryState, int]:
    """How many deliveries are in each state; every state is there, with 0 if need be."""
    query = (
        select(delivery.c.state, func.count())
        .where(delivery.c.edition_id == edition_id)
        .group_by(delivery.c.state)
    )
    found: Mapping[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    return {state: found.get(state.value, 0) for state in DeliveryState}


def find_next_attempt(conn: Connection, edition_id: int) -> datetime | None:
    """When the first delivery that waits for its time comes up again, or None. What is uncertain and is not
    sent again by itself waits for the operator, not for a time.
    """
    waits = or_(
        delivery.c.state == _S.DEFERRED,
        _is_resendable(edition_id) & (edition.c.policy == UncertainPolicy.RESEND),
    )
    return conn.execute(
        select(func.min(delivery.c.next_attempt_at))
        .join(edition, edition.c.id == delivery.c.edition_id)
        .where(delivery.c.edition_id == edition_id, waits)
    ).scalar()


def list_deliveries(
    conn: Connection, edition_id: int, states: Collection[DeliveryState] = (), limit: int | None = None
) -> list[Delivery]:
    """An edition's deliveries in the given states (none given: in all), by subscriber."""
    query = select(delivery).where(delivery.c.edition_id == edition_id)
    query = query.where(delivery.c.state.in_(states) if states else true())
    return [_delivery(row) for row in conn.execute(query.order_by(delivery.c.subscriber_id).limit(limit))]
