"""Statements about letters: messages to one person that belong to no edition, such as confirmations.

A letter is queued in the transaction that causes it and sent afterwards, so that a crash loses none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from syndicate.model import DeliveryState
from syndicate.storage.tables import letter

__all__ = ["Letter", "add_letter", "count_recent_letters", "forget", "mark_letters", "record_letter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message that waits to be handed to the relay."""

    id: int
    sender: str  #: envelope sender
    recipient: str
    message: bytes  #: as it goes out, with CRLF line ends
    attempts: int
    created_at: datetime


def add_letter(
    conn: Connection,
    *,
    kind: str,
    subscription_id: int,
    sender: str,
    recipient: str,
    message: bytes,
    now: datetime,
) -> int:
    """Queues a letter and returns its number."""
    key = conn.execute(
        insert(letter)
        .values(
            kind=kind,
            subscription_id=subscription_id,
            sender=sender,
            recipient=recipient,
            message=message,
            state=DeliveryState.PENDING,
            attempts=0,
            created_at=now,
            next_attempt_at=now,
            reply="",
        )
        .returning(letter.c.id)
    ).scalar_one()
    return int(key)


def count_recent_letters(conn: Connection, subscription_id: int, *, since: datetime) -> int:
    """How many letters this subscription has caused since an instant; a form must not become a weapon."""
    query = select(func.count()).where(
        letter.c.subscription_id == subscription_id, letter.c.created_at >= since
    )
    return conn.execute(query).scalar_one()


def mark_letters(conn: Connection, *, limit: int, now: datetime, lease_s: float) -> list[Letter]:
    """Takes the letters whose time has come, the oldest first, and marks the attempt.

    A letter whose sender is gone comes up again after the lease: to get a confirmation twice does no harm.
    """
    rows = conn.execute(
        select(letter)
        .where(
            letter.c.state.in_([DeliveryState.PENDING, DeliveryState.ATTEMPTING]),
            letter.c.next_attempt_at <= now,
        )
        .order_by(letter.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    conn.execute(
        update(letter)
        .where(letter.c.id.in_([row.id for row in rows]))
        .values(
            state=DeliveryState.ATTEMPTING,
            attempts=letter.c.attempts + 1,
            next_attempt_at=now + timedelta(seconds=lease_s),
        )
    )
    return [
        Letter(
            id=row.id,
            sender=row.sender,
            recipient=row.recipient,
            message=bytes(row.message),
            attempts=row.attempts + 1,
            created_at=row.created_at,
        )
        for row in rows
    ]


def record_letter(
    conn: Connection, letter_id: int, *, state: DeliveryState, reply: str, next_attempt_at: datetime | None
) -> None:
    """Stores what became of a letter: sent, failed, or pending again at an instant."""
    conn.execute(
        update(letter)
        .where(letter.c.id == letter_id)
        .values(state=state, reply=reply[:500], next_attempt_at=next_attempt_at)
    )


def forget(conn: Connection, recipient: str) -> None:
    """Deletes every letter to an address, since its owner was erased."""
    conn.execute(delete(letter).where(letter.c.recipient == recipient))
