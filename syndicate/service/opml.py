"""Use cases: take sources over from a list of another program (OPML), and give the list to another one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from syndicate.collect.fetch import Fetched, fetch
from syndicate.collect.links import canonical_link
from syndicate.collect.opml import Opml, OpmlFeed, build_opml, parse_opml
from syndicate.collect.parsed import labels
from syndicate.errors import CollectError, UsageError
from syndicate.model import Newsletter, SourceKind
from syndicate.service.egress import open_egress
from syndicate.service.installation import Installation
from syndicate.service.sources import join_newsletter
from syndicate.storage import newsletters, sources
from syndicate.storage.engine import reading, writing

__all__ = ["FeedFate", "ImportedFeed", "export_opml", "import_opml"]

_WEB: Final = re.compile(r"https?://", re.IGNORECASE)
_MOST_BYTES: Final = 10 * 2**20
_EVERY: Final = "*"


class FeedFate(StrEnum):
    """What became of a feed of the list, or would."""

    ADDED = "added"
    JOINED = "joined"  # known to another newsletter
    KNOWN = "known"  # the newsletter draws from it already


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedFeed:
    """One feed of the list."""

    feed: OpmlFeed
    fate: FeedFate


def import_opml(
    inst: Installation, location: str, newsletter: Newsletter, *, apply: bool, is_intranet: bool = False
) -> tuple[Sequence[ImportedFeed], Sequence[str]]:
    """Adds the feeds of a list, a file or a URL, to a newsletter: what becomes of each, and what could not be
    understood, a line each. Feeds that are known, by whichever form of their address, are not added again;
    outlines around a feed become topics of all its articles. Without ``apply`` nothing is changed.

    Nothing is fetched of the feeds themselves: a collection finds out which of them live. Raises UsageError,
    CollectError.
    """
    opml = _read(inst, location)
    fates: list[ImportedFeed] = []
    with writing(inst.engine) as conn:
        known = {canonical_link(s.location): s for s in sources.list_sources(conn) if _WEB.match(s.location)}
        drawn = set(newsletters.list_source_ids(conn, newsletter.id))
        for feed in opml.outlines:
            source = known.get(canonical_link(feed.xml_url))
            if source is not None and source.id in drawn:
                fates.append(ImportedFeed(feed=feed, fate=FeedFate.KNOWN))
                continue
            fate = FeedFate.ADDED if source is None else FeedFate.JOINED
            fates.append(ImportedFeed(feed=feed, fate=fate))
            if apply:
                join_newsletter(
                    inst,
                    conn,
                    newsletter,
                    SourceKind.FEED,
                    source.location if source else feed.xml_url,
                    backfill="none",
                    changes={
                        "title": feed.title,
                        "is_intranet": is_intranet,
                        "topic_map": {_EVERY: ",".join(feed.topics)} if feed.topics else {},
                    },
                )
    return fates, opml.problems


def export_opml(inst: Installation) -> bytes:
    """The feeds among all sources as a list, without user names and keys; equal lists are equal bytes."""
    with reading(inst.engine) as conn:
        found = sources.list_sources(conn)
    feeds = [
        OpmlFeed(
            title=source.title or source.location,
            xml_url=source.location,
            topics=labels(source.topic_map.get(_EVERY, "").split(",")),
        )
        for source in found
        if source.kind is SourceKind.FEED
    ]
    return build_opml(inst.settings.site.title, feeds)


def _read(inst: Installation, location: str) -> Opml:
    if _WEB.match(location):
        return parse_opml(asyncio.run(_fetch(inst, location)), url=location)
    path = Path(location).expanduser()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES // 2**20} MiB, which no list of feeds is")
        return parse_opml(path.read_bytes(), url=location)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


async def _fetch(inst: Installation, url: str) -> bytes:
    async with open_egress(inst) as egress:
        answer = await fetch(egress.public, url, max_bytes=_MOST_BYTES)
    if not isinstance(answer, Fetched):
        raise CollectError(url, "http_304", "answered 304 to a plain request")
    return answer.body
