"""Statements about newsletters: what they draw from, and when their editions open."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from subscribers.model import Cadence
from syndicate.errors import NotFound
from syndicate.model import Newsletter, Schedule, UncertainPolicy
from syndicate.storage.tables import delivery, edition, newsletter, newsletter_source, schedule

__all__ = [
    "add_newsletter",
    "advance_schedule",
    "bump_content_version",
    "edit_newsletter",
    "get_newsletter",
    "get_newsletter_by_id",
    "join_source",
    "list_newsletters",
    "list_schedules",
    "list_source_ids",
    "put_schedule",
    "remove_newsletter",
]


def _newsletter(row: Row[Any]) -> Newsletter:
    values = row._asdict() | {
        "topics": tuple(row.topics),
        "cadences": tuple(Cadence(c) for c in row.cadences),
        "uncertain_policy": UncertainPolicy(row.uncertain_policy),
    }
    return Newsletter(**values)


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def add_newsletter(conn: Connection, *, now: datetime, **values: Any) -> Newsletter:
    """Stores a newsletter; ``values`` are the fields of Newsletter that an operator sets. Raises
    IntegrityError if the slug is taken.
    """
    conn.execute(
        insert(newsletter).values(**_stored(values), content_version=1, changed_at=now, created_at=now)
    )
    return get_newsletter(conn, values["slug"])


def edit_newsletter(conn: Connection, newsletter_id: int, *, now: datetime, **values: Any) -> None:
    """Changes the given fields; its feeds are built anew at the next look."""
    conn.execute(
        update(newsletter)
        .where(newsletter.c.id == newsletter_id)
        .values(**_stored(values), content_version=newsletter.c.content_version + 1, changed_at=now)
    )


def get_newsletter(conn: Connection, slug: str) -> Newsletter:
    """The newsletter of this slug. Raises NotFound, which names those that exist."""
    # PostgreSQL refuses a text with NUL in it, which an address on the web may well have.
    row = None
    if "\x00" not in slug:
        row = conn.execute(select(newsletter).where(newsletter.c.slug == slug)).one_or_none()
    if row is None:
        raise NotFound("newsletter", slug, [n.slug for n in list_newsletters(conn)])
    return _newsletter(row)


def get_newsletter_by_id(conn: Connection, newsletter_id: int) -> Newsletter:
    """The newsletter of this number. Raises NotFound."""
    row = conn.execute(select(newsletter).where(newsletter.c.id == newsletter_id)).one_or_none()
    if row is None:
        raise NotFound("newsletter", newsletter_id)
    return _newsletter(row)


def list_newsletters(conn: Connection) -> list[Newsletter]:
    """Every newsletter, by number."""
    return [_newsletter(row) for row in conn.execute(select(newsletter).order_by(newsletter.c.id))]


def remove_newsletter(conn: Connection, newsletter_id: int) -> None:
    """Deletes a newsletter with its editions and their deliveries; sources, articles and subscribers stay."""
    its_editions = select(edition.c.id).where(edition.c.newsletter_id == newsletter_id)
    conn.execute(delete(delivery).where(delivery.c.edition_id.in_(its_editions)))
    conn.execute(delete(newsletter).where(newsletter.c.id == newsletter_id))


def join_source(
    conn: Connection, newsletter_id: int, source_id: int, *, from_sequence: int, now: datetime
) -> bool:
    """Lets a newsletter draw from a source; what is not newer than ``from_sequence`` is baseline for it.
    False if it did already.
    """
    key = (newsletter_source.c.newsletter_id == newsletter_id) & (newsletter_source.c.source_id == source_id)
    if conn.execute(select(newsletter_source).where(key)).first():
        return False
    conn.execute(
        insert(newsletter_source).values(
            newsletter_id=newsletter_id, source_id=source_id, from_sequence=from_sequence
        )
    )
    edit_newsletter(conn, newsletter_id, now=now)
    return True


def list_source_ids(conn: Connection, newsletter_id: int) -> list[int]:
    """The sources that a newsletter draws from, by number."""
    query = select(newsletter_source.c.source_id).where(newsletter_source.c.newsletter_id == newsletter_id)
    return list(conn.execute(query.order_by(newsletter_source.c.source_id)).scalars())


def bump_content_version(conn: Connection, source_id: int, *, now: datetime) -> None:
    """Tells every newsletter that draws from this source that its feeds show something else now."""
    drawing = select(newsletter_source.c.newsletter_id).where(newsletter_source.c.source_id == source_id)
    conn.execute(
        update(newsletter)
        .where(newsletter.c.id.in_(drawing))
        .values(content_version=newsletter.c.content_version + 1, changed_at=now)
    )


def put_schedule(conn: Connection, entry: Schedule) -> None:
    """Stores when a newsletter's editions of one cadence open, in place of what stood there."""
    key = (schedule.c.newsletter_id == entry.newsletter_id) & (schedule.c.cadence == entry.cadence)
    conn.execute(delete(schedule).where(key))
    conn.execute(
        insert(schedule).values(
            newsletter_id=entry.newsletter_id,
            cadence=entry.cadence,
            hour=entry.hour,
            minute=entry.minute,
            weekday=entry.weekday,
            monthday=entry.monthday,
            after_local=entry.after_local,
        )
    )


def list_schedules(conn: Connection, newsletter_id: int | None = None) -> list[Schedule]:
    """The schedules of one newsletter, or of all, by newsletter and cadence."""
    query = select(schedule).order_by(schedule.c.newsletter_id, schedule.c.cadence)
    if newsletter_id is not None:
        query = query.where(schedule.c.newsletter_id == newsletter_id)
    return [Schedule(**{**row._asdict(), "cadence": Cadence(row.cadence)}) for row in conn.execute(query)]


def advance_schedule(conn: Connection, newsletter_id: int, cadence: Cadence, *, to_local: str) -> None:
    """Notes that every slot up to this one has been dealt with; never goes back."""
    conn.execute(
        update(schedule)
        .where(
            schedule.c.newsletter_id == newsletter_id,
            schedule.c.cadence == cadence,
            schedule.c.after_local < to_local,
        )
        .values(after_local=to_local)
    )
