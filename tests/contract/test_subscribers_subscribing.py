from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from subscribers import store, subscribing, suppression, tables
from subscribers.addresses import parse_address
from subscribers.audience import select_active
from subscribers.errors import UnknownSubscriber, VoidLink
from subscribers.model import Cadence, ConsentMethod, Subscription, SubscriptionStatus, SuppressionReason
from subscribers.preferences import Preferences
from subscribers.subscribing import SubscribeResult
from syndicate.storage.engine import reading, writing

S, R = SubscriptionStatus, SuppressionReason
KEY = "reader@example.com"
SECRET = b"a secret of at least 16 bytes"
MINUTE = timedelta(minutes=1)
DAILY = Preferences(cadence=Cadence.DAILY, topics=("coast",))
WEEKLY = Preferences(cadence=Cadence.WEEKLY, topics=())


def subscribe(connection: Connection, now: datetime, **changes: Any) -> SubscribeResult:
    values: dict[str, Any] = {
        "newsletter_id": 1,
        "address": parse_address(KEY),
        "name": "Reader",
        "preferences": DAILY,
        "watermark": 5,
        "proof": "2001:db8::1",
        "text": "the form",
        "confirmed_opt_in": True,
        "secret": SECRET,
    }
    return subscribing.subscribe(connection, now=now, **values | changes)


def pending(connection: Connection, now: datetime, **changes: Any) -> Subscription:
    its = subscribe(connection, now, **changes).subscription
    assert its is not None
    return its


def confirm(
    connection: Connection, its: Subscription, issued_at: datetime, watermark: int = 9
) -> Subscription:
    return subscribing.confirm(
        connection,
        its.id,
        issued_at=issued_at,
        watermark=watermark,
        now=issued_at + MINUTE,
        text="yes",
        proof="2001:db8::2",
        secret=SECRET,
    )


def unsubscribe(connection: Connection, its: Subscription, now: datetime) -> Subscription:
    return subscribing.unsubscribe(
        connection, its.id, method=ConsentMethod.ONE_CLICK, now=now, proof="2001:db8::3"
    )


def record(connection: Connection, its: Subscription) -> list[tuple[str, str]]:
    return [(c.action, c.method.value) for c in store.list_consent(connection, its.subscriber_id)]


def is_served(connection: Connection, its: Subscription) -> bool:
    rows = connection.execute(select_active(its.newsletter_id, None))
    return its.id in [row.subscription_id for row in rows]


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(tables.subscriber)).scalar_one()


def test_a_reader_asks_confirms_and_is_served_from_then_on(connection: Connection, now: datetime) -> None:
    result = subscribe(connection, now)
    assert result.subscription is not None
    assert (result.letter, result.subscription.status) == (True, S.PENDING)
    assert (result.subscription.cadence, result.subscription.topics) == (Cadence.DAILY, ("coast",))
    assert not is_served(connection, result.subscription)
    active = confirm(connection, result.subscription, now)
    assert (active.status, active.watermark, active.confirmed_at) == (S.ACTIVE, 9, now + MINUTE)
    assert is_served(connection, active)
    assert record(connection, active) == [("requested", "form"), ("granted", "confirmed")]
    (asked, agreed) = store.list_consent(connection, active.subscriber_id)
    assert (asked.text, asked.proof, asked.at) == ("the form", "2001:db8::1", now)
    assert (agreed.text, agreed.proof, agreed.at) == ("yes", "2001:db8::2", now + MINUTE)


def test_confirming_again_changes_nothing(connection: Connection, now: datetime) -> None:
    active = confirm(connection, pending(connection, now), now)
    assert confirm(connection, active, now, watermark=50) == active
    assert len(record(connection, active)) == 2


def test_where_no_confirmation_is_asked_for_a_new_reader_is_active(
    connection: Connection, now: datetime
) -> None:
    result = subscribe(connection, now, confirmed_opt_in=False)
    assert result.subscription is not None
    assert (result.letter, result.subscription.status) == (False, S.ACTIVE)
    assert (result.subscription.watermark, result.subscription.confirmed_at) == (5, now)
    assert record(connection, result.subscription) == [("granted", "form")]


def test_an_active_reader_who_is_subscribed_by_a_stranger_notices_nothing(
    connection: Connection, now: datetime
) -> None:
    active = confirm(connection, pending(connection, now), now)
    again = subscribe(connection, now + MINUTE, name="Stranger", preferences=WEEKLY, watermark=99)
    assert (again.letter, again.subscription) == (False, active)
    assert len(record(connection, active)) == 2
    assert store.get_reader(connection, active.id).subscriber.name == "Reader"


def test_who_asks_again_before_confirming_gets_the_latest_wishes(
    connection: Connection, now: datetime
) -> None:
    first = pending(connection, now)
    again = subscribe(connection, now + MINUTE, preferences=WEEKLY)
    assert again.letter
    assert again.subscription is not None
    assert (again.subscription.id, again.subscription.status) == (first.id, S.PENDING)
    assert (again.subscription.cadence, again.subscription.topics) == (Cadence.WEEKLY, ())


