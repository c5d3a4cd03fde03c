"""XML from strangers, looked at before anything parses it for good. Gives no articles.

libxml2 bounds depth, text and entities and does so in milliseconds; feedparser bounds nothing and takes
seconds for 200,000 nested or 300,000 flat elements, and hours for as many attributes.
"""

from __future__ import annotations

import re
from typing import Any, Final

from lxml import etree

from syndicate.errors import ParseError

__all__ = ["checked_xml"]

_RESOURCE_LIMIT: Final = 114  # XML_ERR_RESOURCE_LIMIT; the name that lxml gives it misleads
_EXTRA_CONTENT: Final = 5  # XML_ERR_DOCUMENT_END
_ELEMENTS: Final = 60_000
_ATTRIBUTES: Final = 100  # of one element
_ENTITY_CHARACTERS: Final = 100
_ROOTS: Final = frozenset(["rss", "feed", "RDF", "channel"])
_START: Final = re.compile(r"<(\?xml\b|!DOCTYPE|([\w.-]+:)?(rss|feed|RDF|channel)\b)", re.IGNORECASE)
_DECLARATION: Final = re.compile(r"<\?xml\b[^>]{0,300}\?>")


def checked_xml(text: str, url: str) -> tuple[bytes, bool]:
    """A feed's XML as UTF-8 without its declaration, and whether the document broke off before its end.

    What stands before the document (white space, warnings of a script) and after it is cut. Raises
    ParseError: ``xml_limit`` for what was made to harm a parser, ``not_a_feed`` for another document.
    """
    start = _START.search(text)
    if start is None:
        raise ParseError(url, "not_a_feed", "is no feed")
    document = _DECLARATION.sub("", text[start.start() :], count=1).lstrip()
    parser = etree.XMLParser(
        encoding="utf-8",
        recover=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    data = document.encode()
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        root = None
    codes = {entry.type for entry in parser.error_log}
    # First of all: thousands of open <link> make a web page deep, and it is no attack.
    is_other = root is not None and etree.QName(root).localname not in _ROOTS
    if _RESOURCE_LIMIT in codes and not is_other:
        raise ParseError(url, "xml_limit", "goes beyond what any feed needs (depth, size or entities)")
    if root is None or is_other:
        raise ParseError(url, "not_a_feed", "is no feed")
    _check_entities(root, url)
    _check_size(root, url)
    name = f"{root.prefix}:{etree.QName(root).localname}" if root.prefix else etree.QName(root).localname
    broke_off = not re.search(rf"</{re.escape(name)}\s*>|<{re.escape(name)}\b[^>]*/>\s*$", document)
    return (etree.tostring(root, encoding="utf-8") if _EXTRA_CONTENT in codes else data), broke_off


def _check_entities(root: etree._Element, url: str) -> None:
    """Names for a few characters are harmless; what contains further entities or a file is not."""
    dtd: Any = root.getroottree().docinfo.internalDTD  # the stubs know neither None nor its entities
    for entity in dtd.iterentities() if dtd is not None else ():
        content = entity.orig or entity.content or ""
        if len(content) > _ENTITY_CHARACTERS or re.search(r"&(?!#)|%|<", content):
            raise ParseError(
                url, "xml_limit", f"declares the entity '{entity.name[:40]}', which no feed needs"
            )


def _check_size(root: etree._Element, url: str) -> None:
    for count, element in enumerate(root.iter(etree.Element), start=1):
        if count > _ELEMENTS:
            raise ParseError(url, "xml_limit", f"has more than {_ELEMENTS:,} elements")
        if len(element.attrib) > _ATTRIBUTES:
            raise ParseError(url, "xml_limit", f"has an element with more than {_ATTRIBUTES} attributes")
