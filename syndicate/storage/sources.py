"""Statements about sources: what they are, when they are due, who collects them, how they have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Connection,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from subscribers.tables import UtcDateTime
from syndicate.errors import NotFound
from syndicate.model import FullText, Source, SourceKind, SourceState
from syndicate.storage.tables import source

__all__ = [
    "Success",
    "Unchanged",
    "add_source",
    "begin_empty",
    "change_source",
    "count_due_sources",
    "find_source",
    "get_source",
    "lease_due_sources",
    "lease_source",
    "list_due_sources",
    "list_sources",
    "make_due",
    "move_source",
    "note_move",
    "postpone",
    "record_failure",
    "record_success",
    "record_unchanged",
    "release_sources",
    "remove_source",
    "resume_source",
    "set_source_state",
]

#: How often a source is looked at until it has a rhythm of its own; our choice.
DEFAULT_INTERVAL_S: Final = 3600


#: A source that rested for longer has too much that is new to be news; our choice.
_FORGOTTEN_AFTER: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """A look that found what was there before."""

    source_id: int
    fence: int  #: of the lease under which it was read
    was_due_at: datetime  #: when it was leased
    next_due_at: datetime
    interval_s: int
    full_fetch_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A look that found something to store."""

    was_due_at: datetime  #: when it was leased
    next_due_at: datetime
    interval_s: int
    etag: str
    last_modified: str
    validators_url: str
    body_hash: str
    parser_version: int
    full_fetch_at: datetime | None
    title: str  #: taken only while there is none
    is_whole: bool  #: the first whole reading is the source's baseline


def _source(row: Row[Any]) -> Source:
    values = row._asdict()
    return Source(
        **values
        | {
            "kind": SourceKind(row.kind),
            "state": SourceState(row.state),
            "full_text": FullText(row.full_text),
            "rules": tuple(row.rules),
            "earlier_locations": tuple(row.earlier_locations),
        }
    )


def add_source(
    conn: Connection,
    *,
    kind: SourceKind,
    location: str,
    title: str,
    backfill: str,
    now: datetime,
    **options: Any,
) -> Source:
    """Stores a source that is due at once. The location must be new: see find_source. ``options`` are those
    that ``change_source`` takes, and ``is_intranet``.
    """
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
        "error_reason": "",
        "last_error": "",
        "created_at": now,
        "full_text": FullText.AS_IS,
        "selector": "",
        "rules": [],
        "topic_map": {},
        "needs_approval": False,
        "is_intranet": False,
        "validators_url": "",
        "parser_version": 0,
        "moved_to": "",
        "moved_seen": 0,
        "earlier_locations": [],
        "fence": 0,
    }
    key = conn.execute(insert(source).values(**values | options).returning(source.c.id)).scalar_one()
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


_IS_POLLED: Final = source.c.state.in_([SourceState.ACTIVE, SourceState.LOST])
_NOW: Final = bindparam("now", type_=UtcDateTime)
_IS_DUE: Final = _IS_POLLED & (source.c.next_due_at <= _NOW)
_IS_FREE: Final = or_(source.c.lease_expires_at.is_(None), source.c.lease_expires_at <= _NOW)


def list_due_sources(conn: Connection, now: datetime) -> list[Source]:
    """The sources whose time has come and that nobody collects just now, the longest overdue first."""
    query = select(source).where(_IS_DUE, _IS_FREE).order_by(source.c.next_due_at, source.c.id)
    return [_source(row) for row in conn.execute(query, {"now": now})]


def count_due_sources(conn: Connection, now: datetime) -> int:
    """How many ``list_due_sources`` would list."""
    query = select(func.count()).select_from(source).where(_IS_DUE, _IS_FREE)
    return int(conn.execute(query, {"now": now}).scalar_one())