@pytest.mark.parametrize("confirmed_opt_in", [True, False])
def test_who_left_comes_back_only_by_a_new_confirmation(
    connection: Connection, now: datetime, *, confirmed_opt_in: bool
) -> None:
    left = unsubscribe(connection, confirm(connection, pending(connection, now), now), now + 2 * MINUTE)
    assert left.status is S.UNSUBSCRIBED
    with pytest.raises(VoidLink):
        confirm(connection, left, now)
    for minutes in (3, 4):
        back = subscribe(connection, now + minutes * MINUTE, confirmed_opt_in=confirmed_opt_in)
        assert back.letter
        assert back.subscription is not None
        assert back.subscription.status is S.PENDING
    with pytest.raises(VoidLink):
        confirm(connection, left, now)
    active = confirm(connection, left, now + 4 * MINUTE, watermark=20)
    assert (active.status, active.watermark) == (S.ACTIVE, 20)
    assert active.confirmed_at == now + MINUTE
    assert record(connection, active) == [
        ("requested", "form"),
        ("granted", "confirmed"),
        ("withdrawn", "one-click"),
        ("requested", "form"),
        ("requested", "form"),
        ("granted", "confirmed"),
    ]


def test_unsubscribing_twice_is_recorded_once(connection: Connection, now: datetime) -> None:
    its = pending(connection, now)
    assert unsubscribe(connection, its, now) == unsubscribe(connection, its, now + MINUTE)
    assert record(connection, its) == [("requested", "form"), ("withdrawn", "one-click")]


def test_leaving_everything_ends_every_subscription_until_a_new_confirmation(
    connection: Connection, now: datetime
) -> None:
    one = confirm(connection, pending(connection, now), now)
    two = confirm(connection, pending(connection, now, newsletter_id=2), now)
    waits = pending(connection, now, newsletter_id=3)
    for _ in range(2):
        subscribing.unsubscribe_all(
            connection, one.id, method=ConsentMethod.UNSUBSCRIBE_PAGE, now=now + MINUTE, proof="x"
        )
    statuses = [s.status for s in store.list_subscriptions(connection, one.subscriber_id)]
    assert statuses == [S.UNSUBSCRIBED] * 3
    found = suppression.find(connection, KEY, secret=SECRET)
    assert found is not None
    assert found.reason is R.UNSUBSCRIBE_ALL
    with pytest.raises(VoidLink):
        confirm(connection, waits, now)
    # Another newsletter, for which there was no subscription, has to be confirmed as well.
    other = subscribe(connection, now + 2 * MINUTE, newsletter_id=4, confirmed_opt_in=False)
    assert other.letter
    assert other.subscription is not None
    assert other.subscription.status is S.PENDING
    confirm(connection, other.subscription, now + 2 * MINUTE)
    assert not suppression.is_suppressed(connection, KEY, secret=SECRET)
    assert is_served(connection, other.subscription)
    assert not is_served(connection, one)
    assert not is_served(connection, two)


def test_a_new_confirmation_lifts_a_hard_bounce(connection: Connection, now: datetime) -> None:
    active = confirm(connection, pending(connection, now), now)
    suppression.suppress(connection, KEY, reason=R.HARD_BOUNCE, now=now + MINUTE, evidence="550 5.1.1")
    assert not is_served(connection, active)
    with pytest.raises(VoidLink):
        confirm(connection, active, now)
    again = subscribe(connection, now + 2 * MINUTE, preferences=WEEKLY)
    assert (again.letter, again.subscription) == (True, active)
    confirm(connection, active, now + 2 * MINUTE)
    assert is_served(connection, active)


@pytest.mark.parametrize("reason", [R.COMPLAINT, R.MANUAL])
def test_who_complained_is_not_asked_again_and_no_link_helps(
    connection: Connection, now: datetime, reason: SuppressionReason
) -> None:
    its = pending(connection, now)
    suppression.suppress(connection, KEY, reason=reason, now=now, evidence="")
    again = subscribe(connection, now + MINUTE, newsletter_id=2)
    assert (again.letter, again.subscription) == (False, None)
    with pytest.raises(VoidLink) as caught:
        confirm(connection, its, now + MINUTE)
    assert reason not in str(caught.value)
    assert reason in caught.value.reason
    assert suppression.is_suppressed(connection, KEY, secret=SECRET)
    assert not is_served(connection, its)


def test_a_reader_added_by_hand_is_active_on_the_operator_s_statement(
    connection: Connection, now: datetime
) -> None:
    def enrol(email: str = KEY) -> SubscribeResult:
        return subscribing.enrol(
            connection,
            newsletter_id=1,
            address=parse_address(email),
            name="Reader",
            language="de",
            time_zone="Europe/Berlin",
            preferences=DAILY,
            watermark=5,
            now=now,
            statement="asked at the fair",
            secret=SECRET,
        )

    result = enrol()
    assert result.subscription is not None
    assert (result.subscription.status, result.letter, result.reason) == (S.ACTIVE, False, "added")
    (line,) = store.list_consent(connection, result.subscription.subscriber_id)
    assert (line.action, line.method, line.text) == ("granted", ConsentMethod.OPERATOR, "asked at the fair")
    assert enrol().reason == "already subscribed"
    unsubscribe(connection, result.subscription, now)
    left = enrol()
    assert left.reason == "unsubscribed, left alone"
    assert left.subscription is not None
    assert left.subscription.status is S.UNSUBSCRIBED
    suppression.suppress(connection, "no@example.com", reason=R.HARD_BOUNCE, now=now, evidence="")
    refused = enrol("no@example.com")
    assert (refused.subscription, refused.reason) == (None, "suppressed: hard-bounce")
    assert store.find_by_email(connection, "no@example.com") is None


