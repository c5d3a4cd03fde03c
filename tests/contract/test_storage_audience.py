"""Who is in an edition: the freeze, and what makes room for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine

from subscribers import store, suppression
from subscribers.model import Cadence, Subscription, SubscriptionStatus, SuppressionReason
from syndicate.model import (
    ANY_CADENCE,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
    Origin,
    Source,
    UncertainPolicy,
)
from syndicate.storage import articles, audience, deliveries, editions
from syndicate.storage.engine import reading, writing
from tests.builders import (
    add_article,
    add_edition,
    add_newsletter,
    add_reader,
    add_source,
    make_outcome,
    mark_all,
    open_edition,
    states_of,
)

S = DeliveryState
HOUR = timedelta(hours=1)


@pytest.fixture
def source(connection: Connection, now: datetime) -> Source:
    return add_source(connection, now)


@pytest.fixture
def newsletter(connection: Connection, now: datetime, source: Source) -> Newsletter:
    return add_newsletter(connection, now, draws_from=[source.id])


@pytest.fixture
def publish(connection: Connection, now: datetime, source: Source) -> Callable[..., int]:
    """Adds an article to the source that the newsletter draws from."""
    return lambda **changes: add_article(connection, source.id, now, **changes)


def readers_of(connection: Connection, edition: Edition) -> list[int]:
    return [row.subscriber_id for row in deliveries.list_deliveries(connection, edition.id)]


def settle(
    connection: Connection, edition: Edition, reader: Subscription, state: DeliveryState, at: datetime
) -> None:
    """Marks who is ready and records what became of one of them."""
    mark_all(connection, edition, at)
    next_attempt_at = at + HOUR if state is S.DEFERRED else None
    outcome = make_outcome(reader.subscriber_id, state, next_attempt_at=next_attempt_at)
    deliveries.record_outcomes(connection, edition.id, [outcome], fence=1, cutoff=edition.cutoff)


def test_only_readers_who_are_active_and_not_suppressed_are_in_the_audience(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    by_status = {
        status: add_reader(connection, newsletter.id, now, status.value, status=status)
        for status in SubscriptionStatus
    }
    add_reader(connection, newsletter.id, now, "suppressed")
    suppression.suppress(
        connection,
        "suppressed@example.com",
        reason=SuppressionReason.HARD_BOUNCE,
        now=now,
        evidence="",
    )
    other = add_newsletter(connection, now, slug="other")
    add_reader(connection, other.id, now, "elsewhere")

    opened = open_edition(connection, newsletter.id, now)

    assert readers_of(connection, opened) == [by_status[SubscriptionStatus.ACTIVE].subscriber_id]


def test_a_delivery_holds_what_it_takes_to_make_the_same_message_at_every_attempt(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish(tags=("Coast",))
    reader = add_reader(connection, newsletter.id, now, "Ada", topics=("woods", "coast"))

    opened = open_edition(connection, newsletter.id, now)
    store.set_preferences(connection, reader.id, cadence=Cadence.DAILY, topics=())

    (row,) = deliveries.list_deliveries(connection, opened.id)
    assert row.subscriber_id == reader.subscriber_id
    assert row.subscription_id == reader.id
    assert (row.address, row.name, row.reason) == ("Ada@example.com", "Ada", "weekly reader")
    assert (row.watermark, row.topics) == (0, ("coast", "woods"))
    assert (row.state, row.attempts, row.reply) == (S.PENDING, 0, "")
    assert (row.attempted_at, row.next_attempt_at) == (None, None)


def test_an_edition_is_for_its_cadence_and_a_manual_one_for_all(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    weekly = add_reader(connection, newsletter.id, now, "weekly").subscriber_id
    daily = add_reader(connection, newsletter.id, now, "daily", cadence=Cadence.DAILY).subscriber_id

    def frozen(cadence: str) -> list[int]:
        edition = add_edition(connection, newsletter.id, now, cadence=cadence)
        editions.put_articles(connection, edition.id, found)
        count = audience.freeze_audience(connection, edition, reason="reader")
        ids = readers_of(connection, edition)
        assert count == len(ids)
        editions.change_edition_state(connection, edition.id, EditionState.CANCELLED, now=now)
        deliveries.cancel_open(connection, edition.id)
        return ids

    found = articles.list_mailable_articles(connection, newsletter.id, after=0, cutoff=1)
    assert frozen(Cadence.DAILY) == [daily]
    assert frozen(Cadence.WEEKLY) == [weekly]
    assert frozen(Cadence.MONTHLY) == []
    assert frozen(ANY_CADENCE) == [weekly, daily]


def test_who_has_been_served_everything_gets_no_mail(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    for _ in range(3):
        publish()
    readers = [add_reader(connection, newsletter.id, now, f"r{n}", watermark=n) for n in range(5)]

    opened = open_edition(connection, newsletter.id, now)

    assert readers_of(connection, opened) == [r.subscriber_id for r in readers[:3]]
    watermarks = [row.watermark for row in deliveries.list_deliveries(connection, opened.id)]
    assert watermarks == [0, 1, 2]


def test_topics_decide_together_with_the_watermark_whether_there_is_anything_new(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish(tags=("Coast",))
    publish(tags=("Craft", "Night Sky"))
    publish()
    expected = {
        "everything": ((), 2),
        "coast": (("coast",), 0),
        "craft-again": (("craft",), 1),
        "two-topics": (("coast", "night-sky"), 1),
    }
    nothing = {
        "coast-served": (("coast",), 1),
        "other-topic": (("woods",), 0),
        "all-served": ((), 3),
    }
    ids = {
        name: add_reader(
            connection, newsletter.id, now, name, topics=topics, watermark=watermark
        ).subscriber_id
        for name, (topics, watermark) in (expected | nothing).items()
    }

    opened = open_edition(connection, newsletter.id, now)

    assert readers_of(connection, opened) == sorted(ids[name] for name in expected)


def test_an_article_that_the_edition_does_not_include_is_nothing_new(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish(origin=Origin.BASELINE)
    add_reader(connection, newsletter.id, now)

    opened = open_edition(connection, newsletter.id, now)

    assert readers_of(connection, opened) == []


def test_a_freeze_happens_as_a_whole_or_not_at_all(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        add_article(conn, source.id, now)
        for n in range(3):
            add_reader(conn, newsletter.id, now, f"r{n}")

    def open_and_fail() -> None:
        with writing(engine) as conn:
            opened = open_edition(conn, newsletter.id, now)
            assert len(readers_of(conn, opened)) == 3
            raise LookupError

    with pytest.raises(LookupError):
        open_and_fail()

    with reading(engine) as conn:
        assert editions.list_editions(conn) == []
        assert deliveries.list_deliveries(conn, 1) == []


def test_a_reader_is_frozen_once_into_an_edition(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    add_reader(connection, newsletter.id, now)
    opened = add_edition(connection, newsletter.id, now)

    assert audience.freeze_audience(connection, opened, reason="r") == 0, "it has no articles yet"
    again = open_edition(connection, newsletter.id, now, slot="b")

    assert len(readers_of(connection, again)) == 1


@pytest.mark.parametrize(
    ("state", "policy", "is_in"),
    [
        (S.PENDING, UncertainPolicy.RESEND, False),
        (S.ATTEMPTING, UncertainPolicy.RESEND, False),
        (S.UNCERTAIN, UncertainPolicy.RESEND, False),
        (S.UNCERTAIN, UncertainPolicy.HOLD, True),
        (S.DEFERRED, UncertainPolicy.RESEND, True),
        (S.FAILED, UncertainPolicy.RESEND, True),
        (S.SENT, UncertainPolicy.RESEND, True),
    ],
)
def test_a_reader_joins_the_next_edition_once_the_last_copy_is_settled(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: DeliveryState,
    policy: UncertainPolicy,
    is_in: bool,  # noqa: FBT001 - a parameter of the table above
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING, policy=policy)
    if state is S.ATTEMPTING:
        mark_all(connection, first, now)
    elif state is not S.PENDING:
        settle(connection, first, reader, state, now)
    publish()

    second = open_edition(connection, newsletter.id, now, slot="next", policy=policy)

    assert readers_of(connection, second) == ([reader.subscriber_id] if is_in else [])


def test_an_open_copy_of_another_newsletter_is_no_hindrance(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    other = add_newsletter(connection, now, slug="other", draws_from=[source.id])
    for newsletter_id in (newsletter.id, other.id):
        reader = add_reader(connection, newsletter_id, now)
        opened = open_edition(connection, newsletter_id, now)
        assert readers_of(connection, opened) == [reader.subscriber_id]


def test_what_is_uncertain_under_hold_counts_as_served(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(
        connection, newsletter.id, now, state=EditionState.SENDING, policy=UncertainPolicy.HOLD
    )
    settle(connection, first, reader, S.UNCERTAIN, now)

    nothing_new = open_edition(connection, newsletter.id, now, slot="second")
    publish()
    third = open_edition(connection, newsletter.id, now, slot="third")

    assert readers_of(connection, nothing_new) == []
    (row,) = deliveries.list_deliveries(connection, third.id)
    assert row.watermark == first.cutoff == 1
    assert states_of(connection, first) == {reader.subscriber_id: S.UNCERTAIN}


def test_the_highest_of_what_was_served_and_what_is_uncertain_counts(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    hold = {"state": EditionState.SENDING, "policy": UncertainPolicy.HOLD}
    first = open_edition(connection, newsletter.id, now, **hold)
    settle(connection, first, reader, S.UNCERTAIN, now)
    publish()
    second = open_edition(connection, newsletter.id, now, slot="second", **hold)
    settle(connection, second, reader, S.SENT, now)
    publish()

    third = open_edition(connection, newsletter.id, now, slot="third", **hold)

    assert [row.watermark for row in deliveries.list_deliveries(connection, third.id)] == [2]


def test_what_is_deferred_fails_as_superseded_and_comes_with_the_newer_edition(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    stranger = add_reader(connection, newsletter.id, now, "daily", cadence=Cadence.DAILY)
    first = open_edition(connection, newsletter.id, now, cadence=ANY_CADENCE, state=EditionState.SENDING)
    mark_all(connection, first, now)
    put_off = [
        make_outcome(r.subscriber_id, S.DEFERRED, reply="450 later", next_attempt_at=now + HOUR)
        for r in (reader, stranger)
    ]
    deliveries.record_outcomes(connection, first.id, put_off, fence=1, cutoff=first.cutoff)

    second = open_edition(connection, newsletter.id, now, slot="second")

    old, untouched = deliveries.list_deliveries(connection, first.id)
    assert (old.state, old.reply, old.next_attempt_at) == (
        S.FAILED,
        f"superseded by edition {second.id}",
        None,
    )
    assert (untouched.subscriber_id, untouched.state) == (stranger.subscriber_id, S.DEFERRED)
    (new,) = deliveries.list_deliveries(connection, second.id)
    assert (new.subscriber_id, new.watermark) == (reader.subscriber_id, 0)


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (EditionState.HELD, S.SKIPPED),
        (EditionState.PAUSED, S.SKIPPED),
        (EditionState.DRAFT, S.SKIPPED),
        (EditionState.APPROVED, S.PENDING),
        (EditionState.SENDING, S.PENDING),
    ],
)
def test_who_waits_in_an_edition_that_stands_still_gets_the_newer_one(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: EditionState,
    becomes: DeliveryState,
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now).subscriber_id
    first = open_edition(connection, newsletter.id, now, state=state)

    second = open_edition(connection, newsletter.id, now, slot="second")

    assert states_of(connection, first) == {reader: becomes}
    assert readers_of(connection, second) == ([reader] if becomes is S.SKIPPED else [])


def test_an_edition_is_not_superseded_by_an_older_one_or_by_another_newsletter(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    other = add_newsletter(connection, now, slug="other", draws_from=[source.id])
    older = add_edition(connection, newsletter.id, now, slot="older")
    reader = add_reader(connection, newsletter.id, now).subscriber_id
    add_reader(connection, other.id, now)
    held = open_edition(connection, newsletter.id, now, state=EditionState.HELD)

    audience.supersede(connection, older)
    audience.supersede(connection, add_edition(connection, other.id, now))
    audience.supersede(connection, held)

    assert states_of(connection, held) == {reader: S.PENDING}


@pytest.mark.parametrize("state", [S.PENDING, S.UNCERTAIN, S.DEFERRED])
def test_a_copy_that_was_given_back_after_its_edition_was_cancelled_does_not_shut_its_reader_out(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: DeliveryState,
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    mark_all(connection, first, now)
    editions.change_edition_state(connection, first.id, EditionState.CANCELLED, now=now)
    deliveries.cancel_open(connection, first.id)
    outcome = make_outcome(reader.subscriber_id, state, next_attempt_at=now + HOUR)
    deliveries.record_outcomes(connection, first.id, [outcome], fence=1, cutoff=first.cutoff)

    second = open_edition(connection, newsletter.id, now, slot="second")

    assert readers_of(connection, second) == [reader.subscriber_id]
    assert states_of(connection, first)[reader.subscriber_id] not in {S.PENDING, S.DEFERRED}


def test_an_attempt_whose_sender_died_after_the_edition_was_cancelled_does_not_shut_its_reader_out(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now).subscriber_id
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    fence = editions.take_lease(connection, first.id, owner="a", now=now, lease_s=15.0)
    assert fence is not None
    mark_all(connection, first, now, fence=fence)
    editions.change_edition_state(connection, first.id, EditionState.CANCELLED, now=now)
    deliveries.cancel_open(connection, first.id)

    alive = open_edition(connection, newsletter.id, now + timedelta(seconds=14), slot="alive")
    assert readers_of(connection, alive) == [], "its sender may still be waiting for the answer"
    assert states_of(connection, first) == {reader: S.ATTEMPTING}

    dead = open_edition(connection, newsletter.id, now + timedelta(seconds=15), slot="dead")
    assert readers_of(connection, dead) == [reader]
    assert states_of(connection, first) == {reader: S.UNCERTAIN}


def test_what_is_uncertain_in_a_cancelled_edition_under_hold_still_counts_as_served(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(
        connection, newsletter.id, now, state=EditionState.SENDING, policy=UncertainPolicy.HOLD
    )
    settle(connection, first, reader, S.UNCERTAIN, now)
    editions.change_edition_state(connection, first.id, EditionState.CANCELLED, now=now)

    second = open_edition(connection, newsletter.id, now, slot="second")

    assert readers_of(connection, second) == []


@pytest.mark.parametrize("state", [EditionState.HELD, EditionState.PAUSED])
def test_what_is_uncertain_in_an_edition_that_waits_for_the_operator_counts_as_served(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: EditionState,
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    settle(connection, first, reader, S.UNCERTAIN, now)
    editions.change_edition_state(connection, first.id, state, now=now)

    nothing_new = open_edition(connection, newsletter.id, now, slot="second")
    publish()
    third = open_edition(connection, newsletter.id, now, slot="third")

    assert readers_of(connection, nothing_new) == []
    assert [row.watermark for row in deliveries.list_deliveries(connection, third.id)] == [first.cutoff]


@pytest.mark.parametrize("state", [EditionState.HELD, EditionState.PAUSED])
def test_an_attempt_whose_sender_died_in_an_edition_that_stands_still_does_not_shut_its_reader_out(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: EditionState,
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now).subscriber_id
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    mark_all(connection, first, now)
    editions.change_edition_state(connection, first.id, state, now=now)
    publish()

    second = open_edition(connection, newsletter.id, now, slot="second")

    assert states_of(connection, first) == {reader: S.UNCERTAIN}
    assert readers_of(connection, second) == [reader]


@pytest.mark.parametrize("between", [S.SENT, S.UNCERTAIN])
@pytest.mark.parametrize("state", [S.DEFERRED, S.PENDING])
def test_a_copy_that_was_retried_is_not_superseded_by_an_edition_that_does_not_bring_its_articles(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    publish: Callable[..., int],
    state: DeliveryState,
    between: DeliveryState,
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    hold = {"state": EditionState.SENDING, "policy": UncertainPolicy.HOLD}
    first = open_edition(connection, newsletter.id, now, **hold)
    settle(connection, first, reader, S.UNCERTAIN, now)
    publish()
    second = open_edition(connection, newsletter.id, now, slot="second", **hold)
    settle(connection, second, reader, between, now)
    assert deliveries.retry(connection, first.id, {S.UNCERTAIN}) == 1
    if state is S.DEFERRED:
        settle(connection, first, reader, S.DEFERRED, now)
    else:
        editions.change_edition_state(connection, first.id, EditionState.PAUSED, now=now)
    publish()

    third = open_edition(connection, newsletter.id, now, slot="third", **hold)

    assert states_of(connection, first) == {reader.subscriber_id: state}
    (row,) = deliveries.list_deliveries(connection, third.id)
    assert row.watermark == second.cutoff, "the first article is still to come with the first edition"


def test_the_lowest_watermark_is_that_of_the_active_readers_of_a_cadence(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    assert audience.lowest_watermark(connection, newsletter.id, None) is None
    add_reader(connection, newsletter.id, now, "a", watermark=5)
    add_reader(connection, newsletter.id, now, "b", watermark=3, cadence=Cadence.DAILY)
    add_reader(connection, newsletter.id, now, "c", watermark=1, status=SubscriptionStatus.PAUSED)

    assert audience.lowest_watermark(connection, newsletter.id, None) == 3
    assert audience.lowest_watermark(connection, newsletter.id, Cadence.WEEKLY) == 5
    assert audience.lowest_watermark(connection, newsletter.id, Cadence.MONTHLY) is None


def test_selections_count_readers_by_what_decides_their_articles(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish(tags=("Coast", "Craft"))
    publish(tags=("Coast", "Craft"))
    for name, watermark, topics in (
        ("a", 0, ()),
        ("b", 0, ()),
        ("c", 1, ()),
        ("d", 0, ("craft", "coast")),
        ("e", 0, ("coast",)),
    ):
        add_reader(connection, newsletter.id, now, name, watermark=watermark, topics=topics)

    opened = open_edition(connection, newsletter.id, now)

    assert audience.list_selections(connection, opened.id) == {
        (0, ()): 2,
        (0, ("coast",)): 1,
        (0, ("coast", "craft")): 1,
        (1, ()): 1,
    }
