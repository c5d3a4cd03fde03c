"""What readers and operators do to a subscription: load, decide, record, each in the caller's transaction.

Sends nothing: where a confirmation letter is due the result says so. Decides nothing: ``consent`` does. What
these functions return is for us; a stranger gets the same answer whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from subscribers import store, suppression
from subscribers.addresses import Address
from subscribers.consent import (
    LIFTABLE,
    Decision,
    decide_confirm,
    decide_enrol,
    decide_subscribe,
    decide_unsubscribe,
)
from subscribers.errors import VoidLink
from subscribers.model import (
    ConsentMethod,
    Subscriber,
    Subscription,
    SubscriptionStatus,
    SuppressionReason,
)
from subscribers.preferences import Preferences

__all__ = [
    "SubscribeResult",
    "change_preferences",
    "confirm",
    "end_subscriptions",
    "enrol",
    "erase",
    "subscribe",
    "unsubscribe",
    "unsubscribe_all",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeResult:
    """What came of a wish to subscribe somebody."""

    subscription: Subscription | None  #: None: there is none, and there will be none
    letter: bool  #: whether a confirmation letter to this subscription is due
    reason: str  #: for the operator's record


def subscribe(
    conn: Connection,
    *,
    newsletter_id: int,
    address: Address,
    name: str,
    preferences: Preferences,
    watermark: int,
    now: datetime,
    proof: str,
    text: str,
    confirmed_opt_in: bool,
    secret: bytes,
) -> SubscribeResult:
    """Records that somebody asked, on the form, for a newsletter to be sent to an address.

    ``text`` is what the form said, ``proof`` the network address that it came from. Preferences are those of
    the latest form as long as nothing is confirmed; a stranger changes nothing of an active reader, and
    nobody's name.
    """
    suppressed = suppression.find(conn, address.key, secret=secret)
    if suppressed is not None and suppressed.reason not in LIFTABLE:
        # Before any row is made: an erased person is not to come back as one that waits.
        refused = decide_subscribe(None, suppressed, confirmed_opt_in=confirmed_opt_in)
        return SubscribeResult(subscription=None, letter=False, reason=refused.reason)
    person = store.create_or_get_subscriber(conn, address, name=name, language="", time_zone="", now=now)
    current = store.find_subscription(conn, person.id, newsletter_id)
    decision = decide_subscribe(current, suppressed, confirmed_opt_in=confirmed_opt_in)
    result = _carry_out(
        conn,
        decision,
        person=person,
        newsletter_id=newsletter_id,
        current=current,
        preferences=preferences,
        watermark=watermark,
        now=now,
    )
    _record(conn, decision, result, method=ConsentMethod.FORM, now=now, text=text, proof=proof)
    return SubscribeResult(subscription=result, letter=decision.letter, reason=decision.reason)


def enrol(
    conn: Connection,
    *,
    newsletter_id: int,
    address: Address,
    name: str,
    language: str,
    time_zone: str,
    preferences: Preferences,
    watermark: int,
    now: datetime,
    statement: str,
    secret: bytes,
) -> SubscribeResult:
    """Adds a reader by hand, on the operator's statement that consent was given elsewhere.

    Who has left, waits for a confirmation or is suppressed stays so; ``reason`` says which it is.
    """
    suppressed = suppression.find(conn, address.key, secret=secret)
    if suppressed is not None:
        refused = decide_enrol(None, suppressed)
        return SubscribeResult(subscription=None, letter=False, reason=refused.reason)
    person = store.create_or_get_subscriber(
        conn, address, name=name, language=language, time_zone=time_zone, now=now
    )
    current = store.find_subscription(conn, person.id, newsletter_id)
    decision = decide_enrol(current, suppressed)
    # Where there is a subscription already, the decision changes nothing.
    result = current or store.add_subscription(
        conn,
        subscriber_id=person.id,
        newsletter_id=newsletter_id,
        status=SubscriptionStatus.ACTIVE,
        cadence=preferences.cadence,
        topics=preferences.topics,
        watermark=watermark,
        now=now,
    )
    _record(conn, decision, result, method=ConsentMethod.OPERATOR, now=now, text=statement, proof="by hand")
    return SubscribeResult(subscription=result, letter=False, reason=decision.reason)


def confirm(
    conn: Connection,
    subscription_id: int,
    *,
    issued_at: datetime,
    watermark: int,
    now: datetime,
    text: str,
    proof: str,
    secret: bytes,
) -> Subscription:
    """Makes a subscription active because its owner posted the confirmation; again, the same.

    ``issued_at`` is that of the link. The reader is served from ``watermark`` on. Raises VoidLink if
    something that happened since the link was issued stands against it, UnknownSubscriber if it is gone.
    """
    reader = store.get_reader(conn, subscription_id, lock=True)
    person, current = reader.subscriber, reader.subscription
    decision = decide_confirm(
        current,
        suppression.find(conn, person.email_key, secret=secret),
        issued_at=issued_at,
        withdrawn_at=store.find_withdrawn_at(conn, person.id, current.newsletter_id),
    )
    if decision.void:
        raise VoidLink(decision.reason)
    if decision.lifts:
        # Only these: a complaint that came in a moment ago stands.
        suppression.lift(conn, person.email_key, secret=secret, reasons=LIFTABLE)
    if decision.status is not None:
        store.activate(conn, current.id, watermark=watermark, now=now)
    _record(conn, decision, current, method=ConsentMethod.CONFIRMED, now=now, text=text, proof=proof)
    return store.get_subscription(conn, current.id)


def unsubscribe(
    conn: Connection, subscription_id: int, *, method: ConsentMethod, now: datetime, proof: str
) -> Subscription:
    """Ends a subscription; again, the same. Raises UnknownSubscriber if there is none."""
    current = store.get_reader(conn, subscription_id, lock=True).subscription
    decision = decide_unsubscribe(current)
    if decision.status is not None:
        store.set_status(conn, current.id, decision.status)
    _record(conn, decision, current, method=method, now=now, text="this newsletter", proof=proof)
    return store.get_subscription(conn, current.id)


def unsubscribe_all(
    conn: Connection, subscription_id: int, *, method: ConsentMethod, now: datetime, proof: str
) -> None:
    """Ends every subscription of the owner of this one, and suppresses the address.

    Raises UnknownSubscriber if there is none by this number.
    """
    person = store.get_reader(conn, subscription_id, lock=True).subscriber
    for current in store.list_subscriptions(conn, person.id):
        store.set_status(conn, current.id, SubscriptionStatus.UNSUBSCRIBED)
    store.record_consent(
        conn,
        subscriber_id=person.id,
        newsletter_id=None,
        action="withdrawn",
        method=method,
        now=now,
        text="every newsletter",
        proof=proof,
    )
    suppression.suppress(
        conn, person.email_key, reason=SuppressionReason.UNSUBSCRIBE_ALL, now=now, evidence=method
    )


def end_subscriptions(conn: Connection, newsletter_id: int, *, now: datetime, text: str) -> int:
    """Ends every subscription of a newsletter that is no more; returns how many. ``text`` is recorded."""
    count = 0
    for status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED, SubscriptionStatus.PENDING):
        while page := store.list_subscribers(conn, newsletter_id, status=status, limit=500):
            for reader in page:
                store.set_status(conn, reader.subscription.id, SubscriptionStatus.UNSUBSCRIBED)
                store.record_consent(
                    conn,
                    subscriber_id=reader.subscriber.id,
                    newsletter_id=newsletter_id,
                    action="withdrawn",
                    method=ConsentMethod.OPERATOR,
                    now=now,
                    text=text,
                    proof="by hand",
                )
            count += len(page)
    return count


def change_preferences(
    conn: Connection,
    subscription_id: int,
    *,
    preferences: Preferences,
    name: str,
    now: datetime,
    proof: str,
) -> Subscription:
    """Stores what the owner of a subscription chose on the preferences page; the status stays.

    Nothing is recorded if nothing changed. Raises UnknownSubscriber if there is none.
    """
    reader = store.get_reader(conn, subscription_id, lock=True)
    person, current = reader.subscriber, reader.subscription
    changes = [
        f"{what}: {before or everything} -> {after or everything}"
        for what, before, after, everything in (
            ("cadence", current.cadence, preferences.cadence, ""),
            ("topics", ", ".join(current.topics), ", ".join(preferences.topics), "every topic"),
            ("name", person.name, name, "(none)"),
        )
        if before != after
    ]
    if not changes:
        return current
    store.set_details(conn, person.id, name=name, language=person.language, time_zone=person.time_zone)
    store.set_preferences(conn, current.id, cadence=preferences.cadence, topics=preferences.topics)
    store.record_consent(
        conn,
        subscriber_id=person.id,
        newsletter_id=current.newsletter_id,
        action="changed",
        method=ConsentMethod.PREFERENCES,
        now=now,
        text="; ".join(changes),
        proof=proof,
    )
    return store.get_subscription(conn, current.id)


def erase(conn: Connection, email_key: str, *, now: datetime, secret: bytes) -> bool:
    """Deletes a person with subscriptions and consent record; True if there was one.

    What stays is a keyed hash by which the address is refused if somebody brings it back.
    """
    existed = store.delete_subscriber(conn, email_key)
    suppression.suppress_erased(conn, email_key, now=now, secret=secret)
    return existed


def _carry_out(
    conn: Connection,
    decision: Decision,
    *,
    person: Subscriber,
    newsletter_id: int,
    current: Subscription | None,
    preferences: Preferences,
    watermark: int,
    now: datetime,
) -> Subscription:
    if current is None:
        return store.add_subscription(
            conn,
            subscriber_id=person.id,
            newsletter_id=newsletter_id,
            status=decision.status or SubscriptionStatus.PENDING,
            cadence=preferences.cadence,
            topics=preferences.topics,
            watermark=watermark,
            now=now,
        )
    if current.status in (SubscriptionStatus.PENDING, SubscriptionStatus.UNSUBSCRIBED):
        store.set_preferences(conn, current.id, cadence=preferences.cadence, topics=preferences.topics)
    if decision.status is not None:
        store.set_status(conn, current.id, decision.status)
    return store.get_subscription(conn, current.id)


def _record(
    conn: Connection,
    decision: Decision,
    subscription: Subscription,
    *,
    method: ConsentMethod,
    now: datetime,
    text: str,
    proof: str,
) -> None:
    if decision.action is not None:
        store.record_consent(
            conn,
            subscriber_id=subscription.subscriber_id,
            newsletter_id=subscription.newsletter_id,
            action=decision.action,
            method=method,
            now=now,
            text=text,
            proof=proof,
        )
