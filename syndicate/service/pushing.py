"""Use case: articles that are handed in to a push source, rather than looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from syndicate.collect.links import absolute_url
from syndicate.collect.parsed import choose_guid, choose_language, choose_title, labels
from syndicate.collect.sanitise import clean_text, excerpt, sanitise, shorten, text_to_html
from syndicate.errors import StateError, UsageError
from syndicate.model import Author, DateQuality, ParsedArticle, SourceKind
from syndicate.service.collecting import SourceReport, store_pushed
from syndicate.service.installation import Installation
from syndicate.service.storing import Found
from syndicate.storage import sources
from syndicate.storage.engine import reading

__all__ = ["PushedArticle", "push_articles"]

#: Articles in one call, and characters of one; our choice.
_MOST: Final = 500
_LONGEST: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedArticle:
    """An article as a client hands it in. One of ``html`` and ``text`` has to say something."""

    id: str = ""  #: the client's own; the link stands in for it
    title: str = ""
    url: str = ""  #: absolute
    html: str = ""  #: is sanitised here
    text: str = ""  #: plain
    summary: str = ""
    authors: Sequence[str] = ()
    tags: Sequence[str] = ()
    language: str = ""
    image_url: str = ""
    published_at: datetime | None = None  #: aware
    updated_at: datetime | None = None


def push_articles(inst: Installation, source_id: int, pushed: Sequence[PushedArticle]) -> SourceReport:
    """Takes articles in; one that comes again, or late, changes nothing that is newer.

    Raises NotFound, StateError for a source that is no push source or is paused, and UsageError that names
    the article that cannot be taken; then none is.
    """
    with reading(inst.engine) as conn:
        source = sources.get_source(conn, source_id)
    if source.kind is not SourceKind.PUSH:
        raise StateError(f"source {source_id} is a {source.kind}; only a push source takes articles")
    if len(pushed) > _MOST:
        raise UsageError(f"{len(pushed)} articles at once are too many; hand in at most {_MOST}")
    return store_pushed(
        inst, source_id, Found(articles=[_parse(each, n) for n, each in enumerate(pushed, start=1)])
    )


def _parse(pushed: PushedArticle, number: int) -> ParsedArticle:
    name = shorten(pushed.title, 60) or pushed.id or f"number {number}"
    url = absolute_url(pushed.url)
    if pushed.url and not url:
        raise UsageError(f"article '{name}': '{pushed.url}' is no absolute http or https URL")
    if not (pushed.id.strip() or url):
        raise UsageError(f"article '{name}': it needs an id or a url, by which it is known again")
    if max(len(pushed.html), len(pushed.text)) > _LONGEST:
        raise UsageError(f"article '{name}': its text is longer than {_LONGEST:,} characters")
    for at in (pushed.published_at, pushed.updated_at):
        if at is not None and at.tzinfo is None:
            raise UsageError(f"article '{name}': its date {at.isoformat()} has no time zone")
    content = sanitise(pushed.html, base_url=url) or text_to_html(pushed.text)
    if not content and not pushed.title.strip():
        raise UsageError(f"article '{name}': it has neither a title nor a text")
    return ParsedArticle(
        guid=choose_guid(clean_text(pushed.id), url),
        url=url,
        title=choose_title(pushed.title, content),
        content_html=content,
        summary=shorten(pushed.summary, 300) or excerpt(content),
        authors=tuple(Author(name=shorten(each, 100)) for each in pushed.authors if each.strip()),
        tags=labels(pushed.tags),
        language=choose_language(pushed.language),
        image_url=absolute_url(pushed.image_url),
        published_at=pushed.published_at,
        published_quality=DateQuality.GIVEN if pushed.published_at else DateQuality.FIRST_SEEN,
        updated_at=pushed.updated_at,
    )
