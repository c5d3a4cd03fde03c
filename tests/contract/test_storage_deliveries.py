"""The ledger after the freeze: mark, outcome, recovery, and what the operator does."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, delete, update

from subscribers import store, suppression
from subscribers.model import SubscriptionStatus, SuppressionReason
from subscribers.tables import subscriber
from syndicate.model import (
    ANY_CADENCE,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
    Source,
    UncertainPolicy,
)
from syndicate.storage import deliveries, editions, shards, tables
from syndicate.storage.engine import open_engine, reading, writing
from syndicate.storage.shards import Shard
from tests.builders import (
    add_article,
    add_newsletter,
    add_reader,
    add_source,
    lease,
    make_outcome,
    mark_all,
    mark_window,
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
    """A newsletter with one article and five readers, 1 to 5."""
    newsletter = add_newsletter(connection, now, draws_from=[source.id])
    add_article(connection, source.id, now)
    for n in range(1, 6):
        reader = add_reader(connection, newsletter.id, now, f"r{n}")
        assert (reader.id, reader.subscriber_id) == (n, n)
    return newsletter


@pytest.fixture
def edition(connection: Connection, now: datetime, newsletter: Newsletter) -> Edition:
    return open_edition(connection, newsletter.id, now, state=EditionState.SENDING)


def mark(
    connection: Connection, edition: Edition, at: datetime, *, fence: int = 1, limit: int = 100
) -> list[int]:
    """Marks the next readers whose turn it is, and returns them."""
    return [row.subscriber_id for row in mark_window(connection, edition, at, fence=fence, limit=limit)]


def shard_of(edition: Edition, *, fence: int = 1, first_id: int = 1, last_id: int = 100) -> Shard:
    """A range of an edition's readers in the hands of whoever has this fence."""
    return Shard(edition_id=edition.id, number=0, first_id=first_id, last_id=last_id, fence=fence)


def record(
    connection: Connection,
    edition: Edition,
    readers: Iterable[int],
    state: DeliveryState,
    *,
    fence: int = 1,
    next_attempt_at: datetime | None = None,
    reply: str = "",
) -> int:
    outcomes = [
        make_outcome(reader, state, reply=reply, next_attempt_at=next_attempt_at) for reader in readers
    ]
    return deliveries.record_outcomes(connection, edition.id, outcomes, fence=fence, cutoff=edition.cutoff)


def put(
    connection: Connection,
    edition: Edition,
    reader: int,
    state: DeliveryState,
    *,
    attempts: int = 0,
    next_attempt_at: datetime | None = None,
    reply: str = "",
) -> None:
    """Puts one row into a state, whatever led there."""
    connection.execute(
        update(tables.delivery)
        .where(tables.delivery.c.edition_id == edition.id, tables.delivery.c.subscriber_id == reader)
        .values(state=state, attempts=attempts, next_attempt_at=next_attempt_at, reply=reply)
    )


def put_every_state(connection: Connection, edition: Edition) -> dict[int, DeliveryState]:
    """Gives each reader another state; needs seven of them."""
    for reader, state in enumerate(S, start=1):
        put(connection, edition, reader, state)
    return states_of(connection, edition)


def watermarks(connection: Connection) -> dict[int, int]:
    return {n: store.get_subscription(connection, n).watermark for n in range(1, 6)}


@pytest.fixture
def full(connection: Connection, now: datetime, newsletter: Newsletter) -> Edition:
    """An edition with a reader for each state, 1 to 7, in the order of DeliveryState."""
    for n in (6, 7):
        add_reader(connection, newsletter.id, now, f"r{n}")
    edition = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    assert put_every_state(connection, edition) == dict(enumerate(S, start=1))
    return edition


def changed(connection: Connection, edition: Edition) -> dict[DeliveryState, DeliveryState]:
    """What became of each state of ``full``, where anything did."""
    after = states_of(connection, edition)
    return {state: after[n] for n, state in enumerate(S, start=1) if after[n] is not state}


