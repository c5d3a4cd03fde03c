"""Which of the pages that a sitemap or a list names are to be read. Fetches nothing, parses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from syndicate.collect.links import canonical_link
from syndicate.collect.parsed import choose_guid

__all__ = ["PAGES_AT_ONCE", "PageLink", "choose_pages", "page_guid"]

#: Pages of one source that are fetched in one collection. Our choice.
PAGES_AT_ONCE: Final = 20

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A page that may hold an article, and what is said about it where it is named."""

    url: str  #: absolute, as it is named
    title: str = ""  #: plain text, or empty
    language: str = ""  #: BCP 47, or empty
    published_at: datetime | None = None
    last_modified_at: datetime | None = None


def page_guid(url: str) -> str:
    """The identity of the article on a page: the comparable form of the address under which it is named.

    What the page calls itself is no identity: it is known only when the page has been fetched.
    """
    return choose_guid(canonical_link(url), "")


def choose_pages(
    links: Sequence[PageLink], known: AbstractSet[str], *, limit: int = PAGES_AT_ONCE
) -> tuple[PageLink, ...]:
    """The pages to fetch now: those whose ``page_guid`` is not ``known``, at most ``limit``.

    Newest date of change first, then those without a date, in the order in which they are named. What does
    not fit is still unknown the next time.
    """
    fresh: dict[str, PageLink] = {}
    for link in links:
        guid = page_guid(link.url)
        if guid not in known:
            fresh.setdefault(guid, link)
    newest = sorted(fresh.values(), key=_changed_at, reverse=True)
    return tuple(newest[:limit])


def _changed_at(link: PageLink) -> datetime:
    return link.last_modified_at or link.published_at or _NEVER
