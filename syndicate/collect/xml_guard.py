"""XML from strangers, looked at before anything parses it for good. Gives no articles.

libxml2 bounds depth, text and entities and does so in milliseconds; feedparser bounds nothing and takes
seconds for 200,000 nested or 300,000 flat elements, and hours for as many attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from syndicate.collect.feed_names import local_name
from syndicate.collect.sanitise import clean_text
from syndicate.errors import ParseError

__all__ = ["CheckedXml", "checked_xml", "cut_xml", "well_formed_tree"]

_RESOURCE_LIMIT: Final = 114  # XML_ERR_RESOURCE_LIMIT; the name that lxml gives it misleads
_EXTRA_CONTENT: Final = 5  # XML_ERR_DOCUMENT_END
_ELEMENTS: Final = 60_000
_ATTRIBUTES: Final = 100  # of one element
_ENTITY_CHARACTERS: Final = 100
_ENTRIES: Final = (b"item", b"entry")
_ROOTS: Final = frozenset(["rss", "feed", "RDF", "channel"])
_START: Final = re.compile(r"<(\?xml\b|!DOCTYPE|([\w.-]+:)?(rss|feed|RDF|channel)\b)", re.IGNORECASE)
_DECLARATION: Final = re.compile(r"<\?xml\b[^>]{0,300}\?>")
_UNFINISHED: Final = frozenset([45, 63])  # XML_ERR_COMMENT_NOT_FINISHED, XML_ERR_CDATA_NOT_FINISHED
_WEB_PAGE: Final = re.compile(r"<(!DOCTYPE\s+html|html|head)\b", re.IGNORECASE)
_HARMFUL: Final = "; no feed needs that, so it was not read: tell its publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedXml:
    """A feed's XML that will harm no parser."""

    data: bytes  #: UTF-8, without its declaration
    root: etree._Element
    broke_off: bool  #: the document ends before its end
    ends_inside_entry: bool  #: and in the middle of an entry


def cut_xml(text: str, url: str) -> bytes:
    """The feed in a text as UTF-8, without its declaration and what stands before it (warnings of a script).

    Raises ParseError ``not_a_feed``.
    """
    start = _START.search(text)
    if start is None:
        raise ParseError(url, "not_a_feed", _what_it_is(text))
    # A control character is no reason to guess at all the rest, and no field would keep it.
    document = clean_text(text[start.start() :])
    return _DECLARATION.sub("", document, count=1).lstrip().encode()


def well_formed_tree(data: bytes) -> etree._Element | None:
    """The tree of a well-formed document within libxml2's limits, else None. Loads and expands nothing."""
    try:
        return etree.fromstring(data, _parser(recover=False))
    except etree.XMLSyntaxError:
        return None


def checked_xml(data: bytes, url: str) -> CheckedXml:
    """What ``cut_xml`` gave, well-formed or not, without what stands after the document.

    Raises ParseError: ``xml_limit`` for what was made to harm a parser, ``not_a_feed`` for another document.
    """
    parser = _parser(recover=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        root = None
    codes = {entry.type for entry in parser.error_log}
    # First of all: thousands of open <link> make a web page deep, and it is no attack.
    is_other = root is not None and local_name(root.tag) not in _ROOTS
    if _RESOURCE_LIMIT in codes and not is_other:
        raise ParseError(url, "xml_limit", f"is beyond every measure (depth, size or entities){_HARMFUL}")
    if root is None or is_other:
        raise ParseError(url, "not_a_feed", _what_it_is(data.decode(), root))
    _check_entities(root, url)
    _check_size(root, url)
    is_unfinished = not codes.isdisjoint(_UNFINISHED)
    name = re.escape(
        f"{root.prefix}:{local_name(root.tag)}" if root.prefix else local_name(root.tag)
    ).encode()
    return CheckedXml(
        data=etree.tostring(root, encoding="utf-8") if _EXTRA_CONTENT in codes else data,
        root=root,
        broke_off=is_unfinished or not re.search(rb"</%b\s*>|<%b\b[^>]*/>\s*$" % (name, name), data),
        ends_inside_entry=is_unfinished
        or any(data.rfind(b"<" + n) > data.rfind(b"</" + n) for n in _ENTRIES),
    )


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _what_it_is(text: str, root: etree._Element | None = None) -> str:
    """What came instead of a feed, and what to do about it."""
    start = text.lstrip()[:24]
    if _WEB_PAGE.search(text[:2_000]):
        return "is a web page and no feed; the page may link to its feed: use that address"
    if not start:
        return "is empty behind its first line; it may have broken off, and will be asked again"
    if text.startswith("\x1f"):
        return "is compressed twice and no feed; tell its publisher that Content-Encoding is missing"
    if root is not None:
        name = local_name(root.tag)[:40]
        return f"is XML and no feed (its first element is {name!a}); check the address in a browser"
    return f"is no feed (it begins with {start!a}); check the address in a browser"


def _check_entities(root: etree._Element, url: str) -> None:
    """Names for a few characters are harmless; what contains further entities or a file is not."""
    dtd: Any = root.getroottree().docinfo.internalDTD  # the stubs know neither None nor its entities
    for entity in dtd.iterentities() if dtd is not None else ():
        content = entity.orig or entity.content or ""
        if len(content) > _ENTITY_CHARACTERS or re.search(r"&(?!#)|%|<", content):
            raise ParseError(url, "xml_limit", f"declares the entity {entity.name[:40]!a}{_HARMFUL}")


def _check_size(root: etree._Element, url: str) -> None:
    for count, element in enumerate(root.iter(etree.Element), start=1):
        if count > _ELEMENTS:
            raise ParseError(url, "xml_limit", f"has more than {_ELEMENTS:,} elements{_HARMFUL}")
        if len(element.attrib) > _ATTRIBUTES:
            raise ParseError(
                url, "xml_limit", f"has an element with more than {_ATTRIBUTES} attributes{_HARMFUL}"
            )
