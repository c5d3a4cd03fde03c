"""Lists of feeds as OPML 2.0 documents, read and written. Fetches nothing, stores nothing.

Equal lists give equal bytes: no clock and no order of arrival reaches a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lxml import etree

from syndicate.collect.links import absolute_url, canonical_link
from syndicate.collect.list_xml import check_limits, read_list_xml
from syndicate.collect.parsed import labels
from syndicate.collect.sanitise import clean_text, plain_text, shorten

__all__ = ["MAX_DEPTH", "MAX_OUTLINES", "Opml", "OpmlFeed", "build_opml", "parse_opml"]

MAX_OUTLINES: Final = 5_000
MAX_DEPTH: Final = 10

#: How other programs say that an address is one of a feed.
_FEED_SCHEME: Final = re.compile(r"^(feed:(//)?(?=https?:)|feed(?=://))", re.IGNORECASE)
#: Parameters whose value opens what others may not read.
_SECRET: Final = re.compile(
    r"(.*[_-])?(token|key|apikey|auth|secret|pass(word|wd)?|pwd|sig(nature)?|session(id)?|credentials?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpmlFeed:
    """One feed of a list."""

    title: str  #: plain text, never empty
    xml_url: str  #: of the feed: absolute http or https
    html_url: str = ""  #: of the site, absolute, or empty
    topics: tuple[str, ...] = ()  #: labels, without repetitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Opml:
    """What a list holds."""

    outlines: tuple[OpmlFeed, ...]  #: in the document's order, no feed twice
    problems: tuple[str, ...]  #: what was left out: one line each, with the line of the document


def parse_opml(body: bytes, *, url: str) -> Opml:
    """The feeds of an OPML document (1.0 to 2.0); ``url`` is its address or path, for messages.

    The outlines around a feed are its topics, and so are its categories. At most 5,000 outlines, nested at
    most 10 deep; what is beyond, without a feed's address, or there twice is named among the problems. Raises
    ParseError, whose reason is one of empty, not_opml, xml_limit.
    """
    data, broke_off = read_list_xml(body, url=url, root="opml", reason="not_opml", what="OPML document")
    reader = _Reader()
    reader.read(_parse(data, url))
    if broke_off:
        reader.problems.append("the document broke off before its end; feeds may be missing")
    return Opml(outlines=tuple(reader.feeds.values()), problems=tuple(reader.problems))


def build_opml(title: str, feeds: Iterable[OpmlFeed]) -> bytes:
    """An OPML 2.0 document with these feeds: by their first topic, then by title and address.

    Further topics are written as categories. User names, passwords and tokens are taken out of the
    addresses. Reading the document and writing it again gives the same bytes.
    """
    root = etree.Element("opml", version="2.0")
    etree.SubElement(etree.SubElement(root, "head"), "title").text = shorten(title)
    body = etree.SubElement(root, "body")
    folders: dict[str, etree._Element] = {"": body}
    shown = sorted({found for feed in feeds if (found := _shown(feed)).xml_url}, key=_sort_key)
    seen: set[str] = set()
    for feed in shown:
        address = canonical_link(feed.xml_url)
        if address in seen:
            continue
        seen.add(address)
        topic = feed.topics[0] if feed.topics else ""
        if topic not in folders:
            folders[topic] = etree.SubElement(body, "outline", text=topic, title=topic)
        etree.SubElement(folders[topic], "outline", _attributes(feed))
    return etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=True)


class _Reader:
    """Walks through outlines and keeps what it found."""

    def __init__(self) -> None:
        self.feeds: dict[str, OpmlFeed] = {}  # by canonical URL
        self.problems: list[str] = []

    def read(self, body: etree._Element) -> None:
        for count, (outline, folders) in enumerate(_outlines(body), start=1):
            line = f"line {outline.sourceline}"
            if count > MAX_OUTLINES:
                self.problems.append(
                    f"{line}: there are more than {MAX_OUTLINES:,} outlines; the rest is left out"
                )
                return
            if len(folders) >= MAX_DEPTH:
                self.problems.append(f"{line}: is nested deeper than {MAX_DEPTH} outlines and left out")
                continue
            self._take(outline, folders, line)

    def _take(self, outline: etree._Element, folders: tuple[str, ...], line: str) -> None:
        said = _said(outline)
        given, name = said.get("xmlurl", ""), _name(said)
        if not given:
            if len(outline) == 0:
                self.problems.append(f"{line}: '{name or 'an outline'}' has no xmlUrl, so it is no feed")
            return
        xml_url = absolute_url(_FEED_SCHEME.sub(_web_scheme, given, count=1))
        if not xml_url:
            self.problems.append(f"{line}: '{shorten(given, 100)}' is no http or https address")
            return
        address = canonical_link(xml_url)
        if address in self.feeds:
            self.problems.append(
                f"{line}: {shorten(xml_url, 200)} is there already as '{self.feeds[address].title}'"
            )
            return
        self.feeds[address] = OpmlFeed(
            title=name or (urlsplit(xml_url).hostname or xml_url),
            xml_url=xml_url,
            html_url=absolute_url(said["htmlurl"]) if said.get("htmlurl") else "",
            topics=labels(
                [*folders, *(part.strip().strip("/") for part in said.get("category", "").split(","))]
            ),
        )


def _parse(data: bytes, url: str) -> etree._Element:
    """The body of a document; empty if it has none."""
    parser = etree.XMLParser(
        encoding="utf-8",
        recover=True,  # many programs write markup into their attributes
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        root = None
    check_limits(parser.error_log, url=url, what="OPML document")
    body = root.find("{*}body") if root is not None else None
    return body if body is not None else etree.Element("body")


def _outlines(body: etree._Element) -> Iterator[tuple[etree._Element, tuple[str, ...]]]:
    """Every outline with the names of those around it, in the document's order."""
    waiting: list[tuple[etree._Element, tuple[str, ...]]] = [(body, ())]
    while waiting:
        here, folders = waiting.pop()
        if here is not body:
            yield here, folders
        if len(folders) < MAX_DEPTH:
            inner = (*folders, _name(_said(here))) if here is not body else ()
            waiting.extend((child, inner) for child in here.iterchildren("{*}outline", reversed=True))


