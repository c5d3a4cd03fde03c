"""Feeds as RSS 2.0 and Atom 1.0, by feedgen 1.0.0 with its faults repaired. Pure; caches nothing.

feedgen is not maintained, so what it gets wrong is never given to it: entry links other than RSS's own,
authors in RSS, dates in RSS, enclosures in Atom and atom:source are written by an extension that it calls
for each feed and each entry. Its other traps are named where they are avoided.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape
from typing import Any, Final

from feedgen.feed import FeedGenerator
from lxml import etree

from syndicate.model import Enclosure
from syndicate.publish.feed import Entry, EntrySource, Feed

__all__ = ["ATOM_TYPE", "RSS_TYPE", "build_atom", "build_rss"]

RSS_TYPE: Final = "application/rss+xml"
ATOM_TYPE: Final = "application/atom+xml"

_ATOM: Final = "http://www.w3.org/2005/Atom"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_MEDIA: Final = "http://search.yahoo.com/mrss/"
_XML: Final = "http://www.w3.org/XML/1998/namespace"

_TTL_MINUTES: Final = 60  # our choice: an hour between visits of a reader that cannot ask conditionally


def build_rss(feed: Feed) -> bytes:
    """The feed as RSS 2.0 in UTF-8, by the RSS Board's Best Practices Profile; equal feeds, equal bytes."""
    generator = _new_generator(feed)
    # the last link that feedgen hears of becomes the channel's, whatever its rel: so this is the only one
    generator.link(href=feed.home_url, rel="alternate")
    generator.ttl(_TTL_MINUTES)
    # feedgen would switch the locale of the whole process, all threads included, to write this date
    generator._FeedGenerator__rss_lastBuildDate = None
    for entry in feed.entries:
        item = _add_entry(generator, entry)
        item.link(href=entry.link, rel="alternate")
        item.summary(escape(entry.summary, quote=False))  # a description in RSS is HTML
        if entry.enclosures:
            first = entry.enclosures[0]
            # 0 for an unknown length: the Profile's own advice
            item.enclosure(url=first.url, length=str(first.length or 0), type=first.type)
    document: bytes = generator.rss_str(pretty=True)
    return document


def build_atom(feed: Feed) -> bytes:
    """The feed as Atom 1.0 (RFC 4287) in UTF-8; equal feeds, equal bytes."""
    generator = _new_generator(feed)
    generator.id(feed.atom_id)
    generator.updated(feed.updated_at)
    generator.author(name=feed.author_name)
    generator.link(href=feed.home_url, rel="alternate", type="text/html")
    generator.link(href=feed.self_url, rel="self", type=ATOM_TYPE)
    for entry in feed.entries:
        item = _add_entry(generator, entry)
        item.updated(entry.updated_at)
        item.published(entry.published_at)
        item.summary(entry.summary)  # without a type it is plain text (RFC 4287 section 3.1.1)
        for author in entry.authors:
            item.author(name=author.name, email=author.email, uri=author.url)
    document: bytes = generator.atom_str(pretty=True)
    return document


def _new_generator(feed: Feed) -> Any:
    generator = FeedGenerator()
    generator.register_extension("syndicate", _FeedExtension, _EntryExtension)
    generator.syndicate.feed = feed
    generator.title(feed.title)
    generator.description(feed.description)
    generator.language(feed.language)
    generator.generator("Syndicate")
    return generator


def _add_entry(generator: Any, entry: Entry) -> Any:
    item = generator.add_entry(order="append")  # the default puts the oldest first
    item.syndicate.entry = entry
    item.guid(entry.atom_id, permalink=entry.atom_id == entry.link)
    item.title(entry.title)
    item.content(entry.content_html, type="html")  # without a type, Atom takes it for plain text
    for tag in entry.tags:
        item.category(term=tag)
    return item


class _FeedExtension:
    """What feedgen leaves out of a feed."""

    feed: Feed

    def extend_ns(self) -> dict[str, str]:
        return {"dc": _DC, "media": _MEDIA}  # always both: an entry's bytes never depend on its neighbours

    def extend_rss(self, rss: etree._Element) -> None:
        channel = rss[0]
        link = {"href": self.feed.self_url, "rel": "self", "type": RSS_TYPE}
        etree.SubElement(channel, f"{{{_ATOM}}}link", link)
        _add_text(channel, "lastBuildDate", _rfc_822(self.feed.updated_at))

    def extend_atom(self, _feed: etree._Element) -> None:
        """Add nothing: feedgen writes the head of an Atom feed well."""


class _EntryExtension:
    """What feedgen leaves out of an entry, or gets wrong."""

    entry: Entry

    def extend_ns(self) -> dict[str, str]:
        return {}

    def extend_rss(self, item: etree._Element) -> None:
        entry = self.entry
        _add_text(item, "pubDate", _rfc_822(entry.published_at))
        for author in entry.authors:
            _add_text(item, f"{{{_DC}}}creator", author.name)
        if entry.language:
            _add_text(item, f"{{{_DC}}}language", entry.language)
        if entry.source and entry.source.feed_url:
            _add_text(item, "source", entry.source.title).set("url", entry.source.feed_url)
        for enclosure in entry.enclosures:
            _add_media_content(item, enclosure)
        _add_image(item, entry.image_url)

    def extend_atom(self, element: etree._Element) -> None:
        entry = self.entry
        if entry.language:
            element.set(f"{{{_XML}}}lang", entry.language)
        _add_link(element, entry.link, "alternate", "text/html")
        for enclosure in entry.enclosures:
            link = _add_link(element, enclosure.url, "enclosure", enclosure.type)
            if enclosure.length:
                link.set("length", str(enclosure.length))
        if entry.source:
            _add_atom_source(element, entry.source)
        _add_image(element, entry.image_url)


def _add_atom_source(element: etree._Element, origin: EntrySource) -> None:
    # Atom's own elements are made without a namespace, as feedgen does: a root attribute gives it to all
    source = etree.SubElement(element, "source")
    _add_text(source, "id", origin.atom_id)
    _add_text(source, "title", origin.title)
    _add_text(source, "updated", origin.updated_at.isoformat())
    if origin.url:
        _add_link(source, origin.url, "alternate", "text/html")
    if origin.feed_url:
        _add_link(source, origin.feed_url, "self")


def _add_media_content(element: etree._Element, enclosure: Enclosure) -> None:
    media = {"url": enclosure.url, "type": enclosure.type}
    if enclosure.length:
        media["fileSize"] = str(enclosure.length)
    etree.SubElement(element, f"{{{_MEDIA}}}content", media)


def _add_image(element: etree._Element, url: str) -> None:
    if url:
        etree.SubElement(element, f"{{{_MEDIA}}}content", {"url": url, "medium": "image"})
        etree.SubElement(element, f"{{{_MEDIA}}}thumbnail", {"url": url})


def _add_link(element: etree._Element, href: str, rel: str, media_type: str = "") -> etree._Element:
    link = etree.SubElement(element, "link", {"href": href, "rel": rel})
    if media_type:
        link.set("type", media_type)
    return link


def _add_text(element: etree._Element, name: str, text: str) -> etree._Element:
    child = etree.SubElement(element, name)
    child.text = text
    return child


def _rfc_822(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC))
