"""Who is in an edition: the freeze, and what makes room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, update

from subscribers import store, suppression
from subscribers.model import Cadence, Subscription, SubscriptionStatus, SuppressionReason
from syndicate.model import (
    ANY_CADENCE,
    Delivery,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
    Origin,
    Source,
    UncertainPolicy,
)
from syndicate.storage import articles, audience, deliveries, editions, shards, tables
from syndicate.storage.engine import reading, writing
from tests.builders import (
    add_article,
    add_edition,
    add_newsletter,
    add_reader,
    add_source,
    lease,
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
    held = lease(connection, first, now)
    mark_all(connection, first, now, fence=held.fence)
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

    assert list(audience.iter_selections(connection, opened.id)) == [
        (0, (), 2),
        (0, ("coast",), 1),
        (0, ("coast", "craft"), 1),
        (1, (), 1),
    ]


@dataclass(frozen=True, kw_only=True)
class World:
    """What an edition opens into: readers, and editions with the state of each reader's copy or None."""

    readers: list[tuple[int, tuple[str, ...], SubscriptionStatus, Cadence]]  #: watermark, topics, ...
    editions: list[tuple[EditionState, UncertainPolicy, int, list[DeliveryState | None]]]  #: with the cutoff
    is_finished: list[bool]  #: by edition: whether its senders have given everything back
    leased: list[int]  #: seconds from now until which a sender has the edition; 0 for none
    served_since: list[int]  #: watermarks before the second opening
    retried: list[int]  #: editions put back before it, by their place


TAGS = [("Coast",), (), ("Craft",), ("Coast", "Craft"), ("Craft",)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    readers = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4),
                st.sampled_from([(), (), ("coast",), ("coast", "craft"), ("craft",)]),
                st.sampled_from([SubscriptionStatus.ACTIVE] * 9 + [SubscriptionStatus.PAUSED]),
                st.sampled_from([Cadence.WEEKLY] * 9 + [Cadence.DAILY]),
            ),
            min_size=3,
            max_size=6,
        )
    )
    copies = st.lists(
        st.sampled_from([None, *S, S.UNCERTAIN, S.UNCERTAIN, S.SENT]),
        min_size=len(readers),
        max_size=len(readers),
    )
    made = draw(
        st.lists(
            st.tuples(
                st.sampled_from(EditionState), st.sampled_from(UncertainPolicy), st.integers(1, 4), copies
            ),
            min_size=1,
            max_size=4,
        )
    )
    of_each = {"min_size": len(made), "max_size": len(made)}
    return World(
        readers=readers,
        editions=made,
        is_finished=draw(st.lists(st.sampled_from([True, True, False]), **of_each)),
        leased=draw(st.lists(st.sampled_from([0, 0, -1, 15]), **of_each)),
        served_since=draw(st.lists(st.integers(0, 5), min_size=len(readers), max_size=len(readers))),
        retried=draw(st.lists(st.integers(0, len(made) - 1), max_size=2)),
    )


