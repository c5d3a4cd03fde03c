"""The one door for documents: tells which format a document is in and calls its parser. Never fetches."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from syndicate.collect.parse_feed import feed_differences, parse_feed
from syndicate.collect.parse_json import parse_json
from syndicate.collect.parsed import ParsedSource

__all__ = ["PARSER_VERSION", "ParsedSource", "differences", "parse_document"]

#: Grows when a document may give other articles than before: validators of earlier ones are forgotten then.
PARSER_VERSION: Final = 2


def parse_document(body: bytes, *, url: str, content_type: str, now: datetime) -> ParsedSource:
    """The articles of a feed document (RSS, Atom, RDF, JSON Feed), sanitised, with absolute URLs.

    ``url`` is where the document was found; relative URLs resolve against it. Dates that cannot be right as
    of ``now`` count as not given. The bytes decide the format: servers call feeds text/html and worse.
    Raises ParseError, whose reason is one of empty, not_a_feed, xml_limit.
    """
    parse = parse_json if _is_json(body) else parse_feed
    parsed = parse(body, url=url, content_type=content_type, now=now)
    for article in parsed.articles:
        _ = (
            article.content_hash
        )  # worked out here, it travels with the article: parsers have cores of their own
    return parsed


def differences(body: bytes, *, url: str, content_type: str, now: datetime) -> list[str]:
    """Where the fast path and feedparser disagree about a document, one line for each field.

    Empty for a document that only one of them reads. Raises ParseError as ``parse_document`` does.
    """
    return [] if _is_json(body) else feed_differences(body, url=url, content_type=content_type, now=now)


def _is_json(body: bytes) -> bool:
    return body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
