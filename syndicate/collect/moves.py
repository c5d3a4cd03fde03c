"""Whether a source's new address is taken over (301, 308). Pure: no I/O, no clock; knows no other source.

A redirect that is called permanent may be a mistake of an hour, or a hotel's login page; one that stays, and
leads to the articles that we know, is neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from yarl import URL

__all__ = ["Move", "MoveAction", "MoveDecision", "decide_move"]

#: How often, and for how long, the same target has to be seen; our choice.
_FETCHES: Final = 3
_STABLE_FOR: Final = timedelta(days=7)


class MoveAction(StrEnum):
    """What is to be done about a new address."""

    STAY = "stay"  # there is none
    WATCH = "watch"  # too early to tell
    ADOPT = "adopt"
    REPORT = "report"  # the operator has to decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A permanent redirect as it has been seen so far."""

    url: str  #: where it leads
    first_seen_at: datetime
    fetches: int  #: that saw this target, one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDecision:
    """What to do, with its reason."""

    action: MoveAction
    reason: str  #: none; early, unknown_articles; upgraded, stable; taken, credentials
    url: str  #: the address that the source has from now on: the old one unless it is adopted
    seen: Move | None  #: to be kept until the next fetch; None: forget what was kept


def decide_move(
    seen: Move | None,
    url: str,
    permanent_url: str,
    *,
    now: datetime,
    shares_guid: bool,
    is_taken: bool,
) -> MoveDecision:
    """Whether a source at ``url`` moves to where a fetch was led for good.

    ``seen`` is what the last decision gave, and ``permanent_url`` what the fetch says (empty: nowhere).
    ``shares_guid`` says that the document there has an article of the source, or is the one that we know;
    ``is_taken`` that another source is at this address. From http to https on the same host and path: at
    once. Anywhere else: when three fetches in a row over at least seven days were led to the same place, and
    it shares an article. A source whose URL has credentials never takes them to another origin.
    """
    if permanent_url in {"", str(_without_credentials(URL(url)))}:
        return MoveDecision(action=MoveAction.STAY, reason="none", url=url, seen=None)
    old, new = URL(url), URL(permanent_url)
    move = _seen_again(seen, permanent_url, now)
    is_stable = move.fetches >= _FETCHES and now - move.first_seen_at >= _STABLE_FOR
    action, reason = _judge(old, new, is_stable=is_stable, shares_guid=shares_guid, is_taken=is_taken)
    if action is MoveAction.ADOPT:
        return MoveDecision(action=action, reason=reason, url=_carry_over(old, new), seen=None)
    return MoveDecision(action=action, reason=reason, url=url, seen=move)


def _judge(
    old: URL, new: URL, *, is_stable: bool, shares_guid: bool, is_taken: bool
) -> tuple[MoveAction, str]:
    if _is_upgrade(old, new):
        return (MoveAction.REPORT, "taken") if is_taken else (MoveAction.ADOPT, "upgraded")
    if not is_stable:
        return MoveAction.WATCH, "early"
    if is_taken:
        return MoveAction.REPORT, "taken"
    if not shares_guid:
        return MoveAction.WATCH, "unknown_articles"
    if old.raw_user is not None and new.origin() != _without_credentials(old).origin():
        return MoveAction.REPORT, "credentials"
    return MoveAction.ADOPT, "stable"


def _is_upgrade(old: URL, new: URL) -> bool:
    return (
        (old.scheme, new.scheme) == ("http", "https")
        and (old.raw_host, old.raw_path_qs) == (new.raw_host, new.raw_path_qs)
        and old.is_default_port()
        and new.is_default_port()
    )


def _seen_again(seen: Move | None, permanent_url: str, now: datetime) -> Move:
    if seen is None or seen.url != permanent_url:
        return Move(url=permanent_url, first_seen_at=now, fetches=1)
    return replace(seen, fetches=seen.fetches + 1)


def _without_credentials(url: URL) -> URL:
    return url.with_user(None)


def _carry_over(old: URL, new: URL) -> str:
    return str(new if old.raw_user is None else new.with_user(old.user).with_password(old.password))
