"""Who has which part of an edition: shards are cut, leased, kept, lost, given back and woken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from syndicate.model import DeliveryState, Edition, EditionState, Newsletter
from syndicate.storage import deliveries, editions, shards, tables
from syndicate.storage.engine import open_engine, reading, writing
from syndicate.storage.shards import SHARD_SIZE, Shard
from tests.builders import add_edition, add_newsletter, lease

S = EditionState
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    """For what takes two transactions at a time, which SQLite does not have."""
    engine = open_engine(postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def newsletter(connection: Connection, now: datetime) -> Newsletter:
    return add_newsletter(connection, now)


@pytest.fixture
def edition(connection: Connection, now: datetime, newsletter: Newsletter) -> Edition:
    """An edition of three shards, due now, with a reader for each number from 1 to 5."""
    return open_with_readers(connection, newsletter, now, range(1, 6), size=2)


def open_with_readers(
    connection: Connection,
    newsletter: Newsletter,
    now: datetime,
    readers: range,
    *,
    size: int = SHARD_SIZE,
    slot: str = "slot",
) -> Edition:
    """An edition that is being sent, with deliveries and no more, cut into shards of a size."""
    edition = add_edition(connection, newsletter.id, now, state=S.SENDING, slot=slot)
    values = {"address": "a@example.com", "name": "", "reason": "", "watermark": 0, "topics": "", "reply": ""}
    values |= {"edition_id": edition.id, "state": DeliveryState.PENDING, "attempts": 0, "fence": 0}
    rows = [values | {"subscriber_id": n, "subscription_id": n} for n in reversed(readers)]
    if rows:
        connection.execute(insert(tables.delivery), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_SIZE", size)
        cut = shards.cut_shards(connection, edition.id, now=now)
    assert cut == -(-len(readers) // size)
    return edition


def take_all(connection: Connection, edition: Edition, at: datetime) -> Iterator[Shard]:
    while taken := shards.lease_shard(connection, edition.id, owner="a", now=at, lease_s=15.0):
        yield taken


def renew(connection: Connection, held: Shard, at: datetime) -> EditionState | None:
    return shards.renew_shard(connection, held, now=at, lease_s=15.0)


def settle(connection: Connection, edition: Edition, *readers: int) -> None:
    """Nothing is left to be done for these readers."""
    connection.execute(
        update(tables.delivery)
        .where(tables.delivery.c.edition_id == edition.id, tables.delivery.c.subscriber_id.in_(readers))
        .values(state=DeliveryState.FAILED)
    )


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_an_audience_is_cut_into_shards_that_have_every_reader_once(
    connection: Connection, now: datetime, newsletter: Newsletter, count: int
) -> None:
    readers = range(5, 5 + 3 * count, 3)
    open_with_readers(connection, newsletter, now, range(1, 4000, 40), slot="other")
    edition = open_with_readers(connection, newsletter, now, readers)

    cut = list(take_all(connection, edition, now))

    assert [held.number for held in cut] == list(range(len(cut)))
    assert {held.fence for held in cut} <= {1}
    parts = [[n for n in readers if held.first_id <= n <= held.last_id] for held in cut]
    assert [n for part in parts for n in part] == list(readers)
    assert [(part[0], part[-1]) for part in parts] == [(held.first_id, held.last_id) for held in cut]
    assert [len(part) for part in parts[:-1]] == [SHARD_SIZE] * (len(cut) - 1)


def test_a_new_shard_is_due_and_free_and_may_have_open_deliveries(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    assert shards.has_due_shard(connection, edition.id, now=now)
    assert not shards.has_due_shard(connection, edition.id, now=now - SECOND)
    assert not shards.is_any_leased(connection, edition.id, now=now)
    assert shards.find_next_due(connection, edition.id) == now
    assert set(connection.execute(select(tables.shard.c.is_settled)).scalars()) == {False}
    assert not shards.has_due_shard(connection, 999, now=now)
    assert shards.find_next_due(connection, 999) is None


def test_a_shard_is_had_by_one_and_its_fence_grows_with_each_owner(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = open_with_readers(connection, newsletter, now, range(1, 3))
    other = open_with_readers(connection, newsletter, now, range(1, 3), slot="other")

    first = lease(connection, edition, now)
    just_before = now + timedelta(seconds=14.9)

    assert shards.is_any_leased(connection, edition.id, now=just_before)
    assert not shards.has_due_shard(connection, edition.id, now=just_before)
    assert shards.lease_shard(connection, edition.id, owner="b", now=just_before, lease_s=15.0) is None
    assert not shards.is_any_leased(connection, other.id, now=now)
    end = now + timedelta(seconds=15)
    assert not shards.is_any_leased(connection, edition.id, now=end)
    assert shards.has_due_shard(connection, edition.id, now=end)
    second = lease(connection, edition, end, owner="b")
    assert (first.fence, second.fence) == (1, 2)
    assert (second.edition_id, second.number, second.first_id, second.last_id) == (edition.id, 0, 1, 2)
    assert lease(connection, other, now).fence == 1


def test_the_shard_that_has_been_due_for_longest_is_taken_first(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    for held, due_at in zip(
        list(take_all(connection, edition, now)), (now + 2 * HOUR, now + HOUR, now + 3 * HOUR), strict=True
    ):
        shards.release_shard(connection, held, due_at=due_at)

    assert shards.find_next_due(connection, edition.id) == now + HOUR
    assert not shards.has_due_shard(connection, edition.id, now=now)
    assert list(take_all(connection, edition, now)) == []
    assert [held.number for held in take_all(connection, edition, now + 2 * HOUR)] == [1, 0]
    assert [held.number for held in take_all(connection, edition, now + 3 * HOUR)] == [1, 0, 2]


def test_a_shard_that_never_has_work_again_is_not_due(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    for held in list(take_all(connection, edition, now)):
        shards.release_shard(connection, held, due_at=None)

    assert shards.find_next_due(connection, edition.id) is None
    assert not shards.has_due_shard(connection, edition.id, now=now + 1000 * HOUR)
    assert list(take_all(connection, edition, now + 1000 * HOUR)) == []


def test_a_lease_that_is_renewed_lasts_from_then_and_tells_the_state(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    held = lease(connection, edition, now)
    later = now + timedelta(seconds=10)

    assert renew(connection, held, later) is S.SENDING
    assert shards.is_any_leased(connection, edition.id, now=now + timedelta(seconds=24))
    editions.change_edition_state(connection, edition.id, S.PAUSED, now=later)
    assert renew(connection, held, later) is S.PAUSED
    assert shards.hold_shard(connection, held) is S.PAUSED


def test_to_hold_a_shard_does_not_make_its_lease_last_longer(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    held = lease(connection, edition, now)

    assert shards.hold_shard(connection, held) is S.SENDING
    assert not shards.is_any_leased(connection, edition.id, now=now + 15 * SECOND)


def test_a_lease_that_ran_out_can_be_renewed_until_another_takes_it(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = open_with_readers(connection, newsletter, now, range(1, 3))
    held = lease(connection, edition, now)
    late = now + timedelta(minutes=1)

    assert shards.hold_shard(connection, held) is S.SENDING
    assert renew(connection, held, late) is S.SENDING
    taken = lease(connection, edition, late + timedelta(minutes=1), owner="b")
    assert renew(connection, held, late) is shards.hold_shard(connection, held) is None
    assert renew(connection, taken, late) is shards.hold_shard(connection, taken) is S.SENDING


def test_what_is_done_with_one_shard_is_not_done_with_another(
    connection: Connection, now: datetime, edition: Edition, newsletter: Newsletter
) -> None:
    other = open_with_readers(connection, newsletter, now, range(1, 3), slot="other")
    first, second, _ = take_all(connection, edition, now)
    foreign = lease(connection, other, now)
    assert (first.number, first.fence) == (foreign.number, foreign.fence)

    shards.release_shard(connection, first, due_at=now)

    assert shards.hold_shard(connection, second) is S.SENDING
    assert shards.hold_shard(connection, foreign) is S.SENDING
    renew(connection, second, now + HOUR)
    assert [held.number for held in take_all(connection, edition, now + HOUR)] == [0, 2]


def test_a_shard_is_given_back_only_by_its_owner(
    connection: Connection, now: datetime, newsletter: Newsletter
) -> None:
    edition = open_with_readers(connection, newsletter, now, range(1, 3))
    old = lease(connection, edition, now)
    late = now + timedelta(minutes=1)
    held = lease(connection, edition, late, owner="b")

    shards.release_shard(connection, old, due_at=None)
    assert shards.is_any_leased(connection, edition.id, now=late)
    assert shards.find_next_due(connection, edition.id) == now
    shards.release_shard(connection, held, due_at=late)
    assert not shards.is_any_leased(connection, edition.id, now=late)
    assert lease(connection, edition, late, owner="c").fence == held.fence + 1


def test_a_shard_that_was_given_back_is_not_kept_by_a_beat_that_comes_late(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    held = lease(connection, edition, now)
    shards.release_shard(connection, held, due_at=None)

    assert renew(connection, held, now) is None
    assert shards.hold_shard(connection, held) is None
    shards.release_shard(connection, held, due_at=now)
    assert not shards.is_any_leased(connection, edition.id, now=now)
    assert [other.number for other in take_all(connection, edition, now)] == [1, 2], "it has no work"


def test_those_shards_are_woken_in_which_somebody_is_pending(
    connection: Connection, now: datetime, edition: Edition, newsletter: Newsletter
) -> None:
    other = open_with_readers(connection, newsletter, now, range(1, 6), size=2, slot="other")
    for held in (*take_all(connection, edition, now), *take_all(connection, other, now)):
        shards.release_shard(connection, held, due_at=None)
    connection.execute(update(tables.shard).values(is_settled=True))
    settle(connection, edition, 1, 2, 3)  # 4 is in the second one, and 5 is the third

    shards.wake_shards(connection, edition.id, now=now + HOUR)

    woken = select(tables.shard.c.edition_id, tables.shard.c.number).where(~tables.shard.c.is_settled)
    assert {tuple(row) for row in connection.execute(woken)} == {(edition.id, 1), (edition.id, 2)}
    assert shards.find_next_due(connection, edition.id) == now + HOUR
    assert [held.number for held in take_all(connection, edition, now + HOUR)] == [1, 2]
    assert shards.find_next_due(connection, other.id) is None


def test_a_shard_that_is_woken_stays_with_its_owner(
    connection: Connection, now: datetime, edition: Edition
) -> None:
    held = lease(connection, edition, now)

    shards.wake_shards(connection, edition.id, now=now)

    assert shards.hold_shard(connection, held) is S.SENDING
    assert [other.number for other in take_all(connection, edition, now)] == [1, 2]


def open_durably(engine: Engine, now: datetime, *, count: int = 1, size: int = SHARD_SIZE) -> list[Edition]:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)
        return [
            open_with_readers(conn, newsletter, now, range(1, 5), size=size, slot=f"{n}")
            for n in range(count)
        ]


def test_of_two_senders_at_once_one_takes_a_shard(engine: Engine, now: datetime) -> None:
    opened = open_durably(engine, now, count=10)
    start = threading.Barrier(2)

    def take_one(edition: Edition, owner: str) -> Shard | None:
        start.wait(timeout=30)
        with writing(engine) as conn:
            return shards.lease_shard(conn, edition.id, owner=owner, now=now, lease_s=15.0)

    with ThreadPoolExecutor(2) as pool:
        for edition in opened:
            attempts = [pool.submit(take_one, edition, owner) for owner in ("a", "b")]
            taken = [attempt.result(timeout=60) for attempt in attempts]
            assert sorted(held.fence if held else 0 for held in taken) == [0, 1]


def test_two_senders_at_once_take_different_shards(engine: Engine, now: datetime) -> None:
    (edition,) = open_durably(engine, now, size=1)
    start = threading.Barrier(2)

    def take_two(owner: str) -> list[int]:
        start.wait(timeout=30)
        numbers = []
        for _ in range(2):
            with writing(engine) as conn:
                numbers.append(lease(conn, edition, now, owner=owner).number)
        return numbers

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(take_two, ("a", "b"), timeout=60)

    assert sorted(first + second) == [0, 1, 2, 3]


def test_a_shard_that_somebody_is_taking_is_passed_over_without_waiting(
    postgresql_engine: Engine, now: datetime
) -> None:
    (edition,) = open_durably(postgresql_engine, now, size=2)

    with writing(postgresql_engine) as first:
        assert lease(first, edition, now).number == 0
        with writing(postgresql_engine) as second:
            assert lease(second, edition, now, owner="b").number == 1
        with writing(postgresql_engine) as third:
            assert shards.lease_shard(third, edition.id, owner="c", now=now, lease_s=15.0) is None


def test_a_shard_is_not_taken_from_an_owner_who_writes_at_this_moment(
    postgresql_engine: Engine, now: datetime
) -> None:
    (edition,) = open_durably(postgresql_engine, now)
    with writing(postgresql_engine) as conn:
        held = lease(conn, edition, now)
    late = now + timedelta(minutes=1)

    with writing(postgresql_engine) as owner:
        assert shards.hold_shard(owner, held) is S.SENDING
        with writing(postgresql_engine) as other:
            assert shards.lease_shard(other, edition.id, owner="b", now=late, lease_s=15.0) is None
    with writing(postgresql_engine) as other:
        assert lease(other, edition, late, owner="b").fence == held.fence + 1


def test_a_wish_to_wake_a_shard_is_not_lost_while_it_is_given_back(
    postgresql_engine: Engine, now: datetime
) -> None:
    (edition,) = open_durably(postgresql_engine, now)
    with writing(postgresql_engine) as conn:
        held = lease(conn, edition, now)
        settle(conn, edition, 1, 2, 3, 4)
    is_held, is_put_back = threading.Event(), threading.Event()

    def operate() -> None:
        assert is_held.wait(timeout=30)
        with writing(postgresql_engine) as conn:
            deliveries.retry(conn, edition.id, {DeliveryState.FAILED})
            is_put_back.set()
            shards.wake_shards(conn, edition.id, now=now + HOUR)

    with ThreadPoolExecutor(1) as pool:
        operator = pool.submit(operate)
        with writing(postgresql_engine) as conn:
            assert shards.hold_shard(conn, held) is S.SENDING
            is_held.set()
            assert is_put_back.wait(timeout=30)
            due_at = deliveries.find_due(conn, held, now=now, resends=True)
            assert due_at is None, "it is not committed yet"
            shards.release_shard(conn, held, due_at=due_at)
        operator.result(timeout=60)

    with reading(postgresql_engine) as conn:
        assert shards.find_next_due(conn, edition.id) == now + HOUR
