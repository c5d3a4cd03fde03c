"""One sender's hold on the ledger: what a step does, what is left when it fails, and who has what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from subscribers import store
from subscribers.model import SubscriptionStatus
from syndicate.errors import StateError
from syndicate.model import DeliveryState, Edition, EditionState, UncertainPolicy
from syndicate.service import ledger as ledgers
from syndicate.service.installation import Installation
from syndicate.service.ledger import Ledger, Step
from syndicate.storage import deliveries, editions, shards
from syndicate.storage.deliveries import DeliveryOutcome
from syndicate.storage.engine import reading, writing
from tests.builders import (
    add_article,
    add_newsletter,
    add_reader,
    add_source,
    make_outcome,
    open_edition,
    states_of,
)
from tests.installation_builders import FakeClock, dump, make_installation

S = DeliveryState
LEASE_S = 15.0
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inst(engine: Engine, tmp_path: Path, clock: FakeClock) -> Installation:
    return make_installation(engine, tmp_path, clock=clock, lease_s=LEASE_S)


@pytest.fixture
def edition(inst: Installation, monkeypatch: pytest.MonkeyPatch) -> Edition:
    """An edition with six readers, 1 to 6, in shards of two."""
    return open_small(inst, monkeypatch)


def open_small(
    inst: Installation, monkeypatch: pytest.MonkeyPatch, readers: int = 6, **changes: Any
) -> Edition:
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)
    with writing(inst.engine) as conn:
        source = add_source(conn, inst.clock())
        newsletter = add_newsletter(conn, inst.clock(), draws_from=[source.id])
        add_article(conn, source.id, inst.clock())
        for n in range(1, readers + 1):
            assert add_reader(conn, newsletter.id, inst.clock(), f"r{n}").subscriber_id == n
        values = {"state": EditionState.SENDING} | changes
        return open_edition(conn, newsletter.id, inst.clock(), **values)


def ids(step: Step) -> list[int]:
    return [row.subscriber_id for row in step.found]


def sent(*readers: int) -> list[DeliveryOutcome]:
    return [make_outcome(reader, S.SENT, reply=f"250 {reader}") for reader in readers]


def states(inst: Installation, edition: Edition) -> list[DeliveryState]:
    with reading(inst.engine) as conn:
        return list(states_of(conn, edition).values())


def find_next_due(inst: Installation, edition: Edition) -> datetime | None:
    with reading(inst.engine) as conn:
        return shards.find_next_due(conn, edition.id)


def change_state(inst: Installation, edition: Edition, state: EditionState) -> None:
    with writing(inst.engine) as conn:
        editions.change_edition_state(conn, edition.id, state, now=inst.clock())


def begin(ledger: Ledger) -> list[int]:
    """Takes the next shard and marks everybody in it."""
    found = ids(ledger.step([], [], wants_more=True))
    assert ledger.step([], found, wants_more=False).marked == set(found)
    return found


def send_all(ledger: Ledger, window: int = 1) -> list[int]:
    """Sends until nobody is ready, and returns who was sent to, in this order."""
    waiting: list[int] = []
    done: list[int] = []
    outcomes: list[DeliveryOutcome] = []
    while True:
        picked, waiting = waiting[:window], waiting[window:]
        step = ledger.step(outcomes, picked, wants_more=not waiting)
        waiting += ids(step)
        outcomes = sent(*step.marked)
        done += sorted(step.marked)
        if not (outcomes or waiting):
            assert step.is_all_taken
            return done


def test_an_edition_is_sent_shard_by_shard_and_nothing_of_it_is_due_or_leased_then(
    inst: Installation, edition: Edition
) -> None:
    ledger = Ledger(inst, edition)

    assert send_all(ledger) == [1, 2, 3, 4, 5, 6]

    assert ledger.attempting == 0
    assert set(states(inst, edition)) == {S.SENT}
    with reading(inst.engine) as conn:
        assert shards.find_next_due(conn, edition.id) is None
        assert not shards.is_any_leased(conn, edition.id, now=inst.clock())
        assert {store.get_subscription(conn, n).watermark for n in range(1, 7)} == {1}
    ledger.close()


def test_a_step_tells_who_may_be_attempted_and_who_else_was_found(
    inst: Installation, edition: Edition
) -> None:
    ledger = Ledger(inst, edition)

    first = ledger.step([], [], wants_more=True)
    assert (ids(first), first.marked, first.is_all_taken) == ([1, 2], frozenset(), False)
    second = ledger.step([], [2], wants_more=True)
    assert (ids(second), second.marked) == ([3, 4], {2})
    assert ledger.attempting == 1
    third = ledger.step([], [1, 4], wants_more=False)
    assert (ids(third), third.marked, third.is_all_taken) == ([], {1, 4}, False)
    assert ledger.attempting == 3
    assert states(inst, edition) == [
        S.ATTEMPTING,
        S.ATTEMPTING,
        S.PENDING,
        S.ATTEMPTING,
        S.PENDING,
        S.PENDING,
    ]
    fourth = ledger.step(sent(4, 1), [3], wants_more=True)
    assert (ids(fourth), fourth.marked, ledger.attempting) == ([5, 6], {3}, 2)
    assert states(inst, edition) == [S.SENT, S.ATTEMPTING, S.ATTEMPTING, S.SENT, S.PENDING, S.PENDING]
    fifth = ledger.step([], [], wants_more=True)
    assert (ids(fifth), fifth.is_all_taken) == ([], True)
    ledger.close()


def test_who_left_after_being_found_is_not_marked_and_its_shard_is_finished_without(
    inst: Installation, edition: Edition
) -> None:
    ledger = Ledger(inst, edition)
    ledger.step([], [], wants_more=True)
    with writing(inst.engine) as conn:
        store.set_status(conn, 2, SubscriptionStatus.UNSUBSCRIBED)

    assert ledger.step([], [1, 2], wants_more=False).marked == {1}
    assert ids(ledger.step(sent(1), [], wants_more=True)) == [3, 4]

    assert states(inst, edition)[:2] == [S.SENT, S.SKIPPED]
    ledger.close()


class Broken(Exception):
    """What stands for a database that goes away."""


def break_function(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Callable[[], None]:
    """Lets a function do its work and then fail, once it is armed; returns what arms it."""
    original, armed = getattr(module, name), [False]

    def fail(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if armed.pop():
            armed.append(False)
            raise Broken
        armed.append(False)
        return result

    monkeypatch.setattr(module, name, fail)
    return lambda: armed.__setitem__(0, True)


def break_commit(engine: Engine) -> Callable[[], None]:
    armed = [False]

    def fail(_conn: Connection) -> None:
        if armed[0]:
            armed[0] = False
            raise Broken

    event.listen(engine, "commit", fail)
    return lambda: armed.__setitem__(0, True)


@pytest.mark.parametrize(
    "where",
    [
        (shards, "hold_shard"),
        (deliveries, "record_outcomes"),
        (deliveries, "mark"),
        (deliveries, "find_due"),
        (shards, "release_shard"),
        (shards, "lease_shard"),
        (deliveries, "recover_attempts"),
        (deliveries, "list_ready"),
        None,
    ],
    ids=lambda where: where[1] if where else "commit",
)
def test_a_step_that_fails_anywhere_has_not_happened_and_is_repeated_as_it_was(
    inst: Installation, edition: Edition, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str] | None
) -> None:
    ledger = Ledger(inst, edition)
    begin(ledger)
    ledger.step([], [], wants_more=True)
    before = dump(inst.engine)
    arm = break_function(monkeypatch, *where) if where else break_commit(inst.engine)

    arm()
    with pytest.raises(Broken):
        ledger.step(sent(1, 2), [3], wants_more=True)

    assert dump(inst.engine) == before
    assert ledger.attempting == 2
    again = ledger.step(sent(1, 2), [3], wants_more=True)
    assert (again.marked, ids(again), ledger.attempting) == ({3}, [5, 6], 1)
    ledger.step(sent(3), [4, 5, 6], wants_more=True)
    assert ledger.step(sent(4, 5, 6), [], wants_more=True).is_all_taken
    assert set(states(inst, edition)) == {S.SENT}
    assert find_next_due(inst, edition) is None
    ledger.close()


def test_a_step_that_was_done_though_it_seemed_to_fail_marks_nobody_twice_and_forgets_nobody(
    inst: Installation, edition: Edition
) -> None:
    ledger = Ledger(inst, edition)
    found = ids(ledger.step([], [], wants_more=True))
    with writing(inst.engine) as conn:  # what the step does, and then the connection breaks
        deliveries.mark(conn, edition.id, found, fence=1, now=inst.clock())

    assert ledger.step([], found, wants_more=False).marked == set()
    ledger.step([], [], wants_more=False)
    assert states(inst, edition)[:2] == [S.ATTEMPTING, S.ATTEMPTING]

    assert send_all(ledger) == [1, 2, 3, 4, 5, 6], "as after a crash: nobody knows, and it is sent again"
    assert set(states(inst, edition)) == {S.SENT}
    ledger.close()


def test_of_several_shards_only_the_one_that_was_taken_over_is_lost(
    inst: Installation, edition: Edition, clock: FakeClock
) -> None:
    ledger, other = Ledger(inst, edition), Ledger(inst, edition)
    begin(ledger)
    clock.move(seconds=10)
    begin(ledger)  # renews the first one, and takes the second
    with writing(inst.engine) as conn:  # the first one is given back and forgotten about
        shards.release_shard(conn, shard(edition, number=0, fence=1), due_at=edition.opened_at - SECOND)
    assert ids(other.step([], [], wants_more=True)) == [1, 2]
    assert states(inst, edition)[:2] == [S.PENDING, S.PENDING], "they were uncertain, and are sent again"
    other.step([], [1, 2], wants_more=False)

    with pytest.raises(StateError, match="another process has taken it over; this one stops"):
        ledger.step(sent(1, 2, 3), [], wants_more=True)

    with reading(inst.engine) as conn:
        rows = deliveries.list_deliveries(conn, edition.id)
        served = [store.get_subscription(conn, n).watermark for n in range(1, 7)]
    assert [row.state for row in rows[:4]] == [S.ATTEMPTING, S.ATTEMPTING, S.SENT, S.ATTEMPTING]
    assert served == [0, 0, 1, 0, 0, 0]
    ledger.close()
    assert other.step(sent(1, 2), [], wants_more=False).state is EditionState.SENDING
    assert states(inst, edition)[:2] == [S.SENT, S.SENT]
    other.close()


def shard(edition: Edition, *, number: int, fence: int) -> shards.Shard:
    first = 1 + 2 * number
    return shards.Shard(edition_id=edition.id, number=number, first_id=first, last_id=first + 1, fence=fence)


def test_a_sender_that_lost_a_shard_marks_nobody_in_the_others(inst: Installation, edition: Edition) -> None:
    ledger = Ledger(inst, edition)
    begin(ledger)
    found = ids(ledger.step([], [], wants_more=True))
    with writing(inst.engine) as conn:
        shards.release_shard(conn, shard(edition, number=0, fence=1), due_at=inst.clock())

    with pytest.raises(StateError):
        ledger.step([], found, wants_more=True)

    assert states(inst, edition)[2:] == [S.PENDING] * 4
    ledger.close()


def test_readers_who_were_declined_are_found_again_after_a_moment_and_not_before(
    inst: Installation, edition: Edition, clock: FakeClock
) -> None:
    ledger = Ledger(inst, edition)
    ledger.step([], [], wants_more=True)
    ledger.decline([1])
    assert not ledger.has_declined, "its shard is in our hands still"

    assert ids(ledger.step([], [2], wants_more=True)) == [3, 4]
    assert ids(ledger.step(sent(2), [3, 4], wants_more=True)) == [5, 6]
    assert ledger.has_declined
    assert ledger.step(sent(3, 4), [5, 6], wants_more=False).marked == {5, 6}
    assert ledger.step(sent(5, 6), [], wants_more=True).is_all_taken
    assert states(inst, edition) == [S.PENDING, *[S.SENT] * 5]
    assert find_next_due(inst, edition) == inst.clock() + timedelta(seconds=1)

    clock.move(seconds=1)
    assert ledger.has_declined
    assert ids(ledger.step([], [], wants_more=True)) == [1]
    ledger.step([], [1], wants_more=False)
    ledger.step(sent(1), [], wants_more=True)
    clock.move(seconds=5)
    assert not ledger.has_declined
    assert set(states(inst, edition)) == {S.SENT}
    ledger.close()


def test_who_was_not_begun_may_be_marked_again_and_whose_time_has_come_is_found_later(
    inst: Installation, edition: Edition, clock: FakeClock
) -> None:
    ledger = Ledger(inst, edition)
    begin(ledger)
    put_off = make_outcome(
        2, S.DEFERRED, reply="450 later", next_attempt_at=inst.clock() + timedelta(seconds=3)
    )
    assert ids(ledger.step([put_off], [], wants_more=False)) == []
    clock.move(seconds=3)

    again = ledger.step([make_outcome(1, S.PENDING)], [], wants_more=True)

    assert ids(again) == [3, 4]
    assert ledger.step([], [1], wants_more=False).marked == {1}
    later = ledger.step(sent(1), [], wants_more=False)
    assert [(row.subscriber_id, row.attempts) for row in later.found] == [(2, 1)]
    ledger.close()


@pytest.mark.parametrize(
    ("policy", "state", "after"),
    [
        (UncertainPolicy.RESEND, S.DEFERRED, timedelta(minutes=5)),
        (UncertainPolicy.RESEND, S.UNCERTAIN, timedelta(minutes=5)),
        (UncertainPolicy.HOLD, S.UNCERTAIN, None),
        (UncertainPolicy.HOLD, S.FAILED, None),
    ],
)
def test_a_shard_that_is_done_is_given_back_until_it_has_work_again(
    inst: Installation,
    monkeypatch: pytest.MonkeyPatch,
    clock: FakeClock,
    policy: UncertainPolicy,
    state: DeliveryState,
    after: timedelta | None,
) -> None:
    edition = open_small(inst, monkeypatch, readers=2, policy=policy)
    due_at = inst.clock() + after if after else None
    ledger = Ledger(inst, edition)
    begin(ledger)
    outcomes = [*sent(1), make_outcome(2, state, next_attempt_at=inst.clock() + timedelta(minutes=5))]

    assert ledger.step(outcomes, [], wants_more=True).is_all_taken

    assert find_next_due(inst, edition) == due_at
    clock.move(minutes=5)
    assert ids(ledger.step([], [], wants_more=True)) == ([2] if after else [])
    ledger.close()


def test_what_is_deferred_is_given_up_when_the_edition_is_too_old(
    inst: Installation, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    edition = open_small(inst, monkeypatch, readers=2)
    ledger = Ledger(inst, edition)
    begin(ledger)
    lifetime = timedelta(hours=inst.settings.delivery.lifetime_h)
    put_off = [make_outcome(n, S.DEFERRED, next_attempt_at=inst.clock() + lifetime) for n in (1, 2)]
    ledger.step(put_off, [], wants_more=False)

    clock.move(seconds=lifetime.total_seconds() + 1)

    assert ledger.step([], [], wants_more=True).is_all_taken
    assert states(inst, edition) == [S.FAILED, S.FAILED]
    assert find_next_due(inst, edition) is None
    ledger.close()


def test_whoever_closes_gives_everything_back_and_another_goes_on(
    inst: Installation, edition: Edition
) -> None:
    ledger = Ledger(inst, edition)
    begin(ledger)
    ledger.step(sent(1, 2), [], wants_more=True)
    ledger.step([], [3], wants_more=True)
    ledger.step(sent(3), [], wants_more=False)

    ledger.close()

    with reading(inst.engine) as conn:
        assert not shards.is_any_leased(conn, edition.id, now=inst.clock())
    other = Ledger(inst, edition)
    assert send_all(other, window=3) == [4, 5, 6]
    other.close()


@pytest.mark.parametrize("policy", UncertainPolicy)
def test_a_reader_who_is_marked_when_its_sender_closes_is_not_forgotten(
    inst: Installation, monkeypatch: pytest.MonkeyPatch, policy: UncertainPolicy
) -> None:
    edition = open_small(inst, monkeypatch, readers=2, policy=policy)
    ledger = Ledger(inst, edition)
    begin(ledger)
    ledger.step(sent(1), [], wants_more=False)

    ledger.close()

    assert find_next_due(inst, edition) == inst.clock()
    other = Ledger(inst, edition)
    found = ids(other.step([], [], wants_more=True))
    resends = policy is UncertainPolicy.RESEND
    assert found == ([2] if resends else [])
    assert states(inst, edition) == [S.SENT, S.PENDING if resends else S.UNCERTAIN]
    other.close()
    assert find_next_due(inst, edition) == (inst.clock() if resends else None)


def test_a_lease_is_kept_for_as_long_as_steps_are_made(
    inst: Installation, edition: Edition, clock: FakeClock
) -> None:
    ledger, other = Ledger(inst, edition), Ledger(inst, edition)
    begin(ledger)
    begin(ledger)
    begin(ledger)

    for _ in range(10):
        clock.move(seconds=4)
        ledger.step([], [], wants_more=False)
        assert other.step([], [], wants_more=True).is_all_taken

    clock.move(seconds=LEASE_S)
    assert len(ids(other.step([], [], wants_more=True))) == 2
    ledger.close()
    other.close()


def test_a_clock_that_was_set_back_does_not_keep_a_lease_from_being_renewed(
    inst: Installation, edition: Edition, clock: FakeClock
) -> None:
    ledger, other = Ledger(inst, edition), Ledger(inst, edition)
    clock.move(hours=2)
    for _ in range(3):
        begin(ledger)
    clock.move(hours=-1)
    ledger.step([], [], wants_more=False)

    clock.move(seconds=LEASE_S - 1)
    assert other.step([], [], wants_more=True).is_all_taken
    clock.move(seconds=1)
    assert not other.step([], [], wants_more=True).is_all_taken, "the lease is of the new time"
    ledger.close()
    other.close()


def test_two_senders_share_an_edition_and_nobody_is_attempted_by_both(
    inst: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    edition = open_small(inst, monkeypatch, readers=9)
    both = [Ledger(inst, edition), Ledger(inst, edition)]
    done: list[list[int]] = [[], []]
    waiting: list[list[int]] = [[], []]
    outcomes: list[list[DeliveryOutcome]] = [[], []]

    for turn in range(40):
        n = turn % 2
        picked, waiting[n] = waiting[n][:1], waiting[n][1:]
        step = both[n].step(outcomes[n], picked, wants_more=not waiting[n])
        waiting[n] += ids(step)
        outcomes[n] = sent(*step.marked)
        done[n] += step.marked

    assert sorted(done[0] + done[1]) == list(range(1, 10))
    assert min(len(done[0]), len(done[1])) >= 4
    assert set(states(inst, edition)) == {S.SENT}
    assert find_next_due(inst, edition) is None
    for ledger in both:
        ledger.close()


@pytest.mark.parametrize("state", [EditionState.PAUSED, EditionState.HELD, EditionState.CANCELLED])
def test_nobody_is_marked_once_the_operator_has_stopped_the_edition_and_what_is_known_is_recorded(
    inst: Installation, edition: Edition, state: EditionState
) -> None:
    ledger = Ledger(inst, edition)
    begin(ledger)
    found = ids(ledger.step([], [], wants_more=True))
    change_state(inst, edition, state)

    step = ledger.step(sent(1), found, wants_more=True)

    assert (step.state, step.marked, ids(step), step.is_all_taken) == (state, frozenset(), [], False)
    assert states(inst, edition) == [S.SENT, S.ATTEMPTING, *[S.PENDING] * 4]
    ledger.step(sent(2), [], wants_more=True)
    ledger.close()
    if state is not EditionState.CANCELLED:
        change_state(inst, edition, EditionState.SENDING)
        again = Ledger(inst, edition)
        assert send_all(again) == [3, 4, 5, 6], "exactly those who are left"
        again.close()


def test_a_sender_whose_edition_stands_still_from_the_beginning_takes_nothing(
    inst: Installation, edition: Edition
) -> None:
    change_state(inst, edition, EditionState.PAUSED)
    ledger = Ledger(inst, edition)

    step = ledger.step([], [], wants_more=True)

    assert (step.state, ids(step)) == (EditionState.PAUSED, [])
    with reading(inst.engine) as conn:
        assert not shards.is_any_leased(conn, edition.id, now=inst.clock())
    ledger.close()


def test_many_shards_in_which_nobody_is_ready_are_not_all_looked_at_in_one_step(
    inst: Installation, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "_MOST_LOOKS", 2)
    finish(inst, edition, range(1, 6))
    ledger = Ledger(inst, edition)

    first = ledger.step([], [], wants_more=True)
    assert (ids(first), first.is_all_taken) == ([], False)
    assert ids(ledger.step([], [], wants_more=True)) == [6]

    assert find_next_due(inst, edition) == inst.clock(), "the one that we have"
    ledger.step([], [6], wants_more=False)
    assert ledger.step(sent(6), [], wants_more=True).is_all_taken
    assert find_next_due(inst, edition) is None
    ledger.close()


def finish(inst: Installation, edition: Edition, readers: Iterable[int]) -> None:
    """Nothing is left to be done for these readers, whoever did it."""
    with writing(inst.engine) as conn:
        deliveries.mark(conn, edition.id, list(readers), fence=0, now=inst.clock())
        deliveries.record_outcomes(conn, edition.id, sent(*readers), fence=0, cutoff=edition.cutoff)
