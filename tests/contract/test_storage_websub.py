from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from syndicate.model import SourceState
from syndicate.storage import sources
from syndicate.storage.engine import reading, writing
from syndicate.storage.websub import (
    HubState,
    HubSubscription,
    drop_subscription,
    find_subscription,
    has_due_requests,
    hold_subscription,
    list_due_requests,
    list_pushed_source_ids,
    put_subscription,
)
from tests.builders import add_source

HOUR = timedelta(hours=1)


def subscribe(connection: Connection, now: datetime, name: str = "one", **changes: Any) -> HubSubscription:
    """A subscription to a source of this name, whose hub is to be asked now."""
    location = f"https://example.org/{name}"
    source = sources.find_source(connection, location) or add_source(connection, now, location=location)
    values: dict[str, Any] = {
        "source_id": source.id,
        "hub_url": "https://hub.example.org/",
        "topic_url": location,
        "nonce": f"{source.id:032x}",
        "state": HubState.PENDING,
        "renew_at": now,
    }
    subscription = HubSubscription(**values | changes)
    put_subscription(connection, subscription)
    return subscription


def due_ids(connection: Connection, at: datetime, limit: int = 10) -> list[int]:
    due = list_due_requests(connection, at, limit=limit)
    assert has_due_requests(connection, at) is bool(due)
    return [each.subscription.source_id for each in due]


def test_a_subscription_is_found_as_it_was_put_and_a_second_one_takes_its_place(
    connection: Connection, now: datetime
) -> None:
    first = subscribe(connection, now)
    assert find_subscription(connection, first.source_id) == first

    second = replace(
        first,
        hub_url="http://other.example.org/",
        topic_url="https://example.org/other",
        nonce="e" * 32,
        state=HubState.ACTIVE,
        requested_at=now,
        lease_expires_at=now + HOUR,
        renew_at=None,
        failures=3,
        last_error="https://hub.example.org/: answered 500",
        delivered_at=now - HOUR,
    )
    put_subscription(connection, second)

    assert find_subscription(connection, first.source_id) == second


def test_a_source_without_a_subscription_has_none(connection: Connection, now: datetime) -> None:
    subscription = subscribe(connection, now)

    drop_subscription(connection, subscription.source_id)
    drop_subscription(connection, subscription.source_id)

    assert find_subscription(connection, subscription.source_id) is None
    assert not has_due_requests(connection, now)


def test_a_subscription_goes_with_its_source(connection: Connection, now: datetime) -> None:
    subscription, other = subscribe(connection, now), subscribe(connection, now, "other")

    sources.remove_source(connection, subscription.source_id)

    assert find_subscription(connection, subscription.source_id) is None
    assert find_subscription(connection, other.source_id) == other


def test_a_subscription_is_held_with_its_source_and_only_by_its_own_nonce(
    connection: Connection, now: datetime
) -> None:
    subscription = subscribe(connection, now)
    source = sources.get_source(connection, subscription.source_id)

    assert hold_subscription(connection, source.id, subscription.nonce) == (source, subscription)
    assert hold_subscription(connection, source.id, "e" * 32) is None
    assert hold_subscription(connection, 999, subscription.nonce) is None
    drop_subscription(connection, source.id)
    assert hold_subscription(connection, source.id, subscription.nonce) is None


def test_hubs_are_due_longest_overdue_first_up_to_the_limit(connection: Connection, now: datetime) -> None:
    late = subscribe(connection, now, "late", renew_at=now - HOUR)
    later = subscribe(connection, now, "later", renew_at=now - 2 * HOUR, state=HubState.ENDED)
    to_come = subscribe(connection, now, "to-come", renew_at=now + HOUR, state=HubState.ACTIVE)
    subscribe(connection, now, "never", renew_at=None, state=HubState.DENIED)

    assert due_ids(connection, now) == [later.source_id, late.source_id]
    assert due_ids(connection, now, limit=1) == [later.source_id]
    assert due_ids(connection, now - 3 * HOUR) == []
    assert due_ids(connection, now + HOUR) == [later.source_id, late.source_id, to_come.source_id]


