from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from subscribers.model import Cadence
from syndicate.errors import NotFound
from syndicate.model import Schedule, UncertainPolicy
from syndicate.storage import articles, editions, newsletters
from tests.builders import add_article, add_edition, add_newsletter, add_source


def make_schedule(newsletter_id: int, cadence: Cadence = Cadence.WEEKLY, **changes: object) -> Schedule:
    values = {"hour": 7, "minute": 30, "weekday": 4, "monthday": None, "after_local": "2026-03-13T07:30"}
    return Schedule(newsletter_id=newsletter_id, cadence=cadence, **values | changes)  # type: ignore[arg-type]  # one dict of mixed values


def test_a_newsletter_comes_back_as_it_was_stored(connection: Connection, now: datetime) -> None:
    added = add_newsletter(
        connection,
        now,
        topics=("Küste", "مدّ"),
        uncertain_policy=UncertainPolicy.HOLD,
        reply_to="a@example.org",
    )

    assert added == newsletters.get_newsletter(connection, "tide")
    assert added == newsletters.get_newsletter_by_id(connection, added.id)
    assert (added.topics, added.cadences) == (("Küste", "مدّ"), (Cadence.WEEKLY, Cadence.DAILY))
    assert added.uncertain_policy is UncertainPolicy.HOLD
    assert (added.content_version, added.changed_at, added.created_at) == (1, now, now)


def test_an_unknown_newsletter_is_refused_with_the_slugs_that_exist(
    connection: Connection, now: datetime
) -> None:
    add_newsletter(connection, now)
    add_newsletter(connection, now, slug="moss")

    with pytest.raises(NotFound, match=r"unknown newsletter 'ebb'; one of tide, moss"):
        newsletters.get_newsletter(connection, "ebb")


def test_an_unknown_number_of_a_newsletter_does_not_claim_that_there_is_none(
    connection: Connection, now: datetime
) -> None:
    add_newsletter(connection, now)

    with pytest.raises(NotFound) as caught:
        newsletters.get_newsletter_by_id(connection, 999)

    assert str(caught.value) == "unknown newsletter '999'"


def test_an_edit_changes_what_it_names_and_counts_one_version(connection: Connection, now: datetime) -> None:
    added = add_newsletter(connection, now)
    later = now + timedelta(hours=1)

    newsletters.edit_newsletter(connection, added.id, now=later, title="Ebb", topics=("Night",))

    found = newsletters.get_newsletter(connection, "tide")
    assert (found.title, found.topics) == ("Ebb", ("Night",))
    assert (found.description, found.cadences) == (added.description, added.cadences)
    assert (found.content_version, found.changed_at, found.created_at) == (2, later, now)


def test_joining_a_source_twice_keeps_where_it_began_and_counts_one_version(
    connection: Connection, now: datetime
) -> None:
    source = add_source(connection, now)
    newsletter = add_newsletter(connection, now)
    add_article(connection, source.id, now)
    first = add_article(connection, source.id, now)

    def join(from_sequence: int) -> bool:
        return newsletters.join_source(
            connection, newsletter.id, source.id, from_sequence=from_sequence, now=now
        )

    assert [join(1), join(2)] == [True, False]
    assert newsletters.list_source_ids(connection, newsletter.id) == [source.id]
    mailable = articles.list_mailable_articles(connection, newsletter.id, after=0, cutoff=2)
    assert [a.id for a in mailable] == [first]
    assert newsletters.get_newsletter(connection, "tide").content_version == 2


def test_a_change_of_a_source_counts_for_those_newsletters_that_draw_from_it(
    connection: Connection, now: datetime
) -> None:
    source = add_source(connection, now)
    drawing = [
        add_newsletter(connection, now, slug=slug, draws_from=[source.id]).slug for slug in ("tide", "moss")
    ]
    other = add_newsletter(connection, now, slug="other")
    later = now + timedelta(hours=1)

    newsletters.bump_content_version(connection, source.id, now=later)

    for slug in drawing:
        found = newsletters.get_newsletter(connection, slug)
        assert (found.content_version, found.changed_at) == (3, later)
    assert newsletters.get_newsletter(connection, "other") == other


def test_removing_a_newsletter_takes_its_editions_and_leaves_sources_and_articles(
    connection: Connection, now: datetime
) -> None:
    source = add_source(connection, now)
    removed = add_newsletter(connection, now, draws_from=[source.id])
    kept = add_newsletter(connection, now, slug="kept", draws_from=[source.id])
    article_id = add_article(connection, source.id, now)
    newsletters.put_schedule(connection, make_schedule(removed.id))
    add_edition(connection, removed.id, now)
    stays = add_edition(connection, kept.id, now)

    newsletters.remove_newsletter(connection, removed.id)

    assert newsletters.list_newsletters(connection) == [kept]
    assert newsletters.list_schedules(connection) == []
    assert editions.list_editions(connection) == [stays]
    assert articles.list_article_ids(connection, kept.id) == [article_id]


def test_the_number_of_a_removed_newsletter_is_not_given_out_again(
    connection: Connection, now: datetime
) -> None:
    removed = add_newsletter(connection, now)
    newsletters.remove_newsletter(connection, removed.id)

    assert add_newsletter(connection, now).id > removed.id, "old subscriptions would belong to the new one"


def test_schedules_are_listed_by_newsletter_and_cadence_and_replaced_as_a_whole(
    connection: Connection, now: datetime
) -> None:
    first = add_newsletter(connection, now)
    second = add_newsletter(connection, now, slug="moss")
    weekly = make_schedule(first.id)
    daily = make_schedule(first.id, Cadence.DAILY, weekday=None)
    monthly = make_schedule(second.id, Cadence.MONTHLY, weekday=None, monthday=28, after_local="")
    for entry in (monthly, weekly, daily):
        newsletters.put_schedule(connection, entry)
    replaced = make_schedule(first.id, hour=18, after_local="2026-03-14T09:26")
    newsletters.put_schedule(connection, replaced)

    assert newsletters.list_schedules(connection) == [daily, replaced, monthly]
    assert newsletters.list_schedules(connection, second.id) == [monthly]


def test_a_schedule_advances_and_never_goes_back(connection: Connection, now: datetime) -> None:
    newsletter = add_newsletter(connection, now)
    newsletters.put_schedule(connection, make_schedule(newsletter.id))
    newsletters.put_schedule(connection, make_schedule(newsletter.id, Cadence.DAILY))

    for local in ("2026-03-20T07:30", "2026-03-13T07:30"):
        newsletters.advance_schedule(connection, newsletter.id, Cadence.WEEKLY, to_local=local)

    daily, weekly = newsletters.list_schedules(connection)
    assert (daily.after_local, weekly.after_local) == ("2026-03-13T07:30", "2026-03-20T07:30")
