from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from syndicate.model import Newsletter
from syndicate.storage import newsletters
from syndicate.storage.engine import reading, writing
from syndicate.storage.feed_documents import (
    FeedDocument,
    drop_stale_documents,
    find_document,
    put_document,
)
from tests.builders import add_newsletter


@pytest.fixture
def newsletter(connection: Connection, now: datetime) -> Newsletter:
    return add_newsletter(connection, now)


def make_document(newsletter_id: int, now: datetime, **changes: Any) -> FeedDocument:
    values: dict[str, Any] = {
        "topic": "",
        "format": "atom",
        "version": 3,
        "body": b"<feed>\xc3\xa9\x00</feed>",
        "media_type": "application/atom+xml",
        "etag": '"abc"',
        "last_modified_at": now,
    }
    return FeedDocument(newsletter_id=newsletter_id, **values | changes)


def test_a_document_comes_back_byte_by_byte(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    document = make_document(newsletter.id, now)

    put_document(connection, document)

    assert find_document(connection, newsletter.id, "", "atom") == document


def test_a_newer_version_takes_the_place_of_an_older_one(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    put_document(connection, make_document(newsletter.id, now))
    newer = make_document(newsletter.id, now, version=4, body=b"<feed/>", etag='"def"')

    put_document(connection, newer)

    assert find_document(connection, newsletter.id, "", "atom") == newer


def test_a_document_that_was_built_from_an_older_version_does_not_replace_a_newer_one(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    newer = make_document(newsletter.id, now, version=4, body=b"<feed/>", etag='"def"')
    put_document(connection, newer)

    put_document(connection, make_document(newsletter.id, now, version=3))

    assert find_document(connection, newsletter.id, "", "atom") == newer


def test_newsletter_topic_and_format_tell_documents_apart(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    other = add_newsletter(connection, now, slug="other")
    documents = [
        make_document(newsletter_id, now, topic=topic, format=name)
        for newsletter_id in (newsletter.id, other.id)
        for topic in ("", "coast")
        for name in ("atom", "rss")
    ]
    for document in documents:
        put_document(connection, document)

    found = [find_document(connection, d.newsletter_id, d.topic, d.format) for d in documents]
    assert found == documents
    assert find_document(connection, newsletter.id, "craft", "atom") is None


def test_documents_of_topics_that_are_no_longer_there_are_dropped(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    other = add_newsletter(connection, now, slug="other")
    for newsletter_id in (newsletter.id, other.id):
        for topic in ("", "coast", "craft"):
            put_document(connection, make_document(newsletter_id, now, topic=topic))

    drop_stale_documents(connection, newsletter.id, ["craft"])

    def kept(newsletter_id: int) -> list[str]:
        topics = ("", "coast", "craft")
        return [t for t in topics if find_document(connection, newsletter_id, t, "atom")]

    assert kept(newsletter.id) == ["", "craft"]
    assert kept(other.id) == ["", "coast", "craft"]
    drop_stale_documents(connection, newsletter.id, [])
    assert kept(newsletter.id) == [""]


def test_a_removed_newsletter_has_no_documents(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    put_document(connection, make_document(newsletter.id, now))

    newsletters.remove_newsletter(connection, newsletter.id)

    assert find_document(connection, newsletter.id, "", "atom") is None


def test_two_requests_that_build_the_same_document_at_once_both_store_it(
    engine: Engine, now: datetime
) -> None:
    with writing(engine) as conn:
        document = make_document(add_newsletter(conn, now).id, now)

    def put() -> None:
        with writing(engine) as conn:
            put_document(conn, document)

    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as conn:
            put_document(conn, document)
            second = pool.submit(put)
            wait([second], timeout=0.2)  # gives it the time to come to its insert
        second.result(timeout=30)

    with reading(engine) as conn:
        assert find_document(conn, document.newsletter_id, "", "atom") == document
