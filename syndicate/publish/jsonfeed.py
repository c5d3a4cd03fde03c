"""Feeds as JSON Feed 1.1 (https://www.jsonfeed.org/version/1.1/). Pure; caches nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from syndicate.model import Author, Enclosure
from syndicate.publish.feed import Entry, EntrySource, Feed

__all__ = ["JSON_TYPE", "build_json"]

JSON_TYPE: Final = "application/feed+json"


def build_json(feed: Feed) -> bytes:
    """The feed as JSON Feed 1.1 in UTF-8: one fixed order of keys, empty members left out.

    Equal feeds give equal bytes. Where a collected article came from stands in ``_source``, an object of our
    own (the format reserves the underscore for that).
    """
    document = _filled(
        version="https://jsonfeed.org/version/1.1",
        title=feed.title,
        home_page_url=feed.home_url,
        feed_url=feed.self_url,
        description=feed.description,
        authors=[{"name": feed.author_name}],
        language=feed.language,
    )
    document["items"] = [_item(entry) for entry in feed.entries]  # required, so there even when empty
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _item(entry: Entry) -> dict[str, Any]:
    return _filled(
        id=entry.atom_id,
        url=entry.link,
        title=entry.title,
        content_html=entry.content_html,
        summary=entry.summary,
        image=entry.image_url,
        date_published=_rfc_3339(entry.published_at),
        date_modified=_rfc_3339(entry.updated_at),
        authors=[_author(author) for author in entry.authors],
        tags=list(entry.tags),
        language=entry.language,
        attachments=[_attachment(enclosure) for enclosure in entry.enclosures],
        _source=_source(entry.source) if entry.source else None,
    )


def _author(author: Author) -> dict[str, Any]:
    return _filled(name=author.name, url=author.url)


def _attachment(enclosure: Enclosure) -> dict[str, Any]:
    return _filled(url=enclosure.url, mime_type=enclosure.type, size_in_bytes=enclosure.length)


def _source(source: EntrySource) -> dict[str, Any]:
    return _filled(id=source.atom_id, title=source.title, home_page_url=source.url, feed_url=source.feed_url)


def _filled(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _rfc_3339(at: datetime) -> str:
    return at.isoformat()
