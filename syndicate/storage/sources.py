"""Statements about sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from syndicate.errors import NotFound
from syndicate.model import Source, SourceKind, SourceState
from syndicate.storage.tables import source

__all__ = [
    "add_source",
    "find_source",
    "get_source",
    "list_due_sources",
    "list_sources",
    "record_failure",
    "record_success",
    "remove_source",
    "set_source_state",
]

#: How often a source is looked at until it has a rhythm of its own; our choice.
DEFAULT_INTERVAL_S: Final = 3600


def _source(row: Row[Any]) -> Source:
    values = row._asdict()
    return Source(**{**values, "kind": SourceKind(row.kind), "state": SourceState(row.state)})


def add_source(
    conn: Connection, *, kind: SourceKind, location: str, title: str, backfill: str, now: datetime
) -> Source:
    """Stores a source that is due at once. The location must be new: see find_source."""
    values: dict[str, Any] = {
        "kind": kind,
        "location": location,
        "title": title,
        "state": SourceState.ACTIVE,
        "backfill": backfill,
        "etag": "",
        "last_modified": "",
        "body_hash": "",
        "interval_s": DEFAULT_INTERVAL_S,
        "next_due_at": now,
        "failures": 0,
        "last_error": "",
        "created_at": now,
    }
    key = conn.execute(insert(source).values(**values).returning(source.c.id)).scalar_one()
    return get_source(conn, key)


def find_source(conn: Connection, location: str) -> Source | None:
    """The source at this location, or None."""
    row = conn.execute(select(source).where(source.c.location == location)).one_or_none()
    return _source(row) if row else None


def get_source(conn: Connection, source_id: int, *, lock: bool = False) -> Source:
    """The source of this number; ``lock`` keeps others from changing it. Raises NotFound."""
    query = select(source).where(source.c.id == source_id)
    row = conn.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if row is None:
        raise NotFound(
            "source", source_id, conn.execute(select(source.c.id).order_by(source.c.id)).scalars().all()
        )
    return _source(row)


def list_sources(conn: Connection) -> list[Source]:
    """Every source, by number."""
    return [_source(row) for row in conn.execute(select(source).order_by(source.c.id))]


def list_due_sources(conn: Connection, now: datetime) -> list[Source]:
    """The active sources whose time has come, the longest overdue first."""
    due = (source.c.state == SourceState.ACTIVE) & (source.c.next_due_at <= now)
    return [
        _source(row)
        for row in conn.execute(select(source).where(due).order_by(source.c.next_due_at, source.c.id))
    ]


def record_success(
    conn: Connection,
    source_id: int,
    *,
    now: datetime,
    next_due_at: datetime,
    etag: str,
    last_modified: str,
    body_hash: str,
    title: str,
    is_whole: bool = True,
) -> None:
    """Notes that a source was read, in the transaction that stores its articles; the first time that it was
    read whole is its baseline. A title is taken only while there is none.
    """
    conn.execute(
        update(source)
        .where(source.c.id == source_id)
        .values(
            etag=etag,
            last_modified=last_modified,
            body_hash=body_hash,
            last_checked_at=now,
            last_success_at=now,
            next_due_at=next_due_at,
            failures=0,
            last_error="",
        )
    )
    if is_whole:
        first = (source.c.id == source_id) & source.c.baseline_at.is_(None)
        conn.execute(update(source).where(first).values(baseline_at=now))
    if title:
        conn.execute(update(source).where(source.c.id == source_id, source.c.title == "").values(title=title))


def record_failure(
    conn: Connection, source_id: int, *, now: datetime, next_due_at: datetime, error: str, is_gone: bool
) -> None:
    """Notes that a source could not be read. Its articles stay; a source that is gone is asked no more."""
    conn.execute(
        update(source)
        .where(source.c.id == source_id)
        .values(
            last_checked_at=now, next_due_at=next_due_at, last_error=error, failures=source.c.failures + 1
        )
    )
    if is_gone:
        set_source_state(conn, source_id, SourceState.GONE)


def set_source_state(conn: Connection, source_id: int, state: SourceState) -> None:
    """Pauses a source, or takes it up again."""
    conn.execute(update(source).where(source.c.id == source_id).values(state=state))


def remove_source(conn: Connection, source_id: int) -> None:
    """Deletes a source with its articles; editions that were sent keep their compiled text."""
    conn.execute(delete(source).where(source.c.id == source_id))
