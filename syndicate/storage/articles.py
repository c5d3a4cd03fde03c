"""Statements about articles, their revisions and their sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from subscribers.tables import UtcDateTime
from syndicate.errors import NotFound
from syndicate.model import (
    Article,
    Author,
    DateQuality,
    Enclosure,
    KnownArticle,
    Origin,
    ParsedArticle,
    slugify,
)
from syndicate.storage.tables import (
    article,
    article_topic,
    counter,
    edition_article,
    newsletter_source,
    revision,
)

__all__ = [
    "add_article",
    "count_newsletter_articles",
    "current_sequence",
    "find_neighbours",
    "get_article",
    "list_article_ids",
    "list_edition_articles",
    "list_known_articles",
    "list_mailable_articles",
    "list_newsletter_articles",
    "list_used_topics",
    "revise_article",
    "sequence_before_latest",
    "take_sequences",
]


def _article(row: Row[Any]) -> Article:
    values = row._asdict()
    values.pop("sorts_at")
    values |= {
        "authors": tuple(Author(**a) for a in row.authors),
        "tags": tuple(row.tags),
        "enclosures": tuple(Enclosure(**e) for e in row.enclosures),
        "published_quality": DateQuality(row.published_quality),
        "origin": Origin(row.origin),
    }
    return Article(**values)


def _content(parsed: ParsedArticle) -> dict[str, Any]:
    return {
        "url": parsed.url,
        "title": parsed.title,
        "content_html": parsed.content_html,
        "summary": parsed.summary,
        "authors": [asdict(a) for a in parsed.authors],
        "tags": list(parsed.tags),
        "language": parsed.language,
        "image_url": parsed.image_url,
        "enclosures": [asdict(e) for e in parsed.enclosures],
        "content_hash": parsed.content_hash,
    }


def take_sequences(conn: Connection, count: int) -> int:
    """Takes ``count`` numbers and returns the first. The counter's row stays locked until the commit, so
    nobody sees a sequence while a lower one is still uncommitted.
    """
    sequence = counter.c.name == "sequence"
    conn.execute(update(counter).where(sequence).values(value=counter.c.value + count))
    return current_sequence(conn) - count + 1


def current_sequence(conn: Connection) -> int:
    """The highest sequence given out; 0 before the first article."""
    return int(conn.execute(select(counter.c.value).where(counter.c.name == "sequence")).scalar_one())


def list_known_articles(conn: Connection, source_id: int) -> list[KnownArticle]:
    """What is needed to tell whether an article of this source is new, by sequence."""
    earlier: dict[int, set[str]] = {}
    rows = conn.execute(
        select(revision.c.article_id, revision.c.content_hash)
        .join(article, article.c.id == revision.c.article_id)
        .where(article.c.source_id == source_id)
    )
    for article_id, content_hash in rows:
        earlier.setdefault(article_id, set()).add(content_hash)
    columns = (article.c.id, article.c.guid, article.c.url, article.c.content_hash)
    return [
        KnownArticle(
            id=row.id,
            guid=row.guid,
            url=row.url,
            content_hash=row.content_hash,
            earlier_hashes=frozenset(earlier.get(row.id, set()) - {row.content_hash}),
        )
        for row in conn.execute(
            select(*columns).where(article.c.source_id == source_id).order_by(article.c.sequence)
        )
    ]


def add_article(
    conn: Connection,
    parsed: ParsedArticle,
    *,
    source_id: int,
    sequence: int,
    atom_id: str,
    origin: Origin,
    now: datetime,
) -> int:
    """Stores a new article as its revision 1 and returns its number."""
    published_at = parsed.published_at or now
    values = _content(parsed) | {
        "sequence": sequence,
        "source_id": source_id,
        "guid": parsed.guid,
        "atom_id": atom_id,
        "slug": slugify(parsed.title),
        "published_at": published_at,
        "published_quality": parsed.published_quality if parsed.published_at else DateQuality.FIRST_SEEN,
        "updated_at": min(max(parsed.updated_at or published_at, published_at), now),
        "first_seen_at": now,
        "sorts_at": min(published_at, now),
        "revision": 1,
        "origin": origin,
    }
    article_id = int(conn.execute(insert(article).values(**values).returning(article.c.id)).scalar_one())
    _record_revision(conn, article_id, 1, parsed, now)
    _put_topics(conn, article_id, parsed.tags)
    return article_id


def revise_article(conn: Connection, article_id: int, parsed: ParsedArticle, *, now: datetime) -> int:
    """Stores a changed text as the next revision and returns its number; the sequence stays, so mail does
    not repeat the article. A text that it had before is pointed back to rather than stored again.
    """
    last = conn.execute(
        select(func.max(revision.c.number)).where(revision.c.article_id == article_id)
    ).scalar_one()
    known = conn.execute(
        select(revision.c.number).where(
            revision.c.article_id == article_id, revision.c.content_hash == parsed.content_hash
        )
    ).scalar()
    number = known or last + 1
    # Not the date that the source claims: many change a text and leave their own date as it was.
    values = _content(parsed) | {"revision": number, "updated_at": now}
    conn.execute(update(article).where(article.c.id == article_id).values(**values))
    if known is None:
        _record_revision(conn, article_id, number, parsed, now)
    _put_topics(conn, article_id, parsed.tags)
    return int(number)


def _record_revision(
    conn: Connection, article_id: int, number: int, parsed: ParsedArticle, now: datetime
) -> None:
    conn.execute(
        insert(revision).values(
            article_id=article_id,
            number=number,
            content_hash=parsed.content_hash,
            title=parsed.title,
            content_html=parsed.content_html,
            summary=parsed.summary,
            seen_at=now,
        )
    )


def _put_topics(conn: Connection, article_id: int, tags: Sequence[str]) -> None:
    conn.execute(delete(article_topic).where(article_topic.c.article_id == article_id))
    topics = sorted({slugify(tag) for tag in tags})
    if topics:
        conn.execute(insert(article_topic), [{"article_id": article_id, "topic": t} for t in topics])


def get_article(conn: Connection, newsletter_id: int, article_id: int) -> Article:
    """The article of this number, if the newsletter draws from its source. Raises NotFound."""
    row = conn.execute(_of_newsletter(newsletter_id).where(article.c.id == article_id)).one_or_none()
    if row is None:
        raise NotFound("article", article_id)
    return _article(row)


def list_newsletter_articles(
    conn: Connection, newsletter_id: int, *, topic: str = "", limit: int | None = None, offset: int = 0
) -> list[Article]:
    """A newsletter's articles as its feeds and pages show them, newest first, baseline included."""
    query = _of_newsletter(newsletter_id)
    if topic:
        query = query.join(article_topic, article_topic.c.article_id == article.c.id).where(
            article_topic.c.topic == topic
        )
    query = query.order_by(article.c.sorts_at.desc(), article.c.sequence.desc()).limit(limit).offset(offset)
    return [_article(row) for row in conn.execute(query)]


