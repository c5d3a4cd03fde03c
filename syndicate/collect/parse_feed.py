"""RSS, Atom and RDF documents to articles. Never fetches, opens no file.

Well-formed RSS and Atom take the fast path; feedparser reads what that one is not sure of, after
``xml_guard`` has looked at it. It neither sanitises nor resolves here: ``sanitise`` does both, for every
format alike and in a tenth of the time.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

import feedparser

from syndicate.collect.charset import charset_of, decode, xml_charset
from syndicate.collect.dates import plausible
from syndicate.collect.document_hints import Hints, hints_of
from syndicate.collect.fast_feed import read_feed
from syndicate.collect.feed_articles import Entry, Feed
from syndicate.collect.feed_names import NotSure
from syndicate.collect.parsed import ARTICLE_LIMIT, ParsedSource, distinct_articles, settle_dates
from syndicate.collect.xml_guard import checked_xml, cut_xml, well_formed_tree
from syndicate.errors import ParseError
from syndicate.model import Author, ParsedArticle

__all__ = ["feed_differences", "parse_feed"]

#: The base for feedparser. The real one would make a guid like "42" depend on where the feed happens to
#: live; an empty one lets the xml:base of one entry leak into the next.
_NOWHERE: Final = "about:blank"


def parse_feed(body: bytes, *, url: str, content_type: str, now: datetime) -> ParsedSource:
    """The articles of an RSS, Atom or RDF document; see ``parse_document`` for the contract."""
    data, encoding = _xml(body, url, content_type)
    source = _fast(data, url, now) or _slow(data, url, now)
    if encoding.startswith("utf-"):
        return source
    return replace(source, note="; ".join(filter(None, [source.note, f"read as {encoding}"])))


def feed_differences(body: bytes, *, url: str, content_type: str, now: datetime) -> list[str]:
    """Where the two ways of reading one document disagree, a line each; empty where only one reads it."""
    data, _ = _xml(body, url, content_type)
    fast = _fast(data, url, now)
    if fast is None:
        return []
    slow = _slow(data, url, now)
    found = [f"{name}: {a!r} / {b!r}" for name, a, b in _unequal(fast, slow)]
    for number, (one, other) in enumerate(zip(fast.articles, slow.articles, strict=False), start=1):
        found += [f"article {number}, {n}: {a!r} / {b!r}" for n, a, b in _unequal(one, other)]
    return found


def _unequal(one: ParsedSource | ParsedArticle, other: object) -> list[tuple[str, object, object]]:
    pairs = [(f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    counted: list[tuple[str, Any, Any]] = [
        (n, len(a), len(b)) if n == "articles" else (n, a, b) for n, a, b in pairs
    ]
    return [(n, a, b) for n, a, b in counted if a != b and not (n == "authors" and _is_borrowed(a, b))]


def _is_borrowed(ours: Sequence[Author], theirs: Sequence[Author]) -> bool:
    """The one difference that is wanted: feedparser gives an author without an address of mail that of the
    author before, and cuts it off.
    """
    names, emails = [a.name for a in ours], [a.email for a in ours]
    return names == [a.name for a in theirs] and all(
        any(email.startswith(a.email) for email in emails) for a in theirs
    )


def _xml(body: bytes, url: str, content_type: str) -> tuple[bytes, str]:
    text, encoding = decode(body, [charset_of(content_type), xml_charset(body)])
    if not text.strip():
        raise ParseError(url, "empty", "is empty; its server sent nothing, and will be asked again")
    return cut_xml(text, url), encoding


def _fast(data: bytes, url: str, now: datetime) -> ParsedSource | None:
    root = well_formed_tree(data)
    if root is None:
        return None
    try:
        feed, entries, is_atom = read_feed(root, data)
        return _source(Feed(feed, is_atom=is_atom, url=url), entries, now, hints_of(root, url))
    except NotSure:
        return None


def _slow(data: bytes, url: str, now: datetime) -> ParsedSource:
    checked = checked_xml(data, url)
    try:
        # Only a stream: feedparser takes a str for a URL and even bytes for the name of a file to open.
        result = feedparser.parse(
            io.BytesIO(checked.data),
            sanitize_html=False,
            resolve_relative_uris=False,
            response_headers={
                "content-type": "application/xml; charset=utf-8",
                "content-location": _NOWHERE,
            },
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        detail = f"holds something that cannot be read ({type(error).__name__}); tell its publisher"
        raise ParseError(url, "not_a_feed", detail) from None
    version = result.get("version", "")
    if not version:  # bozo tells nothing: it is set on good feeds and unset on web pages
        detail = "begins like a feed and goes on like none; it may have broken off, and will be asked again"
        raise ParseError(url, "not_a_feed", detail)
    entries = list(result.get("entries", []))
    if checked.broke_off and checked.ends_inside_entry and entries:
        entries.pop()
    feed = Feed(result.get("feed", {}), is_atom=version.startswith("atom"), url=url)
    source = _source(feed, [entry for entry in entries if entry], now, hints_of(checked.root, url))
    return replace(source, note="the document broke off before its end") if checked.broke_off else source


def _source(feed: Feed, entries: Sequence[Entry], now: datetime, hints: Hints) -> ParsedSource:
    articles = [feed.article(entry) for entry in entries[:ARTICLE_LIMIT] if entry]
    return ParsedSource(
        title=feed.title,
        home_url=feed.home_url,
        articles=distinct_articles([settle_dates(a, partial(plausible, now=now)) for a in articles]),
        **hints,
    )
