"""Statements about subscriptions at hubs (WebSub), of which a source has one at most.

Who changes one holds its source's row, so that two who do never wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from syndicate.errors import NotFound
from syndicate.model import Source, SourceState
from syndicate.storage import sources
from syndicate.storage.tables import hub_subscription, source

__all__ = [
    "DueRequest",
    "HubState",
    "HubSubscription",
    "drop_subscription",
    "find_subscription",
    "has_due_requests",
    "hold_subscription",
    "list_due_requests",
    "list_pushed_source_ids",
    "put_subscription",
]


class HubState(StrEnum):
    """Where a subscription at a hub stands."""

    PENDING = "pending"  # the hub has not confirmed it, or its lease is over
    ACTIVE = "active"
    DENIED = "denied"  # the hub does not want it; it is not asked again
    ENDED = "ended"  # by us; the hub is told


_STANDING: Final = frozenset({HubState.PENDING, HubState.ACTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSubscription:
    """A subscription to what a source publishes."""

    source_id: int
    hub_url: str
    topic_url: str  #: the source's name for itself, compared as it is
    nonce: str  #: 32 characters, of which callback and secret are made; never used again
    state: HubState
    requested_at: datetime | None = None  #: when the hub was last asked
    lease_expires_at: datetime | None = None
    renew_at: datetime | None  #: when the hub is to be asked next; None: not at all
    failures: int = 0  #: requests since the hub confirmed one
    last_error: str = ""
    delivered_at: datetime | None = None  #: of the last push; None: it is not relied on

    @property
    def is_standing(self) -> bool:
        """Whether we want what the hub pushes."""
        return self.state in _STANDING

    def ended(self, now: datetime) -> HubSubscription:
        """The same, from now on not wanted any more; the hub is to be told at once."""
        return replace(self, state=HubState.ENDED, renew_at=now, failures=0, delivered_at=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRequest:
    """A subscription about which its hub is to be asked."""

    subscription: HubSubscription
    is_wanted: bool  #: False: its source is collected no more
    is_intranet: bool  #: its source may be in a private network


_NOT_COLLECTED: Final = source.c.state.in_([SourceState.PAUSED, SourceState.GONE])
_STANDS: Final = hub_subscription.c.state.in_(sorted(_STANDING))


def find_subscription(conn: Connection, source_id: int) -> HubSubscription | None:
    """The subscription of a source, or None."""
    query = select(hub_subscription).where(hub_subscription.c.source_id == source_id)
    row = conn.execute(query).one_or_none()
    return _subscription(row) if row else None


def hold_subscription(conn: Connection, source_id: int, nonce: str) -> tuple[Source, HubSubscription] | None:
    """A source, locked, with its subscription; None if it has none, or one of another nonce by now."""
    try:
        held = sources.get_source(conn, source_id, lock=True)
    except NotFound:
        return None
    found = find_subscription(conn, source_id)
    return (held, found) if found is not None and found.nonce == nonce else None


def put_subscription(conn: Connection, subscription: HubSubscription) -> None:
    """Stores a subscription in place of the one that its source had."""
    values = asdict(subscription)
    changed = conn.execute(
        update(hub_subscription)
        .where(hub_subscription.c.source_id == subscription.source_id)
        .values(**values)
    )
    if not changed.rowcount:
        conn.execute(insert(hub_subscription).values(**values))


def drop_subscription(conn: Connection, source_id: int) -> None:
    """Forgets the subscription of a source."""
    conn.execute(delete(hub_subscription).where(hub_subscription.c.source_id == source_id))


def has_due_requests(conn: Connection, now: datetime) -> bool:
    """Whether ``list_due_requests`` would list any."""
    query = select(hub_subscription.c.source_id).join(source).where(_is_due(now)).limit(1)
    return conn.execute(query).first() is not None


def list_due_requests(conn: Connection, now: datetime, *, limit: int) -> list[DueRequest]:
    """The subscriptions about which a hub is to be asked, the longest overdue first, with their sources held.

    A source that is collected no more is due at once. Those that somebody else holds are left out.
    """
    rows = conn.execute(
        select(hub_subscription, _NOT_COLLECTED.label("is_unwanted"), source.c.is_intranet)
        .join(source)
        .where(_is_due(now))
        .order_by(hub_subscription.c.renew_at, hub_subscription.c.source_id)
        .limit(limit)
        .with_for_update(of=source, skip_locked=True, key_share=True)
    ).all()
    return [
        DueRequest(
            subscription=_subscription(row), is_wanted=not row.is_unwanted, is_intranet=row.is_intranet
        )
        for row in rows
    ]


def list_pushed_source_ids(conn: Connection, source_ids: Sequence[int], *, now: datetime) -> frozenset[int]:
    """Those of these sources whose hub tells us what is new, so that a look a day is enough: it holds a
    lease, has pushed before, and has been silent about nothing since.
    """
    query = select(hub_subscription.c.source_id).where(
        hub_subscription.c.source_id.in_(list(source_ids)),
        hub_subscription.c.state == HubState.ACTIVE,
        hub_subscription.c.lease_expires_at > now,
        hub_subscription.c.delivered_at.is_not(None),
    )
    return frozenset(conn.execute(query).scalars())


def _is_due(now: datetime) -> Any:
    return (hub_subscription.c.renew_at <= now) | (_STANDS & _NOT_COLLECTED)


def _subscription(row: Row[Any]) -> HubSubscription:
    values = {column.name: row._mapping[column.name] for column in hub_subscription.c}
    return HubSubscription(**values | {"state": HubState(row.state)})
