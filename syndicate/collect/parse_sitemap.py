"""Sitemaps to addresses of pages (sitemaps.org protocol 0.9, with the news extension). Fetches nothing.

Images, videos and translations that a sitemap lists beside its pages are passed over.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from syndicate.collect.dates import parse_date
from syndicate.collect.links import absolute_url
from syndicate.collect.list_xml import check_limits, read_list_xml
from syndicate.collect.pages import PageLink
from syndicate.collect.parsed import choose_language
from syndicate.collect.sanitise import shorten
from syndicate.errors import ParseError

__all__ = ["MAX_ENTRIES", "Sitemap", "parse_sitemap"]

#: What the protocol allows in one sitemap, and in one index.
MAX_ENTRIES: Final = 50_000
_MAX_BYTES: Final = 50 * 2**20

_GZIP: Final = b"\x1f\x8b"
_TITLE_LIMIT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitemap:
    """What one sitemap names: pages, or other sitemaps if it is an index."""

    pages: tuple[PageLink, ...]  #: in the document's order, each address once
    children: tuple[str, ...]  #: addresses of sitemaps, newest date of change first
    note: str = ""  #: what was left out, for the operator

    @property
    def is_index(self) -> bool:
        """Whether it names sitemaps rather than pages."""
        return bool(self.children)


def parse_sitemap(body: bytes, *, url: str, content_type: str = "", max_bytes: int = _MAX_BYTES) -> Sitemap:
    """The pages and sitemaps that a sitemap names, at most 50,000, with absolute addresses.

    A body that is packed with gzip (``sitemap.xml.gz``) is unpacked up to ``max_bytes``. Raises ParseError,
    whose reason is one of empty, not_a_sitemap, broke_off, xml_limit, too_large, bad_encoding. One that broke
    off is refused as a whole: what was missing would count as new the next time.
    """
    data, broke_off = read_list_xml(
        _unpack(body, url, max_bytes),
        url=url,
        content_type=content_type,
        root="urlset|sitemapindex",
        reason="not_a_sitemap",
        what="sitemap",
    )
    if broke_off:
        raise ParseError(url, "broke_off", "broke off before its end")
    is_index = re.match(rb"\s*<([\w.-]+:)?sitemapindex", data) is not None
    by_url: dict[str, PageLink] = {}
    note = ""
    for link in _links(data, url):
        if link.url not in by_url and len(by_url) == MAX_ENTRIES:
            note = f"names more than {MAX_ENTRIES:,} addresses; only the first ones are read"
            break
        by_url.setdefault(link.url, link)
    found = tuple(by_url.values())
    if not is_index:
        return Sitemap(pages=found, children=(), note=note)
    newest = sorted(found, key=_changed_at, reverse=True)
    return Sitemap(pages=(), children=tuple(link.url for link in newest), note=note)


def _unpack(body: bytes, url: str, max_bytes: int) -> bytes:
    """The body without gzip, in which several members may follow each other (RFC 1952 section 2.2)."""
    if not body.startswith(_GZIP):
        return body
    unpacked, rest = bytearray(), body
    while rest.startswith(_GZIP):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            unpacked += member.decompress(rest, max_bytes + 1 - len(unpacked))
        except zlib.error:
            raise ParseError(url, "bad_encoding", "is packed in a way that cannot be undone") from None
        if len(unpacked) > max_bytes:
            raise ParseError(url, "too_large", f"is larger than {max_bytes / 2**20:g} MiB when unpacked")
        if not member.eof:
            raise ParseError(url, "broke_off", "broke off before its end")
        rest = member.unused_data
    return bytes(unpacked)


def _links(data: bytes, url: str) -> Iterator[PageLink]:
    """One entry after the other; each is forgotten when it was read, so memory does not grow with them."""
    entries = etree.iterparse(
        io.BytesIO(data),
        events=("end",),
        tag=("{*}url", "{*}sitemap", "url", "sitemap"),
        recover=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        for _, element in entries:
            link = _link(element, url)
            if link is not None:
                yield link
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError:
        raise ParseError(url, "not_a_sitemap", "is no sitemap") from None
    check_limits(entries.error_log, url=url, what="sitemap")


def _link(element: etree._Element, url: str) -> PageLink | None:
    place = _said(element, "loc")
    page = absolute_url(place, url) if place else ""
    if not page:
        return None
    changed_at, news = _date(_said(element, "lastmod")), element.find("{*}news")
    if news is None:
        return PageLink(url=page, last_modified_at=changed_at)
    return PageLink(
        url=page,
        title=shorten(_said(news, "title"), _TITLE_LIMIT),
        language=choose_language(_said(news, "publication/{*}language")),
        published_at=_date(_said(news, "publication_date")),
        last_modified_at=changed_at,
    )


def _said(element: etree._Element, path: str) -> str:
    """The text of a child; not of a grandchild of the same name: pictures have places and titles too."""
    return " ".join((element.findtext(f"{{*}}{path}") or "").split())


def _date(text: str) -> datetime | None:
    return parse_date(text, zone=UTC)[0]


def _changed_at(link: PageLink) -> datetime:
    return link.last_modified_at or datetime.min.replace(tzinfo=UTC)
