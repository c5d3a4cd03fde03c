"""What a document is, and in which way it can be collected. Fetches nothing; tries no other address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from syndicate.collect.fetch import Fetched
from syndicate.collect.page_links import list_page_links
from syndicate.collect.parse import parse_document
from syndicate.collect.parse_sitemap import Sitemap, parse_sitemap
from syndicate.collect.sanitise import shorten
from syndicate.collect.web_page import WebPage
from syndicate.errors import CollectError, ParseError
from syndicate.model import SourceKind

__all__ = ["Found", "describe_feed", "describe_page", "describe_sitemap", "list_named_feeds", "name_document"]

#: A page names its feeds so (the RSS Advisory Board's and the Atom working group's autodiscovery).
FEED_TYPES: Final = frozenset(
    {"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml"}
)
#: Fewer links than this are no list of articles, unless the operator says so. Our choice.
FEWEST_LINKS: Final = 3

_XML_FEED: Final = re.compile(rb"<(?:[\w.-]+:)?(rss|feed|RDF)[\s>]")
_FORMATS: Final = {b"rss": "RSS", b"feed": "Atom", b"RDF": "RDF"}
#: Whoever only looks reads no date, so every date may be plausible.
_ANY_TIME: Final = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A source that can be added."""

    kind: SourceKind
    location: str  #: an absolute path, or the URL at which the document itself was found
    title: str  #: plain text; never empty
    words: str  #: what it is, for the operator: "a feed (Atom, 20 articles)"

    def adding(self, words: str) -> Found:
        """The same with some more words about it."""
        return replace(self, words=f"{self.words}, {words}")


def describe_feed(document: Fetched) -> Found:
    """The feed that a document is. Raises ParseError if it is none."""
    url = document.final_url
    source = parse_document(document.body, url=url, content_type=document.content_type, now=_ANY_TIME)
    root = _XML_FEED.search(document.body)
    form = _FORMATS[root.group(1)] if root and not _is_json(document.body) else "JSON Feed"
    return Found(
        kind=SourceKind.FEED,
        location=url,
        title=source.title or _host(url),
        words=f"a feed ({form}, {_count(len(source.articles), 'article')})",
    )


def describe_sitemap(document: Fetched, children: Sequence[Sitemap] = ()) -> tuple[Found, Sitemap]:
    """The sitemap that a document is, and what it holds. Raises ParseError if it is none.

    ``children`` are those sitemaps of an index that have been read, for the count of its pages.
    """
    url = document.final_url
    sitemap = parse_sitemap(document.body, url=url, content_type=document.content_type)
    pages = len(sitemap.pages) + sum(len(child.pages) for child in children)
    index = len(sitemap.children)
    if not index:
        words = _count(pages, "page")
    elif len(children) == index:
        words = f"{_count(pages, 'page')}, index of {index:,}"
    else:
        words = f"index of {index:,}, {_count(pages, 'page')} in the {len(children)} that were looked at"
    found = Found(kind=SourceKind.SITEMAP, location=url, title=_host(url), words=f"a sitemap ({words})")
    return found, sitemap


def describe_page(document: Fetched, selector: str = "", *, fewest: int = FEWEST_LINKS) -> Found:
    """The page that lists articles. Raises CollectError ``no_links`` if they are fewer than ``fewest``, and
    ParseError if it is no page, or if the ``selector`` cannot be read.
    """
    url, kind = document.final_url, document.content_type
    page = WebPage(document.body, url=url, content_type=kind)
    count = len(list_page_links(document.body, url=url, content_type=kind, selector=selector))
    if count < fewest and selector:
        raise CollectError(url, "no_links", f"has no links that the selector '{selector}' picks")
    if count < fewest:
        raise CollectError(
            url, "no_links", "is a web page, and no links on it look like articles; pick them with a selector"
        )
    links = _count(count, "link")
    picked = f"{links} that '{selector}' picks" if selector else f"{links} that look like articles"
    return Found(
        kind=SourceKind.PAGE,
        location=url,
        title=shorten(page.meta("og:site_name")) or page.title or _host(url),
        words=f"a page ({picked})",
    )


def list_named_feeds(document: Fetched) -> tuple[str, ...]:
    """The feeds that a page names in its head, absolute, in its order; none if it is no page."""
    try:
        page = WebPage(document.body, url=document.final_url, content_type=document.content_type)
    except ParseError:
        return ()
    return tuple(dict.fromkeys(url for url, kind in page.links("alternate") if kind in FEED_TYPES))


def name_document(document: Fetched) -> str:
    """What a document is that cannot be collected: "a web page"."""
    kind = document.content_type.partition(";")[0].strip().lower()
    if not document.body.strip():
        return "an empty document"
    if "html" in kind or document.body.lstrip()[:1] == b"<":
        return "a web page"
    return f"a document of type {shorten(kind, 60)}" if kind else "no feed"


def _is_json(body: bytes) -> bool:
    return body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _host(url: str) -> str:
    return urlsplit(url).netloc
