"""What feedparser calls an entry becomes an article. Reads no XML: both ways of reading meet here.

A feed and its entries are mappings with feedparser's keys, of which only those are looked at that stand here.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from syndicate.collect.dates import parse_date
from syndicate.collect.feed_names import NotSure
from syndicate.collect.feed_xhtml import VOID
from syndicate.collect.links import absolute_url
from syndicate.collect.parsed import choose_guid, choose_language, choose_title, labels
from syndicate.collect.sanitise import (
    clean_text,
    excerpt,
    first_words,
    plain_text,
    sanitise,
    shorten,
    text_to_html,
)
from syndicate.model import Author, DateQuality, Enclosure, ParsedArticle

__all__ = ["Entry", "Feed"]

_HTML_TYPES: Final = frozenset(["text/html", "application/xhtml+xml", "html", "xhtml"])
_TEXT_TYPES: Final = frozenset(["text/plain", "text", ""])
_MAIL_AND_NAME: Final = re.compile(r"(?P<mail>[^\s@()<>]+@[^\s@()<>]+)(?: \((?P<name>[^()]+)\))?")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
#: feedparser closes every element of XHTML, and HTML reads ``</br>`` as another ``<br>``.
_VOID_END: Final = re.compile(rf"</(?:{'|'.join(sorted(VOID))})>")
_LEADING_NUMBER: Final = re.compile(r"\s*\d{3,}")

Entry = Mapping[str, Any]


class Feed:
    """What the entries of one document share."""

    def __init__(self, feed: Entry, *, is_atom: bool, url: str) -> None:
        self.is_atom = is_atom
        self.title = shorten(_title(feed))
        self.home_url = absolute_url(str(feed.get("link") or ""), url)
        self.language = str(feed.get("language") or "")
        self.authors = _authors(feed, url) if is_atom else ()  # RFC 4287 section 4.2.1
        self.url = url

    def article(self, entry: Entry) -> ParsedArticle:
        """The article that an entry is. Raises NotSure for a date that only feedparser may know."""
        link = self._link(entry)
        base = link or self.home_url or self.url
        content, language, is_summary = _content(entry, base)
        title = _title(entry)
        published_at, quality, updated_at = self._dates(entry)
        given_date = str(entry.get("published") or _updated(entry) or "")
        return ParsedArticle(
            guid=choose_guid(clean_text(str(entry.get("id") or "")), link, title, given_date, content),
            url=link,
            title=choose_title(title, content),
            content_html=content,
            summary=("" if is_summary else _summary(entry)) or first_words(content),
            authors=(_authors(entry, base) if self.is_atom else _rss_authors(entry, base)) or self.authors,
            tags=labels(str(t.get("label") or t.get("term") or "") for t in entry.get("tags", [])),
            language=choose_language(language or self.language),
            image_url=_image(entry, base),
            enclosures=_enclosures(entry, base),
            published_at=published_at,
            published_quality=quality,
            updated_at=updated_at,
        )

    def _link(self, entry: Entry) -> str:
        link = str(entry.get("link") or "").strip()
        # feedparser makes a link of every guid that is not marked as none: <guid>42</guid> is no address.
        is_only_guid = entry.get("guidislink") and link == str(entry.get("id") or "").strip()
        return absolute_url(link, "" if is_only_guid else self.home_url or self.url) if link else ""

    def _dates(self, entry: Entry) -> tuple[datetime | None, DateQuality, datetime | None]:
        published, quality = _date(entry, "published")
        updated, updated_quality = _date(entry, "updated") if _updated(entry) else (None, quality)
        if published is None and updated is not None and not self.is_atom:
            return updated, updated_quality, None  # RSS and RDF know dc:date only, and mean publication
        return published, quality, updated


def _updated(entry: Entry) -> str | None:
    # feedparser's get() answers with the other date; the key itself tells the truth.
    return str(entry["updated"]) if "updated" in entry else None


def _date(entry: Entry, name: str) -> tuple[datetime | None, DateQuality]:
    text = str(entry.get(name) or "")
    at, quality = parse_date(text, zone=UTC)
    # feedparser knows more languages than we do; of a wrong number it makes another day or year.
    if at is not None or not text or _LEADING_NUMBER.match(text):
        return at, quality
    if f"{name}_parsed" not in entry:
        raise NotSure(f"the date '{text[:40]}'")
    parsed = entry[f"{name}_parsed"]
    try:
        return (
            (datetime.fromtimestamp(timegm(parsed), tz=UTC), DateQuality.GIVEN) if parsed else (at, quality)
        )
    except (ValueError, OverflowError, OSError):
        return at, quality


def _title(thing: Entry) -> str:
    detail = thing.get("title_detail") or {}
    value = str(detail.get("value") or thing.get("title") or "")
    return plain_text(value) if detail.get("type") in _HTML_TYPES else " ".join(clean_text(value).split())


def _content(entry: Entry, base: str) -> tuple[str, str, bool]:
    """The fullest text of an entry as sanitised HTML, its language, and whether it is the summary."""
    parts = [part for part in entry.get("content", []) if part.get("value")]
    parts.sort(key=lambda part: part.get("type") not in _HTML_TYPES)
    detail = entry.get("summary_detail") or {}
    for part in [*parts, detail]:
        value, kind = str(part.get("value") or ""), str(part.get("type") or "")
        if not value or kind not in _HTML_TYPES | _TEXT_TYPES:
            continue
        if kind == "application/xhtml+xml":
            value = _VOID_END.sub("", value)
        markup = value if kind in _HTML_TYPES else text_to_html(value)
        place = absolute_url(str(part.get("base") or ""), base) if part.get("base") else base
        is_summary = part is detail and kind in _HTML_TYPES
        return sanitise(markup, base_url=place or base), str(part.get("language") or ""), is_summary
    return "", "", False


def _summary(entry: Entry) -> str:
    detail = entry.get("summary_detail") or {}
    value = str(detail.get("value") or "")
    return excerpt(value) if detail.get("type") in _HTML_TYPES else shorten(value)


def _authors(thing: Entry, base: str) -> tuple[Author, ...]:
    found = (
        Author(
            name=shorten(str(a.get("name") or a.get("email") or ""), 200),
            email=shorten(str(a.get("email") or ""), 200),
            url=absolute_url(str(a.get("href") or ""), base) if a.get("href") else "",
        )
        for a in thing.get("authors", [])
    )
    return tuple(dict.fromkeys(author for author in found if author.name))


def _rss_authors(entry: Entry, base: str) -> tuple[Author, ...]:
    """RSS 2.0 has one element for both: ``mail@example.org (Name)``.

    feedparser splits the last author of an entry, and in the middle of a host whose last part has more than
    four letters; what stood there is still in ``author``.
    """
    given, raw = list(entry.get("authors", [])), str(entry.get("author") or "")
    if given and raw:
        given[-1] = {"name": raw}
    return tuple(
        Author(name=found["name"] or found["mail"], email=found["mail"])
        if (found := _MAIL_AND_NAME.fullmatch(author.name))
        else author
        for author in _authors({"authors": given}, base)
    )


def _image(entry: Entry, base: str) -> str:
    media = [m for m in entry.get("media_content", []) if _is_image(m)]
    places = [t.get("url") for t in [*entry.get("media_thumbnail", []), *media]]
    places.append((entry.get("image") or {}).get("href"))
    places += [e.get("href") for e in entry.get("enclosures", []) if _is_image(e)]
    return next(filter(None, (absolute_url(str(p), base) for p in places if p)), "")


def _enclosures(entry: Entry, base: str) -> tuple[Enclosure, ...]:
    media = [m for m in entry.get("media_content", []) if not _is_image(m)]
    by_url: dict[str, Enclosure] = {}
    for file in _files([*entry.get("enclosures", []), *media], base):
        by_url.setdefault(file.url, file)
    return tuple(by_url.values())


def _files(things: Iterable[Entry], base: str) -> Iterable[Enclosure]:
    for thing in things:
        place = str(thing.get("href") or thing.get("url") or "")
        url = absolute_url(place, base) if place else ""
        length = str(thing.get("length") or thing.get("filesize") or "").strip()
        if url:
            yield Enclosure(
                url=url,
                type=shorten(str(thing.get("type") or ""), 100),
                length=int(length) if _LENGTH.fullmatch(length) else None,
            )


def _is_image(thing: Entry) -> bool:
    return thing.get("medium") == "image" or str(thing.get("type") or "").startswith("image/")
