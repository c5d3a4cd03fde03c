"""Statements about held articles: those that wait for the operator, and those that a rule keeps out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from syndicate.model import Author, DateQuality, Enclosure, HeldArticle, ParsedArticle
from syndicate.storage.tables import held_article

__all__ = [
    "count_waiting",
    "hold_articles",
    "list_held",
    "list_held_guids",
    "list_waiting",
    "take_held",
]


def hold_articles(conn: Connection, articles: Sequence[HeldArticle]) -> None:
    """Holds articles of one source; one that is held already is held as it is now."""
    if not articles:
        return
    take_held(conn, articles[0].source_id, [each.guid for each in articles])
    conn.execute(
        insert(held_article),
        [
            {
                "source_id": each.source_id,
                "guid": each.guid,
                "content_hash": each.content_hash,
                "reason": each.reason,
                "held_at": each.held_at,
                "article": _to_json(each.article) if each.article is not None else None,
            }
            for each in articles
        ],
    )


def list_held(conn: Connection, source_id: int) -> list[HeldArticle]:
    """All that is held of a source, what rules keep out included."""
    return [_held(row) for row in conn.execute(select(held_article).where(_of(source_id)))]


def list_held_guids(conn: Connection, source_id: int) -> set[str]:
    """Their guids."""
    return set(conn.execute(select(held_article.c.guid).where(_of(source_id))).scalars())


def list_waiting(conn: Connection, source_id: int | None = None) -> list[HeldArticle]:
    """What waits for the operator, of one source or of all, as it came."""
    query = select(held_article).where(held_article.c.article.is_not(None))
    if source_id is not None:
        query = query.where(_of(source_id))
    order = (held_article.c.source_id, held_article.c.held_at, held_article.c.guid)
    return [_held(row) for row in conn.execute(query.order_by(*order))]


def count_waiting(conn: Connection) -> dict[int, int]:
    """How many articles wait for the operator, by source."""
    query = (
        select(held_article.c.source_id, func.count())
        .where(held_article.c.article.is_not(None))
        .group_by(held_article.c.source_id)
    )
    return {row[0]: row[1] for row in conn.execute(query)}


def take_held(conn: Connection, source_id: int, guids: Iterable[str]) -> None:
    """Holds these no longer: they were stored for good, or are stored anew."""
    if chosen := list(guids):
        conn.execute(delete(held_article).where(_of(source_id), held_article.c.guid.in_(chosen)))


def _of(source_id: int) -> Any:
    return held_article.c.source_id == source_id


def _to_json(article: ParsedArticle) -> dict[str, Any]:
    values = asdict(article)
    for name in ("published_at", "updated_at"):
        values[name] = values[name].isoformat() if values[name] is not None else None
    return values


def _held(row: Row[Any]) -> HeldArticle:
    return HeldArticle(
        source_id=row.source_id,
        guid=row.guid,
        content_hash=row.content_hash,
        reason=row.reason,
        held_at=row.held_at,
        article=_from_json(row.article) if row.article is not None else None,
    )


def _from_json(values: dict[str, Any]) -> ParsedArticle:
    dates = {
        name: values[name] and datetime.fromisoformat(values[name]) for name in ("published_at", "updated_at")
    }
    return ParsedArticle(
        **values
        | dates
        | {
            "authors": tuple(Author(**author) for author in values["authors"]),
            "tags": tuple(values["tags"]),
            "enclosures": tuple(Enclosure(**each) for each in values["enclosures"]),
            "published_quality": DateQuality(values["published_quality"]),
        }
    )
