"""What operator and readers do while an edition is open: pause, resume, cancel, approve, leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from subscribers import store, suppression
from subscribers.model import SubscriptionStatus, SuppressionReason
from syndicate.errors import StateError
from syndicate.model import DeliveryState, Newsletter
from syndicate.service.editions import (
    approve_edition,
    cancel_edition,
    pause_edition,
    report_edition,
    resume_edition,
)
from syndicate.service.installation import Installation
from syndicate.service.people import erase_subscriber
from syndicate.service.sending import list_unfinished, send_edition
from syndicate.storage.engine import open_engine, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import (
    FakeClock,
    articles_to,
    make_installation,
    open_now,
    publish,
    relay_in_thread,
)
from tests.smtp_server import ScriptedServer

S = DeliveryState
READERS = 9
WINDOW = 2


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def relay() -> Iterator[ScriptedServer]:
    with relay_in_thread() as server:
        yield server


@pytest.fixture
def inst(engine: Engine, tmp_path: Path, clock: FakeClock, relay: ScriptedServer) -> Installation:
    return make_installation(engine, tmp_path, port=relay.port, clock=clock, connections=WINDOW)


@pytest.fixture
def newsletter(inst: Installation, clock: FakeClock) -> Newsletter:
    """A newsletter with an article and readers r1 to r9, whose subscriptions have these numbers."""
    with writing(inst.engine) as conn:
        source = add_source(conn, clock.at)
        newsletter = add_newsletter(conn, clock.at, draws_from=[source.id])
        for n in range(1, READERS + 1):
            assert add_reader(conn, newsletter.id, clock.at, f"r{n}").id == n
    publish(inst, 1)
    return newsletter


def recipients(relay: ScriptedServer) -> list[str]:
    return sorted(mail.recipient.partition("@")[0] for mail in relay.accepted)


def names(*numbers: int) -> list[str]:
    return [f"r{n}" for n in numbers]


def test_a_pause_from_elsewhere_ends_the_run_after_what_is_on_its_way_and_resume_sends_the_complement(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer
) -> None:
    edition = open_now(inst, newsletter)
    elsewhere = open_engine(inst.engine.url.render_as_string(hide_password=False))
    other = Installation(settings=inst.settings, engine=elsewhere, clock=inst.clock)

    def pause(settled: int) -> None:
        if settled and not relay_was_paused:
            relay_was_paused.append(pause_edition(other, edition.id))

    relay_was_paused: list[object] = []
    report = send_edition(inst, edition.id, on_progress=pause)

    # What was marked in the commit that told of the first ones was on its way.
    assert report.edition.state == "paused"
    assert WINDOW <= report.sent == len(relay.accepted) <= 2 * WINDOW
    assert report.counts[S.ATTEMPTING] == 0
    assert list_unfinished(inst) == []
    with pytest.raises(StateError, match=r"is paused; 'edition resume 1' lets it go on"):
        send_edition(inst, edition.id)

    resume_edition(other, edition.id)
    report = send_edition(inst, edition.id)
    elsewhere.dispose()
    assert (report.edition.state, report.counts[S.SENT]) == ("sent", READERS)
    assert recipients(relay) == names(*range(1, READERS + 1))


def test_a_wish_to_stop_finishes_the_window_and_leaves_nothing_uncertain(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer
) -> None:
    edition = open_now(inst, newsletter)

    report = send_edition(inst, edition.id, should_stop=lambda: len(relay.accepted) >= WINDOW)

    assert report.edition.state == "sending"
    assert WINDOW <= report.sent == len(relay.accepted) < READERS
    assert report.counts[S.PENDING] == READERS - report.sent
    assert report.counts[S.ATTEMPTING] == report.counts[S.UNCERTAIN] == 0
    send_edition(inst, edition.id)
    assert recipients(relay) == names(*range(1, READERS + 1))


def test_after_a_cancel_nobody_is_attempted_and_the_next_edition_brings_the_articles(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer, clock: FakeClock
) -> None:
    edition = open_now(inst, newsletter)

    def cancel(_settled: int) -> None:
        if not cancelled:
            cancelled.append(cancel_edition(inst, edition.id))

    cancelled: list[object] = []

    report = send_edition(inst, edition.id, on_progress=cancel)

    assert report.edition.state == "cancelled"
    sent = len(relay.accepted)
    assert recipients(relay) == names(*range(1, sent + 1))
    assert sent <= 2 * WINDOW
    assert report.counts[S.SKIPPED] == READERS - sent
    publish(inst, 1)
    clock.move(days=1)
    send_edition(inst, open_now(inst, newsletter).id)
    assert articles_to(relay.accepted, "r1@example.com") == [[1], [2]]
    assert articles_to(relay.accepted, "r9@example.com") == [[1, 2]]


def test_who_leaves_between_the_opening_and_the_attempt_gets_nothing(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer, clock: FakeClock
) -> None:
    edition = open_now(inst, newsletter)
    with writing(inst.engine) as conn:
        store.set_status(conn, 1, SubscriptionStatus.UNSUBSCRIBED)
        store.set_status(conn, 2, SubscriptionStatus.PAUSED)
        reason = SuppressionReason.COMPLAINT
        suppression.suppress(conn, "r3@example.com", reason=reason, now=clock.at, evidence="a test")
    erase_subscriber(inst, "r4@example.com")

    def leave(_settled: int) -> None:
        if relay.accepted:  # in the middle of the run, and r9 is not in the window that is on its way
            with writing(inst.engine) as conn:
                store.set_status(conn, 9, SubscriptionStatus.UNSUBSCRIBED)

    report = send_edition(inst, edition.id, on_progress=leave)

    assert recipients(relay) == names(5, 6, 7, 8)
    assert report.edition.state == "sent"
    assert (report.counts[S.SENT], report.counts[S.SKIPPED]) == (4, 5)
    skipped = {d.subscriber_id: d.reply for d in report_edition(inst, edition.id).exceptions}
    assert skipped == dict.fromkeys((1, 2, 3, 9), "unsubscribed or suppressed since the edition opened") | {
        4: "erased"
    }


def test_a_held_edition_is_sent_only_once_it_is_approved(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer
) -> None:
    edition = open_now(inst, newsletter, held="too late")

    assert (edition.state, edition.reason) == ("held", "too late")
    with pytest.raises(StateError, match=r"is held; 'edition approve 1' lets it go"):
        send_edition(inst, edition.id)
    assert relay.commands == []
    approve_edition(inst, edition.id)
    assert send_edition(inst, edition.id).sent == READERS


def test_who_waits_in_a_paused_edition_gets_it_all_with_the_next_one_and_nothing_twice(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer, clock: FakeClock
) -> None:
    first = open_now(inst, newsletter)
    sent = send_edition(inst, first.id, should_stop=lambda: len(relay.accepted) >= WINDOW).sent
    pause_edition(inst, first.id)
    publish(inst, 1)
    clock.move(days=1)
    second = open_now(inst, newsletter)
    send_edition(inst, second.id)
    resume_edition(inst, first.id)

    report = send_edition(inst, first.id)

    assert (report.edition.state, report.sent) == ("sent", 0)
    assert report.counts[S.SKIPPED] == READERS - sent
    assert articles_to(relay.accepted, "r1@example.com") == [[1], [2]]
    assert articles_to(relay.accepted, "r9@example.com") == [[1, 2]]


def test_who_is_still_to_come_in_an_edition_that_is_being_sent_is_left_to_it(
    inst: Installation, newsletter: Newsletter, relay: ScriptedServer, clock: FakeClock
) -> None:
    first = open_now(inst, newsletter)
    sent = send_edition(inst, first.id, should_stop=lambda: len(relay.accepted) >= WINDOW).sent
    publish(inst, 1)
    clock.move(days=1)
    second = open_now(inst, newsletter)

    assert send_edition(inst, second.id).sent == sent
    assert send_edition(inst, first.id).sent == READERS - sent
    clock.move(days=1)
    send_edition(inst, open_now(inst, newsletter).id)
    for n in range(1, READERS + 1):
        assert articles_to(relay.accepted, f"r{n}@example.com") == [[1], [2]]
