"""Shards: contiguous ranges of an edition's deliveries, each leased by one sender at a time.

A shard's row says until when its owner has it, under which fence, and when it has work next. Whoever takes a
shard over adds one to its fence: every write to its deliveries carries that number, so an owner that comes
back late writes nothing. What is in the deliveries is said in ``deliveries``.

Who locks several shards does so by number, so that two who do never wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from subscribers.tables import UtcDateTime
from syndicate.model import DeliveryState, EditionState
from syndicate.storage.engine import DriverStatement
from syndicate.storage.tables import delivery, edition, shard

__all__ = [
    "SHARD_SIZE",
    "Shard",
    "cut_shards",
    "find_next_due",
    "has_due_shard",
    "hold_shard",
    "is_any_leased",
    "lease_shard",
    "release_shard",
    "renew_shard",
    "wake_shards",
]

#: Readers in a shard; our choice. Small enough that several senders share an edition evenly, large enough
#: that taking one costs nothing beside sending it.
SHARD_SIZE: Final = 1000


#: Greater than each number of a subscriber.
_BEYOND: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A range of an edition's deliveries in the hands of one sender."""

    edition_id: int
    number: int
    first_id: int  #: the first subscriber
    last_id: int  #: the last one, included
    fence: int


def cut_shards(conn: Connection, edition_id: int, *, now: datetime) -> int:
    """Cuts an edition's frozen audience into shards, all of them due, and returns how many."""
    # A walk over the key from first reader to first reader: to number all readers would sort them.
    of_edition = delivery.c.edition_id == edition_id
    first = select(func.min(delivery.c.subscriber_id)).where(of_edition).scalar_subquery()
    cut = select(literal(0).label("number"), first.label("first_id")).cte("cut", recursive=True, nesting=True)
    following = (
        select(delivery.c.subscriber_id)
        .where(of_edition, delivery.c.subscriber_id >= cut.c.first_id)
        .order_by(delivery.c.subscriber_id)
        .offset(SHARD_SIZE)
        .limit(1)
        .correlate(cut)
        .scalar_subquery()
    )
    cut = cut.union_all(select(cut.c.number + 1, following).where(cut.c.first_id.is_not(None)))
    next_first = func.lead(cut.c.first_id).over(order_by=cut.c.number)
    ranges = select(
        cut.c.number, cut.c.first_id, func.coalesce(next_first, _BEYOND).label("next_id")
    ).subquery()
    last = (
        select(func.max(delivery.c.subscriber_id))
        .where(of_edition, delivery.c.subscriber_id < ranges.c.next_id)
        .correlate(ranges)
        .scalar_subquery()
    )
    values = {
        "edition_id": literal(edition_id),
        "number": ranges.c.number,
        "first_id": ranges.c.first_id,
        "last_id": last,
        "fence": literal(0),
        "lease_owner": literal(""),
        "due_at": literal(now, UtcDateTime),
        "is_settled": false(),
    }
    rows = select(*values.values()).where(ranges.c.first_id.is_not(None))
    statement = insert(shard).from_select(list(values), rows)
    return conn.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


_OF_EDITION: Final = shard.c.edition_id == bindparam("of_edition")

_IS_FREE: Final = or_(
    shard.c.lease_expires_at.is_(None), shard.c.lease_expires_at <= bindparam("now", type_=UtcDateTime)
)
_IS_DUE: Final = shard.c.due_at <= bindparam("now", type_=UtcDateTime)

