"""What relays with a limit were given: their turns, over all senders and restarts.

A relay without a limit has no row and costs nothing: do not ask for it. Who takes turns of several relays in
one transaction does so by name, so that two who do never wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Final

from sqlalchemy import Connection, Date, String, bindparam, case, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from subscribers.tables import UtcDateTime
from syndicate.storage.tables import relay_usage

__all__ = ["RelayUsage", "give_back", "list_usage", "take_turns"]

#: So far ahead turns are given out; our choice. It saves statements, and a mark is good for longer than that.
_AHEAD: Final = timedelta(seconds=1)

#: By which the clocks of senders may differ; our choice.
_MOST_SKEW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayUsage:
    """What a relay was given on one day."""

    relay: str
    sent: int  #: messages that were marked for it and not given back


_IS_TODAYS: Final = (relay_usage.c.relay == bindparam("of_relay"), relay_usage.c.day == bindparam("of_day"))
_HOLD: Final = select(relay_usage.c.sent, relay_usage.c.free_at).where(*_IS_TODAYS).with_for_update()
_TAKE: Final = (
    update(relay_usage)
    .where(*_IS_TODAYS)
    .values(sent=relay_usage.c.sent + bindparam("count"), free_at=bindparam("next_at", type_=UtcDateTime))
)


def take_turns(
    conn: Connection, relay: str, *, limit: int, rate_s: float, day: date, per_day: int | None, now: datetime
) -> int:
    """How many messages this sender may mark for a relay now, at most ``limit``; they count from then on.

    At ``rate_s`` messages a second (0: no limit) it gives what falls due within one second, of ``per_day``
    (None: no limit) what is left on ``day``, which is the site's own. Other senders wait for what it leaves
    until the transaction has ended.
    """
    if limit <= 0:
        return 0
    ours = {"of_relay": relay, "of_day": day}
    row = conn.execute(_HOLD, ours).one_or_none()
    if row is None:
        _begin_day(conn, relay, day, now)
        row = conn.execute(_HOLD, ours).one()
    count = limit if per_day is None else min(limit, per_day - row.sent)
    next_at = row.free_at
    if rate_s:
        turn = timedelta(seconds=1 / rate_s)
        # What lies further ahead than anybody takes turns is from a clock that was wrong.
        is_credible = row.free_at <= now + _AHEAD + turn + _MOST_SKEW
        starts_at = max(row.free_at, now) if is_credible else now
        count = min(count, ceil((now + _AHEAD - starts_at) / turn))
        next_at = starts_at + count * turn
    if count <= 0:
        return 0
    conn.execute(_TAKE, ours | {"count": count, "next_at": next_at})
    return count


def give_back(conn: Connection, relay: str, day: date, count: int) -> None:
    """Takes messages off a day's count that were not sent after all; their turns have passed."""
    sent = relay_usage.c.sent
    conn.execute(
        update(relay_usage)
        .where(relay_usage.c.relay == relay, relay_usage.c.day == day)
        .values(sent=case((sent > count, sent - count), else_=0))
    )


def list_usage(conn: Connection, day: date) -> list[RelayUsage]:
    """What each relay with a limit was given on a day, by name."""
    query = select(relay_usage.c.relay, relay_usage.c.sent).where(relay_usage.c.day == day)
    rows = conn.execute(query.order_by(relay_usage.c.relay))
    return [RelayUsage(relay=row.relay, sent=row.sent) for row in rows]


def _begin_day(conn: Connection, relay: str, day: date, now: datetime) -> None:
    """Makes the row of a day, if nobody did yet; the turns go on where the day before left them."""
    values = select(
        literal(relay, String),
        literal(day, Date),
        literal(0),
        func.coalesce(func.max(relay_usage.c.free_at), literal(now, UtcDateTime)),
    ).where(relay_usage.c.relay == relay)
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    conn.execute(
        dialect.insert(relay_usage)
        .from_select(["relay", "day", "sent", "free_at"], values)
        .on_conflict_do_nothing(index_elements=["relay", "day"])
    )
