"""Use cases about sources: find out what is at a location, add it, change it, look after it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection

from syndicate.collect.decide import parse_backfill
from syndicate.collect.discover import Found, discover
from syndicate.collect.filters import parse_rule
from syndicate.collect.guard import is_public
from syndicate.collect.page_links import check_selector
from syndicate.errors import ParseError, UsageError
from syndicate.model import FullText, Newsletter, Source, SourceKind, SourceState
from syndicate.service.egress import open_egress
from syndicate.service.installation import Installation
from syndicate.service.newsletters import choose_newsletter
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import reading, writing

__all__ = [
    "Added",
    "SourceOptions",
    "add_source",
    "change_source",
    "find_out",
    "get_source",
    "join_newsletter",
    "list_sources",
    "make_options",
    "remove_source",
    "set_source_state",
]

#: When a source is due that is never looked at, since its articles are handed in.
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What an operator says about a source; None leaves it as it is."""

    title: str | None = None
    full_text: FullText | None = None
    selector: str | None = None  #: CSS, of the links of a page
    rules: tuple[str, ...] | None = None
    topic_map: Mapping[str, str] | None = None  #: the source's label -> ours, "*" for every article
    needs_approval: bool | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Those that say something, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A source that a newsletter draws from now."""

    source: Source
    newsletter_slug: str
    is_new: bool  #: False: it was known, and has joined this newsletter
    words: str  #: what was found at the location


def make_options(
    *,
    title: str | None = None,
    full_text: FullText | None = None,
    selector: str | None = None,
    rules: Iterable[str] | None = None,
    topics: Iterable[str] | None = None,
    needs_approval: bool | None = None,
) -> SourceOptions:
    """Options as they are written: rules a line each, topics as LABEL=OURS. Raises UsageError."""
    try:
        parsed = tuple(str(parse_rule(text)) for text in rules) if rules is not None else None
        if selector:
            check_selector(selector, url="the page")
    except (ValueError, ParseError) as error:
        raise UsageError(str(error)) from None
    topic_map = None
    if topics is not None:
        pairs = [text.partition("=") for text in topics]
        for label, sign, _ in pairs:
            if not sign or not label.strip():
                raise UsageError(f"topic '{label}' is not LABEL=OURS, such as Sport=Sports or *=News")
        topic_map = {label.strip(): ours.strip() for label, _, ours in pairs}
    return SourceOptions(
        title=title,
        full_text=full_text,
        selector=selector,
        rules=parsed,
        topic_map=topic_map,
        needs_approval=needs_approval,
    )


def find_out(
    inst: Installation, location: str, *, kind: SourceKind | None = None, selector: str = ""
) -> tuple[Found, bool]:
    """What is at a location, and whether that is inside the operator's network. Raises CollectError."""
    if kind is SourceKind.PUSH:
        name = location.removeprefix("push:").strip()
        if not name:
            raise UsageError("a push source needs a name, such as push:newsroom")
        words = "a place that articles are handed in to"
        return Found(kind=kind, location=f"push:{name}", title=name, words=words), False

    async def look() -> tuple[Found, bool]:
        async with open_egress(inst) as egress:
            is_inside = bool(inst.settings.fetch.allow_private) and await _is_inside(location)
            session = egress.intranet if is_inside else egress.public
            found = await discover(location, session=session, kind=kind, selector=selector)
            return found, is_inside

    return asyncio.run(look())


async def _is_inside(location: str) -> bool:
    """Whether the host that an operator names is in a private network, whatever it may redirect to."""
    try:
        parts = urlsplit(location.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not host:
        return False
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return not any(is_public(ip_address(str(info[4][0]).partition("%")[0])) for info in found)


def add_source(
    inst: Installation,
    location: str,
    *,
    kind: SourceKind | None = None,
    newsletter_slug: str | None = None,
    backfill: str = "none",
    options: SourceOptions | None = None,
) -> Added:
    """Adds a source to a newsletter (the only one, if none is named); it is due at once.

    Raises UsageError, NotFound, CollectError if there is no source at the location.
    """
    options = options or SourceOptions()
    try:
        backfill = parse_backfill(backfill)
    except ValueError as error:
        raise UsageError(str(error)) from None
    newsletter = choose_newsletter(inst, newsletter_slug)
    found, is_inside = find_out(inst, location, kind=kind, selector=options.selector or "")
    changes = {"title": found.title, **options.changes}
    with writing(inst.engine) as conn:
        source, is_new = join_newsletter(
            inst,
            conn,
            newsletter,
            found.kind,
            found.location,
            backfill=backfill,
            changes=changes | {"is_intranet": is_inside},
        )
    return Added(source=source, newsletter_slug=newsletter.slug, is_new=is_new, words=found.words)


def join_newsletter(
    inst: Installation,
    conn: Connection,
    newsletter: Newsletter,
    kind: SourceKind,
    location: str,
    *,
    backfill: str,
    changes: Mapping[str, Any],
) -> tuple[Source, bool]:
    """The source at a location, made if need be, from which a newsletter draws from now on, and whether it
    was made. Raises UsageError if the newsletter does so already.
    """
    now = inst.clock()
    known = sources.find_source(conn, location)
    source = known or sources.add_source(
        conn, kind=kind, location=location, backfill=backfill, now=now, **changes
    )
    if known is None and kind is SourceKind.PUSH:
        sources.begin_empty(conn, source.id, now=now, next_due_at=_NEVER)
    # A source that other newsletters read already brings this one what comes next, not its past.
    from_sequence = articles.current_sequence(conn) if known else 0
    if not newsletters.join_source(conn, newsletter.id, source.id, from_sequence=from_sequence, now=now):
        raise UsageError(
            f"newsletter '{newsletter.slug}' draws from {location} already, as source {source.id}"
        )
    return sources.get_source(conn, source.id), known is None


def change_source(inst: Installation, source_id: int, options: SourceOptions) -> Source:
    """Changes what is said about a source; its next look reads all of it. Raises NotFound."""
    with writing(inst.engine) as conn:
        sources.get_source(conn, source_id)
        if options.changes:
            sources.change_source(conn, source_id, **options.changes)
        return sources.get_source(conn, source_id)


def get_source(inst: Installation, source_id: int) -> Source:
    """The source of this number. Raises NotFound, which names those that exist."""
    with reading(inst.engine) as conn:
        return sources.get_source(conn, source_id)


def list_sources(inst: Installation) -> Sequence[tuple[Source, tuple[str, ...]]]:
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
    now = inst.clock()
    with writing(inst.engine) as conn:
        before = sources.get_source(conn, source_id)
        if state is SourceState.ACTIVE and before.state is not SourceState.ACTIVE:
            sources.resume_source(conn, source_id, now=now, is_due=before.kind is not SourceKind.PUSH)
        else:
            sources.set_source_state(conn, source_id, state)
        return sources.get_source(conn, source_id)


def remove_source(inst: Installation, source_id: int) -> Source:
    """Deletes a source with its articles. Raises NotFound."""
    with writing(inst.engine) as conn:
        source = sources.get_source(conn, source_id)
        newsletters.bump_content_version(conn, source_id, now=inst.clock())
        sources.remove_source(conn, source_id)
        return source
