"""Held articles: what waits for the operator, and what rules keep out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from syndicate.model import Author, DateQuality, Enclosure, HeldArticle, ParsedArticle, Source
from syndicate.storage import held
from tests.builders import add_source, make_parsed


@pytest.fixture
def source(connection: Connection, now: datetime) -> Source:
    return add_source(connection, now)


def make_held(source: Source, article: ParsedArticle, now: datetime, *, waits: bool = True) -> HeldArticle:
    return HeldArticle(
        source_id=source.id,
        guid=article.guid,
        content_hash=article.content_hash,
        reason="flood" if waits else "exclude title /advert/",
        held_at=now,
        article=article if waits else None,
    )


def test_what_waits_comes_back_as_it_was(connection: Connection, source: Source, now: datetime) -> None:
    article = make_parsed(
        1,
        authors=(Author(name="Iris Vale", email="iris@example.org", url="https://example.org/iris"),),
        tags=("Coast", "Wind & weather"),
        language="ar",
        image_url="https://example.org/a.jpg",
        enclosures=(Enclosure(url="https://example.org/a.mp3", type="audio/mpeg", length=2**33),),
        published_at=datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
        published_quality=DateQuality.DAY,
        note="its date was repaired",
    )
    one = make_held(source, article, now)

    held.hold_articles(connection, [one])

    assert held.list_waiting(connection) == [one]
    assert held.count_waiting(connection) == {source.id: 1}


def test_what_a_rule_keeps_out_is_remembered_and_does_not_wait(
    connection: Connection, source: Source, now: datetime
) -> None:
    kept_out = make_held(source, make_parsed(1), now, waits=False)
    waiting = make_held(source, make_parsed(2), now + timedelta(seconds=1))

    held.hold_articles(connection, [kept_out, waiting])

    assert held.list_held_guids(connection, source.id) == {"guid-1", "guid-2"}
    assert sorted(held.list_held(connection, source.id), key=lambda each: each.guid) == [kept_out, waiting]
    assert held.list_waiting(connection, source.id) == [waiting]
    assert held.count_waiting(connection) == {source.id: 1}


def test_what_is_held_again_is_held_as_it_is_now_and_what_is_taken_is_held_no_more(
    connection: Connection, source: Source, now: datetime
) -> None:
    other = add_source(connection, now, location="https://example.org/other")
    held.hold_articles(connection, [make_held(source, make_parsed(n), now) for n in (1, 2)])
    held.hold_articles(connection, [make_held(other, make_parsed(1), now)])
    edited = make_held(source, make_parsed(1, title="Another title"), now)

    held.hold_articles(connection, [edited])
    held.take_held(connection, source.id, ["guid-2"])

    assert held.list_waiting(connection, source.id) == [edited]
    assert held.list_held_guids(connection, other.id) == {"guid-1"}


def test_to_hold_nothing_holds_nothing(connection: Connection, source: Source) -> None:
    held.hold_articles(connection, [])

    assert held.list_held(connection, source.id) == []