def lease_due_sources(
    conn: Connection, now: datetime, *, limit: int, lease_s: float, passed_over: Sequence[int] = ()
) -> list[Source]:
    """Takes the sole right to collect sources whose time has come, the longest overdue first."""
    chosen = (
        select(source.c.id)
        .where(_IS_DUE, _IS_FREE, source.c.id.not_in(list(passed_over)))
        .order_by(source.c.next_due_at, source.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _lease(conn, chosen, now, lease_s)


def lease_source(conn: Connection, source_id: int, now: datetime, *, lease_s: float) -> Source | None:
    """Takes the right to collect one source, due or not; None while somebody else has it."""
    chosen = select(source.c.id).where(source.c.id == source_id, _IS_FREE)
    return next(iter(_lease(conn, chosen, now, lease_s)), None)


def _lease(conn: Connection, chosen: Any, now: datetime, lease_s: float) -> list[Source]:
    statement = (
        update(source)
        .where(source.c.id.in_(chosen))
        .values(lease_expires_at=now + timedelta(seconds=lease_s), fence=source.c.fence + 1)
        .returning(source)
    )
    rows = conn.execute(statement, {"now": now}).all()
    return sorted((_source(row) for row in rows), key=lambda each: (each.next_due_at, each.id))


def release_sources(conn: Connection, leased: Sequence[Source]) -> None:
    """Gives the right back of sources that were not collected after all."""
    if leased:
        conn.execute(
            update(source)
            .where(source.c.id == bindparam("key"), source.c.fence == bindparam("of_fence"))
            .values(lease_expires_at=None),
            [{"key": each.id, "of_fence": each.fence} for each in leased],
        )


#: When a source is due next, unless it was made due while it was looked at.
_DUE_AT: Final = case(
    (
        source.c.next_due_at == bindparam("was_due_at", type_=UtcDateTime),
        bindparam("due_at", type_=UtcDateTime),
    ),
    else_=source.c.next_due_at,
)

_UNCHANGED: Final = (
    update(source)
    .where(source.c.id == bindparam("key"), source.c.fence == bindparam("of_fence"))
    .values(
        last_checked_at=_NOW,
        last_success_at=_NOW,
        next_due_at=_DUE_AT,
        interval_s=bindparam("wait_s"),
        full_fetch_at=bindparam("fetched_at", type_=UtcDateTime),
        failures=0,
        failing_since=None,
        error_reason="",
        last_error="",
        lease_expires_at=None,
    )
)


def record_unchanged(conn: Connection, looks: Sequence[Unchanged], *, now: datetime) -> None:
    """Notes for many sources at once that they hold what they held; nothing for a fence that is old."""
    if looks:
        conn.execute(
            _UNCHANGED,
            [
                {
                    "key": look.source_id,
                    "of_fence": look.fence,
                    "now": now,
                    "was_due_at": look.was_due_at,
                    "due_at": look.next_due_at,
                    "wait_s": look.interval_s,
                    "fetched_at": look.full_fetch_at,
                }
                for look in looks
            ],
        )


_READ: Final = (
    update(source)
    .where(source.c.id == bindparam("key"))
    .values(
        etag=bindparam("new_etag"),
        last_modified=bindparam("new_last_modified"),
        validators_url=bindparam("new_validators_url"),
        body_hash=bindparam("new_body_hash"),
        parser_version=bindparam("version"),
        full_fetch_at=bindparam("fetched_at", type_=UtcDateTime),
        last_checked_at=_NOW,
        last_success_at=_NOW,
        baseline_at=func.coalesce(source.c.baseline_at, bindparam("baseline", type_=UtcDateTime)),
        next_due_at=_DUE_AT,
        interval_s=bindparam("wait_s"),
        title=func.coalesce(func.nullif(source.c.title, ""), bindparam("new_title")),
        state=SourceState.ACTIVE,
        failures=0,
        failing_since=None,
        error_reason="",
        last_error="",
        lease_expires_at=None,
    )
)


def record_success(conn: Connection, read: Source, success: Success, *, now: datetime) -> None:
    """Notes that a source was read, in the transaction that stores its articles: validators that were stored
    without them would hide them for ever. The caller has made sure of the fence.
    """
    values = {
        "key": read.id,
        "now": now,
        "new_etag": success.etag,
        "new_last_modified": success.last_modified,
        "new_validators_url": success.validators_url,
        "new_body_hash": success.body_hash,
        "version": success.parser_version,
        "fetched_at": success.full_fetch_at,
        "baseline": now if success.is_whole else None,
        "was_due_at": success.was_due_at,
        "due_at": success.next_due_at,
        "wait_s": success.interval_s,
        "new_title": success.title,
    }
    # What is paused meanwhile stays so.
    statement = _READ if read.state is not SourceState.PAUSED else _READ.values(state=SourceState.PAUSED)
    conn.execute(statement, values)


def record_failure(
    conn: Connection,
    read: Source,
    *,
    now: datetime,
    next_due_at: datetime,
    reason: str,
    error: str,
    state: SourceState,
) -> None:
    """Notes that a source could not be read, unless another has collected it since. Its articles stay."""
    conn.execute(
        update(source)
        .where(source.c.id == read.id, source.c.fence == read.fence)
        .values(
            last_checked_at=now,
            next_due_at=next_due_at,
            failing_since=func.coalesce(source.c.failing_since, bindparam("since", now, UtcDateTime)),
            error_reason=reason,
            last_error=error,
            failures=source.c.failures + 1,
            state=state,
            lease_expires_at=None,
        )
    )


def postpone(conn: Connection, leased: Source, until: datetime) -> None:
    """Gives a source back that was not looked at, since its host asked us to wait."""
    conn.execute(
        update(source)
        .where(source.c.id == leased.id, source.c.fence == leased.fence)
        .values(next_due_at=until, lease_expires_at=None)
    )


def note_move(conn: Connection, source_id: int, *, moved_to: str, since: datetime | None, seen: int) -> None:
    """Notes where permanent redirects lead, how long they have done so, and how often."""
    conn.execute(
        update(source)
        .where(source.c.id == source_id)
        .values(moved_to=moved_to, moved_since=since, moved_seen=seen)
    )


def move_source(conn: Connection, moved: Source, location: str) -> None:
    """Takes a source's new location; the old one is remembered, and the validators were its."""
    conn.execute(
        update(source)
        .where(source.c.id == moved.id)
        .values(
            location=location,
            earlier_locations=bindparam("earlier", [*moved.earlier_locations, moved.location][-8:], JSON),
            moved_to="",
            moved_since=None,
            moved_seen=0,
            etag="",
            last_modified="",
        )
    )


def change_source(conn: Connection, source_id: int, **changes: Any) -> None:
    """Changes what the operator says about a source: title, full_text, selector, rules, topic_map,
    needs_approval. It is read in full at the next look.
    """
    conn.execute(
        update(source)
        .where(source.c.id == source_id)
        .values(**changes, etag="", last_modified="", body_hash="")
    )


def make_due(conn: Connection, source_ids: Sequence[int], *, now: datetime) -> None:
    """Lets sources be collected at the next ring; those that are looked at right now, once more."""
    conn.execute(
        update(source)
        .where(
            source.c.id.in_(list(source_ids)),
            or_(source.c.next_due_at > now, source.c.lease_expires_at > now),
        )
        .values(next_due_at=now)
    )


def set_source_state(conn: Connection, source_id: int, state: SourceState) -> None:
    """Pauses a source, or takes it up again."""
    conn.execute(update(source).where(source.c.id == source_id).values(state=state))


def begin_empty(conn: Connection, source_id: int, *, now: datetime, next_due_at: datetime) -> None:
    """Gives a source a baseline without articles: all that comes is new."""
    conn.execute(
        update(source).where(source.c.id == source_id).values(baseline_at=now, next_due_at=next_due_at)
    )


def resume_source(conn: Connection, source_id: int, *, now: datetime, is_due: bool) -> None:
    """Takes a source up again. After a month what it holds by now is a baseline: shown, not mailed."""
    chosen = source.c.id == source_id
    values: dict[str, Any] = {"state": SourceState.ACTIVE, "failures": 0, "failing_since": None}
    if is_due:
        values["next_due_at"] = now
        is_old = chosen & (source.c.last_success_at < now - _FORGOTTEN_AFTER)
        conn.execute(update(source).where(is_old).values(baseline_at=None, backfill="none"))
    conn.execute(update(source).where(chosen).values(**values))


def remove_source(conn: Connection, source_id: int) -> None:
    """Deletes a source with its articles; editions that were sent keep their compiled text."""
    conn.execute(delete(source).where(source.c.id == source_id))