#: Built once, as those of each window are: with every step that would cost more than running them.
_LEASE: Final = (
    update(shard)
    .where(
        _OF_EDITION,
        shard.c.number
        == select(shard.c.number)
        .where(_OF_EDITION, _IS_DUE, _IS_FREE)
        .order_by(shard.c.due_at, shard.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery(),
    )
    .values(
        lease_owner=bindparam("by_owner"),
        lease_expires_at=bindparam("until", type_=UtcDateTime),
        fence=shard.c.fence + 1,
    )
    .returning(shard.c.number, shard.c.first_id, shard.c.last_id, shard.c.fence)
)


def lease_shard(
    conn: Connection, edition_id: int, *, owner: str, now: datetime, lease_s: float
) -> Shard | None:
    """Takes the sole right to send the shard that has been due for longest, or returns None: there is none
    that is due and free. What another takes at this very moment is passed over.
    """
    until = now + timedelta(seconds=lease_s)
    values = {"of_edition": edition_id, "by_owner": owner, "now": now, "until": until}
    row = conn.execute(_LEASE, values).one_or_none()
    if row is None:
        return None
    return Shard(
        edition_id=edition_id,
        number=row.number,
        first_id=row.first_id,
        last_id=row.last_id,
        fence=row.fence,
    )


_IS_OURS: Final = and_(
    _OF_EDITION,
    shard.c.number == bindparam("of_number"),
    shard.c.fence == bindparam("of_fence"),
    shard.c.lease_expires_at.is_not(None),
)

_STATE: Final = select(edition.c.state).where(edition.c.id == bindparam("of_edition"))

_RENEW: Final = (
    update(shard)
    .where(_IS_OURS)
    .values(lease_expires_at=bindparam("until", type_=UtcDateTime))
    .returning(_STATE.scalar_subquery())
)
_HOLD: Final = DriverStatement(
    select(_STATE.scalar_subquery()).select_from(shard).where(_IS_OURS).with_for_update(read=True)
)
_RELEASE: Final = (
    update(shard)
    .where(_IS_OURS)
    .values(lease_owner="", lease_expires_at=None, due_at=bindparam("until", type_=UtcDateTime))
)


def _ours(held: Shard) -> dict[str, Any]:
    return {"of_edition": held.edition_id, "of_number": held.number, "of_fence": held.fence}


def hold_shard(conn: Connection, held: Shard) -> EditionState | None:
    """Makes sure that a shard is ours until the end of the transaction, and tells its edition's state; None
    once it is lost or given back.
    """
    row = _HOLD.execute(conn, _ours(held)).fetchone()
    return EditionState(row[0]) if row is not None else None


def renew_shard(conn: Connection, held: Shard, *, now: datetime, lease_s: float) -> EditionState | None:
    """The same, and the lease lasts from now."""
    until = now + timedelta(seconds=lease_s)
    state = conn.execute(_RENEW, _ours(held) | {"until": until}).scalar()
    return EditionState(state) if state is not None else None


def release_shard(conn: Connection, held: Shard, *, due_at: datetime | None) -> None:
    """Gives a shard back, if it is still ours; ``due_at`` is when it has work again, None for never.

    Look for that time after ``hold_shard``, in the same transaction: ``wake_shards`` of another then comes
    before the look, or after all of this.
    """
    conn.execute(_RELEASE, _ours(held) | {"until": due_at})


def wake_shards(conn: Connection, edition_id: int, *, now: datetime) -> None:
    """Makes those shards of an edition due in which somebody is pending. Call it after deliveries were put
    back.
    """
    ours = shard.c.edition_id == edition_id
    conn.execute(select(shard.c.number).where(ours).order_by(shard.c.number).with_for_update())
    is_pending = exists(
        select(literal(1))
        .where(
            delivery.c.edition_id == shard.c.edition_id,
            delivery.c.subscriber_id.between(shard.c.first_id, shard.c.last_id),
            delivery.c.state == DeliveryState.PENDING,
        )
        .correlate(shard)
    )
    conn.execute(update(shard).where(ours, is_pending).values(due_at=now, is_settled=False))


def has_due_shard(conn: Connection, edition_id: int, *, now: datetime) -> bool:
    """Whether there is a shard that a sender could take now."""
    query = select(shard.c.number).where(_OF_EDITION, _IS_DUE, _IS_FREE).limit(1)
    return conn.execute(query, {"of_edition": edition_id, "now": now}).first() is not None


def is_any_leased(conn: Connection, edition_id: int, *, now: datetime) -> bool:
    """Whether somebody is sending an edition right now."""
    query = select(shard.c.number).where(_OF_EDITION, ~_IS_FREE).limit(1)
    return conn.execute(query, {"of_edition": edition_id, "now": now}).first() is not None


def find_next_due(conn: Connection, edition_id: int) -> datetime | None:
    """When an edition has work next, or None: nothing is left that is done by itself."""
    return conn.execute(select(func.min(shard.c.due_at)).where(shard.c.edition_id == edition_id)).scalar()
