"""When a reader, an address, a cadence or a whole newsletter goes away: nobody is mailed against their will,
and nobody is forgotten.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from subscribers.model import Cadence, SubscriptionStatus
from subscribers.store import get_subscription, list_consent
from syndicate.model import EditionState
from syndicate.schedule.clock import open_due_editions
from syndicate.service.feeds import get_feed
from syndicate.service.letters import send_letters
from syndicate.service.newsletters import remove_newsletter
from syndicate.service.people import suppress_address
from syndicate.service.sending import send_edition
from syndicate.service.sources import remove_source
from syndicate.service.subscribing import initial_watermark
from syndicate.storage.engine import reading, writing
from syndicate.web.app import create_app
from tests import builders
from tests.installation_builders import (
    FakeClock,
    articles_to,
    make_installation,
    open_now,
    publish,
    relay_in_thread,
)


def test_a_letter_to_an_address_that_was_suppressed_meanwhile_is_not_sent(
    engine: Engine, tmp_path: Path
) -> None:
    with relay_in_thread() as server:
        inst = make_installation(engine, tmp_path, port=server.port)
        with writing(engine) as conn:
            builders.add_newsletter(conn, inst.clock())
        web = TestClient(create_app(inst), base_url="https://news.example.org")
        for address in ("stays@example.com", "goes@example.com"):
            web.post("/tide/subscribe", data={"email": address})
        suppress_address(inst, "goes@example.com", evidence="asked by telephone")
        assert send_letters(inst) == 1
        assert [mail.recipient for mail in server.accepted] == ["stays@example.com"]
        assert send_letters(inst) == 0


def test_who_reads_a_newsletter_that_is_removed_is_unsubscribed_for_the_record(
    engine: Engine, tmp_path: Path
) -> None:
    inst = make_installation(engine, tmp_path)
    with writing(engine) as conn:
        newsletter = builders.add_newsletter(conn, inst.clock())
        reader = builders.add_reader(conn, newsletter.id, inst.clock())
    remove_newsletter(inst, newsletter.slug)
    with reading(engine) as conn:
        assert get_subscription(conn, reader.id).status is SubscriptionStatus.UNSUBSCRIBED
        assert [c.action for c in list_consent(conn, reader.subscriber_id)] == ["withdrawn"]


def test_readers_of_a_cadence_that_is_no_longer_on_offer_are_still_served(
    engine: Engine, tmp_path: Path
) -> None:
    inst = make_installation(engine, tmp_path, clock=FakeClock())
    with writing(engine) as conn:
        source = builders.add_source(conn, inst.clock())
        newsletter = builders.add_newsletter(
            conn, inst.clock(), draws_from=[source.id], cadences=(Cadence.WEEKLY,)
        )
        builders.add_reader(conn, newsletter.id, inst.clock(), cadence=Cadence.IMMEDIATE)
    publish(inst, source.id)
    assert open_due_editions(inst) == 1


def test_the_first_edition_goes_back_thirty_articles_and_no_further(engine: Engine, tmp_path: Path) -> None:
    inst = make_installation(engine, tmp_path)
    with writing(engine) as conn:
        source = builders.add_source(conn, inst.clock())
        newsletter = builders.add_newsletter(conn, inst.clock(), draws_from=[source.id])
    for count in range(1, 33):
        publish(inst, source.id)
        with reading(engine) as conn:
            assert initial_watermark(conn, newsletter) == max(0, count - 30)


@pytest.mark.parametrize(
    "path", ["/%00/", "/a%00b/feed.xml", "/tide/topics/%00/", "/tide/topics/%00/feed.json"]
)
def test_an_address_with_nul_in_it_is_not_found(engine: Engine, tmp_path: Path, path: str) -> None:
    inst = make_installation(engine, tmp_path)
    with writing(engine) as conn:
        builders.add_newsletter(conn, inst.clock())
    web = TestClient(create_app(inst), base_url="https://news.example.org")
    assert web.get(path).status_code == 404
    assert web.post("/%00/subscribe", data={"email": "a@example.com"}).status_code == 404
    assert get_feed(inst, "tide", "rss").body


def test_a_source_that_is_removed_while_an_edition_is_open_takes_nothing_from_its_readers(
    engine: Engine, tmp_path: Path
) -> None:
    with relay_in_thread() as server:
        inst = make_installation(engine, tmp_path, port=server.port)
        with writing(engine) as conn:
            source = builders.add_source(conn, inst.clock())
            newsletter = builders.add_newsletter(conn, inst.clock(), draws_from=[source.id])
            builders.add_reader(conn, newsletter.id, inst.clock())
        article_id = publish(inst, source.id)
        edition = open_now(inst, newsletter)
        remove_source(inst, source.id)
        report = send_edition(inst, edition.id)
    assert report.edition.state is EditionState.SENT
    assert articles_to(server.accepted, "ada@example.com") == [[article_id]]
