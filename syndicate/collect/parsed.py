"""What every parser gives back, and the rules that hold for each format. Knows no format."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Final

from syndicate.collect.sanitise import first_words, shorten
from syndicate.model import DateQuality, ParsedArticle

__all__ = [
    "ARTICLE_LIMIT",
    "ParsedSource",
    "choose_guid",
    "choose_language",
    "choose_title",
    "distinct_articles",
    "labels",
    "settle_dates",
]

TITLE_LIMIT: Final = 300
GUID_LIMIT: Final = 1_000
#: Articles of one document. The longest feeds known to us have some 3,000; a hostile one has millions.
ARTICLE_LIMIT: Final = 5_000
_LABEL_LIMIT: Final = 100
_LABELS: Final = 50
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSource:
    """What one document of a source holds."""

    title: str  #: plain text, or empty
    home_url: str  #: the site's front page, absolute, or empty
    articles: tuple[ParsedArticle, ...]  #: in the document's order, no guid twice
    note: str = ""  #: what had to be repaired, for the operator
    is_expired: bool = False  #: the source says that nothing will come any more (JSON Feed)
    min_interval_s: float | None = None  #: how long the document asks to be left alone; None: it does not
    skip_hours: frozenset[int] = frozenset()  #: hours in UTC, 0 to 23, in which it asks not to be fetched
    skip_days: frozenset[int] = frozenset()  #: days of the week in UTC, Monday is 0
    hubs: tuple[str, ...] = ()  #: WebSub hubs, absolute, in the document's order
    self_url: str = ""  #: where it says that it lives, absolute, or empty: WebSub's topic
    next_page_url: str = ""  #: where older articles are (RFC 5005, JSON Feed), absolute, or empty


def choose_guid(guid: str, url: str, *parts: str) -> str:
    """The identity of an article: what its source says; else its link; else a hash of ``parts``.

    Compared as it is, so nothing is normalised. One that is longer than 1,000 characters stands as its hash.
    """
    chosen = guid.strip() or url
    if chosen and len(chosen) <= GUID_LIMIT:
        return chosen
    return "sha256:" + _digest([chosen] if chosen else parts)


def choose_title(title: str, content_html: str, fallback: str = "Untitled") -> str:
    """A title that is never empty: the first words of the text stand in for one that is missing."""
    return shorten(title, TITLE_LIMIT) or first_words(content_html, 80) or fallback


def choose_language(tag: str) -> str:
    """The tag if it has the form of RFC 5646, else empty."""
    return tag.strip() if _LANGUAGE.fullmatch(tag.strip()) else ""


def labels(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as their source writes them, each once, without the empty ones."""
    clean = (shorten(tag, _LABEL_LIMIT) for tag in tags)
    return tuple(dict.fromkeys(tag for tag in clean if tag))[:_LABELS]


def settle_dates(article: ParsedArticle, test: Callable[[datetime | None], datetime | None]) -> ParsedArticle:
    """The article with only those dates that pass the test; a date of change stands in for a lost one."""
    published, updated = test(article.published_at), test(article.updated_at)
    quality = article.published_quality
    if published is None:
        published, quality = updated, DateQuality.UPDATED if updated else DateQuality.FIRST_SEEN
    note = article.note
    if article.published_at is not None and test(article.published_at) is None:
        note = "; ".join(filter(None, [note, f"its date {article.published_at:%Y-%m-%d} cannot be right"]))
    return replace(article, published_at=published, published_quality=quality, updated_at=updated, note=note)


def distinct_articles(articles: Sequence[ParsedArticle]) -> tuple[ParsedArticle, ...]:
    """The articles without exact repetitions, and no guid twice.

    Those that share a guid become guid|link, and guid|hash where that is not enough: never guid|position,
    for positions move.
    """
    times = Counter(article.guid for article in articles)
    if len(times) == len(articles):
        return tuple(articles)
    by_content: dict[tuple[str, str], ParsedArticle] = {}
    for article in articles:
        by_content.setdefault(
            (article.guid, article.content_hash if times[article.guid] > 1 else ""), article
        )
    by_link = _lengthen_guids(list(by_content.values()), attrgetter("url"))
    return tuple(_lengthen_guids(by_link, attrgetter("content_hash")))


def _lengthen_guids(
    articles: Sequence[ParsedArticle], part: Callable[[ParsedArticle], str]
) -> list[ParsedArticle]:
    times = Counter(article.guid for article in articles)
    return [
        replace(a, guid=choose_guid(f"{a.guid}|{part(a)}", "")) if times[a.guid] > 1 and part(a) else a
        for a in articles
    ]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
