"""What a page says about the article on it, outside of its text. Finds no text, fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from syndicate.collect.dates import parse_date
from syndicate.collect.links import absolute_url, is_home_page
from syndicate.collect.main_text import MainText
from syndicate.collect.pages import PageLink
from syndicate.collect.parsed import choose_language, labels
from syndicate.collect.sanitise import plain_text, shorten
from syndicate.collect.web_page import WebPage
from syndicate.model import Author, DateQuality

__all__ = ["PageFacts", "list_authors"]

_AUTHORS: Final = 10
_DATELINE: Final = 120  # characters of a text within which it is dated
_PUBLISHED: Final = ("article:published_time", "date", "dc.date", "dc.date.issued", "parsely-pub-date")
_MODIFIED: Final = ("article:modified_time", "og:updated_time")
_SITE_AT_END: Final = r"\s*[|·•:»—–-]+\s*{}\s*$"


class PageFacts:
    """What the head of a page says about its article; made before the page's tree is changed."""

    def __init__(self, page: WebPage) -> None:
        self.page = page
        told = page.described_article()
        self.language = page.language or choose_language(_text(told.get("inLanguage")))
        self.title = self._title(told)
        self.summary = shorten(
            page.meta("description", "og:description") or plain_text(_text(told.get("description")))
        )
        names = [*_names(told.get("author")), *page.metas("author", "article:author")]
        self.authors = list_authors(name for name in names if not name.startswith(("http:", "https:")))
        self.tags = labels(
            page.metas("article:tag") or [t for m in page.metas("keywords") for t in m.split(",")]
        )
        image = page.meta("og:image:secure_url", "og:image", "twitter:image") or _address(told.get("image"))
        self.image_url = absolute_url(image, page.base) if image else ""
        itself = page.meta("og:url")
        self.canonical = page.link("canonical") or (absolute_url(itself, page.base) if itself else "")
        self.dates = _dates([_text(told.get("datePublished")), *page.metas(*_PUBLISHED)])
        self.times = [str(time.get("datetime") or "").strip() for time in page.root.iter("time")]
        self.modified_at = _dates([_text(told.get("dateModified")), *page.metas(*_MODIFIED)])[0]

    def _title(self, told: dict[str, Any]) -> str:
        headline = plain_text(_text(told.get("headline")))
        title = shorten(headline or self.page.meta("og:title", "twitter:title"))
        site = shorten(self.page.meta("og:site_name"))
        return re.sub(_SITE_AT_END.format(re.escape(site)), "", title) or title if site else title

    def address(self, named: str) -> str:
        """The link of the article: what the page calls itself, if that can be true, else as it is named."""
        hosts = {_host(named), _host(self.page.url)}
        is_plausible = bool(self.canonical) and _host(self.canonical) in hosts
        # Broken templates call every page the front page.
        if is_plausible and (not is_home_page(self.canonical) or is_home_page(named)):
            return self.canonical
        return named.partition("#")[0]

    def published(self, text: MainText, link: PageLink) -> tuple[datetime | None, DateQuality]:
        """When the article was published: as the head says, else as the page is listed, else by its text."""
        at, quality = self.dates
        if at is None and link.published_at is not None:
            return link.published_at, DateQuality.GIVEN
        if at is not None or not text.day:
            return at, quality
        # The library gives the day only; the page may name the hour of that very day.
        hours = [time for time in self.times if time.startswith(text.day)]
        is_told = plain_text(text.content_html).find(text.day) > _DATELINE  # a day of the story itself
        return _dates([*hours, "" if is_told else text.day])


def _dates(texts: Iterable[str]) -> tuple[datetime | None, DateQuality]:
    """The first of some texts that is a date."""
    read = (parse_date(text, zone=UTC) for text in texts)
    return next((found for found in read if found[0] is not None), (None, DateQuality.FIRST_SEEN))


def list_authors(names: Iterable[str]) -> tuple[Author, ...]:
    """People by their names, each once; at most ten."""
    clean = dict.fromkeys(shorten(plain_text(name), 100) for name in names)
    return tuple(Author(name=name) for name in clean if name)[:_AUTHORS]


def _names(value: object) -> list[str]:
    """The names of the people or organisations in a value of JSON-LD."""
    things = value if isinstance(value, list) else [value]
    return [_text(thing.get("name") if isinstance(thing, dict) else thing) for thing in things]


def _address(value: object) -> str:
    thing = value[0] if isinstance(value, list) and value else value
    return _text(thing.get("url") if isinstance(thing, dict) else thing)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").removeprefix("www.")
