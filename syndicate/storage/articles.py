"""Statements about articles, their revisions and their sequence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
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
    article_alias,
    article_topic,
    counter,
    edition_article,
    newsletter_source,
    revision,
)

__all__ = [
    "NewArticle",
    "add_aliases",
    "add_article",
    "add_articles",
    "count_new_since",
    "count_newsletter_articles",
    "count_source_articles",
    "current_sequence",
    "find_neighbours",
    "get_article",
    "list_article_ids",
    "list_edition_articles",
    "list_known_articles",
    "list_known_hashes",
    "list_mailable_articles",
    "list_newsletter_articles",
    "list_texts",
    "list_used_topics",
    "note_source_date",
    "rename_articles",
    "revise_article",
    "sequence_before_latest",
    "take_sequences",
]


#: Earlier texts of an article that are recognised when they come back.
_KEPT_HASHES: Final = 8

#: Values in one statement; SQLite takes 32,766.
_MOST_VALUES: Final = 5_000

#: Columns that only tell whether something is new.
_FOR_COLLECTING: Final = ("sorts_at", "link_key", "text_key", "turns", "turned_at", "source_updated_at")


def _article(row: Row[Any]) -> Article:
    values = row._asdict()
    for name in _FOR_COLLECTING:
        del values[name]
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
    }


def take_sequences(conn: Connection, count: int) -> int:
    """Takes ``count`` numbers and returns the first. The counter's row stays locked until the commit, so
    nobody sees a sequence while a lower one is still uncommitted.
    """
    return int(conn.execute(_TAKE, {"more": count}).scalar_one()) - count + 1


_TAKE: Final = (
    update(counter)
    .where(counter.c.name == "sequence")
    .values(value=counter.c.value + bindparam("more"))
    .returning(counter.c.value)
)


def current_sequence(conn: Connection) -> int:
    """The highest sequence given out; 0 before the first article."""
    return int(conn.execute(select(counter.c.value).where(counter.c.name == "sequence")).scalar_one())


def list_known_articles(conn: Connection, source_id: int, *, now: datetime) -> list[KnownArticle]:
    """What is needed to tell whether an article of this source is new, by sequence."""
    rows = conn.execute(_KNOWN, {"of_source": source_id}).all()
    if not rows:
        return []
    hashes: defaultdict[int, list[str]] = defaultdict(list)
    for row in conn.execute(_HASHES, {"of_source": source_id}):
        hashes[row.article_id].append(row.content_hash)
    aliases: defaultdict[int, set[str]] = defaultdict(set)
    for row in conn.execute(_ALIASES, {"of_source": source_id}):
        aliases[row.article_id].add(row.guid)
    yesterday = now - timedelta(days=1)
    return [
        KnownArticle(
            id=row.id,
            guid=row.guid,
            url=row.url,
            content_hash=row.content_hash,
            earlier_hashes=frozenset(
                [each for each in hashes[row.id] if each != row.content_hash][-_KEPT_HASHES:]
            ),
            aliases=frozenset(aliases[row.id]),
            title=row.title,
            text_key=row.text_key,
            published_at=row.published_at,
            updated_at=row.source_updated_at,
            revisions=len(hashes[row.id]),
            turns=row.turns if row.turned_at is not None and row.turned_at > yesterday else 0,
        )
        for row in rows
    ]


_OF_SOURCE: Final = article.c.source_id == bindparam("of_source")
_HASHES: Final = (
    select(revision.c.article_id, revision.c.content_hash)
    .join(article, article.c.id == revision.c.article_id)
    .where(_OF_SOURCE)
    .order_by(revision.c.article_id, revision.c.number)
)
_ALIASES: Final = select(article_alias.c.article_id, article_alias.c.guid).where(
    article_alias.c.source_id == bindparam("of_source")
)
_KNOWN: Final = (
    select(
        article.c.id,
        article.c.guid,
        article.c.url,
        article.c.content_hash,
        article.c.title,
        article.c.text_key,
        article.c.published_at,
        article.c.source_updated_at,
        article.c.turns,
        article.c.turned_at,
    )
    .where(_OF_SOURCE)
    .order_by(article.c.sequence)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArticle:
    """An article that is accepted, with what it is known by."""

    parsed: ParsedArticle
    sequence: int
    atom_id: str
    origin: Origin
    content_hash: str = ""  #: of the article as its source gave it; empty: that is what ``parsed`` is
    link_key: str = ""  #: its link in the form for comparison, or empty
    text_key: str = ""  #: hash of its title and text, or empty


def add_articles(
    conn: Connection, accepted: Sequence[NewArticle], *, source_id: int, now: datetime
) -> list[int]:
    """Stores new articles, each as its revision 1, and returns their numbers in this order."""
    if not accepted:
        return []
    conn.execute(insert(article), [_first_row(each, source_id, now) for each in accepted])
    sequences = [each.sequence for each in accepted]
    rows = conn.execute(
        select(article.c.sequence, article.c.id).where(
            article.c.source_id == source_id, article.c.sequence.between(min(sequences), max(sequences))
        )
    )
    by_sequence = {row.sequence: row.id for row in rows}
    ids = [by_sequence[sequence] for sequence in sequences]
    pairs = list(zip(ids, accepted, strict=True))
    conn.execute(
        insert(revision),
        [
            _revision_row(key, 1, new.parsed, new.content_hash or new.parsed.content_hash, now)
            for key, new in pairs
        ],
    )
    if topics := [row for key, new in pairs for row in _topic_rows(key, new.parsed.tags)]:
        conn.execute(insert(article_topic), topics)
    return ids


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
    """Stores one new article and returns its number."""
    one = NewArticle(parsed=parsed, sequence=sequence, atom_id=atom_id, origin=origin)
    return add_articles(conn, [one], source_id=source_id, now=now)[0]


def _first_row(new: NewArticle, source_id: int, now: datetime) -> dict[str, Any]:
    parsed = new.parsed
    published_at = parsed.published_at or now
    return _content(parsed) | {
        "sequence": new.sequence,
        "source_id": source_id,
        "guid": parsed.guid,
        "atom_id": new.atom_id,
        "slug": slugify(parsed.title),
        "published_at": published_at,
        "published_quality": parsed.published_quality if parsed.published_at else DateQuality.FIRST_SEEN,
        "updated_at": min(max(parsed.updated_at or published_at, published_at), now),
        "first_seen_at": now,
        "sorts_at": min(published_at, now),
        "revision": 1,
        "origin": new.origin,
        "content_hash": new.content_hash or parsed.content_hash,
        "link_key": new.link_key,
        "text_key": new.text_key,
        "turns": 0,
        "source_updated_at": parsed.updated_at,
    }


def revise_article(
    conn: Connection,
    article_id: int,
    parsed: ParsedArticle,
    *,
    now: datetime,
    content_hash: str = "",
    link_key: str = "",
    text_key: str = "",
    has_turned: bool = False,
) -> int:
    """Stores a changed text as the next revision and returns its number; the sequence stays, so mail does
    not repeat the article. A text that it had before is pointed back to rather than stored again;
    ``has_turned`` counts that, a day at a time. ``content_hash`` is of the article as its source gave it.
    """
    content_hash = content_hash or parsed.content_hash
    last = conn.execute(
        select(func.max(revision.c.number)).where(revision.c.article_id == article_id)
    ).scalar_one()
    known = conn.execute(
        select(revision.c.number).where(
            revision.c.article_id == article_id, revision.c.content_hash == content_hash
        )
    ).scalar()
    number = known or last + 1
    values = _content(parsed) | {"revision": number, "content_hash": content_hash}
    values |= {"link_key": link_key, "text_key": text_key}
    # Not the date that the source claims: many change a text and leave their own date as it was.
    values |= {"updated_at": now, "source_updated_at": parsed.updated_at}
    if has_turned:
        is_recent = article.c.turned_at > now - timedelta(days=1)
        values |= {"turned_at": now, "turns": case((is_recent, article.c.turns + 1), else_=1)}
    conn.execute(update(article).where(article.c.id == article_id).values(**values))
    if known is None:
        conn.execute(insert(revision).values(**_revision_row(article_id, number, parsed, content_hash, now)))
    conn.execute(delete(article_topic).where(article_topic.c.article_id == article_id))
    if topics := _topic_rows(article_id, parsed.tags):
        conn.execute(insert(article_topic), topics)
    return int(number)


def rename_articles(conn: Connection, source_id: int, names: Mapping[int, str]) -> None:
    """Gives articles the guids by which their source calls them now, all at once, since they may change
    places; the ones before stay as aliases. An article that is not among them gives up a guid that another
    takes.
    """
    if not names:
        return
    wanted = list(names.values())
    rows = conn.execute(
        select(article.c.id, article.c.guid).where(
            article.c.source_id == source_id,
            or_(article.c.id.in_(list(names)), article.c.guid.in_(wanted)),
        )
    )
    before = {row.id: row.guid for row in rows}
    conn.execute(
        delete(article_alias).where(article_alias.c.source_id == source_id, article_alias.c.guid.in_(wanted))
    )
    for key, guid in before.items():
        conn.execute(update(article).where(article.c.id == key).values(guid=f"{guid}|{key}"))
    for key, guid in names.items():
        conn.execute(update(article).where(article.c.id == key).values(guid=guid))
    aliases = {guid: key for key, guid in before.items() if key in names and guid not in wanted}
    add_aliases(conn, source_id, aliases)


def note_source_date(conn: Connection, article_id: int, at: datetime) -> None:
    """Notes a later date of change that the source claims for what has not changed."""
    conn.execute(update(article).where(article.c.id == article_id).values(source_updated_at=at))


def list_known_hashes(conn: Connection, source_id: int, guids: Sequence[str]) -> dict[str, str]:
    """The content hashes of accepted articles by those of the guids under which the source has given them."""
    own = select(article.c.guid, article.c.content_hash)
    other = select(article_alias.c.guid, article.c.content_hash).join(
        article, article.c.id == article_alias.c.article_id
    )
    found: dict[str, str] = {}
    for query, column in ((own, article.c), (other, article_alias.c)):
        for start in range(0, len(guids), _MOST_VALUES):
            chunk = guids[start : start + _MOST_VALUES]
            chosen = query.where(column.source_id == source_id, column.guid.in_(chunk))
            found |= {row.guid: row.content_hash for row in conn.execute(chosen)}
    return found


def count_source_articles(conn: Connection, source_id: int) -> int:
    """How many articles of a source were accepted."""
    query = select(func.count(article.c.id)).where(article.c.source_id == source_id)
    return int(conn.execute(query).scalar_one())


def add_aliases(conn: Connection, source_id: int, aliases: Mapping[str, int]) -> None:
    """Notes other guids under which a source has given articles, each with the article's number."""
    known = select(article_alias.c.guid).where(
        article_alias.c.source_id == source_id, article_alias.c.guid.in_(list(aliases))
    )
    new = aliases.keys() - set(conn.execute(known).scalars())
    if new:
        conn.execute(
            insert(article_alias),
            [{"source_id": source_id, "guid": guid, "article_id": aliases[guid]} for guid in sorted(new)],
        )