@pytest.mark.parametrize("state", [SourceState.PAUSED, SourceState.GONE])
def test_the_hub_of_a_source_that_is_collected_no_more_is_due_until_the_subscription_has_ended(
    connection: Connection, now: datetime, state: SourceState
) -> None:
    subscription = subscribe(connection, now, state=HubState.ACTIVE, renew_at=now + HOUR)
    subscribe(connection, now, "other", state=HubState.ACTIVE, renew_at=now + HOUR)
    sources.set_source_state(connection, subscription.source_id, state)

    [due] = list_due_requests(connection, now, limit=10)
    assert (due.subscription, due.is_wanted, due.is_intranet) == (subscription, False, False)

    put_subscription(connection, replace(subscription.ended(now), renew_at=now + HOUR))
    assert due_ids(connection, now) == []
    assert due_ids(connection, now + HOUR)[:1] == [subscription.source_id]


def test_a_due_request_says_what_is_known_of_its_source(connection: Connection, now: datetime) -> None:
    location = "https://example.org/inside"
    inside = add_source(connection, now, location=location, is_intranet=True)
    subscription = subscribe(connection, now, "inside")

    [due] = list_due_requests(connection, now, limit=10)

    assert subscription.source_id == inside.id
    assert (due.subscription, due.is_wanted, due.is_intranet) == (subscription, True, True)


def test_an_ended_subscription_is_told_to_its_hub_at_once_and_not_relied_on(
    connection: Connection, now: datetime
) -> None:
    standing = subscribe(
        connection, now, state=HubState.ACTIVE, renew_at=now + HOUR, failures=4, delivered_at=now
    )

    ended = standing.ended(now)

    assert (standing.is_standing, ended.is_standing) == (True, False)
    assert ended == replace(standing, state=HubState.ENDED, renew_at=now, failures=0, delivered_at=None)


def test_a_source_is_pushed_while_its_hub_holds_a_lease_and_has_pushed_before(
    connection: Connection, now: datetime
) -> None:
    usual: dict[str, Any] = {
        "state": HubState.ACTIVE,
        "lease_expires_at": now + HOUR,
        "delivered_at": now - 9 * HOUR,
    }
    pushed = subscribe(connection, now, "pushed", **usual)
    others = [
        subscribe(connection, now, "silent", **usual | {"delivered_at": None}),
        subscribe(connection, now, "expired", **usual | {"lease_expires_at": now}),
        *(
            subscribe(connection, now, state, **usual | {"state": state})
            for state in (HubState.PENDING, HubState.DENIED, HubState.ENDED)
        ),
    ]
    everything = [pushed.source_id, *(each.source_id for each in others)]

    assert list_pushed_source_ids(connection, everything, now=now) == {pushed.source_id}
    assert list_pushed_source_ids(connection, everything[1:], now=now) == frozenset()
    assert list_pushed_source_ids(connection, everything, now=now + HOUR) == frozenset()


def test_two_processes_never_ask_one_hub_about_the_same_source_at_once(engine: Engine, now: datetime) -> None:
    with writing(engine) as connection:
        subscription = subscribe(connection, now)
    asked: list[int] = []
    has_looked, may_commit = threading.Event(), threading.Event()

    def ask() -> None:
        with writing(engine) as connection:
            for due in list_due_requests(connection, now, limit=10):
                asked.append(due.subscription.source_id)
                put_subscription(connection, replace(due.subscription, renew_at=now + HOUR))
            has_looked.set()
            may_commit.wait(30)

    first = threading.Thread(target=ask)
    first.start()
    assert has_looked.wait(30)
    # SQLite lets the second wait for the first; PostgreSQL lets it pass over what the first one holds.
    second = threading.Thread(target=ask)
    second.start()
    may_commit.set()
    first.join()
    second.join()

    assert asked == [subscription.source_id]
    with reading(engine) as connection:
        assert not has_due_requests(connection, now)
