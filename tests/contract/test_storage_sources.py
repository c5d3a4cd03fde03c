from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select

from syndicate.errors import NotFound
from syndicate.model import SourceKind, SourceState
from syndicate.storage import articles, newsletters, sources, tables
from tests.builders import add_article, add_newsletter, add_source

HOUR = timedelta(hours=1)


def succeed(connection: Connection, source_id: int, at: datetime, *, title: str = "") -> None:
    sources.record_success(
        connection,
        source_id,
        now=at,
        next_due_at=at + HOUR,
        etag='W/"e"',
        last_modified="Sat, 14 Mar 2026 09:26:00 GMT",
        body_hash="b" * 64,
        title=title,
    )


def test_a_new_source_is_active_due_at_once_and_has_no_baseline(
    connection: Connection, now: datetime
) -> None:
    added = add_source(connection, now, kind=SourceKind.FOLDER, location="/srv/posts", backfill="3")

    assert added == sources.get_source(connection, added.id)
    assert (added.kind, added.location, added.backfill) == (SourceKind.FOLDER, "/srv/posts", "3")
    assert (added.state, added.next_due_at, added.created_at) == (SourceState.ACTIVE, now, now)
    assert (added.baseline_at, added.last_checked_at, added.last_success_at) == (None, None, None)
    assert (added.failures, added.last_error) == (0, "")
    assert sources.list_due_sources(connection, now) == [added]


def test_a_source_is_found_by_exactly_its_location(connection: Connection, now: datetime) -> None:
    added = add_source(connection, now)

    assert sources.find_source(connection, "https://example.org/feed.xml") == added
    assert sources.find_source(connection, "https://example.org/FEED.xml") is None


def test_an_unknown_source_is_refused_with_the_numbers_that_exist(
    connection: Connection, now: datetime
) -> None:
    first = add_source(connection, now)
    second = add_source(connection, now, location="https://example.org/other.xml")

    with pytest.raises(NotFound) as caught:
        sources.get_source(connection, 999)

    assert (caught.value.kind, caught.value.name) == ("source", 999)
    assert caught.value.known == (first.id, second.id)


def test_sources_are_due_longest_overdue_first_and_only_while_they_are_active(
    connection: Connection, now: datetime
) -> None:
    late, later, paused, gone, to_come = (
        add_source(connection, at, location=f"https://example.org/{name}")
        for name, at in (
            ("late", now - HOUR),
            ("later", now - 2 * HOUR),
            ("paused", now - HOUR),
            ("gone", now - HOUR),
            ("to-come", now + timedelta(seconds=1)),
        )
    )
    sources.set_source_state(connection, paused.id, SourceState.PAUSED)
    sources.set_source_state(connection, gone.id, SourceState.GONE)

    assert [s.id for s in sources.list_due_sources(connection, now)] == [later.id, late.id]
    assert [s.id for s in sources.list_sources(connection)] == [
        s.id for s in (late, later, paused, gone, to_come)
    ]


def test_the_first_success_is_the_baseline_and_later_ones_leave_it(
    connection: Connection, now: datetime
) -> None:
    added = add_source(connection, now)

    succeed(connection, added.id, now)
    succeed(connection, added.id, now + HOUR)

    found = sources.get_source(connection, added.id)
    assert (found.baseline_at, found.last_success_at, found.last_checked_at) == (now, now + HOUR, now + HOUR)
    assert found.next_due_at == now + 2 * HOUR
    assert (found.etag, found.last_modified) == ('W/"e"', "Sat, 14 Mar 2026 09:26:00 GMT")


def test_a_title_is_taken_only_while_there_is_none(connection: Connection, now: datetime) -> None:
    added = add_source(connection, now, title="")

    succeed(connection, added.id, now, title="")
    assert sources.get_source(connection, added.id).title == ""
    succeed(connection, added.id, now, title="First")
    succeed(connection, added.id, now, title="Second")

    assert sources.get_source(connection, added.id).title == "First"


def test_failures_are_counted_in_a_row_and_a_success_ends_the_row(
    connection: Connection, now: datetime
) -> None:
    added = add_source(connection, now)
    succeed(connection, added.id, now)

    for _ in range(2):
        sources.record_failure(
            connection, added.id, now=now + HOUR, next_due_at=now + 2 * HOUR, error="503", is_gone=False
        )
    failed = sources.get_source(connection, added.id)
    succeed(connection, added.id, now + 2 * HOUR)

    assert (failed.failures, failed.last_error, failed.state) == (2, "503", SourceState.ACTIVE)
    assert (failed.last_checked_at, failed.last_success_at) == (now + HOUR, now)
    assert failed.etag == 'W/"e"', "validators outlast a failure"
    found = sources.get_source(connection, added.id)
    assert (found.failures, found.last_error) == (0, "")


def test_a_source_that_is_gone_is_asked_no_more(connection: Connection, now: datetime) -> None:
    added = add_source(connection, now)

    sources.record_failure(connection, added.id, now=now, next_due_at=now, error="410", is_gone=True)

    assert sources.get_source(connection, added.id).state is SourceState.GONE
    assert sources.list_due_sources(connection, now + HOUR) == []


def test_removing_a_source_takes_its_articles_and_leaves_those_of_others(
    connection: Connection, now: datetime
) -> None:
    removed = add_source(connection, now)
    kept = add_source(connection, now, location="https://example.org/kept.xml")
    newsletter = add_newsletter(connection, now, draws_from=[removed.id, kept.id])
    add_article(connection, removed.id, now, tags=("Coast",))
    stays = add_article(connection, kept.id, now, tags=("Craft",))

    sources.remove_source(connection, removed.id)

    assert articles.list_article_ids(connection, newsletter.id) == [stays]
    assert newsletters.list_source_ids(connection, newsletter.id) == [kept.id]
    assert connection.execute(select(func.count()).select_from(tables.revision)).scalar() == 1
    assert articles.list_used_topics(connection, newsletter.id) == {"craft": 1}


def test_the_number_of_a_removed_source_is_not_given_out_again(connection: Connection, now: datetime) -> None:
    removed = add_source(connection, now)
    sources.remove_source(connection, removed.id)

    assert add_source(connection, now).id > removed.id
