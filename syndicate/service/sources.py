"""Use cases about sources: find out what is at a location, add it, look after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from syndicate.collect.decide import parse_backfill
from syndicate.collect.discover import Found, discover
from syndicate.errors import UsageError
from syndicate.model import Source, SourceKind, SourceState
from syndicate.service.collecting import open_client
from syndicate.service.installation import Installation
from syndicate.service.newsletters import choose_newsletter
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import reading, writing

__all__ = [
    "Added",
    "add_source",
    "find_out",
    "get_source",
    "list_sources",
    "remove_source",
    "set_source_state",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A source that a newsletter draws from now."""

    source: Source
    newsletter_slug: str
    is_new: bool  #: False: it was known, and has joined this newsletter


def find_out(inst: Installation, location: str) -> Found:
    """What is at a location: a folder, a feed, or a site that names its feed. Raises CollectError."""

    async def look() -> Found:
        async with open_client(inst) as session:
            return await discover(location, session=session)

    return asyncio.run(look())


def add_source(
    inst: Installation,
    location: str,
    *,
    kind: SourceKind | None = None,
    newsletter_slug: str | None = None,
    backfill: str = "none",
) -> Added:
    """Adds a source to a newsletter (the only one, if none is named); it is due at once.

    Raises UsageError, NotFound, CollectError if there is no source at the location.
    """
    try:
        backfill = parse_backfill(backfill)
    except ValueError as error:
        raise UsageError(str(error)) from None
    newsletter = choose_newsletter(inst, newsletter_slug)
    found = find_out(inst, location)
    if kind is not None and kind is not found.kind:
        raise UsageError(f"{location} is a {found.kind}, not a {kind}; leave --kind out")
    with writing(inst.engine) as conn:
        known = sources.find_source(conn, found.location)
        source = known or sources.add_source(
            conn,
            kind=found.kind,
            location=found.location,
            title=found.title,
            backfill=backfill,
            now=inst.clock(),
        )
        # A source that other newsletters read already brings this one what comes next, not its past.
        from_sequence = articles.current_sequence(conn) if known else 0
        if not newsletters.join_source(
            conn, newsletter.id, source.id, from_sequence=from_sequence, now=inst.clock()
        ):
            raise UsageError(
                f"newsletter '{newsletter.slug}' draws from {found.location} already, as source {source.id}"
            )
    return Added(source=source, newsletter_slug=newsletter.slug, is_new=known is None)


def get_source(inst: Installation, source_id: int) -> Source:
    """The source of this number. Raises NotFound, which names those that exist."""
    with reading(inst.engine) as conn:
        return sources.get_source(conn, source_id)


def list_sources(inst: Installation) -> list[tuple[Source, tuple[str, ...]]]:
    """Every source with the slugs of the newsletters that draw from it, by number."""
    with reading(inst.engine) as conn:
        drawing = {
            n.slug: set(newsletters.list_source_ids(conn, n.id)) for n in newsletters.list_newsletters(conn)
        }
        return [
            (source, tuple(slug for slug, ids in drawing.items() if source.id in ids))
            for source in sources.list_sources(conn)
        ]


def set_source_state(inst: Installation, source_id: int, state: SourceState) -> Source:
    """Pauses a source or takes it up again. Raises NotFound."""
    with writing(inst.engine) as conn:
        sources.get_source(conn, source_id)
        sources.set_source_state(conn, source_id, state)
        return sources.get_source(conn, source_id)


def remove_source(inst: Installation, source_id: int) -> Source:
    """Deletes a source with its articles. Raises NotFound."""
    with writing(inst.engine) as conn:
        source = sources.get_source(conn, source_id)
        newsletters.bump_content_version(conn, source_id, now=inst.clock())
        sources.remove_source(conn, source_id)
        return source
