"""JSON Feed 1.0 and 1.1 documents to articles. Never fetches; follows no ``next_url``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from syndicate.collect.charset import charset_of, decode
from syndicate.collect.dates import parse_date, plausible
from syndicate.collect.links import absolute_url
from syndicate.collect.parsed import (
    ARTICLE_LIMIT,
    ParsedSource,
    choose_guid,
    choose_language,
    choose_title,
    distinct_articles,
    labels,
    settle_dates,
)
from syndicate.collect.sanitise import clean_text, excerpt, plain_text, sanitise, shorten, text_to_html
from syndicate.errors import ParseError
from syndicate.model import Author, DateQuality, Enclosure, ParsedArticle

__all__ = ["parse_json"]

_VERSION = "https://jsonfeed.org/version/"


def parse_json(body: bytes, *, url: str, content_type: str, now: datetime) -> ParsedSource:
    """The articles of a JSON Feed; see ``parse_document`` for the contract."""
    feed = _feed(decode(body, [charset_of(content_type)])[0], url)
    home_url = _url(feed, "home_page_url", url)
    language, authors = _text(feed, "language"), _authors(feed, url)
    articles = [
        settle_dates(_article(item, home_url or url, language, authors), partial(plausible, now=now))
        for item in _dicts(feed.get("items"))[:ARTICLE_LIMIT]
    ]
    self_url, next_url = _url(feed, "feed_url", url), _url(feed, "next_url", url)
    hubs = (_url(hub, "url", url) for hub in _dicts(feed.get("hubs")) if _text(hub, "type") == "WebSub")
    return ParsedSource(
        title=shorten(_text(feed, "title")),
        home_url=home_url,
        articles=distinct_articles(articles),
        is_expired=feed.get("expired") is True,
        hubs=tuple(dict.fromkeys(filter(None, hubs))),
        self_url=self_url,
        next_page_url=next_url if next_url not in {url, self_url} else "",
    )


def _feed(text: str, url: str) -> dict[str, Any]:
    try:
        feed = json.loads(text, strict=False)  # control characters in texts do no harm: they are taken out
    except RecursionError:
        raise ParseError(url, "xml_limit", "nests deeper than any feed; tell its publisher") from None
    except json.JSONDecodeError as error:
        detail = (
            f"is no valid JSON ({error.msg}, line {error.lineno}); it may have broken off: tell its publisher"
        )
        raise ParseError(url, "not_a_feed", detail) from None
    except ValueError:  # a number of thousands of digits
        detail = "holds a number that no program takes; tell its publisher"
        raise ParseError(url, "not_a_feed", detail) from None
    if not isinstance(feed, dict) or not _text(feed, "version").startswith(_VERSION):
        detail = "is JSON and no JSON Feed (its version names none); check the address"
        raise ParseError(url, "not_a_feed", detail)
    return feed


def _article(item: dict[str, Any], home: str, language: str, authors: tuple[Author, ...]) -> ParsedArticle:
    url = _url(item, "url", home) or _url(item, "external_url", home)
    base = url or home
    markup = _text(item, "content_html") or text_to_html(_text(item, "content_text"))
    content = sanitise(markup, base_url=base)
    title = plain_text(_text(item, "title")) if "<" in _text(item, "title") else _text(item, "title")
    published_at, quality = _date(item, "date_published")
    return ParsedArticle(
        guid=choose_guid(_text(item, "id"), url, title, _text(item, "date_published"), content),
        url=url,
        title=choose_title(title, content),
        content_html=content,
        summary=shorten(_text(item, "summary")) or excerpt(content),
        authors=_authors(item, base) or authors,
        tags=labels(str(tag) for tag in _list(item.get("tags")) if isinstance(tag, str)),
        language=choose_language(_text(item, "language") or language),
        image_url=_url(item, "image", base) or _url(item, "banner_image", base),
        enclosures=tuple(_attachments(item, base)),
        published_at=published_at,
        published_quality=quality,
        updated_at=_date(item, "date_modified")[0],
    )


def _authors(thing: dict[str, Any], base: str) -> tuple[Author, ...]:
    """``authors`` of version 1.1, else ``author`` of 1.0."""
    given = _dicts(thing.get("authors")) or _dicts([thing.get("author")])
    return tuple(
        Author(name=shorten(_text(a, "name"), 200), url=_url(a, "url", base))
        for a in given
        if _text(a, "name").strip()
    )


def _attachments(item: dict[str, Any], base: str) -> Iterable[Enclosure]:
    for thing in _dicts(item.get("attachments")):
        url, length = _url(thing, "url", base), thing.get("size_in_bytes")
        if url:
            is_length = isinstance(length, int | float) and 0 <= length < 2**53
            yield Enclosure(
                url=url,
                type=shorten(_text(thing, "mime_type"), 100),
                length=int(length) if is_length and length is not None else None,
            )


def _date(item: dict[str, Any], name: str) -> tuple[datetime | None, DateQuality]:
    return parse_date(_text(item, name), zone=UTC)


def _text(thing: dict[str, Any], name: str) -> str:
    """A value as text: ids and even titles come as numbers."""
    value = thing.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return clean_text(str(value)) if isinstance(value, str) or is_number else ""


def _url(thing: dict[str, Any], name: str, base: str) -> str:
    value = _text(thing, name)
    return absolute_url(value, base) if value else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [thing for thing in _list(value) if isinstance(thing, dict)]
