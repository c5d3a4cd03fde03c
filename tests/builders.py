"""Builders for rows: each stores or makes something valid, a test names only what it is about."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from subscribers import store
from subscribers.addresses import parse_address
from subscribers.model import Cadence, Subscription, SubscriptionStatus
from syndicate.model import (
    Delivery,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
    Origin,
    ParsedArticle,
    Source,
    SourceKind,
    UncertainPolicy,
)
from syndicate.storage import articles, audience, deliveries, editions, newsletters, shards, sources
from syndicate.storage.deliveries import DeliveryOutcome
from syndicate.storage.shards import Shard

__all__ = [
    "add_article",
    "add_edition",
    "add_newsletter",
    "add_reader",
    "add_source",
    "lease",
    "make_outcome",
    "make_parsed",
    "mark_all",
    "mark_shard",
    "mark_window",
    "open_edition",
    "states_of",
]


def make_parsed(number: int = 1, **changes: Any) -> ParsedArticle:
    """Article ``number`` as a source gives it."""
    values: dict[str, Any] = {
        "guid": f"guid-{number}",
        "url": f"https://example.org/{number}",
        "title": f"Article number {number}",
        "content_html": f"<p>Text of article {number}.</p>",
        "summary": f"About article {number}.",
    }
    return ParsedArticle(**values | changes)


def add_source(conn: Connection, now: datetime, **changes: Any) -> Source:
    values: dict[str, Any] = {
        "kind": SourceKind.FEED,
        "location": "https://example.org/feed.xml",
        "title": "Example",
        "backfill": "none",
    }
    return sources.add_source(conn, now=now, **values | changes)


def add_newsletter(
    conn: Connection, now: datetime, *, draws_from: Collection[int] = (), **changes: Any
) -> Newsletter:
    """A newsletter that draws from these sources from their first article on."""
    values: dict[str, Any] = {
        "slug": "tide",
        "title": "Tide & Timber",
        "description": "Notes from the shore and the workbench",
        "language": "en",
        "from_name": "Tide & Timber",
        "from_email": "letters@example.org",
        "reply_to": "",
        "postal_address": "1 Harbour Row",
        "subject_template": "{{ title }}",
        "topics": ("Coast", "Craft"),
        "cadences": (Cadence.WEEKLY, Cadence.DAILY),
        "time_zone": "Europe/London",
        "uncertain_policy": UncertainPolicy.RESEND,
    }
    added = newsletters.add_newsletter(conn, now=now, **values | changes)
    for source_id in draws_from:
        newsletters.join_source(conn, added.id, source_id, from_sequence=0, now=now)
    return newsletters.get_newsletter_by_id(conn, added.id)


def add_article(
    conn: Connection, source_id: int, now: datetime, *, origin: Origin = Origin.NEW, **changes: Any
) -> int:
    """The next article of a source, numbered by its sequence; returns its id."""
    sequence = articles.take_sequences(conn, 1)
    return articles.add_article(
        conn,
        make_parsed(sequence, **changes),
        source_id=source_id,
        sequence=sequence,
        atom_id=f"tag:example.org,2026:{sequence}",
        origin=origin,
        now=now,
    )


def add_reader(
    conn: Connection, newsletter_id: int, now: datetime, name: str = "ada", **changes: Any
) -> Subscription:
    """An active weekly reader of every topic who has been served nothing."""
    person = store.create_or_get_subscriber(
        conn, parse_address(f"{name}@example.com"), name=name.title(), language="", time_zone="", now=now
    )
    values: dict[str, Any] = {
        "status": SubscriptionStatus.ACTIVE,
        "cadence": Cadence.WEEKLY,
        "topics": (),
        "watermark": 0,
    }
    return store.add_subscription(
        conn, subscriber_id=person.id, newsletter_id=newsletter_id, now=now, **values | changes
    )


def add_edition(conn: Connection, newsletter_id: int, now: datetime, **changes: Any) -> Edition:
    """An approved weekly edition without articles and readers."""
    values: dict[str, Any] = {
        "cadence": Cadence.WEEKLY,
        "slot": "2026-03-14T09:00",
        "state": EditionState.APPROVED,
        "reason": "",
        "cutoff": articles.current_sequence(conn),
        "policy": UncertainPolicy.RESEND,
    }
    added = editions.open_edition(conn, newsletter_id=newsletter_id, now=now, **values | changes)
    assert added is not None, "the slot is taken"
    return added


def open_edition(conn: Connection, newsletter_id: int, now: datetime, **changes: Any) -> Edition:
    """An edition with its articles and readers fixed, as the service opens it."""
    opened = add_edition(conn, newsletter_id, now, **changes)
    found = articles.list_mailable_articles(conn, newsletter_id, after=0, cutoff=opened.cutoff)
    if found:
        editions.put_articles(conn, opened.id, found)
    audience.supersede(conn, opened)
    audience.freeze_audience(conn, opened, reason="weekly reader")
    shards.cut_shards(conn, opened.id, now=now)
    return opened


def lease(
    conn: Connection, edition: Edition, now: datetime, *, owner: str = "a", lease_s: float = 15.0
) -> Shard:
    """The next shard of an edition that is due and free."""
    taken = shards.lease_shard(conn, edition.id, owner=owner, now=now, lease_s=lease_s)
    assert taken is not None, "no shard is due and free"
    return taken


def mark_window(
    conn: Connection, edition: Edition, now: datetime, *, fence: int = 1, limit: int = 1000, after: int = 0
) -> list[Delivery]:
    """Marks the next readers whose turn it is, as one sender of the whole edition does, and tells what is
    said of them from then on.
    """
    while ready := deliveries.list_ready(conn, edition.id, after=after, last=2**62, limit=limit, now=now):
        after = ready[-1].subscriber_id
        readers = [row.subscriber_id for row in ready]
        if marked := deliveries.mark(conn, edition.id, readers, fence=fence, now=now):
            rows = deliveries.list_deliveries(conn, edition.id, [DeliveryState.ATTEMPTING])
            return [row for row in rows if row.subscriber_id in marked]
    return []


def mark_all(conn: Connection, edition: Edition, now: datetime, *, fence: int = 1) -> list[Delivery]:
    """Marks whoever is ready."""
    return mark_window(conn, edition, now, fence=fence)


def mark_shard(conn: Connection, held: Shard, now: datetime, *, limit: int = 1000) -> list[int]:
    """Marks the next readers of a shard whose turn it is, as its owner does."""
    ready = deliveries.list_ready(
        conn, held.edition_id, after=held.first_id - 1, last=held.last_id, limit=limit, now=now
    )
    readers = [row.subscriber_id for row in ready]
    return sorted(deliveries.mark(conn, held.edition_id, readers, fence=held.fence, now=now))


def make_outcome(
    subscriber_id: int, state: DeliveryState, *, reply: str = "", next_attempt_at: datetime | None = None
) -> DeliveryOutcome:
    return DeliveryOutcome(
        subscriber_id=subscriber_id, state=state, reply=reply, next_attempt_at=next_attempt_at
    )


def states_of(conn: Connection, edition: Edition) -> dict[int, DeliveryState]:
    """The state of each delivery of an edition, by subscriber."""
    return {row.subscriber_id: row.state for row in deliveries.list_deliveries(conn, edition.id)}