def test_changed_preferences_are_stored_and_recorded_with_what_changed(
    connection: Connection, now: datetime
) -> None:
    active = confirm(connection, pending(connection, now), now)

    def change(preferences: Preferences, name: str) -> Subscription:
        return subscribing.change_preferences(
            connection, active.id, preferences=preferences, name=name, now=now, proof="2001:db8::4"
        )

    assert change(DAILY, "Reader") == active
    assert len(record(connection, active)) == 2
    changed = change(WEEKLY, "")
    assert (changed.cadence, changed.topics, changed.status) == (Cadence.WEEKLY, (), S.ACTIVE)
    assert changed.watermark == active.watermark
    assert store.get_reader(connection, active.id).subscriber.name == ""
    line = store.list_consent(connection, active.subscriber_id)[-1]
    assert (line.action, line.method) == ("changed", ConsentMethod.PREFERENCES)
    assert line.text == "cadence: daily -> weekly; topics: coast -> every topic; name: Reader -> (none)"


def test_changing_preferences_brings_nobody_back(connection: Connection, now: datetime) -> None:
    left = unsubscribe(connection, pending(connection, now), now)
    changed = subscribing.change_preferences(
        connection, left.id, preferences=WEEKLY, name="Reader", now=now, proof=""
    )
    assert changed.status is S.UNSUBSCRIBED


def test_an_erased_reader_is_gone_and_cannot_be_brought_back(connection: Connection, now: datetime) -> None:
    its = pending(connection, now)
    assert subscribing.erase(connection, KEY, now=now, secret=SECRET)
    assert not subscribing.erase(connection, KEY, now=now, secret=SECRET)
    assert count(connection) == 0
    for attempt in (
        lambda: confirm(connection, its, now),
        lambda: unsubscribe(connection, its, now),
        lambda: subscribing.unsubscribe_all(
            connection, its.id, method=ConsentMethod.ONE_CLICK, now=now, proof=""
        ),
    ):
        with pytest.raises(UnknownSubscriber):
            attempt()
    again = subscribe(connection, now + MINUTE, confirmed_opt_in=False)
    assert (again.subscription, again.letter) == (None, False)
    assert count(connection) == 0


def together(engine: Engine, *jobs: Callable[[Connection], Any]) -> list[Any]:
    """Runs each job in a transaction of its own, all begun at once."""
    barrier = Barrier(len(jobs))

    def run(job: Callable[[Connection], Any]) -> Any:
        barrier.wait(timeout=30)
        with writing(engine) as connection:
            return job(connection)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def test_one_address_that_is_entered_many_times_at_once_is_one_subscription(
    engine: Engine, now: datetime
) -> None:
    results = together(engine, *[lambda c: subscribe(c, now) for _ in range(6)])
    assert len({result.subscription.id for result in results}) == 1
    with reading(engine) as connection:
        assert count(connection) == 1


def overtaken(
    engine: Engine, first: Callable[[Connection], Any], second: Callable[[Connection], Any]
) -> Future[Any]:
    """What became of a transaction that began while another one was not committed yet."""

    def run() -> Any:
        with writing(engine) as connection:
            return second(connection)

    with ThreadPoolExecutor(1) as pool, writing(engine) as connection:
        first(connection)
        late = pool.submit(run)
        if engine.dialect.name == "postgresql":
            # Committing any sooner would let the second one begin afterwards, which proves nothing.
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not connection.execute(waiting).scalar_one() and not late.done():
                pass
        connection.commit()
        late.exception(timeout=60)
    return late


def test_a_confirmation_that_waited_for_a_farewell_is_void(engine: Engine, now: datetime) -> None:
    with writing(engine) as connection:
        its = pending(connection, now)
    late = overtaken(engine, lambda c: unsubscribe(c, its, now + MINUTE), lambda c: confirm(c, its, now))
    assert isinstance(late.exception(), VoidLink)
    with reading(engine) as connection:
        assert store.get_subscription(connection, its.id).status is S.UNSUBSCRIBED


def test_two_farewells_at_once_are_recorded_once(engine: Engine, now: datetime) -> None:
    with writing(engine) as connection:
        its = pending(connection, now)
    late = overtaken(engine, *[lambda c: unsubscribe(c, its, now)] * 2)
    assert late.result().status is S.UNSUBSCRIBED
    with reading(engine) as connection:
        assert record(connection, its) == [("requested", "form"), ("withdrawn", "one-click")]
