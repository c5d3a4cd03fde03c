"""When a source is looked at again, and with what: pure decisions about time. No I/O, no clock, no dice.

Where no source is given, a number is our choice; a server's own wishes come in as ``waits`` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from syndicate.model import SourceState

__all__ = [
    "BEFORE_SLOT",
    "Check",
    "decide_interval_s",
    "decide_next_check",
    "decide_state",
    "decide_validators",
    "is_slot_check_due",
]

_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S

_FIRST_INTERVAL_S: Final = _HOUR_S
_SHORTEST_INTERVAL_S: Final = 900.0
_LONGEST_INTERVAL_S: Final = 6 * _HOUR_S

_LONGEST_BACK_OFF_S: Final = _DAY_S
#: A document, or the head it came with, keeps us away for no longer.
_LONGEST_HINT_S: Final = _DAY_S
#: How long a source answers 404 until it counts as lost.
_LOST_AFTER: Final = timedelta(days=30)
#: Servers do answer 304 although something changed: so long may an article be missed.
_FULL_EVERY: Final = timedelta(days=7)
#: How long before a slot its sources are looked at once more.
BEFORE_SLOT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a look at a source leaves behind for the next one."""

    interval_s: float  #: as ``decide_interval_s`` says
    state: SourceState = SourceState.ACTIVE
    failures: int = 0  #: in a row, this one included; 0: it was read
    retry_after_s: float | None = None  #: what the server asked for, as ``waits`` bounds it
    fresh_s: float | None = None  #: for how long the head of the response is good
    min_interval_s: float | None = None  #: the document's own wish: ttl, sy:updatePeriod
    skip_hours: frozenset[int] = frozenset()  #: hours of the day in GMT in which it does not change, 0 to 23
    skip_days: frozenset[int] = frozenset()  #: days of the week in GMT; Monday is 0
    is_pushed: bool = False  #: a hub tells us what is new (WebSub)


def decide_interval_s(
    *,
    new_articles: int,
    watched_s: float,
    shortest_s: float = _SHORTEST_INTERVAL_S,
    longest_s: float = _LONGEST_INTERVAL_S,
) -> float:
    """Seconds between looks at a source: as long as it takes on average until something new is there.

    ``new_articles`` is how many came in the last seven days, or since the baseline if that is less than seven
    days ago; ``watched_s`` is how long ago the baseline is. Before a day has passed it is an hour, and before
    the week is over no longer than that, since a quiet day says little.
    """
    watched_s = min(watched_s, _WEEK_S)
    if watched_s < _DAY_S:
        return min(max(_FIRST_INTERVAL_S, shortest_s), longest_s)
    usual_s = watched_s / new_articles if new_articles else longest_s
    if watched_s < _WEEK_S:
        usual_s = min(usual_s, _FIRST_INTERVAL_S)
    return min(max(usual_s, shortest_s), longest_s)


def decide_next_check(check: Check, *, now: datetime, jitter: float) -> datetime:
    """When to look at a source again; ``jitter`` in [0, 1) spreads it around that.

    Read: after the interval, or what the server's and the document's hints ask for up to a day, give or take
    10 % (the mean is the plan), and in no hour that the document names as quiet. A source that is pushed or
    lost: once a day. Failed: the same, doubled for each failure in a row, up to a day, give or take 25 %, and
    never sooner than a source that is well. What the server asked for by Retry-After comes before anything.
    """
    healthy_s = _healthy_s(check)
    if check.failures:
        doubled_s = healthy_s * 2 ** min(check.failures, 32) * (0.75 + 0.5 * jitter)
        wait_s = max(min(doubled_s, _LONGEST_BACK_OFF_S), healthy_s * (1.0 + 0.1 * jitter))
    else:
        wait_s = healthy_s * (0.9 + 0.2 * jitter)
    if check.retry_after_s is not None:
        wait_s = max(wait_s, check.retry_after_s)
    return _outside_quiet_hours(check, now + timedelta(seconds=wait_s), now)


def decide_state(
    state: SourceState, *, reason: str, failing_since: datetime | None, now: datetime
) -> SourceState:
    """The state of a source after a look at it; ``reason`` is the error's, or empty if it was read.

    410 is the server's last word (RFC 9110 section 15.5.11): gone. 404 after 30 days without a success: lost,
    and active again as soon as it is read. ``failing_since`` is when the first failure in a row was.
    """
    if reason == "gone":
        return SourceState.GONE
    if state is SourceState.LOST and not reason:
        return SourceState.ACTIVE
    if state is SourceState.ACTIVE and reason == "http_404" and failing_since is not None:
        return SourceState.LOST if now - failing_since >= _LOST_AFTER else state
    return state


def decide_validators(
    *, etag: str, last_modified: str, full_fetch_at: datetime | None, now: datetime
) -> tuple[str, str]:
    """The ETag and Last-Modified to send; none of them once a week, so that a false 304 hides nothing longer.

    ``full_fetch_at`` is when the document was last asked for without them; None: never.
    """
    if full_fetch_at is None or now - full_fetch_at >= _FULL_EVERY:
        return "", ""
    return etag, last_modified


def is_slot_check_due(
    *,
    slot_at: datetime,
    last_checked_at: datetime | None,
    waits_until: datetime | None,
    now: datetime,
) -> bool:
    """Whether a source is to be looked at once more, because a newsletter of its opens at ``slot_at``.

    So it is in the ten minutes before, unless it was looked at in them, or the server asked us to stay away
    until ``waits_until``.
    """
    opens = slot_at - BEFORE_SLOT
    if not opens <= now < slot_at or (waits_until is not None and waits_until > now):
        return False
    return last_checked_at is None or last_checked_at < opens


def _healthy_s(check: Check) -> float:
    """Seconds between two looks at a source if nothing goes wrong."""
    if check.is_pushed or check.state is SourceState.LOST:
        return max(check.interval_s, _DAY_S)
    hint_s = max(check.fresh_s or 0.0, check.min_interval_s or 0.0)
    return max(check.interval_s, min(hint_s, _LONGEST_HINT_S))


def _outside_quiet_hours(check: Check, at: datetime, now: datetime) -> datetime:
    """The instant, later by whole hours until it is none of those in which nothing happens there."""
    if not check.skip_hours and not check.skip_days:
        return at
    latest = max(at, now + timedelta(seconds=_LONGEST_HINT_S))
    while at < latest and (at.hour in check.skip_hours or at.weekday() in check.skip_days):
        at += timedelta(hours=1)
    return min(at, latest)
