from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select

from syndicate.errors import NotFound
from syndicate.model import FullText, Source, SourceKind, SourceState
from syndicate.storage import articles, newsletters, sources, tables
from syndicate.storage.sources import Success, Unchanged
from tests.builders import add_article, add_newsletter, add_source

HOUR = timedelta(hours=1)


def succeed(connection: Connection, source_id: int, at: datetime, *, title: str = "") -> None:
    success = Success(
        was_due_at=sources.get_source(connection, source_id).next_due_at,
        next_due_at=at + HOUR,
        interval_s=3600,
        etag='W/"e"',
        last_modified="Sat, 14 Mar 2026 09:26:00 GMT",
        validators_url="",
        body_hash="b" * 64,
        parser_version=2,
        full_fetch_at=at,
        title=title,
        is_whole=True,
    )
    sources.record_success(connection, sources.get_source(connection, source_id), success, now=at)


def fail(connection: Connection, read: Source, at: datetime, *, reason: str = "http_503") -> None:
    sources.record_failure(
        connection,
        read,
        now=at,
        next_due_at=at + HOUR,
        reason=reason,
        error=f"answered {reason}",
        state=SourceState.GONE if reason == "gone" else read.state,
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

    for hours in (1, 2):
        fail(connection, sources.get_source(connection, added.id), now + hours * HOUR)
    failed = sources.get_source(connection, added.id)
    succeed(connection, added.id, now + 3 * HOUR)

    assert (failed.failures, failed.error_reason, failed.state) == (2, "http_503", SourceState.ACTIVE)
    assert (failed.last_error, failed.failing_since) == ("answered http_503", now + HOUR)
    assert (failed.last_checked_at, failed.last_success_at) == (now + 2 * HOUR, now)
    assert failed.etag == 'W/"e"', "validators outlast a failure"
    found = sources.get_source(connection, added.id)
    assert (found.failures, found.last_error, found.error_reason, found.failing_since) == (0, "", "", None)


def test_a_source_that_is_gone_is_asked_no_more(connection: Connection, now: datetime) -> None:
    added = add_source(connection, now)

    fail(connection, added, now - 2 * HOUR, reason="gone")

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


def lease_all(connection: Connection, now: datetime, *, limit: int = 10) -> list[Source]:
    return sources.lease_due_sources(connection, now, limit=limit, lease_s=60)


def test_what_one_collector_has_leased_no_other_gets_until_the_lease_is_over(
    connection: Connection, now: datetime
) -> None:
    first, second = (
        add_source(connection, now - hours * HOUR, location=f"https://example.org/{hours}")
        for hours in (2, 1)
    )

    [leased] = lease_all(connection, now, limit=1)
    [other] = lease_all(connection, now)

    assert (leased.id, other.id) == (first.id, second.id)
    assert lease_all(connection, now) == []
    assert sources.count_due_sources(connection, now) == 0
    assert sources.lease_source(connection, first.id, now, lease_s=60) is None
    again = lease_all(connection, now + timedelta(seconds=61))
    assert [(each.id, each.fence) for each in again] == [(first.id, 2), (second.id, 2)]


def test_who_comes_back_after_its_lease_writes_nothing(connection: Connection, now: datetime) -> None:
    add_source(connection, now)
    [late] = lease_all(connection, now)
    [quick] = lease_all(connection, now + timedelta(seconds=61))

    fail(connection, late, now + HOUR)
    look = Unchanged(
        source_id=late.id,
        fence=late.fence,
        was_due_at=late.next_due_at,
        next_due_at=now + HOUR,
        interval_s=900,
        full_fetch_at=now,
    )
    sources.record_unchanged(connection, [look], now=now + HOUR)
    sources.postpone(connection, late, now + 9 * HOUR)
    sources.release_sources(connection, [late])

    assert sources.get_source(connection, late.id) == quick


def test_sources_that_hold_what_they_held_are_noted_together(connection: Connection, now: datetime) -> None:
    for number in range(3):
        add_source(connection, now, location=f"https://example.org/{number}")
    leased = lease_all(connection, now)
    fail(connection, leased[0], now)
    failed = sources.lease_source(connection, leased[0].id, now + HOUR, lease_s=60)
    assert failed is not None

    looks = [
        Unchanged(
            source_id=each.id,
            fence=each.fence,
            was_due_at=each.next_due_at,
            next_due_at=now + 3 * HOUR,
            interval_s=900,
            full_fetch_at=now,
        )
        for each in (failed, leased[1])
    ]
    sources.record_unchanged(connection, looks, now=now + HOUR)

    for each in (failed, leased[1]):
        found = sources.get_source(connection, each.id)
        assert (found.failures, found.last_success_at, found.lease_expires_at) == (0, now + HOUR, None)
        assert (found.next_due_at, found.interval_s, found.baseline_at) == (now + 3 * HOUR, 900, None)
    assert sources.get_source(connection, leased[2].id) == leased[2]


def test_a_source_that_moves_keeps_its_history_and_forgets_the_old_place_s_validators(
    connection: Connection, now: datetime
) -> None:
    added = add_source(connection, now)
    succeed(connection, added.id, now)
    sources.note_move(connection, added.id, moved_to="https://new.example.org/feed", since=now, seen=3)

    sources.move_source(connection, sources.get_source(connection, added.id), "https://new.example.org/feed")

    found = sources.get_source(connection, added.id)
    assert (found.location, found.earlier_locations) == ("https://new.example.org/feed", (added.location,))
    assert (found.moved_to, found.moved_since, found.moved_seen) == ("", None, 0)
    assert (found.etag, found.last_modified, found.baseline_at) == ("", "", now)


def test_what_the_operator_changes_is_read_anew(connection: Connection, now: datetime) -> None:
    added = add_source(connection, now)
    succeed(connection, added.id, now)

    sources.change_source(
        connection,
        added.id,
        full_text=FullText.FULL_TEXT,
        rules=["exclude language de"],
        topic_map={"*": "Sea"},
        needs_approval=True,
    )

    found = sources.get_source(connection, added.id)
    assert (found.full_text, found.rules, found.needs_approval) == (
        FullText.FULL_TEXT,
        ("exclude language de",),
        True,
    )
    assert found.topic_map == {"*": "Sea"}
    assert (found.etag, found.last_modified, found.body_hash) == ("", "", "")


@pytest.mark.parametrize(("days", "keeps"), [(29, True), (31, False)])
def test_a_source_that_rested_for_a_month_begins_with_a_new_baseline(
    connection: Connection, now: datetime, days: int, *, keeps: bool
) -> None:
    added = add_source(connection, now, backfill="all")
    succeed(connection, added.id, now)
    sources.set_source_state(connection, added.id, SourceState.PAUSED)
    later = now + timedelta(days=days)

    sources.resume_source(connection, added.id, now=later, is_due=True)

    found = sources.get_source(connection, added.id)
    assert (found.state, found.next_due_at) == (SourceState.ACTIVE, later)
    assert (found.baseline_at, found.backfill) == ((now, "all") if keeps else (None, "none"))


def test_a_source_is_made_due_and_one_that_is_due_already_keeps_its_place(
    connection: Connection, now: datetime
) -> None:
    late = add_source(connection, now - HOUR)
    resting = add_source(connection, now + HOUR, location="https://example.org/resting")

    sources.make_due(connection, [late.id, resting.id], now=now)

    assert [(s.id, s.next_due_at) for s in sources.list_due_sources(connection, now)] == [
        (late.id, now - HOUR),
        (resting.id, now),
    ]


def test_a_source_that_is_made_due_while_it_is_looked_at_is_looked_at_once_more(
    connection: Connection, now: datetime
) -> None:
    add_source(connection, now - HOUR)
    [leased] = lease_all(connection, now)

    sources.make_due(connection, [leased.id], now=now)
    look = Unchanged(
        source_id=leased.id,
        fence=leased.fence,
        was_due_at=leased.next_due_at,
        next_due_at=now + 3 * HOUR,
        interval_s=900,
        full_fetch_at=now,
    )
    sources.record_unchanged(connection, [look], now=now)

    assert [source.id for source in sources.list_due_sources(connection, now)] == [leased.id]
