"""Who gets what: each reader exactly the articles that are new to them, checked in the mails that arrived."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from subscribers.model import Cadence, SubscriptionStatus
from syndicate.errors import StateError
from syndicate.model import ANY_CADENCE, DeliveryState, EditionState
from syndicate.service.editions import open_edition, plan_edition
from syndicate.service.previewing import send_test
from syndicate.service.sending import send_edition
from syndicate.storage import articles, sources, tables
from syndicate.storage.engine import open_engine, writing
from tests.builders import add_newsletter, add_reader, add_source, make_parsed
from tests.installation_builders import (
    FakeClock,
    articles_of,
    articles_to,
    dump,
    make_installation,
    message_id_of,
    open_now,
    publish,
    relay_in_thread,
)

S = DeliveryState

#: The tags of articles 1 to 5.
TAGS = [("Coast",), ("Craft", "Tools"), (), ("Coast", "Craft"), ("Elsewhere",)]
CHOICES = [(), ("coast",), ("craft",), ("coast", "craft"), ("tools",)]


def test_each_reader_gets_exactly_the_articles_that_are_new_to_them(engine: Engine, tmp_path: Path) -> None:
    clock = FakeClock()
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock, connections=4)
        with writing(engine) as conn:
            source = add_source(conn, clock.at)
            newsletter = add_newsletter(conn, clock.at, draws_from=[source.id])
        for tags in TAGS:
            publish(inst, source.id, *tags)
        wanted = {}
        with writing(engine) as conn:
            for watermark, topics in product(range(len(TAGS) + 1), CHOICES):
                name = f"reader-{watermark}-{len(wanted)}"
                add_reader(conn, newsletter.id, clock.at, name, watermark=watermark, topics=topics)
                wanted[f"{name}@example.com"] = [
                    number
                    for number, tags in enumerate(TAGS, start=1)
                    if number > watermark and (not topics or set(topics) & {tag.lower() for tag in tags})
                ]
            for status in set(SubscriptionStatus) - {SubscriptionStatus.ACTIVE}:
                add_reader(conn, newsletter.id, clock.at, status.value, status=status)
        edition = open_now(inst, newsletter)
        progress: list[int] = []

        report = send_edition(inst, edition.id, on_progress=progress.append)

        got = {mail.recipient: articles_of(mail.content) for mail in relay.accepted}
        assert got == {address: numbers for address, numbers in wanted.items() if numbers}
        assert len(relay.accepted) == len(got) == report.sent == sum(progress)
        assert report.edition.state is EditionState.SENT

        before, commands = dump(engine), len(relay.commands)
        with pytest.raises(StateError, match="is sent; nothing of it is sent any more"):
            send_edition(inst, edition.id)
        assert plan_edition(inst, newsletter, cadence=ANY_CADENCE) is None
        assert open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="again", reason="a test") is None
        assert (dump(engine), len(relay.commands)) == (before, commands)


def test_an_edition_of_a_cadence_reaches_its_readers_only_and_the_others_get_theirs_later(
    sqlite_url: str, tmp_path: Path
) -> None:
    engine, clock = open_engine(sqlite_url), FakeClock()
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source = add_source(conn, clock.at)
            newsletter = add_newsletter(conn, clock.at, draws_from=[source.id])
            add_reader(conn, newsletter.id, clock.at, "ada", cadence=Cadence.DAILY)
            add_reader(conn, newsletter.id, clock.at, "bob", cadence=Cadence.WEEKLY)
        publish(inst, source.id)
        daily = open_edition(inst, newsletter, cadence=Cadence.DAILY, slot="d1", reason="daily reader")
        assert daily is not None
        send_edition(inst, daily.edition.id)
        publish(inst, source.id)
        daily = open_edition(inst, newsletter, cadence=Cadence.DAILY, slot="d2", reason="daily reader")
        weekly = open_edition(inst, newsletter, cadence=Cadence.WEEKLY, slot="w1", reason="weekly reader")
        assert daily is not None
        assert weekly is not None
        send_edition(inst, daily.edition.id)
        send_edition(inst, weekly.edition.id)

        assert articles_to(relay.accepted, "ada@example.com") == [[1], [2]]
        assert articles_to(relay.accepted, "bob@example.com") == [[1, 2]]
    engine.dispose()


def test_neither_a_plan_nor_a_test_changes_anything(engine: Engine, tmp_path: Path) -> None:
    clock = FakeClock()
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source = add_source(conn, clock.at)
            newsletter = add_newsletter(conn, clock.at, draws_from=[source.id])
            add_reader(conn, newsletter.id, clock.at, "ada")
            add_reader(conn, newsletter.id, clock.at, "bob", topics=("craft",))
        publish(inst, source.id, "Coast")
        publish(inst, source.id, "Craft")
        before = dump(engine)

        planned = plan_edition(inst, newsletter, cadence=ANY_CADENCE)
        outcomes = send_test(inst, newsletter, ["me@example.com", "you@example.com"])

        assert dump(engine) == before
        assert planned is not None
        assert sorted(len(ids) for ids in planned.selections) == [1, 2]
        assert (planned.readers, len(outcomes)) == (2, 2)
        assert {mail.recipient for mail in relay.accepted} == {"me@example.com", "you@example.com"}
        assert all(b"Subject: [Test] " in mail.content for mail in relay.accepted)


def test_what_is_edited_or_removed_after_the_opening_changes_no_byte_of_a_later_attempt(
    engine: Engine, tmp_path: Path
) -> None:
    clock = FakeClock()
    script = {"ada@example.com": {"dot": ["451 later", "250 ok"]}, "bob@example.com": {"dot": ["451 later"]}}
    with relay_in_thread(recipients=script) as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source, other = (add_source(conn, clock.at, location=f"https://example.org/{n}") for n in (1, 2))
            newsletter = add_newsletter(conn, clock.at, draws_from=[source.id, other.id])
            add_reader(conn, newsletter.id, clock.at, "ada", topics=("coast",))
            add_reader(conn, newsletter.id, clock.at, "bob")
        first = publish(inst, source.id, "Coast")
        publish(inst, other.id, "Coast")
        edition = open_now(inst, newsletter)
        assert send_edition(inst, edition.id).sent == 0
        with writing(engine) as conn:
            revised = make_parsed(1, title="Quite another title", tags=("Craft",))
            articles.revise_article(conn, first, revised, now=clock.at)
            sources.remove_source(conn, other.id)
        clock.move(hours=1)

        assert send_edition(inst, edition.id).sent == 2

        for address in script:
            refused, taken = (c for c in relay.raw_contents if f"To: {address}".encode() in c)
            assert refused == taken
        assert articles_to(relay.accepted, "ada@example.com") == [[1, 2]]


def test_a_stored_text_that_was_damaged_is_not_sent(engine: Engine, tmp_path: Path) -> None:
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port)
        with writing(engine) as conn:
            source = add_source(conn, inst.clock())
            newsletter = add_newsletter(conn, inst.clock(), draws_from=[source.id])
            add_reader(conn, newsletter.id, inst.clock())
        publish(inst, source.id)
        edition = open_now(inst, newsletter)
        with writing(engine) as conn:
            conn.execute(update(tables.edition_content).values(compiled=b"{}"))
        before = dump(engine)

        with pytest.raises(StateError, match="does not match its checksum; nothing was sent"):
            send_edition(inst, edition.id)

        assert (dump(engine), relay.commands) == (before, [])


def test_a_reader_who_joins_after_the_opening_waits_for_the_next_edition(
    engine: Engine, tmp_path: Path
) -> None:
    clock = FakeClock()
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source = add_source(conn, clock.at)
            newsletter = add_newsletter(conn, clock.at, draws_from=[source.id])
            add_reader(conn, newsletter.id, clock.at, "ada")
        publish(inst, source.id)
        edition = open_now(inst, newsletter)
        with writing(engine) as conn:
            add_reader(conn, newsletter.id, clock.at, "bob", watermark=1)
        publish(inst, source.id)
        send_edition(inst, edition.id)
        clock.at += timedelta(days=1)
        send_edition(inst, open_now(inst, newsletter).id)

        assert articles_to(relay.accepted, "ada@example.com") == [[1], [2]]
        assert articles_to(relay.accepted, "bob@example.com") == [[2]]
        assert len({message_id_of(mail.content) for mail in relay.accepted}) == 3
