"""Use case: the feeds of a newsletter, built once for each version of its content."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from syndicate.errors import NotFound
from syndicate.model import Article, Newsletter, Source, SourceKind, slugify
from syndicate.publish.document import Document, make_document
from syndicate.publish.feed import Entry, EntrySource, Feed
from syndicate.publish.formats import FORMATS
from syndicate.publish.head import topic_label
from syndicate.service.installation import Installation
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import reading, writing
from syndicate.storage.feed_documents import FeedDocument, drop_stale_documents, find_document, put_document

__all__ = ["get_feed", "list_topics", "refresh_feeds"]

#: Entries in a feed; our choice, about what aggregators keep.
FEED_LENGTH: Final = 50


def get_feed(inst: Installation, slug: str, format_name: str, topic: str = "") -> Document:
    """A feed as bytes with its validators: as stored, or built first if the content has changed since.

    Raises NotFound for an unknown newsletter or a topic that it does not have.
    """
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        if topic:
            _require_topic(conn, newsletter, topic)
        stored = find_document(conn, newsletter.id, topic, format_name)
    if stored is None or stored.version != newsletter.content_version:
        stored = _build(inst, newsletter, topic, format_name)
        with writing(inst.engine) as conn:
            put_document(conn, stored)
    return Document(
        body=stored.body,
        media_type=stored.media_type,
        etag=stored.etag,
        last_modified_at=stored.last_modified_at,
    )


def refresh_feeds(inst: Installation) -> int:
    """Builds every feed whose content has changed; returns how many there are in all."""
    with reading(inst.engine) as conn:
        everything = newsletters.list_newsletters(conn)
    count = 0
    for newsletter in everything:
        with writing(inst.engine) as conn:
            topics = list_topics(conn, newsletter)
            drop_stale_documents(conn, newsletter.id, topics)
        for topic in ["", *topics]:
            for format_name in FORMATS:
                get_feed(inst, newsletter.slug, format_name, topic)
                count += 1
    return count


def list_topics(conn: Connection, newsletter: Newsletter) -> list[str]:
    """The slugs of the topics that a newsletter has feeds for: on offer, or tags of its articles."""
    offered = [slugify(topic) for topic in newsletter.topics]
    return offered + sorted(set(articles.list_used_topics(conn, newsletter.id)) - set(offered))


def _require_topic(conn: Connection, newsletter: Newsletter, topic: str) -> None:
    known = list_topics(conn, newsletter)
    if topic not in known:
        raise NotFound("topic", topic, known)


def _build(inst: Installation, newsletter: Newsletter, topic: str, format_name: str) -> FeedDocument:
    made = FORMATS[format_name]
    with reading(inst.engine) as conn:
        # Read again inside one view, so that the version and the articles belong together.
        newsletter = newsletters.get_newsletter(conn, newsletter.slug)
        entries = _entries(inst, conn, newsletter, topic)
    urls = inst.urls
    tags = [tag for entry in entries for tag in entry.article.tags]
    label = topic_label(newsletter, topic, tags) if topic else None
    feed = Feed(
        title=f"{newsletter.title}: {label}" if label else newsletter.title,
        description=newsletter.description,
        language=newsletter.language,
        home_url=urls.absolute(
            urls.topic(newsletter.slug, topic) if topic else urls.newsletter(newsletter.slug)
        ),
        self_url=urls.absolute(
            urls.topic_feed(newsletter.slug, topic, made.path_suffix)
            if topic
            else urls.feed(newsletter.slug, made.path_suffix)
        ),
        atom_id=_feed_id(inst, newsletter, topic),
        generated_from_at=newsletter.created_at,
        author_name=newsletter.from_name,
        entries=entries,
    )
    document = make_document(made.build(feed), made.media_type, newsletter.changed_at)
    return FeedDocument(
        newsletter_id=newsletter.id,
        topic=topic,
        format=format_name,
        version=newsletter.content_version,
        body=document.body,
        media_type=document.media_type,
        etag=document.etag,
        last_modified_at=document.last_modified_at,
    )


def _feed_id(inst: Installation, newsletter: Newsletter, topic: str) -> str:
    day = newsletter.created_at.date().isoformat()
    tail = f"/{topic}" if topic else ""
    return f"tag:{inst.urls.host},{day}:newsletter/{newsletter.id}{tail}"


def _entries(inst: Installation, conn: Connection, newsletter: Newsletter, topic: str) -> tuple[Entry, ...]:
    found = articles.list_newsletter_articles(conn, newsletter.id, topic=topic, limit=FEED_LENGTH)
    by_id = {source.id: source for source in sources.list_sources(conn)}
    # Two sources may carry the same entry with the same id, which RFC 4287 section 4.1.1 has once in a feed.
    unique = {article.atom_id: article for article in reversed(found)}
    return tuple(
        _entry(inst, newsletter, article, by_id[article.source_id]) for article in reversed(unique.values())
    )


def _entry(inst: Installation, newsletter: Newsletter, article: Article, source: Source) -> Entry:
    urls = inst.urls
    origin = None
    if source.kind is SourceKind.FEED:
        origin = EntrySource(
            atom_id=source.location,
            title=source.title,
            url="",
            feed_url=source.location,
            updated_at=article.updated_at,
        )
    link = article.url or urls.absolute(urls.article(newsletter.slug, article))
    return Entry(article=article, link=link, source=origin)
