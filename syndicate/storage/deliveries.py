"""The ledger: one row for each reader of an edition, and every transition of it.

    (none)    -> pending     freeze_audience
    pending   -> attempting  mark                 durable before the first byte goes out
    pending   -> skipped     mark                 unsubscribed or suppressed since; cancel_open; supersede
    attempting-> sent, deferred, failed, uncertain, pending      record_outcomes
    attempting-> uncertain   recover_attempts, supersede          its sender is gone
    deferred  -> attempting  mark                 its time has come
    deferred  -> skipped     mark, cancel_open
    deferred  -> failed      expire_deferred, supersede
    uncertain -> pending     resend_uncertain, retry
    failed    -> pending     retry                only by the operator

sent and skipped are final; freeze_audience and supersede are in ``audience``. Statements are set-based, one
for a window and not one for a row, and those of each window are built once: building one costs more than
running it. Who may write to which rows is said in ``shards``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    bindparam,
    case,
    column,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from subscribers.audience import is_mailable
from subscribers.tables import UtcDateTime, subscription
from syndicate.model import Delivery, DeliveryState, EditionState
from syndicate.storage.engine import DriverStatement, driver_time
from syndicate.storage.shards import Shard
from syndicate.storage.tables import delivery, edition

__all__ = [
    "SENDER_GONE",
    "DeliveryOutcome",
    "ReadyDelivery",
    "anonymise",
    "cancel_open",
    "count_states",
    "expire_deferred",
    "find_due",
    "list_deliveries",
    "list_ready",
    "mark",
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

#: Numbers for each reader in a range; with more, a list of readers is cheaper. Our choice.
_SPARSE: Final = 3

#: As much of a reply as is kept; the column's width.
_MAX_REPLY: Final = 500

_IS_RESENDABLE: Final = (delivery.c.state == _S.UNCERTAIN) & (delivery.c.attempts < _MOST_ATTEMPTS)


class ReadyDelivery(NamedTuple):
    """What a sender needs of a delivery whose turn it is. A tuple, since a million of them are made."""

    subscriber_id: int
    subscription_id: int
    address: str
    name: str
    watermark: int
    topics: str  #: slugs joined by commas, "" for every topic
    attempts: int  #: those before this one


class DeliveryOutcome(NamedTuple):
    """What became of one attempt. A tuple, as above."""

    subscriber_id: int
    state: DeliveryState  #: sent, deferred, failed, uncertain, or pending if nothing was begun
    reply: str
    next_attempt_at: datetime | None = None  #: deferred and uncertain only


def _delivery(row: Row[Any]) -> Delivery:
    values = row._asdict()
    del values["fence"]
    topics = tuple(row.topics.split(",")) if row.topics else ()
    return Delivery(**values | {"topics": topics, "state": DeliveryState(row.state)})


def _among(column: ColumnElement[int]) -> dict[str, ColumnElement[bool]]:
    """That a column is one of the readers that ``_readers`` binds, by the kind of that, in a statement whose
    text does not depend on how many they are.
    """
    listed = func.json_each(bindparam("ids", type_=String)).table_valued("value")
    left_out = func.json_each(bindparam("gaps", type_=String)).table_valued("value")
    return {
        "list": column.in_(select(listed.c.value)),
        "range": column.between(bindparam("first"), bindparam("last"))
        & column.not_in(select(left_out.c.value)),
        "array": column == func.any(bindparam("ids", type_=ARRAY(BigInteger))),
    }


def _readers(conn: Connection, ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """How some readers are bound, and the values: SQLite walks through a range in half of the time that it
    takes to look for each reader of a list, and readers of one window nearly always stand side by side.
    """
    if conn.dialect.name != "sqlite":
        return "array", {"ids": list(ids)}
    first, last = min(ids, default=0), max(ids, default=-1)
    if last - first >= _SPARSE * len(ids):
        return "list", {"ids": json.dumps(list(ids))}
    gaps = [] if last - first + 1 == len(ids) else sorted(set(range(first, last + 1)).difference(ids))
    return "range", {"first": first, "last": last, "gaps": json.dumps(gaps)}


_OF_EDITION: Final = delivery.c.edition_id == bindparam("of_edition")

#: Whose turn it is, or has come.
_IS_READY: Final = or_(
    delivery.c.state == _S.PENDING,
    (delivery.c.state == _S.DEFERRED) & (delivery.c.next_attempt_at <= bindparam("now", type_=UtcDateTime)),
)

_IS_MAILABLE: Final = is_mailable(delivery.c.subscription_id)

_LIST_READY: Final = DriverStatement(
    select(
        delivery.c.subscriber_id,
        delivery.c.subscription_id,
        delivery.c.address,
        delivery.c.name,
        delivery.c.watermark,
        delivery.c.topics,
        delivery.c.attempts,
    )
    .where(
        _OF_EDITION,
        delivery.c.subscriber_id > bindparam("after"),
        delivery.c.subscriber_id <= bindparam("last"),
        _IS_READY,
    )
    .order_by(delivery.c.subscriber_id)
    .limit(bindparam("most"))
)

_MARK: Final = {
    kind: DriverStatement(
        update(delivery)
        .where(_OF_EDITION, among, _IS_READY, _IS_MAILABLE)
        .values(
            state=_S.ATTEMPTING,
            attempts=delivery.c.attempts + 1,
            fence=bindparam("by_fence"),
            attempted_at=bindparam("now", type_=UtcDateTime),
            next_attempt_at=None,
        )
        .returning(delivery.c.subscriber_id)
    )
    for kind, among in _among(delivery.c.subscriber_id).items()
}

_SKIP: Final = {
    kind: update(delivery)
    .where(_OF_EDITION, among, _IS_READY, ~_IS_MAILABLE)
    .values(
        state=_S.SKIPPED, reply="unsubscribed or suppressed since the edition opened", next_attempt_at=None
    )
    for kind, among in _among(delivery.c.subscriber_id).items()
}

_IS_ATTEMPTED: Final = and_(
    _OF_EDITION, delivery.c.state == _S.ATTEMPTING, delivery.c.fence == bindparam("by_fence")
)


def _reply(words: ColumnElement[str]) -> ColumnElement[str]:
    # The relay's words often quote the address, which an erased person has left here.
    return case((delivery.c.address == "", "erased"), else_=words)


_RECORD: Final = (
    update(delivery)
    .where(_IS_ATTEMPTED, delivery.c.subscriber_id == bindparam("key"))
    .values(
        state=bindparam("to_state"),
        reply=_reply(bindparam("to_reply", type_=String)),
        next_attempt_at=bindparam("to_next_attempt_at", type_=UtcDateTime),
        attempts=delivery.c.attempts - bindparam("unattempted"),
    )
)

_ANSWERS: Final = (
    func.unnest(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("replies", type_=ARRAY(String)))
    .table_valued(column("subscriber_id", BigInteger), column("reply", String))
    .render_derived(name="answer")
)

#: What nearly all of a window is. SQLite takes the rows one by one at a small part of what a join with a list
#: costs it, and written out since the library's way of binding costs four times what the row itself does. To
#: PostgreSQL each row would be a message.
_RECORD_SENT_SQLITE: Final = (
    "UPDATE delivery SET state = 'sent', next_attempt_at = NULL,"
    " reply = CASE WHEN address = '' THEN 'erased' ELSE ? END"
    " WHERE edition_id = ? AND subscriber_id = ? AND state = 'attempting' AND fence = ?"
)
_RECORD_SENT_POSTGRESQL: Final = (
    update(delivery)
    .where(_IS_ATTEMPTED, delivery.c.subscriber_id == _ANSWERS.c.subscriber_id)
    .values(state=_S.SENT, reply=_reply(_ANSWERS.c.reply), next_attempt_at=None)
)

_SERVE: Final = {
    kind: DriverStatement(
        update(subscription)
        .where(
            subscription.c.id.in_(
                select(delivery.c.subscription_id).where(
                    _OF_EDITION,
                    among,
                    delivery.c.state == _S.SENT,
                    delivery.c.fence == bindparam("by_fence"),
                )
            ),
            subscription.c.watermark < bindparam("cutoff"),
        )
        .values(watermark=bindparam("cutoff"))
    )
    for kind, among in _among(delivery.c.subscriber_id).items()
}


_IS_WITHIN: Final = and_(_OF_EDITION, delivery.c.subscriber_id.between(bindparam("first"), bindparam("last")))

_RECOVER: Final = (
    update(delivery)
    .where(_IS_WITHIN, delivery.c.state == _S.ATTEMPTING, delivery.c.fence < bindparam("by_fence"))
    .values(state=_S.UNCERTAIN, next_attempt_at=None, reply=SENDER_GONE)
)

_RESEND: Final = (
    update(delivery)
    .where(
        _OF_EDITION,
        delivery.c.subscriber_id.in_(
            select(delivery.c.subscriber_id)
            .where(
                _IS_WITHIN,
                _IS_RESENDABLE,
                or_(
                    delivery.c.next_attempt_at.is_(None),
                    delivery.c.next_attempt_at <= bindparam("now", type_=UtcDateTime),
                ),
            )
            # The operator's retry holds rows and waits for this shard: nobody may wait the other way round.
            .with_for_update(skip_locked=True)
        ),
    )
    .values(state=_S.PENDING, next_attempt_at=None)
)

#: By whether uncertain deliveries are sent again by themselves. Pending ones have no time: it is now.
_FIND_DUE: Final = {
    resends: select(
        func.min(func.coalesce(delivery.c.next_attempt_at, bindparam("now", type_=UtcDateTime)))
    ).where(
        _IS_WITHIN,
        or_(
            delivery.c.state.in_([_S.PENDING, _S.ATTEMPTING, _S.DEFERRED]),
            _IS_RESENDABLE if resends else false(),
        ),
    )
    for resends in (True, False)
}


def list_ready(
    conn: Connection, edition_id: int, *, after: int, last: int, limit: int, now: datetime
) -> list[ReadyDelivery]:
    """The next readers whose turn it is, by subscriber, from behind one up to and with another."""
    values = {"of_edition": edition_id, "after": after, "last": last, "most": limit}
    rows = _LIST_READY.execute(conn, values | {"now": driver_time(conn, now)})
    return list(map(ReadyDelivery._make, rows.fetchall()))


def mark(
    conn: Connection, edition_id: int, subscriber_ids: Sequence[int], *, fence: int, now: datetime
) -> set[int]:
    """Marks these readers as being attempted, and returns those that were; call it with their shard's lease.

    Who has unsubscribed or been suppressed since the freeze is skipped here: the mark has the last word. Who
    is not ready any more, for whatever reason, is left alone.
    """
    kind, readers = _readers(conn, subscriber_ids)
    values = readers | {"of_edition": edition_id}
    rows = _MARK[kind].execute(conn, values | {"by_fence": fence, "now": driver_time(conn, now)})
    marked = set(chain.from_iterable(rows.fetchall()))
    if len(marked) < len(subscriber_ids):
        conn.execute(_SKIP[kind], values | {"now": now})
    return marked


def record_outcomes(
    conn: Connection, edition_id: int, outcomes: Sequence[DeliveryOutcome], *, fence: int, cutoff: int
) -> int:
    """Stores what became of a window and returns how many rows that were; 0 for a fence that is old.

    A reader's watermark moves to the cutoff in the same transaction that says ``sent``.
    """
    sent = [o for o in outcomes if o.state is _S.SENT]
    others = [o for o in outcomes if o.state is not _S.SENT]
    count = 0
    if sent:
        count += _record_sent(conn, edition_id, sent, fence=fence)
        kind, readers = _readers(conn, [o.subscriber_id for o in sent])
        values = {"of_edition": edition_id, "by_fence": fence, "cutoff": cutoff}
        _SERVE[kind].execute(conn, readers | values)
    if others:
        count += conn.execute(
            _RECORD,
            [
                {
                    "of_edition": edition_id,
                    "by_fence": fence,
                    "key": o.subscriber_id,
                    "to_state": o.state.value,
                    "to_reply": o.reply[:_MAX_REPLY],
                    "to_next_attempt_at": o.next_attempt_at,
                    # Proof that nothing was begun: it counts as no attempt.
                    "unattempted": 1 if o.state is _S.PENDING else 0,
                }
                for o in others
            ],
        ).rowcount
    return count


def _record_sent(conn: Connection, edition_id: int, sent: Sequence[DeliveryOutcome], *, fence: int) -> int:
    if conn.dialect.name == "sqlite":
        rows = [(reply[:_MAX_REPLY], edition_id, reader, fence) for reader, _, reply, _ in sent]
        return int(conn.connection.cursor().executemany(_RECORD_SENT_SQLITE, rows).rowcount)
    values: dict[str, Any] = {"of_edition": edition_id, "by_fence": fence}
    values |= {"ids": [o.subscriber_id for o in sent], "replies": [o.reply[:_MAX_REPLY] for o in sent]}
    return conn.execute(_RECORD_SENT_POSTGRESQL, values).rowcount


def _within(held: Shard) -> dict[str, Any]:
    return {"of_edition": held.edition_id, "first": held.first_id, "last": held.last_id}


def recover_attempts(conn: Connection, held: Shard) -> int:
    """Turns what a sender that is gone left in ``attempting`` into ``uncertain``; returns how many."""
    return conn.execute(_RECOVER, _within(held) | {"by_fence": held.fence}).rowcount


def resend_uncertain(conn: Connection, held: Shard, *, now: datetime) -> int:
    """Puts uncertain deliveries back whose time has come, as the policy ``resend`` says; returns how many.

    A relay that never answers must not give one reader copies without end: after some attempts a delivery
    stays uncertain until the operator decides. Whom the operator puts back at this moment is passed over.
    """
    return conn.execute(_RESEND, _within(held) | {"now": now}).rowcount


def find_due(conn: Connection, held: Shard, *, now: datetime, resends: bool) -> datetime | None:
    """When a shard has work again: now, if somebody is pending or was left in the middle of an attempt; when
    the first one that waits for its time comes up; None if nothing in it is done by itself. ``resends`` is
    the edition's policy.
    """
    due_at: datetime | None = conn.execute(_FIND_DUE[resends], _within(held) | {"now": now}).scalar()
    return due_at


def retry(conn: Connection, edition_id: int, states: Collection[DeliveryState]) -> int:
    """Puts failed or uncertain deliveries back because the operator says so; returns how many.

    Left out is who has, or is about to get, the same articles with another edition.
    """
    allowed = set(states) & {_S.FAILED, _S.UNCERTAIN}
    cutoff = select(edition.c.cutoff).where(edition.c.id == edition_id).scalar_subquery()
    newsletter_id = select(edition.c.newsletter_id).where(edition.c.id == edition_id).scalar_subquery()
    copy, other = delivery.alias(), edition.alias()
    has_another = exists(
        select(literal(1))
        .select_from(other.join(copy, copy.c.edition_id == other.c.id))
        .where(
            other.c.newsletter_id == newsletter_id,
            other.c.id != edition_id,
            copy.c.subscriber_id == delivery.c.subscriber_id,
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


def expire_deferred(conn: Connection, held: Shard) -> int:
    """Gives up what is still deferred, since the edition's lifetime is over; returns how many."""
    return conn.execute(
        update(delivery)
        .where(_IS_WITHIN, delivery.c.state == _S.DEFERRED)
        .values(
            state=_S.FAILED,
            next_attempt_at=None,
            reply=func.substr(literal("given up; last answer: ") + delivery.c.reply, 1, _MAX_REPLY),
        ),
        _within(held),
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
    # By the key, which begins with the edition.
    mine = delivery.c.edition_id.in_(select(edition.c.id)) & (delivery.c.subscriber_id == subscriber_id)
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


def list_deliveries(
    conn: Connection, edition_id: int, states: Collection[DeliveryState] = (), limit: int | None = None
) -> list[Delivery]:
    """An edition's deliveries in the given states (none given: in all), by subscriber."""
    query = select(delivery).where(delivery.c.edition_id == edition_id)
    query = query.where(delivery.c.state.in_(states) if states else true())
    return [_delivery(row) for row in conn.execute(query.order_by(delivery.c.subscriber_id).limit(limit))]