class Story:
    """A world in the database, and what is expected of it, worked out reader by reader."""

    def __init__(self, conn: Connection, world: World, now: datetime) -> None:
        self.conn, self.world, self.now = conn, world, now
        source = add_source(conn, now)
        self.newsletter_id = add_newsletter(conn, now, draws_from=[source.id]).id
        for tags in TAGS:
            add_article(conn, source.id, now, tags=tags)
        self.readers = [
            add_reader(
                conn,
                self.newsletter_id,
                now,
                f"r{n}",
                watermark=mark,
                topics=topics,
                status=status,
                cadence=cadence,
            )
            for n, (mark, topics, status, cadence) in enumerate(world.readers)
        ]
        self.editions = [self.add(n) for n in range(len(world.editions))]

    def add(self, place: int) -> Edition:
        """An edition with its copies, in shards of two readers."""
        state, policy, cutoff, copies = self.world.editions[place]
        added = add_edition(
            self.conn,
            self.newsletter_id,
            self.now,
            slot=f"old-{place}",
            state=state,
            policy=policy,
            cutoff=cutoff,
            cadence=ANY_CADENCE,
        )
        for reader, copy in zip(self.readers, copies, strict=True):
            if copy is not None:
                self.conn.execute(
                    insert(tables.delivery).values(
                        edition_id=added.id,
                        subscriber_id=reader.subscriber_id,
                        subscription_id=reader.id,
                        address="a",
                        name="",
                        reason="",
                        watermark=0,
                        topics="",
                        state=copy,
                        attempts=1,
                        fence=1,
                        reply="",
                    )
                )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "SHARD_SIZE", 2)
            shards.cut_shards(self.conn, added.id, now=self.now)
        self.give_back(added, place)
        return added

    def give_back(self, edition: Edition, place: int) -> None:
        """What senders leave: a shard has nothing to do any more only where nothing is done by itself."""
        lease_s = self.world.leased[place]
        for shard in self.conn.execute(
            select(tables.shard).where(tables.shard.c.edition_id == edition.id)
        ).all():
            within = [
                row.state
                for row in self.rows(edition)
                if shard.first_id <= row.subscriber_id <= shard.last_id
            ]
            is_done = self.world.is_finished[place] and not {S.PENDING, S.ATTEMPTING, S.DEFERRED} & set(
                within
            )
            self.conn.execute(
                update(tables.shard)
                .where(tables.shard.c.edition_id == edition.id, tables.shard.c.number == shard.number)
                .values(
                    due_at=None if is_done else self.now,
                    lease_expires_at=self.now + timedelta(seconds=lease_s)
                    if lease_s and not is_done
                    else None,
                )
            )

    def rows(self, edition: Edition) -> list[Delivery]:
        return deliveries.list_deliveries(self.conn, edition.id)

    def served(self, states: dict[tuple[int, int], DeliveryState]) -> dict[int, int]:
        found = {r.subscriber_id: store.get_subscription(self.conn, r.id).watermark for r in self.readers}
        for edition in self.earlier():
            if edition.policy is UncertainPolicy.HOLD or edition.state in {
                EditionState.HELD,
                EditionState.PAUSED,
            }:
                for reader, watermark in found.items():
                    if states.get((edition.id, reader)) is S.UNCERTAIN:
                        found[reader] = max(watermark, edition.cutoff)
        return found

    def earlier(self) -> list[Edition]:
        return [editions.get_edition(self.conn, edition.id) for edition in self.editions]

    def states(self) -> dict[tuple[int, int], DeliveryState]:
        return {(e.id, row.subscriber_id): row.state for e in self.editions for row in self.rows(e)}

    def superseded(
        self, states: dict[tuple[int, int], DeliveryState]
    ) -> dict[tuple[int, int], DeliveryState]:
        """The states of all copies once a weekly edition has made room for itself."""
        states = dict(states)
        weekly = {
            r.subscriber_id
            for r, (_, _, status, cadence) in zip(self.readers, self.world.readers, strict=True)
            if status is SubscriptionStatus.ACTIVE and cadence is Cadence.WEEKLY
        }
        standing = {EditionState.DRAFT, EditionState.PAUSED, EditionState.HELD, EditionState.CANCELLED}
        for was, becomes, only in (
            (S.ATTEMPTING, S.UNCERTAIN, standing),
            (S.DEFERRED, S.FAILED, set(EditionState)),
            (S.PENDING, S.SKIPPED, standing),
        ):
            served = self.served(states)
            for place, edition in enumerate(self.earlier()):
                is_alive = was is S.ATTEMPTING and self.world.leased[place] > 0
                for reader in weekly:
                    key = edition.id, reader
                    if (
                        states.get(key) is was
                        and edition.state in only
                        and not is_alive
                        and edition.cutoff > served[reader]
                    ):
                        states[key] = becomes
        return states

    def audience(self, states: dict[tuple[int, int], DeliveryState]) -> dict[int, int]:
        """Who is in a weekly edition of all articles, with the sequence up to which they are served."""
        served = self.served(states)
        found = {}
        for reader, (_, topics, status, cadence) in zip(self.readers, self.world.readers, strict=True):
            n = reader.subscriber_id
            under_way = [
                edition.cutoff
                for edition in self.earlier()
                if states.get((edition.id, n)) in {S.PENDING, S.ATTEMPTING, S.DEFERRED}
                or (
                    states.get((edition.id, n)) is S.UNCERTAIN
                    and edition.policy is UncertainPolicy.RESEND
                    and edition.state in {EditionState.APPROVED, EditionState.SENDING}
                )
            ]
            wanted = [
                sequence
                for sequence, tags in enumerate(TAGS, 1)
                if sequence > served[n] and (not topics or set(topics) & {tag.lower() for tag in tags})
            ]
            is_reader = status is SubscriptionStatus.ACTIVE and cadence is Cadence.WEEKLY
            if is_reader and wanted and max(under_way, default=0) <= served[n]:
                found[n] = served[n]
        return found

    def open(self, slot: str) -> None:
        """Opens an edition and compares."""
        superseded = self.superseded(self.states())
        expected = self.audience(superseded)
        opened = open_edition(self.conn, self.newsletter_id, self.now, slot=slot)
        assert self.states() == superseded
        assert {row.subscriber_id: row.watermark for row in self.rows(opened)} == expected
        # As if it had not opened: the next one finds the same copies, and what was noted about them.
        self.conn.execute(delete(tables.delivery).where(tables.delivery.c.edition_id == opened.id))

    def go_on(self) -> None:
        """Readers are served by something newer, and the operator puts copies back."""
        for reader, sequence in zip(self.readers, self.world.served_since, strict=True):
            store.advance_watermarks(self.conn, subscription_ids=[reader.id], sequence=sequence)
        for place in self.world.retried:
            edition = editions.get_edition(self.conn, self.editions[place].id)
            if edition.state is not EditionState.CANCELLED:
                deliveries.retry(self.conn, edition.id, {S.FAILED, S.UNCERTAIN})
                shards.wake_shards(self.conn, edition.id, now=self.now)