def test_a_window_marks_readers_in_order_up_to_its_limit(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    assert mark(connection, edition, now, limit=2) == [1, 2]
    assert mark(connection, edition, now, limit=2) == [3, 4]
    assert mark(connection, edition, now, limit=2) == [5]
    assert mark(connection, edition, now, limit=2) == []
    assert set(states_of(connection, edition).values()) == {S.ATTEMPTING}


def test_a_mark_tells_all_that_an_attempt_needs_and_counts_it(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    before = deliveries.list_deliveries(connection, edition.id)[0]

    (ready,) = deliveries.list_ready(connection, edition.id, after=0, last=100, limit=1, now=now)
    assert deliveries.mark(connection, edition.id, [1], fence=1, now=now) == {1}

    assert ready._asdict() == {name: getattr(before, name) for name in ready._fields} | {"topics": ""}
    marked = deliveries.list_deliveries(connection, edition.id)[0]
    assert marked == replace(before, state=S.ATTEMPTING, attempts=1, attempted_at=now)


def test_only_what_is_pending_is_marked_and_what_is_deferred_when_its_time_has_come(
    connection: Connection, now: datetime, full: Edition
) -> None:
    put(connection, full, 4, S.DEFERRED, next_attempt_at=now + HOUR)

    assert mark(connection, full, now) == [1]
    assert mark(connection, full, now + HOUR - timedelta(seconds=1)) == []
    assert mark(connection, full, now + HOUR) == [4]
    assert changed(connection, full) == {S.PENDING: S.ATTEMPTING, S.DEFERRED: S.ATTEMPTING}


def test_the_readers_whose_turn_it_is_are_listed_within_a_range_in_order_and_up_to_a_limit(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    add_article(connection, source.id, now, tags=("Coast",))
    add_reader(connection, newsletter.id, now, "r6", topics=("woods", "coast"))
    edition = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    put(connection, edition, 2, S.DEFERRED, attempts=2, next_attempt_at=now)
    put(connection, edition, 3, S.DEFERRED, attempts=2, next_attempt_at=now + HOUR)
    put(connection, edition, 4, S.SENT)

    def listed(after: int, last: int, limit: int = 100) -> list[int]:
        rows = deliveries.list_ready(connection, edition.id, after=after, last=last, limit=limit, now=now)
        return [row.subscriber_id for row in rows]

    assert listed(0, 100) == [1, 2, 5, 6]
    assert listed(0, 100, limit=2) == [1, 2]
    assert listed(1, 5) == [2, 5]
    assert listed(5, 5) == listed(2, 4) == []
    rows = deliveries.list_ready(connection, edition.id, after=1, last=6, limit=9, now=now)
    assert [(row.attempts, row.topics) for row in rows] == [(2, ""), (0, ""), (0, "coast,woods")]
    assert listed(0, 100) == [1, 2, 5, 6], "to list them marks nobody"


def test_a_mark_leaves_alone_who_is_not_ready_any_more_and_who_is_unknown(
    connection: Connection, now: datetime, full: Edition
) -> None:
    put(connection, full, 4, S.DEFERRED, next_attempt_at=now + HOUR)
    before = deliveries.list_deliveries(connection, full.id)

    assert deliveries.mark(connection, full.id, [*range(1, 8), 404], fence=7, now=now) == {1}

    assert changed(connection, full) == {S.PENDING: S.ATTEMPTING}
    assert deliveries.list_deliveries(connection, full.id)[1:] == before[1:]
    assert deliveries.mark(connection, full.id, [], fence=7, now=now) == set()


def test_a_mark_does_not_skip_who_left_and_is_not_ready(
    connection: Connection, now: datetime, full: Edition
) -> None:
    for reader in range(1, 8):
        store.set_status(connection, reader, SubscriptionStatus.UNSUBSCRIBED)

    assert deliveries.mark(connection, full.id, range(1, 8), fence=1, now=now) == set()

    assert changed(connection, full) == {S.PENDING: S.SKIPPED}


def test_a_mark_of_some_skips_nobody_else(connection: Connection, now: datetime, edition: Edition) -> None:
    for reader in (1, 2):
        store.set_status(connection, reader, SubscriptionStatus.UNSUBSCRIBED)

    assert deliveries.mark(connection, edition.id, [2, 3], fence=1, now=now) == {3}

    assert list(states_of(connection, edition).values()) == [
        S.PENDING,
        S.SKIPPED,
        S.ATTEMPTING,
        S.PENDING,
        S.PENDING,
    ]


@pytest.mark.parametrize("picked", [[1, 3], [5, 1], [2, 4, 5], [3]])
def test_readers_who_stand_between_others_are_neither_marked_nor_recorded_with_them(
    connection: Connection, now: datetime, edition: Edition, picked: list[int]
) -> None:
    assert deliveries.mark(connection, edition.id, picked, fence=1, now=now) == set(picked)
    marked = states_of(connection, edition)
    assert marked == {n: S.ATTEMPTING if n in picked else S.PENDING for n in range(1, 6)}

    outcomes = [make_outcome(n, S.SENT) for n in picked[::2]]
    deliveries.record_outcomes(connection, edition.id, outcomes, fence=1, cutoff=edition.cutoff)

    assert states_of(connection, edition) == marked | dict.fromkeys(picked[::2], S.SENT)
    assert watermarks(connection) == {n: edition.cutoff if n in picked[::2] else 0 for n in range(1, 6)}


def test_a_mark_and_an_outcome_are_of_one_edition(
    connection: Connection, now: datetime, source: Source, edition: Edition
) -> None:
    other = add_newsletter(connection, now, slug="other", draws_from=[source.id])
    for n in (1, 2, 3):
        add_reader(connection, other.id, now, f"r{n}")
    foreign = open_edition(connection, other.id, now)
    store.set_status(connection, 1, SubscriptionStatus.UNSUBSCRIBED)
    store.set_status(connection, 6, SubscriptionStatus.UNSUBSCRIBED)
    assert (store.get_subscription(connection, 6).subscriber_id, foreign.newsletter_id) == (1, other.id)

    mark(connection, edition, now)
    assert set(states_of(connection, foreign).values()) == {S.PENDING}
    mark(connection, foreign, now)
    record(connection, edition, [2], S.SENT)
    record(connection, edition, [3], S.FAILED)

    assert states_of(connection, foreign) == {1: S.SKIPPED, 2: S.ATTEMPTING, 3: S.ATTEMPTING}
    assert [store.get_subscription(connection, n).watermark for n in (7, 8)] == [0, 0]


def test_who_left_since_the_freeze_is_skipped_and_the_window_is_filled_with_others(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    store.set_status(connection, 1, SubscriptionStatus.UNSUBSCRIBED)
    store.set_status(connection, 2, SubscriptionStatus.PAUSED)
    suppression.suppress(
        connection, "r3@example.com", reason=SuppressionReason.COMPLAINT, now=now, evidence=""
    )
    connection.execute(delete(subscriber).where(subscriber.c.id == 4))

    assert mark(connection, edition, now, limit=2) == [5]

    rows = deliveries.list_deliveries(connection, edition.id, [S.SKIPPED])
    assert [row.subscriber_id for row in rows] == [1, 2, 3, 4]
    assert {(row.attempts, row.attempted_at) for row in rows} == {(0, None)}
    assert {row.reply for row in rows} == {"unsubscribed or suppressed since the edition opened"}


def test_a_deferred_reader_who_left_is_skipped_when_the_time_has_come(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now)
    record(connection, edition, [1, 2], S.DEFERRED, next_attempt_at=now + HOUR)
    store.set_status(connection, 1, SubscriptionStatus.UNSUBSCRIBED)

    assert mark(connection, edition, now + HOUR) == [2]

    (row,) = deliveries.list_deliveries(connection, edition.id, [S.SKIPPED])
    assert (row.subscriber_id, row.attempts, row.next_attempt_at) == (1, 1, None)


def test_a_mark_does_not_skip_who_waits_for_a_later_time(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now)
    record(connection, edition, [1], S.DEFERRED, next_attempt_at=now + HOUR)
    store.set_status(connection, 1, SubscriptionStatus.UNSUBSCRIBED)

    assert mark(connection, edition, now) == []
    assert states_of(connection, edition)[1] is S.DEFERRED


@pytest.mark.parametrize(
    "state", [S.SENT, S.DEFERRED, S.FAILED, S.UNCERTAIN, S.PENDING], ids=lambda state: state.value
)
def test_each_outcome_is_stored_with_its_reply_and_only_sent_is_served(
    connection: Connection, now: datetime, edition: Edition, state: DeliveryState
) -> None:
    due_at = now + HOUR if state in {S.DEFERRED, S.UNCERTAIN} else None
    mark(connection, edition, now)

    count = record(connection, edition, [2, 4], state, reply="x" * 600, next_attempt_at=due_at)

    rows = {row.subscriber_id: row for row in deliveries.list_deliveries(connection, edition.id)}
    assert count == 2
    for reader, row in rows.items():
        if reader in {2, 4}:
            assert (row.state, row.reply, row.next_attempt_at) == (state, "x" * 500, due_at)
            assert row.attempts == (0 if state is S.PENDING else 1)
        else:
            assert (row.state, row.attempts) == (S.ATTEMPTING, 1)
    served = {2: 1, 4: 1} if state is S.SENT else {}
    assert watermarks(connection) == dict.fromkeys(range(1, 6), 0) | served


def test_outcomes_of_one_window_may_differ(connection: Connection, now: datetime, edition: Edition) -> None:
    mark(connection, edition, now)
    outcomes = [
        make_outcome(4, S.SENT, reply="250 four"),
        make_outcome(2, S.FAILED, reply="550 " + "é" * 600),
        make_outcome(3, S.DEFERRED, reply="450 later", next_attempt_at=now + HOUR),
        make_outcome(1, S.SENT, reply="250 " + "x" * 600),
        make_outcome(5, S.PENDING),
    ]

    assert deliveries.record_outcomes(connection, edition.id, outcomes, fence=1, cutoff=1) == 5

    rows = deliveries.list_deliveries(connection, edition.id)
    assert [(row.state, row.reply, row.next_attempt_at, row.attempts) for row in rows] == [
        (S.SENT, "250 " + "x" * 496, None, 1),
        (S.FAILED, "550 " + "é" * 496, None, 1),
        (S.DEFERRED, "450 later", now + HOUR, 1),
        (S.SENT, "250 four", None, 1),
        (S.PENDING, "", None, 0),
    ]
    assert watermarks(connection) == {1: 1, 2: 0, 3: 0, 4: 1, 5: 0}


def test_an_outcome_says_nothing_of_a_person_who_was_erased_meanwhile(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now)
    for reader in (1, 2):
        deliveries.anonymise(connection, reader)
    outcomes = [
        make_outcome(1, S.SENT, reply="250 <r1@example.com> ok"),
        make_outcome(2, S.FAILED, reply="550 <r2@example.com> unknown"),
        make_outcome(3, S.SENT, reply="250 <r3@example.com> ok"),
    ]

    assert deliveries.record_outcomes(connection, edition.id, outcomes, fence=1, cutoff=1) == 3

    rows = deliveries.list_deliveries(connection, edition.id)[:3]
    assert [(row.state, row.reply, row.address) for row in rows] == [
        (S.SENT, "erased", ""),
        (S.FAILED, "erased", ""),
        (S.SENT, "250 <r3@example.com> ok", "r3@example.com"),
    ]


@pytest.mark.parametrize("count", [1, 20, 200])
def test_a_window_of_any_size_is_marked_and_recorded(
    connection: Connection, now: datetime, newsletter: Newsletter, count: int
) -> None:
    for n in range(6, count + 1):
        add_reader(connection, newsletter.id, now, f"r{n}")
    edition = open_edition(connection, newsletter.id, now, state=EditionState.SENDING)
    readers = list(range(1, count + 1))

    assert mark(connection, edition, now, limit=count) == readers
    outcomes = [make_outcome(reader, S.SENT, reply=f"250 {reader}") for reader in readers]
    assert deliveries.record_outcomes(connection, edition.id, outcomes, fence=1, cutoff=1) == count

    rows = deliveries.list_deliveries(connection, edition.id, [S.SENT])
    assert [row.reply for row in rows] == [f"250 {reader}" for reader in readers]
    assert {store.get_subscription(connection, reader).watermark for reader in readers} == {1}


def test_no_outcomes_change_nothing(connection: Connection, now: datetime, edition: Edition) -> None:
    mark(connection, edition, now)

    assert deliveries.record_outcomes(connection, edition.id, [], fence=1, cutoff=1) == 0
    assert set(states_of(connection, edition).values()) == {S.ATTEMPTING}


def test_a_watermark_moves_to_the_cutoff_and_never_goes_back(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now)
    store.advance_watermarks(connection, subscription_ids=[1], sequence=7)

    record(connection, edition, [1, 2], S.SENT)

    assert watermarks(connection) == {1: 7, 2: 1, 3: 0, 4: 0, 5: 0}


@pytest.mark.parametrize("state", [S.SENT, S.FAILED, S.DEFERRED, S.UNCERTAIN, S.PENDING])
def test_an_owner_whose_fence_is_old_writes_nothing_and_moves_no_watermark(
    connection: Connection, now: datetime, edition: Edition, state: DeliveryState
) -> None:
    mark(connection, edition, now, fence=1)
    deliveries.recover_attempts(connection, shard_of(edition, fence=2))
    deliveries.resend_uncertain(connection, shard_of(edition), now=now)
    assert mark(connection, edition, now, fence=2, limit=2) == [1, 2]
    before = deliveries.list_deliveries(connection, edition.id)

    assert record(connection, edition, range(1, 6), state, fence=1, next_attempt_at=now) == 0

    assert deliveries.list_deliveries(connection, edition.id) == before
    assert set(watermarks(connection).values()) == {0}


def test_an_outcome_that_is_recorded_twice_has_one_effect(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now)
    assert record(connection, edition, [1], S.SENT, reply="250 first") == 1

    assert record(connection, edition, [1], S.SENT, reply="250 second") == 0
    assert record(connection, edition, [1], S.FAILED, reply="550 third") == 0

    row = deliveries.list_deliveries(connection, edition.id)[0]
    assert (row.state, row.reply) == (S.SENT, "250 first")


def test_an_outcome_touches_nothing_but_an_attempt(connection: Connection, full: Edition) -> None:
    assert record(connection, full, range(1, 8), S.SENT, fence=0) == 1
    assert changed(connection, full) == {S.ATTEMPTING: S.SENT}


def test_sent_and_its_watermark_are_one_transaction(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        add_article(conn, source.id, now)
        reader = add_reader(conn, newsletter.id, now)
        opened = open_edition(conn, newsletter.id, now)
        mark_all(conn, opened, now)

    def record_and_fail() -> None:
        with writing(engine) as conn:
            record(conn, opened, [reader.subscriber_id], S.SENT)
            raise LookupError

    with pytest.raises(LookupError):
        record_and_fail()

    with reading(engine) as conn:
        assert states_of(conn, opened) == {reader.subscriber_id: S.ATTEMPTING}
        assert store.get_subscription(conn, reader.id).watermark == 0


def test_recovery_makes_uncertain_what_an_older_fence_left_and_nothing_else(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now, fence=1, limit=2)
    mark(connection, edition, now, fence=2, limit=1)

    assert deliveries.recover_attempts(connection, shard_of(edition, fence=2)) == 2
    assert deliveries.recover_attempts(connection, shard_of(edition, fence=2)) == 0

    states = states_of(connection, edition)
    assert list(states.values()) == [S.UNCERTAIN, S.UNCERTAIN, S.ATTEMPTING, S.PENDING, S.PENDING]
    row = deliveries.list_deliveries(connection, edition.id)[0]
    assert (row.attempts, row.next_attempt_at) == (1, None)
    assert row.reply == "the sender stopped before it could record an answer"


def test_recovery_leaves_every_other_state_alone(connection: Connection, full: Edition) -> None:
    assert deliveries.recover_attempts(connection, shard_of(full, fence=9)) == 1
    assert changed(connection, full) == {S.ATTEMPTING: S.UNCERTAIN}


def test_what_is_done_to_a_shard_is_done_within_its_range_and_its_edition(
    connection: Connection, now: datetime, newsletter: Newsletter, edition: Edition
) -> None:
    other = open_edition(connection, newsletter.id, now, cadence=ANY_CADENCE, slot="other")
    assert states_of(connection, other) == {}, "all of them are under way in the first one"
    middle = shard_of(edition, first_id=2, last_id=4, fence=2)

    mark(connection, edition, now, fence=1)
    assert deliveries.recover_attempts(connection, middle) == 3
    assert deliveries.recover_attempts(connection, shard_of(other, fence=2)) == 0
    for reader in range(1, 6):
        put(connection, edition, reader, S.UNCERTAIN)
    assert deliveries.resend_uncertain(connection, shard_of(other), now=now) == 0
    assert deliveries.resend_uncertain(connection, middle, now=now) == 3
    for reader in range(1, 6):
        put(connection, edition, reader, S.DEFERRED, next_attempt_at=now + reader * HOUR)
    assert deliveries.find_due(connection, middle, now=now, resends=True) == now + 2 * HOUR
    assert deliveries.find_due(connection, shard_of(other), now=now, resends=True) is None
    assert deliveries.expire_deferred(connection, shard_of(other)) == 0
    assert deliveries.expire_deferred(connection, middle) == 3

    assert list(states_of(connection, edition).values()) == [S.DEFERRED, *[S.FAILED] * 3, S.DEFERRED]


def test_what_is_uncertain_is_sent_again_when_its_time_has_come(
    connection: Connection, now: datetime, full: Edition
) -> None:
    put(connection, full, 6, S.UNCERTAIN, attempts=1, next_attempt_at=now + HOUR)
    early = now + HOUR - timedelta(seconds=1)

    assert deliveries.resend_uncertain(connection, shard_of(full), now=early) == 0
    assert deliveries.resend_uncertain(connection, shard_of(full), now=now + HOUR) == 1

    assert changed(connection, full) == {S.UNCERTAIN: S.PENDING}
    row = deliveries.list_deliveries(connection, full.id)[5]
    assert (row.attempts, row.next_attempt_at) == (1, None)


def test_what_stays_uncertain_is_not_sent_again_without_end(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    copies = 0
    for fence in range(1, 10):
        copies += len(mark(connection, edition, now, fence=fence, limit=1))
        deliveries.recover_attempts(connection, shard_of(edition, fence=fence + 1))
        if deliveries.resend_uncertain(connection, shard_of(edition), now=now) == 0:
            break
    assert copies == 3

    assert states_of(connection, edition)[1] is S.UNCERTAIN
    assert mark(connection, edition, now, fence=99) == [2, 3, 4, 5]
    assert deliveries.retry(connection, edition.id, {S.UNCERTAIN}) == 1, "the operator can"


def test_what_is_still_deferred_is_given_up_with_its_last_answer(
    connection: Connection, now: datetime, full: Edition
) -> None:
    put(connection, full, 4, S.DEFERRED, next_attempt_at=now + HOUR, reply="450 " + "x" * 496)

    assert deliveries.expire_deferred(connection, shard_of(full)) == 1

    assert changed(connection, full) == {S.DEFERRED: S.FAILED}
    row = deliveries.list_deliveries(connection, full.id)[3]
    assert (row.reply[:34], len(row.reply), row.next_attempt_at) == (
        "given up; last answer: 450 xxxxxxx",
        500,
        None,
    )


def test_a_cancelled_edition_skips_who_has_not_been_attempted_and_leaves_attempts_to_their_answer(
    connection: Connection, now: datetime, full: Edition
) -> None:
    put(connection, full, 4, S.DEFERRED, next_attempt_at=now + HOUR)

    assert deliveries.cancel_open(connection, full.id) == 2

    assert changed(connection, full) == {S.PENDING: S.SKIPPED, S.DEFERRED: S.SKIPPED}
    rows = deliveries.list_deliveries(connection, full.id, [S.SKIPPED])
    replies = {row.subscriber_id: (row.reply, row.next_attempt_at) for row in rows}
    assert replies[1] == replies[4] == ("the edition was cancelled", None)


@pytest.mark.parametrize(
    "chosen",
    [set(), {S.FAILED}, {S.UNCERTAIN}, {S.FAILED, S.UNCERTAIN}, set(S)],
    ids=["none", "failed", "uncertain", "both", "all"],
)
def test_the_operator_retries_only_what_failed_or_is_uncertain_and_was_chosen(
    connection: Connection, full: Edition, chosen: set[DeliveryState]
) -> None:
    wanted = chosen & {S.FAILED, S.UNCERTAIN}

    assert deliveries.retry(connection, full.id, chosen) == len(wanted)
    assert changed(connection, full) == dict.fromkeys(wanted, S.PENDING)


@pytest.mark.parametrize("later_state", [S.PENDING, S.ATTEMPTING, S.DEFERRED, S.UNCERTAIN, S.SENT])
def test_a_retry_leaves_out_whom_a_newer_edition_brings_the_same_articles(
    connection: Connection,
    now: datetime,
    newsletter: Newsletter,
    edition: Edition,
    later_state: DeliveryState,
) -> None:
    for reader in range(1, 6):
        put(connection, edition, reader, S.FAILED)
    newer = open_edition(connection, newsletter.id, now, slot="newer", state=EditionState.SENDING)
    put(connection, newer, 1, later_state)
    put(connection, newer, 2, S.SKIPPED)
    put(connection, newer, 3, S.FAILED)

    assert deliveries.retry(connection, edition.id, {S.FAILED}) == 2

    states = states_of(connection, edition)
    assert [n for n, state in states.items() if state is S.PENDING] == [2, 3]
    assert deliveries.retry(connection, newer.id, {S.FAILED}) == 0, "it is under way in the older one now"


def test_a_retry_of_what_is_uncertain_under_hold_sends_what_the_newer_edition_left_out(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    held = open_edition(
        connection, newsletter.id, now, state=EditionState.SENDING, policy=UncertainPolicy.HOLD
    )
    mark(connection, held, now)
    record(connection, held, [1], S.UNCERTAIN)
    record(connection, held, [2, 3, 4, 5], S.SENT)
    add_article(connection, source.id, now)
    newer = open_edition(connection, newsletter.id, now, slot="newer", state=EditionState.SENDING)
    mark(connection, newer, now)
    record(connection, newer, range(1, 6), S.SENT)

    assert deliveries.retry(connection, held.id, {S.UNCERTAIN}) == 1


def test_a_retry_is_not_kept_back_by_what_is_uncertain_in_a_cancelled_edition(
    connection: Connection, now: datetime, newsletter: Newsletter, edition: Edition
) -> None:
    put(connection, edition, 1, S.UNCERTAIN)
    editions.change_edition_state(connection, edition.id, EditionState.CANCELLED, now=now)
    newer = open_edition(connection, newsletter.id, now, slot="newer", state=EditionState.SENDING)
    put(connection, newer, 1, S.UNCERTAIN)

    assert deliveries.retry(connection, newer.id, {S.UNCERTAIN}) == 1


def test_an_erased_person_leaves_the_counts_and_nothing_that_tells_who_it_was(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    opened = [
        open_edition(
            connection, newsletter.id, now, cadence=ANY_CADENCE, slot=state, state=EditionState.SENDING
        )
        for state in S
    ]
    reply = "550 <r1@example.com> unknown"
    template = deliveries.list_deliveries(connection, opened[0].id)[0]
    for edition, state in zip(opened, S, strict=True):
        if edition is not opened[0]:
            connection.execute(
                tables.delivery.insert().values(
                    edition_id=edition.id,
                    subscriber_id=1,
                    subscription_id=1,
                    address=template.address,
                    name=template.name,
                    reason=template.reason,
                    watermark=0,
                    topics="",
                    attempts=1,
                    fence=1,
                    state=state,
                    reply=reply,
                )
            )
        put(connection, edition, 1, state, attempts=1, next_attempt_at=now, reply=reply)
    others = deliveries.list_deliveries(connection, opened[0].id)[1:]

    deliveries.anonymise(connection, 1)

    becomes = {S.PENDING: S.SKIPPED, S.DEFERRED: S.SKIPPED, S.UNCERTAIN: S.SKIPPED}
    for edition, state in zip(opened, S, strict=True):
        row = deliveries.list_deliveries(connection, edition.id)[0]
        assert (row.subscriber_id, row.state) == (1, becomes.get(state, state))
        assert (row.address, row.name, row.reply) == ("", "", "erased")
    assert deliveries.list_deliveries(connection, opened[0].id)[1:] == others


def test_states_are_counted_and_every_state_is_there(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    mark(connection, edition, now, limit=3)
    record(connection, edition, [1, 2], S.SENT)

    assert deliveries.count_states(connection, edition.id) == {
        S.PENDING: 2,
        S.ATTEMPTING: 1,
        S.SENT: 2,
        S.DEFERRED: 0,
        S.FAILED: 0,
        S.UNCERTAIN: 0,
        S.SKIPPED: 0,
    }
    assert deliveries.count_states(connection, 999) == dict.fromkeys(S, 0)


@pytest.mark.parametrize("state", [S.PENDING, S.ATTEMPTING])
def test_a_shard_is_due_at_once_while_somebody_is_pending_or_was_left_in_an_attempt(
    connection: Connection, now: datetime, edition: Edition, state: DeliveryState
) -> None:
    for reader in range(1, 5):
        put(connection, edition, reader, S.DEFERRED, next_attempt_at=now + HOUR)
    put(connection, edition, 5, state)

    assert deliveries.find_due(connection, shard_of(edition), now=now, resends=False) == now


def test_a_shard_is_due_when_the_first_of_those_comes_up_who_wait_for_their_time(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    def due(*, resends: bool) -> datetime | None:
        return deliveries.find_due(connection, shard_of(edition), now=now, resends=resends)

    for reader, state in enumerate((S.SENT, S.FAILED, S.SKIPPED, S.SENT, S.FAILED), start=1):
        put(connection, edition, reader, state, next_attempt_at=now)
    assert due(resends=True) is None

    put(connection, edition, 4, S.DEFERRED, next_attempt_at=now + 2 * HOUR)
    assert due(resends=True) == due(resends=False) == now + 2 * HOUR
    put(connection, edition, 5, S.UNCERTAIN, attempts=2, next_attempt_at=now + HOUR)
    assert due(resends=True) == now + HOUR
    assert due(resends=False) == now + 2 * HOUR, "it waits for the operator and for no time"
    put(connection, edition, 5, S.UNCERTAIN, attempts=3, next_attempt_at=now + HOUR)
    assert due(resends=True) == now + 2 * HOUR, "it is not sent again"
    put(connection, edition, 5, S.UNCERTAIN, attempts=1)
    assert due(resends=True) == now, "its sender is gone, and it waits for nothing"


def test_deliveries_are_listed_by_reader_in_the_chosen_states(connection: Connection, full: Edition) -> None:
    def listed(states: Iterable[DeliveryState] = (), limit: int | None = None) -> list[int]:
        rows = deliveries.list_deliveries(connection, full.id, tuple(states), limit)
        return [row.subscriber_id for row in rows]

    assert listed() == [1, 2, 3, 4, 5, 6, 7]
    assert listed([S.SKIPPED, S.PENDING]) == [1, 7]
    assert listed(limit=3) == [1, 2, 3]


def test_two_senders_cannot_both_mark_a_reader(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        add_article(conn, source.id, now)
        for n in range(40):
            add_reader(conn, newsletter.id, now, f"r{n}")
        opened = open_edition(conn, newsletter.id, now)
    readers = list(range(1, 41))
    start = threading.Barrier(2)

    def mark_all_at_once(fence: int) -> set[int]:
        taken = set()
        start.wait(timeout=30)
        for n in range(0, 40, 10):
            with writing(engine) as conn:
                taken |= deliveries.mark(conn, opened.id, readers[n : n + 10], fence=fence, now=now)
        return taken

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(mark_all_at_once, (1, 2), timeout=60)

    assert not first & second
    assert first | second == set(readers)


def test_what_is_put_back_by_the_operator_and_by_itself_at_once_makes_nobody_wait_for_ever(
    postgresql_url: str, now: datetime
) -> None:
    engine = open_engine(postgresql_url)  # on SQLite one transaction is over before the other begins
    with writing(engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        add_article(conn, source.id, now)
        for n in range(3):
            add_reader(conn, newsletter.id, now, f"r{n}")
        opened = open_edition(conn, newsletter.id, now, state=EditionState.SENDING)
        for reader in (1, 2, 3):
            put(conn, opened, reader, S.UNCERTAIN)
    is_held, is_put_back = threading.Event(), threading.Event()

    def operate() -> int:
        assert is_held.wait(timeout=30)
        with writing(engine) as conn:
            count = deliveries.retry(conn, opened.id, {S.UNCERTAIN})
            is_put_back.set()
            shards.wake_shards(conn, opened.id, now=now + HOUR)
        return count

    def send() -> int:
        with writing(engine) as conn:
            held = lease(conn, opened, now)
            is_held.set()
            assert is_put_back.wait(timeout=30)
            count = deliveries.resend_uncertain(conn, held, now=now)
            shards.release_shard(conn, held, due_at=None)
        return count

    with ThreadPoolExecutor(2) as pool:
        operator, sender = pool.submit(operate), pool.submit(send)
        assert (operator.result(timeout=60), sender.result(timeout=60)) == (3, 0)

    with reading(engine) as conn:
        assert set(states_of(conn, opened).values()) == {S.PENDING}
        assert shards.find_next_due(conn, opened.id) == now + HOUR, "nobody was forgotten"
    engine.dispose()