def _said(outline: etree._Element) -> dict[str, str]:
    """Its attributes; programs write xmlUrl, xmlURL and xmlurl."""
    return {str(name).lower(): str(value).strip() for name, value in outline.attrib.items()}


def _name(said: dict[str, str]) -> str:
    return _plain(said.get("text") or said.get("title") or "")


def _plain(text: str) -> str:
    """A name without markup, however often it was escaped, so that reading it again changes nothing."""
    name = shorten(text)
    while (bare := shorten(plain_text(name))) != name:
        name = bare
    return name


def _web_scheme(match: re.Match[str]) -> str:
    return "http" if match.group().lower() == "feed" else ""


def _shown(feed: OpmlFeed) -> OpmlFeed:
    """The feed as a stranger may see it, in the form that reading gives back."""
    topics = [_plain(topic) for topic in feed.topics]
    return OpmlFeed(
        title=_plain(feed.title) or (urlsplit(feed.xml_url).hostname or ""),
        xml_url=_without_secrets(feed.xml_url),
        html_url=_without_secrets(feed.html_url),
        # A comma parts categories, and a slash at an end is a sign of theirs.
        topics=labels([*topics[:1], *(topic.replace(",", " ").strip("/ ") for topic in topics[1:])]),
    )


def _attributes(feed: OpmlFeed) -> dict[str, str]:
    said = {"type": "rss", "text": feed.title, "title": feed.title, "xmlUrl": feed.xml_url}
    if feed.html_url:
        said["htmlUrl"] = feed.html_url
    if feed.topics[1:]:
        said["category"] = ",".join(feed.topics[1:])
    return said


def _sort_key(feed: OpmlFeed) -> tuple[str, ...]:
    return (*feed.topics[:1], "\x00", feed.title.casefold(), feed.xml_url, feed.title, *feed.topics)


def _without_secrets(url: str) -> str:
    """The address without user name, password and what looks like a key; empty if it is none."""
    parts = urlsplit(absolute_url(clean_text(url)))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    open_pairs = [pair for pair in pairs if not _SECRET.fullmatch(pair[0])]
    query = parts.query if open_pairs == pairs else urlencode(open_pairs)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, parts.fragment))
