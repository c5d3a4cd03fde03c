"""What is at a location that an operator names: a folder, a feed, or a page that names its feed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from lxml import etree, html

from syndicate.collect.charset import charset_of, decode
from syndicate.collect.fetch import Fetched, fetch
from syndicate.collect.links import absolute_url
from syndicate.collect.parse import ParsedSource, parse_document
from syndicate.collect.sanitise import shorten
from syndicate.errors import CollectError, ParseError
from syndicate.model import SourceKind

__all__ = ["Found", "discover"]

#: A page names its feeds so (the RSS Advisory Board's and the Atom working group's autodiscovery).
FEED_TYPES: Final = frozenset(
    {"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml"}
)
#: How many of a page's feeds are tried. Our choice.
CANDIDATES: Final = 5

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB: Final = re.compile(r"https?://", re.IGNORECASE)
#: Discovery looks at no date, so every date may be plausible.
_ANY_TIME: Final = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A source that can be added."""

    kind: SourceKind
    location: str  #: an absolute path, or the URL at which the feed itself was found
    title: str  #: plain text; never empty


async def discover(location: str, *, session: aiohttp.ClientSession) -> Found:
    """The source at a path or a URL. Raises CollectError that says what is there and what to do."""
    location = location.strip()
    if not location:
        raise CollectError("source", "no_folder", "name a folder or an http address")
    if _WEB.match(location):
        return await _discover_feed(location, session)
    if _SCHEME.match(location):
        raise CollectError(location, "bad_url", "is no http or https address")
    return _discover_folder(location)


def _discover_folder(location: str) -> Found:
    path = Path(location).expanduser()
    if path.is_dir():
        folder = path.resolve()
        return Found(kind=SourceKind.FOLDER, location=str(folder), title=folder.name or str(folder))
    if path.is_file():
        raise CollectError(
            location, "no_folder", f"is a file; name its folder instead: {path.resolve().parent}"
        )
    looks_like_host = re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?", location)
    hint = f"; did you mean https://{location}?" if looks_like_host else ""
    raise CollectError(location, "no_folder", f"is neither a folder nor an http address{hint}")


async def _discover_feed(url: str, session: aiohttp.ClientSession) -> Found:
    page = await _fetch(url, session)
    try:
        return _found(page.final_url, _parse(page))
    except ParseError as error:
        if error.reason == "xml_limit":
            raise
    candidates = list(_list_feeds(page))[:CANDIDATES]
    for candidate in candidates:
        try:
            document = await _fetch(candidate, session)
            return _found(document.final_url, _parse(document))
        except CollectError:
            continue
    if candidates:
        raise CollectError(
            url, "no_feed", f"names feeds, and none can be read; the first one is {candidates[0]}"
        )
    what = _describe(page)
    raise CollectError(url, "no_feed", f"is {what} and names no feed; give the address of the feed itself")


async def _fetch(url: str, session: aiohttp.ClientSession) -> Fetched:
    answer = await fetch(session, url)
    if not isinstance(answer, Fetched):
        raise CollectError(url, "http_304", "answered 304 to a plain request")
    return answer


def _parse(document: Fetched) -> ParsedSource:
    return parse_document(
        document.body, url=document.final_url, content_type=document.content_type, now=_ANY_TIME
    )


def _found(url: str, source: ParsedSource) -> Found:
    host = (re.sub(r"^https?://", "", url)).partition("/")[0]
    return Found(kind=SourceKind.FEED, location=url, title=source.title or host)


def _list_feeds(page: Fetched) -> Iterable[str]:
    """The feeds that a page names, in its order, absolute."""
    root = _read_page(page)
    if root is None:
        return
    base = next((absolute_url(str(e.get("href") or ""), page.final_url) for e in root.iter("base")), "")
    for link in root.iter("link"):
        kind = str(link.get("type") or "").partition(";")[0].strip().lower()
        if (
            "alternate" in str(link.get("rel") or "").lower().split()
            and kind in FEED_TYPES
            and link.get("href")
        ):
            feed = absolute_url(str(link.get("href")), base or page.final_url)
            if feed:
                yield feed


def _read_page(page: Fetched) -> html.HtmlElement | None:
    text, _ = decode(page.body, [charset_of(page.content_type)])
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        return html.document_fromstring(text.encode(), parser=parser)
    except (etree.LxmlError, ValueError):
        return None


def _describe(page: Fetched) -> str:
    kind = page.content_type.partition(";")[0].strip().lower()
    if not page.body.strip():
        return "an empty document"
    if "html" in kind or page.body.lstrip()[:1] == b"<":
        return "a web page"
    return f"a document of type {shorten(kind, 60)}" if kind else "no feed"
