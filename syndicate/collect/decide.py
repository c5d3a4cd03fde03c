"""What each parsed article is to its source: new, changed, or the same. Pure: no I/O, no clock, no dice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from syndicate.collect.links import canonical_link, is_home_page
from syndicate.model import KnownArticle, Origin, ParsedArticle

__all__ = ["Decision", "Verdict", "decide_articles", "decide_next_check", "parse_backfill"]

_DAY_S: Final = 86_400.0
_LONGEST_BACK_OFF_S: Final = _DAY_S
_RETRY_AFTER_S: Final = (60.0, 7 * _DAY_S)  # a server may ask for this much
_NO_DATE: Final = datetime.max.replace(tzinfo=UTC)  # sorts last
_NUMBER: Final = re.compile(r"[0-9]{1,6}")


class Verdict(StrEnum):
    """What is to be done with an article."""

    NEW = "new"
    CHANGED = "changed"  # another text: a new revision, or an earlier one again
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reason."""

    verdict: Verdict
    reason: str  #: new, baseline, backfill; edited, reverted, guid_flip; unchanged
    article: ParsedArticle
    known_id: int | None = None  #: the article that it is; None if it is new
    origin: Origin | None = None  #: how it comes in; None unless it is new


def decide_articles(
    parsed: Sequence[ParsedArticle],
    known: Sequence[KnownArticle],
    *,
    is_first: bool,
    backfill: str,
    home_url: str = "",
) -> list[Decision]:
    """A decision for every parsed article: the known ones in the document's order, then the new ones.

    New ones are ordered by publication, oldest first, so that sequence grows with it; those without a date
    come last, in the document's order. ``is_first`` says that nothing was collected from the source before:
    then new ones are its baseline, and ``backfill`` (``none``, ``all`` or a number) says how many of the
    last of them are to be mailed nevertheless. Absence decides nothing: a feed shows its latest articles.
    """
    by_guid = {article.guid: article for article in known}
    by_link = _known_links(parsed, known, home_url)
    decisions: list[Decision] = []
    new: list[ParsedArticle] = []
    for article in parsed:
        same_guid = by_guid.get(article.guid)
        match = same_guid or (by_link.get(canonical_link(article.url)) if article.url else None)
        if match is None:
            new.append(article)
        else:
            decisions.append(_compare(article, match, has_flipped=same_guid is None))
    return decisions + _accept(new, is_first=is_first, backfill=backfill)


def decide_next_check(
    *, interval_s: float, failures: int, retry_after_s: float | None, now: datetime, jitter: float
) -> datetime:
    """When to look at a source again.

    ``failures`` in a row double the interval, up to a day, and never make it shorter. ``jitter`` in [0, 1)
    spreads the checks: by 10 % around the interval, by 25 % after a failure. What the server asked for by
    Retry-After is a floor, between a minute and a week.
    """
    if failures:
        longest = max(interval_s, _LONGEST_BACK_OFF_S)
        wait = max(interval_s, min(interval_s * 2 ** min(failures, 32), longest) * (0.75 + 0.5 * jitter))
    else:
        wait = interval_s * (0.9 + 0.2 * jitter)
    if retry_after_s is not None:
        shortest, longest = _RETRY_AFTER_S
        wait = max(wait, min(max(retry_after_s, shortest), longest))
    return now + timedelta(seconds=wait)


def parse_backfill(text: str) -> str:
    """The operator's choice in its stored form: ``none``, ``all``, or a number. Raises ValueError."""
    choice = text.strip().lower()
    if choice in {"none", "all"}:
        return choice
    if _NUMBER.fullmatch(choice):
        return str(int(choice)) if int(choice) else "none"
    raise ValueError(f"unknown backfill '{text}'; one of none, all, or a number such as 5")


def _known_links(
    parsed: Sequence[ParsedArticle], known: Sequence[KnownArticle], home_url: str
) -> dict[str, KnownArticle]:
    """Known articles by link, where a link says which article it is: once here, once there, no front page."""
    in_document = Counter(canonical_link(article.url) for article in parsed if article.url)
    in_store = Counter(canonical_link(article.url) for article in known if article.url)
    return {
        link: article
        for article in known
        if article.url and not is_home_page(article.url, home_url)
        for link in [canonical_link(article.url)]
        if in_document[link] == 1 and in_store[link] == 1
    }


def _compare(article: ParsedArticle, known: KnownArticle, *, has_flipped: bool) -> Decision:
    if article.content_hash == known.content_hash:
        verdict, reason = Verdict.SAME, "unchanged"
    elif article.content_hash in known.earlier_hashes:
        verdict, reason = Verdict.CHANGED, "reverted"
    else:
        verdict, reason = Verdict.CHANGED, "edited"
    return Decision(
        verdict=verdict, reason="guid_flip" if has_flipped else reason, article=article, known_id=known.id
    )


def _accept(new: Sequence[ParsedArticle], *, is_first: bool, backfill: str) -> list[Decision]:
    ordered = sorted(new, key=lambda article: article.published_at or _NO_DATE)
    if not is_first:
        return [Decision(verdict=Verdict.NEW, reason="new", article=a, origin=Origin.NEW) for a in ordered]
    mailed = {"none": 0, "all": len(ordered)}.get(backfill)
    first_mailed = len(ordered) - (int(backfill) if mailed is None else mailed)
    origins = [Origin.BASELINE if n < first_mailed else Origin.BACKFILL for n in range(len(ordered))]
    return [
        Decision(verdict=Verdict.NEW, reason=origin.value, article=article, origin=origin)
        for article, origin in zip(ordered, origins, strict=True)
    ]