def count_new_since(conn: Connection, source_ids: Sequence[int], since: datetime) -> dict[int, int]:
    """How many articles sources have brought since an instant, those that they began with not counted; of
    sources that brought none there is nothing.
    """
    query = (
        select(article.c.source_id, func.count(article.c.id))
        .where(
            article.c.source_id.in_(list(source_ids)),
            article.c.first_seen_at >= since,
            article.c.origin == Origin.NEW,
        )
        .group_by(article.c.source_id)
    )
    return {row[0]: row[1] for row in conn.execute(query)}


def list_texts(conn: Connection, article_ids: Sequence[int]) -> dict[int, str]:
    """The HTML of some articles, by number."""
    if not article_ids:
        return {}
    query = select(article.c.id, article.c.content_html).where(article.c.id.in_(list(article_ids)))
    return {row.id: row.content_html for row in conn.execute(query)}


def _revision_row(
    article_id: int, number: int, parsed: ParsedArticle, content_hash: str, now: datetime
) -> dict[str, Any]:
    return {
        "article_id": article_id,
        "number": number,
        "content_hash": content_hash,
        "title": parsed.title,
        "content_html": parsed.content_html,
        "summary": parsed.summary,
        "seen_at": now,
    }


def _topic_rows(article_id: int, tags: Sequence[str]) -> list[dict[str, Any]]:
    return [{"article_id": article_id, "topic": topic} for topic in sorted({slugify(tag) for tag in tags})]


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
    """What may be mailed of a newsletter with a sequence in (after, cutoff], newest first: no baseline,
    nothing from before the newsletter took up the source, and what several sources brought only once.
    """
    query = (
        _of_newsletter(newsletter_id)
        .where(
            article.c.sequence > after,
            article.c.sequence <= cutoff,
            article.c.sequence > newsletter_source.c.from_sequence,
            article.c.origin != Origin.BASELINE,
            ~_is_repetition("link_key"),
            ~_is_repetition("text_key"),
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


def _is_repetition(key: str) -> ColumnElement[bool]:
    """That another source of the newsletter brought an article before, by its link or its text."""
    earlier, drawn = article.alias(), newsletter_source.alias()
    return exists(
        select(literal(1))
        .select_from(earlier.join(drawn, drawn.c.source_id == earlier.c.source_id))
        .where(
            earlier.c[key] == article.c[key],
            article.c[key] != "",
            earlier.c.sequence < article.c.sequence,
            earlier.c.source_id != article.c.source_id,
            earlier.c.origin != Origin.BASELINE,
            drawn.c.newsletter_id == newsletter_source.c.newsletter_id,
            earlier.c.sequence > drawn.c.from_sequence,
        )
        .correlate(article, newsletter_source)
    )


def _of_newsletter(newsletter_id: int) -> Select[Any]:
    return select(article).join(
        newsletter_source,
        and_(
            newsletter_source.c.source_id == article.c.source_id,
            newsletter_source.c.newsletter_id == newsletter_id,
        ),
    )
