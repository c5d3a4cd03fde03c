"""Statements about published feeds: bytes built once per content version, and served as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from syndicate.storage.tables import feed_document

__all__ = ["FeedDocument", "drop_stale_documents", "find_document", "put_document"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedDocument:
    """One feed of one newsletter (and topic) in one format."""

    newsletter_id: int
    topic: str  #: a topic slug; empty for the whole newsletter
    format: str
    version: int  #: the newsletter's content version that it shows
    body: bytes
    media_type: str
    etag: str  #: strong, with its quotes
    last_modified_at: datetime


def find_document(conn: Connection, newsletter_id: int, topic: str, format_name: str) -> FeedDocument | None:
    """The stored document, of whatever version, or None."""
    row = conn.execute(
        select(feed_document).where(
            feed_document.c.newsletter_id == newsletter_id,
            feed_document.c.topic == topic,
            feed_document.c.format == format_name,
        )
    ).one_or_none()
    return FeedDocument(**row._asdict() | {"body": bytes(row.body)}) if row else None


def put_document(conn: Connection, document: FeedDocument) -> None:
    """Stores a document in place of its older version; one that is newer stays. Two processes may build the
    same document at once: the second one finds it there.
    """
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(feed_document).values(
        newsletter_id=document.newsletter_id,
        topic=document.topic,
        format=document.format,
        version=document.version,
        body=document.body,
        media_type=document.media_type,
        etag=document.etag,
        last_modified_at=document.last_modified_at,
    )
    new = statement.excluded
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["newsletter_id", "topic", "format"],
            set_={
                "version": new.version,
                "body": new.body,
                "media_type": new.media_type,
                "etag": new.etag,
                "last_modified_at": new.last_modified_at,
            },
            where=feed_document.c.version <= new.version,
        )
    )


def drop_stale_documents(conn: Connection, newsletter_id: int, topics: Collection[str]) -> None:
    """Deletes the documents of topics that the newsletter no longer offers."""
    conn.execute(
        delete(feed_document).where(
            feed_document.c.newsletter_id == newsletter_id, feed_document.c.topic.not_in({"", *topics})
        )
    )
