"""XML that lists addresses (sitemaps, OPML), made ready for a parser. Knows neither format.

Such lists need no document type and no entities but the five of XML, so nothing else is let through.
"""

from __future__ import annotations

import re
from typing import Any, Final

from syndicate.collect.charset import charset_of, decode, xml_charset
from syndicate.errors import ParseError

__all__ = ["check_limits", "read_list_xml"]

_RESOURCE_LIMIT: Final = 114  # XML_ERR_RESOURCE_LIMIT; the name that lxml gives it misleads
#: What may stand before the root: declaration, comments, a document type, which goes with its entities.
_PROLOG: Final = re.compile(
    r"(?:[\s\ufeff]+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*+(?:\[.*?\])?\s*>)*+", re.DOTALL | re.IGNORECASE
)
#: Addresses are written with bare ampersands, of which libxml2 would make another address.
_BARE_AMPERSAND: Final = re.compile(r"&(?!(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);)")


def read_list_xml(
    body: bytes, *, url: str, content_type: str = "", root: str, reason: str, what: str
) -> tuple[bytes, bool]:
    """A document as UTF-8 from its root element on, each on its old line, and whether it broke off.

    ``root`` is a pattern of the names that the root may have. Raises ParseError ``empty``, or ``reason`` with
    "is no ``what``" if the first element has another.
    """
    text, _ = decode(body, [charset_of(content_type), xml_charset(body)])
    if not text.strip():
        raise ParseError(url, "empty", "is empty")
    prolog = _PROLOG.match(text)
    start = re.compile(rf"<([\w.-]+:)?({root})(?=[\s/>])", re.IGNORECASE).match(
        text, prolog.end() if prolog else 0
    )
    if start is None:
        raise ParseError(url, reason, f"is no {what}")
    name = re.escape(start.group()[1:])
    end = re.compile(rf"</{name}\s*>|<{name}\b[^<>]*/>").search(text, start.start())
    lines = "\n" * text.count("\n", 0, start.start())
    return (lines + _BARE_AMPERSAND.sub("&amp;", text[start.start() :])).encode(), end is None


def check_limits(error_log: Any, *, url: str, what: str) -> None:  # the stubs know two classes for one thing
    """Raises ParseError ``xml_limit`` if a parser met depth or text that was made to harm it."""
    if any(entry.type == _RESOURCE_LIMIT for entry in error_log):
        raise ParseError(url, "xml_limit", f"goes beyond what any {what} needs (depth or size)")
