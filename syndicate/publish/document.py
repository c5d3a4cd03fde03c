"""A built document with its validators, and whether a client has it already. Pure; keeps no cache."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

__all__ = ["Document", "is_not_modified", "make_document", "response_headers"]

#: opaque-tag of RFC 9110 section 8.8.3; a comma may stand in one. Leaving "W/" out is the weak comparison.
_OPAQUE_TAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Bytes as they are served."""

    body: bytes
    media_type: str  #: with its charset
    etag: str  #: strong and quoted: equal for equal bytes
    last_modified_at: datetime


def make_document(body: bytes, media_type: str, last_modified_at: datetime) -> Document:
    """The document with its strong ETag. ``last_modified_at`` comes from the data, never from the clock."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Document(body=body, media_type=media_type, etag=etag, last_modified_at=last_modified_at)


def is_not_modified(document: Document, *, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether 304 answers a GET or HEAD with these header fields; None for one that was not sent.

    If-None-Match has the word alone when it is there: a list or ``*``, compared weakly; a date that cannot
    be read counts as not sent (RFC 9110 sections 13.1.2, 13.1.3 and 13.2.2).
    """
    if if_none_match is not None:
        return if_none_match.strip() == "*" or document.etag in _OPAQUE_TAG.findall(if_none_match)
    since = _find_date(if_modified_since or "")
    return since is not None and document.last_modified_at.replace(microsecond=0) <= since


def response_headers(document: Document) -> dict[str, str]:
    """The header fields of 200 and 304 alike (RFC 9110 section 15.4.5); Content-Type is the media type's.

    Five minutes are our choice; any page may read a feed, since it is public and the same for everybody.
    """
    return {
        "ETag": document.etag,
        "Last-Modified": format_datetime(document.last_modified_at.astimezone(UTC), usegmt=True),
        "Cache-Control": "max-age=300, stale-while-revalidate=300",
        "Access-Control-Allow-Origin": "*",
    }


def _find_date(text: str) -> datetime | None:
    # all three forms of RFC 9110 section 5.6.7; the one without a zone is in UTC by definition
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