@hypothesis.settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(world=worlds())
def test_what_is_left_out_of_the_statements_never_matters(
    engine: Engine, now: datetime, world: World
) -> None:
    with reading(engine) as conn:  # rolled back, so that each example begins anew
        story = Story(conn, world, now)
        story.open("first")
        story.go_on()
        story.open("second")


def is_settled(connection: Connection, edition: Edition) -> bool:
    query = select(tables.shard.c.is_settled).where(tables.shard.c.edition_id == edition.id)
    return bool(connection.execute(query).scalar_one())


def test_a_settled_shard_is_noted_once_and_looked_into_again_after_a_retry(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    held = lease(connection, first, now)
    settle(connection, first, reader, S.FAILED, now)
    open_edition(connection, newsletter.id, now, slot="while it is sent", cadence=Cadence.DAILY)
    assert not is_settled(connection, first)

    shards.release_shard(connection, held, due_at=None)
    open_edition(connection, newsletter.id, now, slot="once it is sent", cadence=Cadence.DAILY)
    assert is_settled(connection, first)

    deliveries.retry(connection, first.id, {S.FAILED})
    shards.wake_shards(connection, first.id, now=now)
    assert not is_settled(connection, first)
    second = open_edition(connection, newsletter.id, now, slot="second")
    assert readers_of(connection, second) == [], "the first one is under way again"


def test_a_copy_that_is_in_doubt_is_looked_at_until_its_reader_is_served_something_newer(
    connection: Connection, now: datetime, newsletter: Newsletter, publish: Callable[..., int]
) -> None:
    publish()
    reader = add_reader(connection, newsletter.id, now)
    first = open_edition(
        connection, newsletter.id, now, state=EditionState.SENDING, policy=UncertainPolicy.HOLD
    )
    held = lease(connection, first, now)
    settle(connection, first, reader, S.UNCERTAIN, now)
    shards.release_shard(connection, held, due_at=None)

    publish()
    second = open_edition(connection, newsletter.id, now, slot="second", state=EditionState.SENDING)
    assert not is_settled(connection, first)
    settle(connection, second, reader, S.SENT, now)
    open_edition(connection, newsletter.id, now, slot="third")

    assert is_settled(connection, first)
