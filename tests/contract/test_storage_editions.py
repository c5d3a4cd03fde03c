from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, Engine, update

from subscribers.model import Cadence
from syndicate.errors import NotFound, StateError
from syndicate.model import ANY_CADENCE, Edition, EditionState, Newsletter, UncertainPolicy
from syndicate.storage import deliveries, editions, tables
from syndicate.storage.engine import reading, writing
from tests.builders import add_article, add_edition, add_newsletter, add_reader, add_source, open_edition

S = EditionState

#: Every transition that the life of an edition has; what is not here is refused.
ALLOWED = {
    (S.DRAFT, S.APPROVED),
    (S.DRAFT, S.HELD),
    (S.DRAFT, S.CANCELLED),
    (S.APPROVED, S.SENDING),
    (S.APPROVED, S.PAUSED),
    (S.APPROVED, S.HELD),
    (S.APPROVED, S.CANCELLED),
    (S.SENDING, S.SENT),
    (S.SENDING, S.PAUSED),
    (S.SENDING, S.HELD),
    (S.SENDING, S.CANCELLED),
    (S.PAUSED, S.SENDING),
    (S.PAUSED, S.APPROVED),
    (S.PAUSED, S.HELD),
    (S.PAUSED, S.CANCELLED),
    (S.HELD, S.APPROVED),
    (S.HELD, S.SENDING),
    (S.HELD, S.CANCELLED),
    (S.SENT, S.SENDING),
}


@pytest.fixture
def newsletter(connection: Connection, now: datetime) -> Newsletter:
    return add_newsletter(connection, now)