def count_newsletter_articles(conn: Connection, newsletter_id: int, *, topic: str = "") -> int:
    """How many articles a newsletter has, or has on one topic."""
    query = (
        select(func.count(article.c.id))
        .join(newsletter_source, newsletter_source.c.source_id == article.c.source_id)
        .where(newsletter_source.c.newsletter_id == newsletter_id)
    )
    if topic:
        query = query.join(article_topic, article_topic.c.article_id == article.c.id).where(
            article_topic.c.topic == topic
        )
    return int(conn.execute(query).scalar_one())


def list_article_ids(conn: Connection, newsletter_id: int) -> list[int]:
    """The numbers of a newsletter's articles, in the order in which they were accepted."""
    query = (
        select(article.c.id)
        .join(newsletter_source, newsletter_source.c.source_id == article.c.source_id)
        .where(newsletter_source.c.newsletter_id == newsletter_id)
        .order_by(article.c.sequence)
    )
    return list(conn.execute(query).scalars())


def find_neighbours(
    conn: Connection, newsletter_id: int, one: Article
) -> tuple[Article | None, Article | None]:
    """The articles before and after one, as the newsletter's pages order them."""
    here = (article.c.sorts_at, article.c.sequence)
    mine = tuple_(literal(one.sorts_at, UtcDateTime), literal(one.sequence))
    older = _of_newsletter(newsletter_id).where(tuple_(*here) < mine).order_by(*(c.desc() for c in here))
    newer = _of_newsletter(newsletter_id).where(tuple_(*here) > mine).order_by(*here)
    before, after = (conn.execute(query.limit(1)).first() for query in (older, newer))
    return (_article(before) if before else None), (_article(after) if after else None)


def list_used_topics(conn: Connection, newsletter_id: int) -> dict[str, int]:
    """How many of a newsletter's articles have each topic, by topic slug."""
    query = (
        select(article_topic.c.topic, func.count())
        .join(article, article.c.id == article_topic.c.article_id)
        .join(newsletter_source, newsletter_source.c.source_id == article.c.source_id)
        .where(newsletter_source.c.newsletter_id == newsletter_id)
        .group_by(article_topic.c.topic)
        .order_by(article_topic.c.topic)
    )
    return {row[0]: row[1] for row in conn.execute(query)}


def list_mailable_articles(conn: Connection, newsletter_id: int, *, after: int, cutoff: int) -> list[Article]:
    """What may be mailed of a newsletter with a sequence in (after, cutoff], newest first: no baseline, and
    nothing from before the newsletter took up the source.
    """
    query = (
        _of_newsletter(newsletter_id)
        .where(
            article.c.sequence > after,
            article.c.sequence <= cutoff,
            article.c.sequence > newsletter_source.c.from_sequence,
            article.c.origin != Origin.BASELINE,
        )
        .order_by(article.c.sorts_at.desc(), article.c.sequence.desc())
    )
    return [_article(row) for row in conn.execute(query)]


def sequence_before_latest(conn: Connection, newsletter_id: int, count: int) -> int:
    """The sequence after which a newsletter has ``count`` articles to be mailed, or 0 if it has no more."""
    query = (
        select(article.c.sequence)
        .join(newsletter_source, newsletter_source.c.source_id == article.c.source_id)
        .where(
            newsletter_source.c.newsletter_id == newsletter_id,
            article.c.sequence > newsletter_source.c.from_sequence,
            article.c.origin != Origin.BASELINE,
        )
        .order_by(article.c.sequence.desc())
        .offset(count)
        .limit(1)
    )
    return conn.execute(query).scalar() or 0


def list_edition_articles(conn: Connection, edition_id: int) -> list[Article]:
    """An edition's articles, in editorial order."""
    query = (
        select(article)
        .join(edition_article, edition_article.c.article_id == article.c.id)
        .where(edition_article.c.edition_id == edition_id)
        .order_by(edition_article.c.position)
    )
    return [_article(row) for row in conn.execute(query)]


def _of_newsletter(newsletter_id: int) -> Select[Any]:
    return select(article).join(
        newsletter_source,
        and_(
            newsletter_source.c.source_id == article.c.source_id,
            newsletter_source.c.newsletter_id == newsletter_id,
        ),
    )
