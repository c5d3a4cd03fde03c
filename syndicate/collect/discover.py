"""What is at a location that an operator names, and in which way it can be collected. Stores nothing.

A folder, a feed, a sitemap, a page that names its feed, or a page that lists articles, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urljoin

import aiohttp

from syndicate.collect.describe import (
    Found,
    describe_feed,
    describe_page,
    describe_sitemap,
    list_named_feeds,
    name_document,
)
from syndicate.collect.fetch import Fetched, fetch
from syndicate.collect.page_links import check_selector
from syndicate.collect.parse_sitemap import parse_sitemap
from syndicate.collect.robots_rules import parse_robots
from syndicate.errors import CollectError, ParseError
from syndicate.model import SourceKind

__all__ = ["Found", "discover"]

#: Where feeds are on sites whose pages name none. Each costs a request, so they are few; our choice.
USUAL_FEEDS: Final = ("/feed", "/rss.xml", "/atom.xml", "/feed.json")
#: How many of a page's feeds, of a site's sitemaps, or of an index's are looked at. Our choice.
CANDIDATES: Final = 5

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB: Final = re.compile(r"https?://", re.IGNORECASE)


async def discover(
    location: str, *, session: aiohttp.ClientSession, kind: SourceKind | None = None, selector: str = ""
) -> Found:
    """The source at a path or a URL; raises CollectError that says what is there and what to do.

    ``kind`` says what it has to be, instead of what is found first: only then is a sitemap looked for in
    robots.txt and by its usual name, and a page taken for its links although it names a feed. A CSS
    ``selector`` picks the links of a page, so it asks for one.
    """
    location = location.strip()
    if not location:
        raise CollectError("source", "no_folder", "name a folder or an http address")
    if _WEB.match(location):
        if selector:
            check_selector(selector, url=location)
        return await _Look(session, selector).at(location, SourceKind.PAGE if selector else kind)
    if _SCHEME.match(location):
        raise CollectError(location, "bad_url", "is no http or https address")
    if kind not in {None, SourceKind.FOLDER}:
        raise CollectError(location, "bad_url", f"is no http or https address, which a {kind} needs")
    return _discover_folder(location)


def _discover_folder(location: str) -> Found:
    path = Path(location).expanduser()
    if path.is_dir():
        folder = path.resolve()
        title = folder.name or str(folder)
        return Found(kind=SourceKind.FOLDER, location=str(folder), title=title, words="a folder")
    if path.is_file():
        raise CollectError(
            location, "no_folder", f"is a file; name its folder instead: {path.resolve().parent}"
        )
    looks_like_host = re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?", location)
    hint = f"; did you mean https://{location}?" if looks_like_host else ""
    raise CollectError(location, "no_folder", f"is neither a folder nor an http address{hint}")


class _Look:
    """One look at an address of the web."""

    def __init__(self, session: aiohttp.ClientSession, selector: str) -> None:
        self.session, self.selector = session, selector

    async def at(self, url: str, kind: SourceKind | None) -> Found:
        document = await self._fetch(url)
        match kind:
            case None:
                return await self._anything(document)
            case SourceKind.FEED:
                return await self._feed(document)
            case SourceKind.SITEMAP:
                return await self._sitemap(document)
            case SourceKind.PAGE:
                return describe_page(document, self.selector, fewest=1)
        raise CollectError(url, "bad_url", f"is an http address, which a {kind} does not have")

    async def _anything(self, document: Fetched) -> Found:
        found = _this_feed(document) or await self._this_sitemap(document) or await self._other_feed(document)
        if found is not None:
            return found
        try:
            return describe_page(document).adding("which names no feed")
        except CollectError:
            _fail_without_feed(document)

    async def _feed(self, document: Fetched) -> Found:
        return _this_feed(document) or await self._other_feed(document) or _fail_without_feed(document)

    async def _other_feed(self, document: Fetched) -> Found | None:
        """The feed that a page names, or that is at a usual place beside it."""
        named = list_named_feeds(document)[:CANDIDATES]
        found = await self._first(named, describe_feed)
        if found is not None:
            return found.adding("which the page names")
        if named:
            raise CollectError(
                document.url, "no_feed", f"names feeds, and none can be read; the first one is {named[0]}"
            )
        if name_document(document) != "a web page":
            return None
        found = await self._first([urljoin(document.final_url, path) for path in USUAL_FEEDS], describe_feed)
        return found.adding("which the page does not name") if found is not None else None

    async def _sitemap(self, document: Fetched) -> Found:
        """The sitemap that a document is, or the first of its site that can be read."""
        found = await self._this_sitemap(document)
        if found is not None:
            return found
        site = document.final_url
        try:
            robots = parse_robots((await self._fetch(urljoin(site, "/robots.txt"))).body, agent="Syndicate")
            named = robots.sitemaps[:CANDIDATES]
        except CollectError:
            named = ()
        for place in dict.fromkeys(urljoin(site, name) for name in [*named, "/sitemap.xml"]):
            try:
                found = await self._this_sitemap(await self._fetch(place))
            except CollectError:
                continue
            if found is not None:
                return found
        raise CollectError(
            document.url,
            "no_sitemap",
            "is no sitemap, and its site has none that can be read; give the address of the sitemap itself",
        )

    async def _this_sitemap(self, document: Fetched) -> Found | None:
        try:
            found, sitemap = describe_sitemap(document)
        except ParseError as error:
            if error.reason in {"not_a_sitemap", "empty"}:
                return None
            raise
        children = []
        for place in sitemap.children[:CANDIDATES]:
            try:
                child = await self._fetch(place)
                children.append(parse_sitemap(child.body, url=place, content_type=child.content_type))
            except CollectError:
                continue
        return describe_sitemap(document, children)[0] if children else found

    async def _first(self, places: Sequence[str], describe: Callable[[Fetched], Found]) -> Found | None:
        for place in places:
            try:
                return describe(await self._fetch(place))
            except CollectError:
                continue
        return None

    async def _fetch(self, url: str) -> Fetched:
        answer = await fetch(self.session, url)
        if not isinstance(answer, Fetched):
            raise CollectError(url, "http_304", "answered 304 to a plain request")
        return answer


def _this_feed(document: Fetched) -> Found | None:
    try:
        return describe_feed(document)
    except ParseError as error:
        if error.reason == "xml_limit":
            raise
        return None


def _fail_without_feed(document: Fetched) -> NoReturn:
    what = name_document(document)
    raise CollectError(
        document.url, "no_feed", f"is {what} and names no feed; give the address of the feed itself"
    )