def test_an_edition_comes_back_as_it_was_opened(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    opened = add_edition(
        connection,
        newsletter.id,
        now,
        cadence=ANY_CADENCE,
        slot="manual-1",
        state=S.HELD,
        reason="late",
        cutoff=2**40,
        policy=UncertainPolicy.HOLD,
    )

    assert opened == Edition(
        id=opened.id,
        newsletter_id=newsletter.id,
        cadence=ANY_CADENCE,
        slot="manual-1",
        state=S.HELD,
        reason="late",
        cutoff=2**40,
        policy=UncertainPolicy.HOLD,
        subject="",
        opened_at=now,
        finished_at=None,
    )
    assert opened == editions.get_edition(connection, opened.id)
    assert opened == editions.find_edition(connection, newsletter.id, ANY_CADENCE, "manual-1")
    assert opened.cadence_filter is None


def test_a_slot_opens_once_for_each_newsletter_and_cadence(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    other = add_newsletter(connection, now, slug="other")

    def opens(newsletter_id: int, cadence: Cadence, slot: str) -> bool:
        opened = editions.open_edition(
            connection,
            newsletter_id=newsletter_id,
            cadence=cadence,
            slot=slot,
            state=S.APPROVED,
            reason="",
            cutoff=0,
            policy=UncertainPolicy.RESEND,
            now=now,
        )
        return opened is not None

    keys = list(
        product((newsletter.id, other.id), (Cadence.DAILY, Cadence.WEEKLY), ("2026-10-25T02:30", "b"))
    )
    assert [opens(*key) for key in keys] == [True] * 8
    assert [opens(*key) for key in keys] == [False] * 8
    assert editions.find_edition(connection, newsletter.id, Cadence.MONTHLY, "b") is None


def test_of_two_connections_at_once_one_opens_the_slot(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)
    start = threading.Barrier(2)

    def open_slot(slot: str) -> bool:
        start.wait(timeout=30)
        with writing(engine) as conn:
            opened = editions.open_edition(
                conn,
                newsletter_id=newsletter.id,
                cadence=Cadence.WEEKLY,
                slot=slot,
                state=S.APPROVED,
                reason="",
                cutoff=0,
                policy=UncertainPolicy.RESEND,
                now=now,
            )
            return opened is not None

    with ThreadPoolExecutor(2) as pool:
        for n in range(10):
            attempts = [pool.submit(open_slot, f"slot-{n}") for _ in range(2)]
            assert sorted(attempt.result(timeout=60) for attempt in attempts) == [False, True]

    with reading(engine) as conn:
        assert len(editions.list_editions(conn)) == 10


def test_a_slot_whose_opening_was_taken_back_is_free(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)

    def open_and_fail() -> None:
        with writing(engine) as conn:
            add_edition(conn, newsletter.id, now)
            raise LookupError

    with pytest.raises(LookupError):
        open_and_fail()

    with writing(engine) as conn:
        assert add_edition(conn, newsletter.id, now).state is S.APPROVED


def test_two_editions_that_open_at_once_do_not_both_take_a_reader(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        add_article(conn, source.id, now)
        add_reader(conn, newsletter.id, now)

    def open_manual() -> None:
        with writing(engine) as conn:
            open_edition(conn, newsletter.id, now, cadence=ANY_CADENCE, slot="manual-1")

    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as conn:
            open_edition(conn, newsletter.id, now)
            second = pool.submit(open_manual)
            wait([second], timeout=0.2)  # a second one that does not wait is through by then
        second.result(timeout=30)

    with reading(engine) as conn:
        opened = editions.list_editions(conn)
        assert sum(len(deliveries.list_deliveries(conn, edition.id)) for edition in opened) == 1


def test_an_unknown_edition_is_refused_and_does_not_claim_that_there_is_none(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    add_edition(connection, newsletter.id, now)

    with pytest.raises(NotFound, match=r"^unknown edition '999'$"):
        editions.get_edition(connection, 999)


def test_editions_are_listed_newest_first_by_newsletter_and_state(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    other = add_newsletter(connection, now, slug="other")
    first = add_edition(connection, newsletter.id, now, slot="1")
    second = add_edition(connection, newsletter.id, now, slot="2", state=S.HELD)
    third = add_edition(connection, newsletter.id, now, slot="3", state=S.DRAFT)
    foreign = add_edition(connection, other.id, now, slot="1")

    assert editions.list_editions(connection) == [foreign, third, second, first]
    assert editions.list_editions(connection, newsletter_id=newsletter.id) == [third, second, first]
    assert editions.list_editions(connection, states=(S.APPROVED, S.HELD)) == [foreign, second, first]
    assert editions.list_editions(connection, newsletter_id=newsletter.id, limit=1, offset=1) == [second]
    assert editions.list_editions(connection, offset=3) == [first]
    assert editions.count_editions(connection, newsletter.id, (S.APPROVED, S.DRAFT)) == 2
    assert editions.has_editions(connection, newsletter.id)
    assert not editions.has_editions(connection, 999)


@pytest.mark.parametrize("before", S)
def test_an_edition_goes_from_one_state_to_another_only_where_its_life_leads_there(
    connection: Connection, now: datetime, newsletter: Newsletter, before: EditionState
) -> None:
    later = now + timedelta(hours=1)
    for after in S:
        edition = add_edition(connection, newsletter.id, now, slot=after, state=before, reason="why")
        if (before, after) in ALLOWED:
            changed = editions.change_edition_state(
                connection, edition.id, after, reason="because", now=later
            )
            assert (changed.state, changed.reason) == (after, "because")
            assert changed.finished_at == (later if after in {S.SENT, S.CANCELLED} else None)
            assert changed == editions.get_edition(connection, edition.id)
        else:
            message = rf"^edition {edition.id} is {before}; it cannot become {after}$"
            with pytest.raises(StateError, match=message):
                editions.change_edition_state(connection, edition.id, after, reason="because", now=later)
            assert editions.get_edition(connection, edition.id) == edition


def test_an_edition_that_is_sent_again_is_not_finished(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = add_edition(connection, newsletter.id, now, state=S.SENDING)
    editions.change_edition_state(connection, edition.id, S.SENT, now=now)

    again = editions.change_edition_state(connection, edition.id, S.SENDING, now=now)

    assert (again.finished_at, again.reason) == (None, "")


def test_the_compiled_text_comes_back_byte_by_byte(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = add_edition(connection, newsletter.id, now)
    compiled = bytes(range(256)) * 3

    editions.put_compiled(connection, edition.id, subject="Tide: مدّ", compiled=compiled)

    assert editions.get_compiled(connection, edition.id) == compiled
    assert editions.get_edition(connection, edition.id).subject == "Tide: مدّ"


def test_a_compiled_text_that_was_damaged_is_refused(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = add_edition(connection, newsletter.id, now)
    editions.put_compiled(connection, edition.id, subject="Tide", compiled=b"text")
    connection.execute(update(tables.edition_content).values(compiled=b"texT"))

    with pytest.raises(StateError, match=rf"edition {edition.id}: .* checksum; nothing was sent"):
        editions.get_compiled(connection, edition.id)


def test_of_two_that_decide_what_becomes_of_an_edition_the_second_sees_what_the_first_has_done(
    engine: Engine, now: datetime
) -> None:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)
        edition = add_edition(conn, newsletter.id, now, state=S.SENDING)

    def look() -> EditionState:
        with writing(engine) as conn:
            return editions.lock_edition(conn, edition.id).state

    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as conn:
            assert editions.lock_edition(conn, edition.id) == edition
            second = pool.submit(look)
            wait([second], timeout=0.2)  # one that does not wait is through by then
            editions.change_edition_state(conn, edition.id, S.SENT, now=now)
        assert second.result(timeout=30) is S.SENT

    with writing(engine) as conn, pytest.raises(NotFound):
        editions.lock_edition(conn, 999)


def test_of_two_connections_at_once_one_changes_the_state(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)
        opened = [add_edition(conn, newsletter.id, now, slot=f"slot-{n}") for n in range(10)]
    start = threading.Barrier(2)

    def change(edition: Edition) -> str:
        start.wait(timeout=30)
        try:
            with writing(engine) as conn:
                return editions.change_edition_state(conn, edition.id, S.SENDING, now=now).state
        except StateError:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        for edition in opened:
            attempts = [pool.submit(change, edition) for _ in range(2)]
            assert {attempt.result(timeout=60) for attempt in attempts} == {S.SENDING, "refused"}
